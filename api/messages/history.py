"""Reading messages: one with its history, or the pages of a chat."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http import cursors
from api.http.operations import Operation
from api.http.parameters import cursor, limit, query_of
from api.messages.paths import named_by_any, read_chat
from api.messages.serializers import MessageSerializer
from shared.compose.directory import Directory, require_possible

# messages in one page; a page is one answer in memory, so there is a limit
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
# the cursor before every message: the last instant and the last id
_NEWEST: Final = (datetime.max.replace(tzinfo=UTC), (1 << 63) - 1)


class HistoryOperations:
    """The operations that read messages."""

    def __init__(self, directory: Directory, shown: MessageSerializer) -> None:
        self._directory, self._shown = directory, shown

    def operations(self) -> list[Operation]:
        """Return the operations that read messages."""
        return [
            Operation(
                operation_id="getMessage",
                method="GET",
                path="/api/v2/messages/{companyId}/{chatId}/{messageId}",
                scope="read",
                group="Messages",
                summary="State and history of one message, sent or received",
                handler=self.show_one,
                answers={200: ("The message with its history.", "Message")},
                problems=("company_unknown", "chat_invalid", "message_unknown"),
            ),
            Operation(
                operation_id="listChatMessages",
                method="GET",
                path="/api/v2/messages/{companyId}/{chatId}",
                scope="read",
                group="Messages",
                summary="A chat in both directions, newest first",
                handler=self.show_chat,
                parameters=(
                    limit("Messages in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(cursors.PATTERN),
                ),
                answers={200: ("One page.", "ChatPage")},
                problems=("company_unknown", "chat_invalid", "query_invalid"),
            ),
        ]

    async def show_one(self, request: Request) -> Response:
        """Answer with one message's state and history."""
        return JSONResponse(await self._shown.one(*named_by_any(request)))

    async def show_chat(self, request: Request) -> Response:
        """Answer with one page of a chat."""
        company_id, chat_id = request.path_params["companyId"], read_chat(request.path_params["chatId"])
        require_possible(company_id)
        most, before = query_of(request)["limit"], _read_cursor(request)
        # one more than requested: its presence means that another page follows
        rows, shown = await self._shown.page(company_id, chat_id, before=before, most=most + 1)
        if not rows:
            await self._directory.require_company(company_id)
        last = rows[most - 1] if len(rows) > most else None
        following = None if last is None else cursors.encode(last["at"], last["id"])
        return JSONResponse({"messages": shown[:most], "next": following})


def _read_cursor(request: Request) -> tuple[datetime, int]:
    given = query_of(request)["cursor"]
    if given is None:
        return _NEWEST
    at, message_id = cursors.decode(given, int)
    return at, message_id
