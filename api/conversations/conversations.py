"""Conversations of a company: list, read, reply, assign, hand back and close."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http import cursors
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.idempotency import read_key
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.messages.acceptance import ACCEPTING, ACCEPTING_PROBLEMS, ANSWERS, AcceptanceAnswers
from api.messages.paths import read_chat
from api.messages.serializers import MessageSerializer
from api.messages.waiting import read_wait_s
from api.reading.chats import PHONE_INDEX, shown_contact
from shared import content
from shared.compose.composer import Composer, Draft
from shared.compose.directory import Directory, require_possible
from shared.compose.types import TYPES
from shared.conversations import rows
from shared.conversations.rows import ConversationFilter, MoveOrder
from shared.conversations.states import MOVES, ConversationState
from shared.events.message_json import JsonObject
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import events, reading
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.company_settings import read_company
from shared.timestamps import iso

_PATH: Final = "/api/v2/conversations/{companyId}"
_ONE: Final = f"{_PATH}/{{conversationId}}"
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_MESSAGES: Final = 20
"""Messages that are shown with one conversation."""
_NEWEST: Final = (datetime.max.replace(tzinfo=UTC), (1 << 63) - 1)
_BODY_LIMIT: Final = 16384
_ID: Final = re.compile(r"[0-9]{1,18}")
_LONGEST_ASSIGNEE: Final = 100
_ASSIGNEE_PATTERN: Final = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?$"
_ASSIGNEE: Final = Parameter(
    name="assignee",
    place="query",
    purpose="Only those that this person looks after.",
    schema={"type": "string", "minLength": 1, "maxLength": _LONGEST_ASSIGNEE, "pattern": _ASSIGNEE_PATTERN},
    rule=f"a name of at most {_LONGEST_ASSIGNEE} characters",
)
_ASSIGN: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["assignee"],
    "properties": {
        "assignee": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": _LONGEST_ASSIGNEE,
            "pattern": _ASSIGNEE_PATTERN,
            "description": "Who looks after it: any name that your people use; null: no one, and the customer waits.",
        }
    },
}
_ASSIGN_FIELDS: Final = (Field(name="assignee", kind=str, shortest=1, longest=_LONGEST_ASSIGNEE),)
_REPLY: Final = tuple(
    # the conversation names the connection; a message of later is no reply
    field
    for field in TYPES[content.TEXT].fields
    if field.name not in ("phoneIndex", "sendAt")
)


class ConversationOperations:
    """The operations on conversations.

    Args:
        composer: accepts replies. answers: with accepted replies. messages: shows messages.
    """

    def __init__(
        self,
        directory: Directory,
        store: Store,
        composer: Composer,
        answers: AcceptanceAnswers,
        messages: MessageSerializer,
    ) -> None:
        self._directory, self._store = directory, store
        self._composer, self._answers, self._messages = composer, answers, messages

    def operations(self) -> list[Operation]:
        """Return them."""
        known = ("company_unknown", "conversation_unknown")
        one = {200: ("The conversation as it is now.", "Conversation")}
        return [
            Operation(
                operation_id="listConversations",
                method="GET",
                path=_PATH,
                scope="read",
                group="Conversations",
                summary="Conversations: those that changed their state last, or those who wait for longest",
                handler=self.show_all,
                parameters=(
                    Parameter(
                        name="state",
                        place="query",
                        purpose="Only those in this state. Those that are `waiting` are sorted by how long they wait, "
                        "the longest first; all others by how long they have their state, the shortest first.",
                        schema=choice("ConversationState", *ConversationState),
                    ),
                    Parameter(
                        name="chatId",
                        place="query",
                        purpose="Only those of this chat, by any id of its person.",
                        schema={"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00]*$"},
                    ),
                    _ASSIGNEE,
                    PHONE_INDEX,
                    limit("Conversations in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(cursors.PATTERN),
                ),
                answers={200: ("One page.", "Conversations")},
                problems=("company_unknown", "phone_index_unknown", "chat_invalid", "query_invalid"),
            ),
            Operation(
                operation_id="getConversation",
                method="GET",
                path=_ONE,
                scope="read",
                group="Conversations",
                summary="One conversation with its last messages",
                handler=self.show,
                answers={200: ("The conversation.", "ConversationWithMessages")},
                problems=known,
            ),
            Operation(
                operation_id="replyInConversation",
                method="POST",
                path=f"{_ONE}/reply",
                scope="send",
                group="Conversations",
                summary="Reply with a text as a human: the conversation is yours, and the assistant is silent",
                handler=self.reply,
                body=json_schema(_REPLY),
                examples=({"message": "I am Grace. Your parcel leaves today."},),
                parameters=ACCEPTING,
                answers=ANSWERS,
                problems=(
                    *known,
                    # its connection was removed
                    "phone_index_unknown",
                    "chat_invalid",
                    *ACCEPTING_PROBLEMS,
                    "text_empty",
                    "text_too_long",
                    "quoted_message_unknown",
                    "unsupported_operation",
                ),
            ),
            Operation(
                operation_id="assignConversation",
                method="POST",
                path=f"{_ONE}/assign",
                scope="send",
                group="Conversations",
                summary="Say who looks after it, or put it back to those who wait",
                handler=self.assign,
                body=_ASSIGN,
                examples=({"assignee": "Grace"}, {"assignee": None}),
                answers=one,
                problems=(*known, "conversation_refused", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="handBackConversation",
                method="POST",
                path=f"{_ONE}/handback",
                scope="send",
                group="Conversations",
                summary="Give it back to the assistant",
                handler=self.hand_back,
                answers=one,
                problems=(*known, "conversation_refused"),
            ),
            Operation(
                operation_id="closeConversation",
                method="POST",
                path=f"{_ONE}/close",
                scope="send",
                group="Conversations",
                summary="Close it; the customer's next message opens it again",
                handler=self.close,
                answers=one,
                problems=known,
            ),
        ]

    async def show_all(self, request: Request) -> Response:
        """Answer with one page of conversations."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        connection_id = chat_id = None
        if query["phoneIndex"] is not None:
            connection_id = (await self._directory.connection(company_id, query["phoneIndex"])).id
        if query["chatId"]:
            chat_id = read_chat(query["chatId"])
        state = None if query["state"] is None else ConversationState(query["state"])
        most = query["limit"]
        selection = ConversationFilter(
            state=state,
            assignee=query["assignee"],
            connection_id=connection_id,
            oldest_first=state is ConversationState.WAITING,
        )
        beyond = None if query["cursor"] is None else cursors.decode(query["cursor"], int)
        # one more than requested: its presence means that another page follows
        found, shown = await self._store.as_company(company_id).call(
            _page, company_id, selection, chat_id=chat_id, beyond=beyond, most=most + 1
        )
        if not found:
            await self._directory.require_company(company_id)
        following = None
        if len(found) > most:
            following = cursors.encode(found[most - 1]["state_at"], found[most - 1]["id"])
        return JSONResponse({"conversations": shown[:most], "next": following})

    async def show(self, request: Request) -> Response:
        """Answer with one conversation and its last messages."""
        company_id = request.path_params["companyId"]
        row, shown = await self._find(request)
        _, messages = await self._messages.page(company_id, row["chat_id"], before=_NEWEST, most=_MESSAGES)
        return JSONResponse({**shown, "messages": messages})

    async def reply(self, request: Request) -> Response:
        """Accept a human's reply."""
        company_id = request.path_params["companyId"]
        key, wait_s = read_key(request.headers), read_wait_s(request.headers)
        given = checked(await read_json(request), _REPLY)
        row, shown = await self._find(request)
        if shown["phoneIndex"] is None:
            raise _unknown()
        draft = Draft(
            type=content.TEXT,
            connection=await self._directory.connection(company_id, shown["phoneIndex"]),
            chat_id=await self._store.as_company(company_id).call(rows.last_chat, row),
            fields={
                **{name: value for name, value in given.items() if value is not None},
                "phoneIndex": shown["phoneIndex"],
            },
        )
        return await self._answers.answer(await self._composer.accept(draft, key), wait_s)

    async def assign(self, request: Request) -> Response:
        """Say who looks after a conversation."""
        body = await read_json(request, limit=_BODY_LIMIT)
        assignee = checked(body, _ASSIGN_FIELDS)["assignee"]
        if "assignee" not in body:
            raise FieldsInvalid([("/assignee", "is missing; null means no one")])
        if assignee is not None and not re.fullmatch(_ASSIGNEE_PATTERN[1:-1], assignee):
            raise FieldsInvalid([("/assignee", "must have no spaces around it and no control characters")])
        if assignee is None:
            return await self._move(request, "put_back", stays=frozenset(ConversationState))
        return await self._move(request, "assigned", assignee=assignee)

    async def hand_back(self, request: Request) -> Response:
        """Give a conversation back to the assistant."""
        return await self._move(request, "handed_back")

    async def close(self, request: Request) -> Response:
        """Close a conversation."""
        return await self._move(request, "closed")

    async def _move(
        self,
        request: Request,
        name: str,
        *,
        assignee: str | None = None,
        stays: frozenset[ConversationState] = frozenset(),
    ) -> Response:
        company_id = request.path_params["companyId"]
        own, conversation_id = self._store.as_company(company_id), _id_of(request)
        moved = await own.call(_moved, company_id, conversation_id, name, assignee=assignee, stays=stays)
        if moved is None:
            await self._directory.require_company(company_id)
            raise _unknown()
        return JSONResponse(moved)

    async def _find(self, request: Request) -> tuple[Row, JsonObject]:
        company_id = request.path_params["companyId"]
        found = await self._store.as_company(company_id).call(_one, company_id, _id_of(request))
        if found is None:
            await self._directory.require_company(company_id)
            raise _unknown()
        return found


