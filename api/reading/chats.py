"""Chats of a company: the one that was written in last first, or those that a search finds; marks them as read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http import cursors
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.messages.paths import message_unknown, read_chat
from api.messages.serializers import entries
from shared.channels import chat_ids
from shared.compose.directory import Directory, require_possible
from shared.events.message_json import JsonObject
from shared.store import events, reading, targets
from shared.store.pool import Row, Transaction
from shared.store.reading import ChatPosition
from shared.store.store import Store
from shared.timestamps import iso

_PAGE: Final = 50
_LONGEST_PAGE: Final = 100
"""Chats in one page at most: each has its newest message and its count of unread ones."""
# before every chat: the last instant
_FIRST: Final = ChatPosition(datetime.max.replace(tzinfo=UTC), "", 0)
_FEWEST_DIGITS: Final = 3
"""Digits that find a number: fewer are the country codes of very many."""
_NUMBER: Final = re.compile(r"\+?[0-9 ().\-\u00a0]{3,40}")
_ADDRESSES: Final = (chat_ids.ChatIdForm.PHONE, chat_ids.ChatIdForm.LID, chat_ids.ChatIdForm.GROUP)
SEARCH_SCHEMA: Final = {"type": "string", "minLength": 2, "maxLength": 200, "pattern": r"^\S.*\S$"}
SEARCH_RULE: Final = "2 to 200 characters, without spaces around them"
"""Of a search. One letter would find nearly everything."""
PHONE_INDEX: Final = Parameter(
    name="phoneIndex",
    place="query",
    purpose="Only of this connection.",
    schema={"type": "integer", "minimum": 0, "maximum": 9999},
)


def number_of(text: str) -> str:
    """Return the first digits of a number as chat ids have them, or another address; empty for what is neither."""
    with suppress(chat_ids.ChatInvalid):
        found = chat_ids.read(text)
        if found.form in _ADDRESSES:
            return found.id
    digits = re.sub(r"[^0-9]", "", text).removeprefix("00")
    return digits if _NUMBER.fullmatch(text) and len(digits) >= _FEWEST_DIGITS else ""


class ChatOperations:
    """The operations on chats as a whole."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                method="GET",
                path="/api/v2/chats/{companyId}",
                operation_id="listChats",
                scope="read",
                group="Reading",
                summary="Chats, the one that was written in last first: newest message, unread, contact, connection",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="q",
                        place="query",
                        purpose="Only those with a number that begins with these digits (country code first), a name "
                        "with any of these words, or a message with any of them; the last word may go on.",
                        schema=SEARCH_SCHEMA,
                        rule=SEARCH_RULE,
                    ),
                    PHONE_INDEX,
                    limit("Chats in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(cursors.PATTERN),
                ),
                answers={200: ("One page.", "Chats")},
                problems=("company_unknown", "phone_index_unknown", "query_invalid"),
            ),
            Operation(
                method="POST",
                path="/api/v2/chats/{companyId}/{chatId}/read",
                operation_id="markChatRead",
                scope="send",
                group="Reading",
                summary="Mark a chat as read here; the customer gets no read mark",
                handler=self.mark_read,
                parameters=(
                    Parameter(
                        name="upTo",
                        place="query",
                        purpose="The last message that was read, by our id or the provider's; without it: all up to "
                        "now.",
                        schema={"type": "string", "pattern": "^[!-~]{1,512}$"},
                        rule="the id of a message",
                    ),
                ),
                answers={200: ("Until when it is read; never earlier than before.", "ChatRead")},
                problems=("company_unknown", "chat_invalid", "message_unknown", "query_invalid"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page of chats."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        before, connection_id = _read_position(query["cursor"]), None
        if query["phoneIndex"] is not None:
            connection_id = (await self._directory.connection(company_id, query["phoneIndex"])).id
        most = query["limit"]
        # one more than requested: its presence means that another page follows
        where = {"before": before, "connection_id": connection_id, "most": most + 1}
        own, words = self._store.as_company(company_id), query["q"]
        if words is None:
            rows, shown = await own.call(_page, company_id, reading.chats, company_id=company_id, **where)
        else:
            rows, shown = await own.call(
                _page, company_id, reading.chats_found, number=number_of(words), words=words, **where
            )
        if not rows:
            await self._directory.require_company(company_id)
        following = None
        if len(rows) > most:
            last = rows[most - 1]
            following = cursors.encode(last["last_at"], last["chat_id"], last["connection_id"])
        return JSONResponse({"chats": shown[:most], "next": following})

    async def mark_read(self, request: Request) -> Response:
        """Mark a chat as read."""
        company_id, chat_id = request.path_params["companyId"], read_chat(request.path_params["chatId"])
        require_possible(company_id)
        up_to = query_of(request)["upTo"]
        read_at = await self._store.as_company(company_id).call(
            _mark,
            company_id,
            chat_id,
            up_to,
        )
        if read_at is None:
            await self._directory.require_company(company_id)
            raise message_unknown()
        return JSONResponse({"chatId": chat_id, "readAt": iso(read_at)})


def shown_contact(person: Row | None) -> JsonObject | None:
    """Return the person of a chat as lists show it."""
    if person is None:
        return None
    return {
        "id": f"p{person['id']}",
        "name": person["name"] or person["profile_name"] or None,
        "username": person["username"] or None,
    }


def _mark(transaction: Transaction, company_id: str, chat_id: str, up_to: str | None) -> datetime | None:
    message_id = None
    if up_to is not None:
        found = targets.find(transaction, company_id, up_to, acting=True)
        # 0 is the id of no message
        message_id = next((target.id for target in found if chat_id in target.chat_ids), 0)
    return reading.mark_read(transaction, company_id=company_id, chat_id=chat_id, message_id=message_id)


def _read_position(given: str | None) -> ChatPosition:
    return _FIRST if given is None else ChatPosition(*cursors.decode(given, str, int))


def _page(
    transaction: Transaction, /, owner: str, read: Callable[..., Sequence[Row]], **where: Any
) -> tuple[Sequence[Row], list[JsonObject]]:
    rows = read(transaction, **where)
    connections = events.connections_of(transaction, sorted({row["connection_id"] for row in rows}))
    # one may be gone since, with its company
    rows = [row for row in rows if row["connection_id"] in connections]
    facts = reading.chat_facts(transaction, owner, rows)
    people = reading.people_named(transaction, owner, sorted({name for row in facts for name in row["chat_ids"]}))
    newest = entries(transaction, owner, [row["message_id"] for row in facts if row["message_id"] is not None])
    shown: list[JsonObject] = []
    for row, fact in zip(rows, facts, strict=True):
        person = next((people[name] for name in fact["chat_ids"] if name in people), None)
        shown.append(
            {
                "chatId": row["chat_id"],
                "aliases": sorted(fact["chat_ids"]),
                "contact": shown_contact(person),
                "phoneIndex": connections[row["connection_id"]]["phone_index"],
                "connectionType": connections[row["connection_id"]]["connection_type"],
                "lastMessage": newest.get(fact["message_id"]),
                "lastAt": iso(row["last_at"]),
                "unread": fact["unread"],
                "readAt": iso(fact["read_at"]),
            }
        )
    return rows, shown
