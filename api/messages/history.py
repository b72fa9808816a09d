"""Reading messages: one with its history, or the pages of a chat."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.http.parameters import cursor, limit, query_invalid, query_of
from api.http.problems import Problem
from api.messages.paths import named_by_any, read_chat, read_message_id
from api.messages.serializers import MessageSerializer
from shared.clock import read_timestamp
from shared.compose.directory import Directory, require_possible
from shared.store.pool import Row

# messages in one page; a page is one answer in memory, so there is a limit
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_CURSOR: Final = "^[A-Za-z0-9_-]{1,200}$"
"""An instant and an id in base64, which have some 50 characters."""
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
                    cursor(_CURSOR),
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
        following = _cursor(rows[most - 1]) if len(rows) > most else None
        return JSONResponse({"messages": shown[:most], "next": following})


def _cursor(row: Row) -> str:
    # instant and id: providers' instants are whole seconds, so several messages share one. Encoded, so that clients
    # do not take it apart
    return base64.urlsafe_b64encode(f"{row['at'].isoformat()} {row['id']}".encode()).decode().rstrip("=")


def _read_cursor(request: Request) -> tuple[datetime, int]:
    given = query_of(request)["cursor"]
    if given is None:
        return _NEWEST
    try:
        # padding is not sent; `validate` refuses characters that the decoder would otherwise skip
        at, row_id = (
            base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode("ascii").split(" ")
        )
        instant = read_timestamp(at)
    except (ValueError, binascii.Error) as error:
        raise _cursor_invalid() from error
    message_id = read_message_id(row_id)
    if message_id is None:
        raise _cursor_invalid()
    return instant, message_id


def _cursor_invalid() -> Problem:
    return query_invalid("cursor", "cursor must be `next` of an earlier page.")
