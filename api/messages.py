"""Messages: sending text, the state and history of one, the pages of a chat."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import acceptance, capabilities
from api.bodies import Field, json_schema, read_fields, read_json
from api.directory import Directory, require_possible
from api.instants import iso, read_instant
from api.message_paths import message_unknown, named, read_chat, read_message_id
from api.operations import Operation, Parameter
from api.problems import Problem
from api.waiting import LONGEST_S, Waiters, read_wait_s
from shared.clock import utc_now
from shared.messages import Policy
from shared.process.metrics import Metrics
from shared.states import OPEN_MESSAGE_STATES, MessageState
from shared.store import interventions, messages
from shared.store.connections import Connection
from shared.store.messages import Accepted, NewMessage
from shared.store.pool import Row, Transaction
from shared.store.store import Store

_TEXT_FIELDS: Final = (
    Field(name="message", kind=str, purpose="The text; its limit depends on the channel.", required=True),
    Field(name="phoneIndex", kind=int, purpose="Which of the company's connections sends it.", default=0, high=9999),
    Field(name="quotedMessageId", kind=str, purpose="A message of the same chat to reply to: our id or the provider's.", longest=300),
    Field(name="sendAt", kind=str, purpose="When it shall be sent: ISO 8601 with a time zone, at most 30 days ahead; what is past is now.", longest=40),
    Field(name="inDoubtPolicy", kind=str, purpose="What to do when it may have been sent; wins over the company's.", choices=get_args(Policy)),
)
_FURTHEST: Final = timedelta(days=30)
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_NEWEST: Final = (datetime.max.replace(tzinfo=UTC), (1 << 63) - 1)
_SHARED_PROBLEMS: Final = ("company_unknown", "chat_invalid")
_GONE_OUT: Final = (MessageState.SENT, MessageState.DELIVERED, MessageState.READ)
_ONE_PATH: Final = "/api/v2/messages/{companyId}/{chatId}/{messageId}"


class Messages:
    """The operations on messages.

    Args:
        stopping: set when the process drains; waits end then.
    """

    def __init__(self, directory: Directory, store: Store, acceptor: acceptance.Acceptor, metrics: Metrics, stopping: asyncio.Event) -> None:
        self._directory, self._store, self._acceptor, self._waiters = directory, store, acceptor, Waiters(store, stopping)
        self._accepted = metrics.counter("messages_accepted", "Messages accepted, without replays.", ("connection_type",))
        self.accepted = 0

    def operations(self) -> list[Operation]:
        """Return the operations on messages."""
        one_problems = (*_SHARED_PROBLEMS, "message_unknown")
        return [
            Operation(
                method="POST",
                path="/api/v2/messages/text/{companyId}/{chatId}",
                group="Messages",
                summary="Send a text",
                handler=self.send_text,
                body=json_schema(_TEXT_FIELDS),
                parameters=(
                    Parameter(
                        name="Idempotency-Key",
                        place="header",
                        purpose="1 to 255 visible characters; the same key and body are accepted once.",
                        schema={"type": "string", "minLength": 1, "maxLength": 255},
                    ),
                    Parameter(name="Prefer", place="header", purpose=f"`wait=N` answers when the message has left, or after N (at most {LONGEST_S}) seconds."),
                ),
                answers={202: ("Accepted: it will be sent once.", "AcceptedMessage"), 200: ("It has left; only with `Prefer: wait`.", "AcceptedMessage")},
                problems=(
                    *_SHARED_PROBLEMS,
                    "phone_index_unknown",
                    "body_not_json",
                    "header_invalid",
                    "body_late",
                    "idempotency_key_reused",
                    "body_too_large",
                    "media_type_unsupported",
                    "body_invalid",
                    "text_empty",
                    "text_too_long",
                    "quoted_message_unknown",
                    "send_at_invalid",
                    "acceptance_unknown",
                ),
            ),
            Operation(
                method="GET",
                path=_ONE_PATH,
                group="Messages",
                summary="State and history of one message",
                handler=self.show_one,
                answers={200: ("The message with every step.", "Message")},
                problems=one_problems,
            ),
            Operation(
                method="PUT",
                path=_ONE_PATH,
                group="Messages",
                summary="Edit a message (no channel can yet)",
                handler=self.refuse_edit,
                answers={},
                problems=(*one_problems, "unsupported_operation"),
            ),
            Operation(
                method="DELETE",
                path=_ONE_PATH,
                group="Messages",
                summary="Cancel a message that is still queued (deleting what was sent: no channel can yet)",
                handler=self.cancel,
                answers={200: ("It is never sent; also the answer when it is asked for again.", "Message")},
                problems=(*one_problems, "message_not_queued", "unsupported_operation"),
            ),
            Operation(
                method="GET",
                path="/api/v2/messages/{companyId}/{chatId}",
                group="Messages",
                summary="A chat in both directions, newest first",
                handler=self.show_chat,
                parameters=(
                    Parameter(
                        name="limit",
                        place="query",
                        purpose="Messages in one page.",
                        schema={"type": "integer", "minimum": 1, "maximum": _LONGEST_PAGE, "default": _PAGE},
                    ),
                    Parameter(name="cursor", place="query", purpose="`next` of the page before."),
                ),
                answers={200: ("One page.", "ChatPage")},
                problems=(*_SHARED_PROBLEMS, "query_invalid"),
            ),
        ]

    async def send_text(self, request: Request) -> Response:
        """Accept one text."""
        clients_key, wait_s = acceptance.read_key(request.headers), read_wait_s(request.headers)
        company_id, chat_as_given = request.path_params["companyId"], request.path_params["chatId"]
        require_possible(company_id)
        fields = read_fields(await read_json(request), _TEXT_FIELDS)
        connection = await self._directory.connection(company_id, fields["phoneIndex"])
        chat_id = read_chat(chat_as_given, connection.connection_type)
        _check_text(fields["message"], connection)
        scheduled_for, policy = _read_send_at(fields["sendAt"]), fields["inDoubtPolicy"]
        # what is not asked for does not count: keys that were used before these fields came stay good
        further = [fields["sendAt"], policy] if fields["sendAt"] or policy else []
        message = NewMessage(
            company_id=company_id,
            connection_id=connection.id,
            process_name=connection.process_name,
            chat_id=chat_id,
            type="text",
            content={"body": fields["message"], "quoted": await self._quoted(connection, chat_id, fields["quotedMessageId"])},
            fingerprint=acceptance.fingerprint(["text", connection.id, chat_id, fields["message"], fields["quotedMessageId"], *further]),
            scheduled_for=scheduled_for,
            in_doubt_policy=policy,
        )
        accepted = await acceptance.accept(self._acceptor, message, clients_key)
        if not accepted.replayed:
            self.accepted += 1
            self._accepted.labels(connection.connection_type).inc()
        state = accepted.state
        if wait_s:
            state = await self._waiters.until_left(accepted.id, wait_s) or state
        return _accepted_answer(connection, message, accepted, state, wait_s)

    async def show_one(self, request: Request) -> Response:
        """Answer with one message's state and history."""
        return JSONResponse(await self.described(*named(request)))

    async def described(self, company_id: str, chat_id: str, message_id: int) -> Mapping[str, Any]:
        """Return one message with its history, as clients see it. Raises `Problem` when the chat has no such message."""
        row, steps = await self._store.call(_with_history, company_id, message_id)
        if row is None or row["chat_id"] != chat_id:
            await self._directory.require_company(company_id)
            raise message_unknown()
        return _message(row, steps)

    async def show_chat(self, request: Request) -> Response:
        """Answer with one page of a chat."""
        company_id, chat_id = request.path_params["companyId"], read_chat(request.path_params["chatId"])
        require_possible(company_id)
        most, before = _read_limit(request), _read_cursor(request)
        rows = await self._store.call(messages.chat_page, company_id=company_id, chat_id=chat_id, before=before, most=most + 1)
        if not rows:
            await self._directory.require_company(company_id)
        following = _cursor(rows[most - 1]) if len(rows) > most else None
        return JSONResponse({"messages": [_entry(row) for row in rows[:most]], "next": following})

    async def refuse_edit(self, request: Request) -> Response:
        """Refuse to edit, naming why."""
        return await self._refuse(request, "edit")

    async def cancel(self, request: Request) -> Response:
        """Take a message back that nobody has in hand; refuse to delete what was sent, naming why."""
        company_id, chat_id, message_id = named(request)
        await self._store.call(interventions.cancel, company_id=company_id, chat_id=chat_id, message_id=message_id)
        shown = await self.described(company_id, chat_id, message_id)
        if shown["status"] in _GONE_OUT:
            return await self._refuse(request, "delete")
        if shown["status"] != MessageState.DELETED:
            raise Problem("message_not_queued", f"The message is {shown['status']}.", state=shown["status"])
        return JSONResponse(shown)

    async def _refuse(self, request: Request, operation: str) -> Response:
        company_id, chat_id, message_id = named(request)
        row = await self._store.call(messages.by_id, company_id, message_id)
        if row is None or row["chat_id"] != chat_id:
            await self._directory.require_company(company_id)
            raise message_unknown()
        connection_type = row["connection_type"]
        capability = capabilities.of(connection_type)[operation]
        why = "the channel has no such operation" if capability.reason == "channel" else "Bulkhead cannot do it yet"
        raise Problem(
            "unsupported_operation",
            f"A connection of type {connection_type} cannot {operation} a message: {why}.",
            operation=operation,
            connectionType=connection_type,
            reason=capability.reason,
        )

    async def _quoted(self, connection: Connection, chat_id: str, quoted: str | None) -> str | None:
        if quoted is None:
            return None
        provider_id = await self._store.call(messages.quotable, company_id=connection.company_id, connection_id=connection.id, chat_id=chat_id, quoted=quoted)
        if provider_id is None:
            raise Problem("quoted_message_unknown", "The chat has no sent or received message with this id on this connection.", field="quotedMessageId")
        return provider_id


