"""Sending: what a client wants said or done in a chat becomes one row, whatever its type and channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import acceptance, capabilities
from api.bodies import TEXT_BODY_LIMIT, invalid, read_fields, read_json
from api.contents import Builder
from api.directory import Directory, require_possible
from api.instants import iso, read_instant
from api.message_paths import chat_invalid
from api.message_types import PHONE_INDEX, TYPES, MessageType, body_schema, form_schema, typed_form_schema, typed_schema
from api.operations import Operation, Parameter
from api.problems import Problem
from api.uploads import DATA_BODY_LIMIT, DATA_WAIT_S, Uploads, form_fields
from api.waiting import LONGEST_S, Waiters, read_wait_s
from shared import content
from shared.channels.chat_ids import ChatInvalid
from shared.channels.files import LARGEST, largest_of
from shared.channels.registry import channel_named
from shared.clock import utc_now
from shared.media.reach import Reach
from shared.process.metrics import Metrics
from shared.states import OPEN_MESSAGE_STATES, MessageState
from shared.store import messages, windows
from shared.store.connections import Connection
from shared.store.media import StoredFile
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store

_FURTHEST: Final = timedelta(days=30)
_NO_FIELDS: Final[tuple[str, ...]] = ("sendAt", "inDoubtPolicy", "phoneIndex")
_BIG_BODIES: Final = 4
"""Bodies with files in base64 that are read at once by one process: each may be in memory three times over."""

ACCEPTING: Final = (
    Parameter(
        name="Idempotency-Key",
        place="header",
        purpose="1 to 255 visible characters; the same key and body are accepted once.",
        schema={"type": "string", "minLength": 1, "maxLength": 255},
    ),
    Parameter(
        name="Prefer",
        place="header",
        purpose=f"`wait=N` answers when the message has left, or after N (at most {LONGEST_S}) seconds.",
    ),
)
"""Headers of every operation that accepts a message."""
ANSWERS: Final = {
    202: ("Accepted: it will be done once.", "AcceptedMessage"),
    200: ("It has left; only with `Prefer: wait`.", "AcceptedMessage"),
}
"""How every operation that accepts a message answers."""
ACCEPTING_PROBLEMS: Final = (
    "body_not_json",
    "header_invalid",
    "body_late",
    "idempotency_key_reused",
    "body_too_large",
    "media_type_unsupported",
    "body_invalid",
    "acceptance_unknown",
)
"""How every operation that accepts a message by its body can be refused."""
_PROBLEMS: Final[Mapping[str, tuple[str, ...]]] = {
    content.TEXT: ("text_empty", "text_too_long", "quoted_message_unknown", "send_at_invalid"),
    **dict.fromkeys(
        content.MEDIA,
        (
            "form_invalid",
            "media_too_large",
            "media_type_refused",
            "text_too_long",
            "quoted_message_unknown",
            "send_at_invalid",
            "unsupported_operation",
            "storage_unavailable",
        ),
    ),
    **dict.fromkeys(
        (content.LOCATION, content.CONTACTS, content.INTERACTIVE),
        ("quoted_message_unknown", "send_at_invalid", "unsupported_operation"),
    ),
    content.TEMPLATE: ("quoted_message_unknown", "send_at_invalid", "template_unusable", "unsupported_operation"),
    **dict.fromkeys(
        (content.REACTION, content.FORWARD),
        ("message_unknown", "message_not_sent", "send_at_invalid", "unsupported_operation"),
    ),
    content.READ: ("message_unknown", "message_not_received", "unsupported_operation"),
    content.TYPING: ("message_not_received", "unsupported_operation"),
}
"""How a message can be refused beside that, by type."""


@dataclass(kw_only=True, slots=True)
class Ask:
    """One message that a client asks for.

    Attributes:
        connection_id, process_name, connection_type, phone_index, held: of the connection. fields: the checked body. build: makes the row's content.
    """

    type: str
    company_id: str
    chat_id: str
    connection_id: int
    process_name: str
    connection_type: str
    phone_index: int
    held: bool
    fields: Mapping[str, Any]
    build: Callable[[], Awaitable[Mapping[str, Any]]]


class Sending:
    """Accepts messages of every type.

    Args:
        reach: from where files may be fetched. stopping: set when the process drains; waits end then.
    """

    def __init__(
        self,
        directory: Directory,
        store: Store,
        acceptor: acceptance.Acceptor,
        uploads: Uploads,
        metrics: Metrics,
        *,
        reach: Reach,
        stopping: asyncio.Event,
    ) -> None:
        self._directory, self._store, self._acceptor, self._uploads = directory, store, acceptor, uploads
        self._waiters, self._builder = Waiters(store, stopping), Builder(store, uploads, reach)
        self._big_bodies = asyncio.Semaphore(_BIG_BODIES)
        self._accepted = metrics.counter(
            "messages_accepted", "Messages accepted, without replays.", ("connection_type",)
        )
        self.accepted = 0

    def operations(self) -> list[Operation]:
        """Return the operations that send: one for each type, and one for a body that names its type."""
        where = ("company_unknown", "phone_index_unknown", "chat_invalid")
        return [
            Operation(
                method="POST",
                path=f"/api/v2/messages/{row.name}/{{companyId}}/{{chatId}}",
                group="Messages",
                summary=row.summary,
                handler=self.of_type(row),
                body=body_schema(row),
                form=form_schema(row) if row.has_file else None,
                parameters=ACCEPTING,
                answers=ANSWERS,
                problems=(*where, *ACCEPTING_PROBLEMS, *_PROBLEMS[row.name]),
            )
            for row in TYPES.values()
        ] + [
            Operation(
                method="POST",
                path="/api/v2/messages/{companyId}/{chatId}",
                group="Messages",
                summary="Send a message of the type that the body names",
                handler=self.send_typed,
                body=typed_schema(),
                form=typed_form_schema(),
                parameters=ACCEPTING,
                answers=ANSWERS,
                problems=(
                    *where,
                    *ACCEPTING_PROBLEMS,
                    *dict.fromkeys(name for names in _PROBLEMS.values() for name in names),
                ),
            )
        ]

    def of_type(self, row: MessageType) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a path that names the type."""

        async def send(request: Request) -> Response:
            return await self._send(request, row)

        return send

    async def send_typed(self, request: Request) -> Response:
        """Answer a body that names its type itself."""
        return await self._send(request, None)

    async def _send(self, request: Request, row: MessageType | None) -> Response:
        clients_key, wait_s = acceptance.read_key(request.headers), read_wait_s(request.headers)
        company_id, chat_as_given = request.path_params["companyId"], request.path_params["chatId"]
        require_possible(company_id)
        row, given = await self._read(request, company_id, row)
        kept = given.pop("file", None)
        fields = read_fields(given, row.fields)
        connection = await self._directory.connection(company_id, fields["phoneIndex"])
        chat_id = await self._chat(connection, chat_as_given)
        if kept is not None:
            fields["file"] = kept
        ask = Ask(
            type=row.name,
            company_id=company_id,
            chat_id=chat_id,
            connection_id=connection.id,
            process_name=connection.process_name,
            connection_type=connection.connection_type,
            phone_index=connection.phone_index,
            held=connection.status == "paused",
            fields=fields,
            build=lambda: self._builder.content(row.name, connection, chat_id, fields),
        )
        return await self.accept(ask, clients_key, wait_s)

    async def _chat(self, connection: Connection, given: str) -> str:
        """Return the canonical id of a chat that the connection can write to. Raises `Problem` when it cannot."""
        try:
            return channel_named(connection.connection_type).chat(given).id
        except ChatInvalid as error:
            if error.answerable and await self._wrote(connection, error.answerable):
                return error.answerable
            raise chat_invalid(error) from error

    async def _wrote(self, connection: Connection, chat_id: str) -> bool:
        last: datetime | None = await self._store.call(
            windows.last_heard, company_id=connection.company_id, connection_id=connection.id, chat_id=chat_id
        )
        return last is not None

    async def accept(self, ask: Ask, clients_key: str | None, wait_s: int) -> Response:
        """Accept what is asked for and answer. Raises `Problem` when it cannot be done."""
        scheduled_for, policy = read_send_at(ask.fields.get("sendAt")), ask.fields.get("inDoubtPolicy")
        try:
            made = await ask.build()
        except Problem:
            # what has changed since it was accepted is no reason to refuse its repetition
            accepted = await self._repetition(ask, clients_key)
            if accepted is None:
                raise
            made = {}
        else:
            message = NewMessage(
                company_id=ask.company_id,
                connection_id=ask.connection_id,
                process_name=ask.process_name,
                chat_id=ask.chat_id,
                type=ask.type,
                content=made,
                fingerprint=_fingerprint(ask),
                idempotency_key=clients_key or acceptance.own_key(),
                scheduled_for=scheduled_for,
                in_doubt_policy=policy,
            )
            accepted = await acceptance.accept(self._acceptor, message)
        if not accepted.replayed:
            self.accepted += 1
            self._accepted.labels(ask.connection_type).inc()
        state = accepted.state
        if wait_s:
            state = await self._waiters.until_left(accepted.id, wait_s) or state
        return _answer(ask, accepted, state, scheduled_for, wait_s)

    async def _repetition(self, ask: Ask, clients_key: str | None) -> Accepted | None:
        row = await self._store.call(messages.find_by_key, ask.company_id, clients_key) if clients_key else None
        if row is None or row["fingerprint"] != _fingerprint(ask):
            return None
        return Accepted(id=row["id"], created_at=row["created_at"], replayed=True, state=MessageState(row["state"]))

    async def _read(
        self, request: Request, company_id: str, row: MessageType | None
    ) -> tuple[MessageType, dict[str, Any]]:
        """Return the type and the body as given, with the file of a form, which is in storage by now, as `file`."""
        may_hold_file = row is None or row.has_file
        if may_hold_file and request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return await self._read_form(request, company_id, row)
        if not may_hold_file or _is_small(request):
            body = await read_json(request)
        else:
            async with self._big_bodies:
                body = await read_json(request, limit=DATA_BODY_LIMIT, wait_s=DATA_WAIT_S)
        if not isinstance(body, dict):
            read_fields(body, ())
        if "file" in body:
            raise invalid([("/file", "is for forms; in JSON a file is url, data, sha256 or mediaId")])
        if row is None:
            row = _named_type(body)
        return row, body

    async def _read_form(
        self, request: Request, company_id: str, row: MessageType | None
    ) -> tuple[MessageType, dict[str, Any]]:
        await self._directory.require_company(company_id)

        async def most(fields: Mapping[str, str]) -> int:
            """Return how large the file may be, by what stood before it in the form."""
            kind = row or (_named_type(dict(fields)) if "type" in fields else None)
            if kind and not kind.has_file:
                raise invalid([("/file", f"is not a field of a message of type {kind.name}")])
            index = form_fields(fields, (PHONE_INDEX,)).get("phoneIndex", 0) if "phoneIndex" in fields else None
            if not isinstance(index, int):
                return LARGEST if kind is None else largest_of(kind.name)
            connection = await self._directory.connection(company_id, index)
            if kind is None:
                return LARGEST
            return capabilities.require(connection.connection_type, kind.name).limit("bytes")

        texts, kept = await self._uploads.read_form(request, company_id, most)
        given: dict[str, Any] = dict(texts)
        row = row or _named_type(given)
        if kept is None:
            raise invalid([("/file", "is missing")])
        if not row.has_file:
            raise invalid([("/file", f"is not a field of a message of type {row.name}")])
        # they are the file's by now
        return row, {
            **form_fields(
                {name: text for name, text in given.items() if name not in ("mimetype", "filename")}, row.fields
            ),
            "file": kept,
        }


