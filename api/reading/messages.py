"""Messages of all chats of a company: newest first, filtered, or those that a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http import cursors
from api.http.instants import instant, read_instant
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.shapes import choice
from api.messages.paths import read_chat
from api.messages.serializers import entries
from api.reading.chats import PHONE_INDEX, SEARCH_RULE, SEARCH_SCHEMA
from shared.compose.directory import Directory, require_possible
from shared.events.message_json import JsonObject
from shared.states import MessageState
from shared.store import reading
from shared.store.pool import Transaction
from shared.store.reading import MessageFilter
from shared.store.store import Store

_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_NEWEST: Final = (datetime.max.replace(tzinfo=UTC), (1 << 63) - 1)
_OLDEST: Final = datetime.min.replace(year=1970, tzinfo=UTC)
_DIRECTIONS: Final = {"in": "in", "out": "out", "inbound": "in", "outbound": "out"}


class SearchOperations:
    """The operation that lists messages of all chats."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                method="GET",
                path="/api/v2/messages/{companyId}",
                operation_id="listMessages",
                scope="read",
                group="Reading",
                summary="Messages of all chats, newest first, filtered or found by their words",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="q",
                        place="query",
                        purpose="Only those with any of these words; the last word may go on.",
                        schema=SEARCH_SCHEMA,
                        rule=SEARCH_RULE,
                    ),
                    Parameter(
                        name="direction",
                        place="query",
                        purpose="Only those; `in` and `inbound` are the same, and so are `out` and `outbound`.",
                        schema=choice("DirectionFilter", *_DIRECTIONS),
                    ),
                    PHONE_INDEX,
                    Parameter(name="chatId", place="query", purpose="Only of this chat, by any of its ids."),
                    Parameter(
                        name="type",
                        place="query",
                        purpose="Only this type, for example `image`.",
                        schema={"type": "string", "pattern": "^[a-z_]{1,20}$"},
                        rule="a type of messages, for example image",
                    ),
                    Parameter(
                        name="status",
                        place="query",
                        purpose="Only those that are in this state.",
                        schema=choice("AnyMessageStatus", *MessageState, "received"),
                    ),
                    instant("since", "Only those written at this instant or later."),
                    instant("until", "Only those written before this instant."),
                    limit("Messages in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(cursors.PATTERN),
                ),
                answers={
                    200: (
                        "One page. It may be shorter than `limit`, even empty: go on until `next` is null.",
                        "ChatPage",
                    )
                },
                problems=("company_unknown", "phone_index_unknown", "chat_invalid", "query_invalid"),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page of messages."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        connection_id = None
        if query["phoneIndex"] is not None:
            connection_id = (await self._directory.connection(company_id, query["phoneIndex"])).id
        selection = MessageFilter(
            since=read_instant(query, "since") or _OLDEST,
            words=query["q"],
            chat_id=None if query["chatId"] is None else read_chat(query["chatId"]),
            connection_id=connection_id,
            direction=_DIRECTIONS.get(query["direction"]),
            type=query["type"],
            state=query["status"],
        )
        until = read_instant(query, "until")
        before: tuple[Any, int] = _NEWEST if until is None else (until, 0)
        if query["cursor"] is not None:
            at, message_id = cursors.decode(query["cursor"], int)
            before = min(before, (at, message_id))
        own = self._store.as_company(company_id)
        found, following = await own.call(reading.listed, company_id, selection, before=before, most=query["limit"])
        shown = await own.call(_shown, company_id, selection, [message_id for _, message_id in found])
        if not shown:
            await self._directory.require_company(company_id)
        return JSONResponse({"messages": shown, "next": None if following is None else cursors.encode(*following)})


def _shown(transaction: Transaction, company_id: str, selection: MessageFilter, ids: Sequence[int]) -> list[JsonObject]:
    shown = entries(transaction, company_id, ids)
    # what is filtered by is as old as the last round of the recorder: a message that has moved on since is left out
    return [
        entry
        for message_id in ids
        if (entry := shown.get(message_id)) is not None and selection.state in (None, entry["status"])
    ]