def _read_send_at(text: str | None) -> datetime | None:
    """Return when a message shall be sent, None for at once. Raises `Problem` for what is no instant, or too far ahead."""
    if text is None:
        return None
    now = utc_now()
    try:
        at = read_instant(text)
    except ValueError as error:
        raise Problem("send_at_invalid", "The field sendAt is no instant of ISO 8601 with a time zone.", field="sendAt") from error
    if at > now + _FURTHEST:
        raise Problem("send_at_invalid", f"The field sendAt lies more than {_FURTHEST.days} days ahead.", field="sendAt")
    return at if at > now else None


def _check_text(text: str, connection: Connection) -> None:
    if not text.strip():
        raise Problem("text_empty", "The field message holds nothing but blanks." if text else "The field message is empty.", field="message")
    limit = capabilities.of(connection.connection_type)["text"].limits["characters"]
    if len(text) > limit:
        raise Problem(
            "text_too_long",
            f"The field message has {len(text)} characters; a connection of type {connection.connection_type} takes {limit}.",
            field="message",
            limit=limit,
            length=len(text),
        )


def _accepted_answer(connection: Connection, message: NewMessage, accepted: Accepted, state: MessageState, wait_s: int) -> Response:
    place = "/".join(quote(part, safe="@") for part in (connection.company_id, message.chat_id, str(accepted.id)))
    headers = {"Location": f"/api/v2/messages/{place}", "Cache-Control": "no-store"}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s}"
    body = {
        "id": str(accepted.id),
        "status": state,
        "companyId": connection.company_id,
        "chatId": message.chat_id,
        "phoneIndex": connection.phone_index,
        "connectionType": connection.connection_type,
        "type": "text",
        "held": connection.status == "paused",
        "createdAt": iso(accepted.created_at),
    }
    if message.scheduled_for:
        body["sendAt"] = iso(message.scheduled_for)
    return JSONResponse(body, status_code=200 if wait_s and state not in OPEN_MESSAGE_STATES else 202, headers=headers)