def _id_of(request: Request) -> int:
    require_possible(request.path_params["companyId"])
    given = request.path_params["conversationId"]
    if not _ID.fullmatch(given):
        raise _unknown()
    return int(given)


def _unknown() -> Problem:
    return Problem("conversation_unknown", "The company has no such conversation.")


def _moved(
    transaction: Transaction,
    company_id: str,
    conversation_id: int,
    name: str,
    /,
    *,
    assignee: str | None,
    stays: frozenset[ConversationState],
) -> JsonObject | None:
    """Make a move and return the conversation; None: there is none. Raises `Problem` when it cannot be made."""
    row = rows.find(transaction, company_id, conversation_id)
    if row is None:
        return None
    company = read_company(transaction, company_id)
    move = MOVES[name]
    after = move.target(has_assistant=company is not None and company.settings.assists)
    if after is None:
        raise Problem("conversation_refused", "The company has no assistant.", reason="no_assistant")
    order = MoveOrder(id=row["id"], before=move.before, after=after, reason=name, assignee=assignee)
    if not rows.move(transaction, [order]):
        row = rows.find(transaction, company_id, row["id"])
        # it may be there already: a repeated request is answered like the first
        if row is None:
            return None
        if row["state"] not in {after, *stays}:
            raise Problem(
                "conversation_refused",
                f"The conversation is {row['state']}; this is possible from {', '.join(sorted(move.before))}.",
                state=row["state"],
            )
    found = _one(transaction, company_id, row["id"])
    return None if found is None else found[1]