def _is_small(request: Request) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdecimal() and int(declared) <= TEXT_BODY_LIMIT


def _named_type(body: dict[str, Any]) -> MessageType:
    """Return the type that a body names, and take the name out of it."""
    name = body.pop("type", None)
    row = TYPES.get(name) if isinstance(name, str) else None
    if row is None:
        raise invalid([("/type", "is missing" if name is None else f"must be one of {', '.join(TYPES)}")])
    return row


def read_send_at(text: str | None) -> datetime | None:
    """Return when a message shall be sent, None for at once. Raises `Problem` for what is no instant, or too far ahead."""
    if text is None:
        return None
    now = utc_now()
    try:
        at = read_instant(text)
    except ValueError as error:
        raise Problem(
            "send_at_invalid", "The field sendAt is no instant of ISO 8601 with a time zone.", field="sendAt"
        ) from error
    if at > now + _FURTHEST:
        raise Problem(
            "send_at_invalid", f"The field sendAt lies more than {_FURTHEST.days} days ahead.", field="sendAt"
        )
    return at if at > now else None


def _fingerprint(ask: Ask) -> str:
    fields = ask.fields
    send_at, policy = fields.get("sendAt"), fields.get("inDoubtPolicy")
    # what is not asked for does not count: keys that were used before some field came stay good
    further = [send_at, policy] if send_at or policy else []
    if ask.type == content.TEXT:
        if fields["preview"] or fields["tag"]:
            further = [send_at, policy, fields["preview"], fields["tag"]]
        return acceptance.fingerprint(
            [ask.type, ask.connection_id, ask.chat_id, fields["message"], fields["quotedMessageId"], *further]
        )
    asked = {name: value for name, value in fields.items() if value is not None and name not in _NO_FIELDS}
    for name in ("file", "data"):
        if isinstance(kept := asked.get(name), StoredFile):
            # the same file is the same message, however it came
            asked = {other: value for other, value in asked.items() if other not in (name, "mimetype")}
            asked |= {"sha256": kept.sha256, "filename": kept.filename}
    return acceptance.fingerprint([ask.type, ask.connection_id, ask.chat_id, sorted(asked.items()), *further])


def _answer(ask: Ask, accepted: Accepted, state: MessageState, scheduled_for: datetime | None, wait_s: int) -> Response:
    place = "/".join(quote(part, safe="@") for part in (ask.company_id, ask.chat_id, str(accepted.id)))
    headers = {"Location": f"/api/v2/messages/{place}", "Cache-Control": "no-store"}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s}"
    body = {
        "id": str(accepted.id),
        "status": state,
        "companyId": ask.company_id,
        "chatId": ask.chat_id,
        "phoneIndex": ask.phone_index,
        "connectionType": ask.connection_type,
        "type": ask.type,
        "held": ask.held,
        "createdAt": iso(accepted.created_at),
    }
    if scheduled_for:
        body["sendAt"] = iso(scheduled_for)
    return JSONResponse(body, status_code=200 if wait_s and state not in OPEN_MESSAGE_STATES else 202, headers=headers)