def _with_history(transaction: Transaction, company_id: str, message_id: int) -> tuple[Row | None, list[Row]]:
    row = messages.by_id(transaction, company_id, message_id)
    return row, messages.history(transaction, message_id) if row else []


def _message(row: Row, steps: list[Row]) -> Mapping[str, Any]:
    return {
        "id": str(row["id"]),
        "status": row["state"],
        "companyId": row["company_id"],
        "chatId": row["chat_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        **_content(row),
        "attempt": row["attempt"],
        "providerMessageId": row["provider_id"] or None,
        "error": {"code": row["error_code"], "detail": row["error_detail"]} if row["error_code"] else None,
        "sendAt": iso(row["scheduled_for"]),
        "notBefore": iso(row["not_before"]),
        "inDoubtPolicy": row["in_doubt_policy"],
        "heldForHumanAt": iso(row["held_at"]),
        "createdAt": iso(row["created_at"]),
        "sentAt": iso(row["sent_at"]),
        "updatedAt": iso(row["updated_at"]),
        "history": [
            {
                "state": step["state"],
                "at": iso(step["at"]),
                "attempt": step["attempt"],
                "incarnation": step["incarnation"] or None,
                "code": step["code"] or None,
                "detail": step["detail"] or None,
                "extra": step["extra"],
            }
            for step in steps
        ],
    }


def _entry(row: Row) -> Mapping[str, Any]:
    return {
        "id": str(row["id"]),
        "direction": row["direction"],
        "status": row["state"],
        "chatId": row["chat_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        **_content(row),
        "sender": row["sender"] or None,
        "providerMessageId": row["provider_id"] or None,
        "errorCode": row["error_code"] or None,
        "createdAt": iso(row["created_at"]),
    }


def _content(row: Row) -> Mapping[str, Any]:
    """A text is shown as it is sent; other types as they are kept."""
    if row["type"] == "text":
        return {"type": "text", "message": row["content"]["body"]}
    return {"type": row["type"], "content": row["content"]}


def _read_limit(request: Request) -> int:
    given = request.query_params.get("limit", str(_PAGE))
    if not (given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= _LONGEST_PAGE):
        raise Problem("query_invalid", f"limit must be from 1 to {_LONGEST_PAGE}.", parameter="limit", limit=_LONGEST_PAGE)
    return int(given)


def _cursor(row: Row) -> str:
    return base64.urlsafe_b64encode(f"{row['created_at'].isoformat()} {row['id']}".encode()).decode().rstrip("=")


def _read_cursor(request: Request) -> tuple[datetime, int]:
    given = request.query_params.get("cursor")
    if given is None:
        return _NEWEST
    try:
        at, row_id = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode("ascii").split(" ")
        instant = datetime.fromisoformat(at)
    except (ValueError, binascii.Error) as error:
        raise _cursor_invalid() from error
    message_id = read_message_id(row_id)
    if instant.tzinfo is None or message_id is None:
        raise _cursor_invalid()
    return instant, message_id


def _cursor_invalid() -> Problem:
    return Problem("query_invalid", "cursor must be `next` of an earlier page.", parameter="cursor")