def _one(transaction: Transaction, company_id: str, conversation_id: int) -> tuple[Row, JsonObject] | None:
    row = rows.find(transaction, company_id, conversation_id)
    return None if row is None else (row, _shown(transaction, company_id, [row])[0])


def _page(
    transaction: Transaction,
    company_id: str,
    selection: ConversationFilter,
    /,
    *,
    chat_id: str | None,
    beyond: Any,
    most: int,
) -> tuple[Sequence[Row], list[JsonObject]]:
    chat_ids = None if chat_id is None else rows.aliases_of_chats(transaction, company_id, [chat_id])[chat_id]
    found = rows.page(transaction, company_id, replace(selection, chat_ids=chat_ids), beyond=beyond, most=most)
    return found, _shown(transaction, company_id, found)


def _shown(transaction: Transaction, company_id: str, found: Sequence[Row]) -> list[JsonObject]:
    aliases = rows.aliases_of_chats(transaction, company_id, [row["chat_id"] for row in found])
    people = reading.people_named(
        transaction, company_id, sorted({alias for several in aliases.values() for alias in several})
    )
    connections = events.connections_of(transaction, sorted({row["connection_id"] for row in found}))
    return [
        _entry(
            row,
            aliases[row["chat_id"]],
            next((people[alias] for alias in aliases[row["chat_id"]] if alias in people), None),
            connections.get(row["connection_id"]),
        )
        for row in found
    ]


def _entry(row: Row, aliases: Sequence[str], person: Row | None, connection: Mapping[str, Any] | None) -> JsonObject:
    return {
        "id": str(row["id"]),
        "chatId": row["chat_id"],
        "aliases": sorted(aliases),
        "contact": shown_contact(person),
        "phoneIndex": None if connection is None else connection["phone_index"],
        "connectionType": None if connection is None else connection["connection_type"],
        "state": row["state"],
        "reason": row["reason"] or None,
        "stateAt": iso(row["state_at"]),
        "waitingS": round(row["state_s"], 3) if row["state"] == ConversationState.WAITING else None,
        "assignee": row["assignee"],
        "humanUntil": iso(row["human_until"]),
        "lastInboundAt": iso(row["last_inbound_at"]),
        "version": row["version"],
        "formerIds": [str(one) for one in row["former_ids"]],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
