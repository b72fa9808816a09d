"""Sending: reads the request, passes a draft to the composer, and responds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, TEXT_BODY_LIMIT, read_json
from api.http.forms import Form, form_fields
from api.http.idempotency import read_key
from api.http.operations import Operation, Parameter
from api.messages.request_schemas import body_schema, form_schema, typed_form_schema, typed_schema
from api.messages.waiting import LONGEST_S, Waiters, read_wait_s
from shared import content
from shared.channels.files import LARGEST, largest_of
from shared.compose.composer import Acceptance, Composer, Draft
from shared.compose.directory import Directory, require_possible
from shared.compose.files import Files
from shared.compose.refusals import require
from shared.compose.types import PHONE_INDEX, TYPES, MessageType
from shared.fields import FieldsInvalid, checked
from shared.states import OPEN_MESSAGE_STATES
from shared.store.store import Store
from shared.timestamps import iso

DATA_BODY_LIMIT: Final = 23 << 20
"""Bytes of a JSON body that may hold a file: 16 MiB in base64, and the other fields."""
DATA_WAIT_S: Final = 60.0
"""Seconds for such a body: 23 MiB at 3.2 Mbit/s."""
# as in `Directory`: indexes have at most four digits
_INDEX: Final = re.compile(r"[0-9]{1,4}")
_BIG_BODIES: Final = 4
"""Bodies with files in base64 that are decoded at once by one process: each is then in memory three times over."""

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
    202: ("Accepted: it will be sent exactly once.", "AcceptedMessage"),
    200: ("It has left; only with `Prefer: wait`.", "AcceptedMessage"),
}
"""Responses of every operation that accepts a message."""
ACCEPTING_PROBLEMS: Final = ("header_invalid", "idempotency_key_reused", *BODY_PROBLEMS, "acceptance_unknown")
"""Problems of every operation that accepts a message by its body."""
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
"""Further problems by message type."""


class SendingOperations:
    """The operations that send.

    Args:
        directory: finds connections. composer: accepts messages. files: of companies. stopping: set when the process
            drains; waits end then.
    """

    def __init__(
        self, directory: Directory, store: Store, composer: Composer, files: Files, *, stopping: asyncio.Event
    ) -> None:
        self._directory, self._composer, self._files = directory, composer, files
        self._waiters = Waiters(store, stopping)
        # without it, a burst of large bodies would take the memory of the process and with it all other requests
        self._big_bodies = asyncio.Semaphore(_BIG_BODIES)

    def operations(self) -> list[Operation]:
        """Return the operations that send: one for each type, and one for a body that names its type."""
        where = ("company_unknown", "phone_index_unknown", "chat_invalid")
        return [
            Operation(
                method="POST",
                path=f"/api/v2/messages/{row.name}/{{companyId}}/{{chatId}}",
                scope="send",
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
                scope="send",
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
        """Return the handler of a path that names the type."""

        async def send(request: Request) -> Response:
            return await self._send(request, row)

        return send

    async def send_typed(self, request: Request) -> Response:
        """Answer a body that names its type itself."""
        return await self._send(request, None)

    async def _send(self, request: Request, row: MessageType | None) -> Response:
        # headers before the body: a request that is refused for them need not be read
        key, wait_s = read_key(request.headers), read_wait_s(request.headers)
        company_id, may_hold_file = request.path_params["companyId"], row is None or row.has_file
        require_possible(company_id)
        # for a type without a file, a form is refused as a wrong media type
        form = Form.of(request) if may_hold_file else None
        if form is None:
            given = await self._read_json(request, may_hold_file=may_hold_file)
            row = row or _named_type(given)
        else:
            await self._read_form(form, company_id, row)
            row, given = _form_given(form, row)
        # after the body, which names the index
        connection = await self._directory.connection(company_id, _phone_index(given, row))
        draft = Draft(
            type=row.name,
            connection=connection,
            chat_id=request.path_params["chatId"],
            fields=given,
            file=form.file if form else None,
        )
        return await self.answer(await self._composer.accept(draft, key), wait_s)

    async def answer(self, accepted: Acceptance, wait_s: int) -> Response:
        """Answer with an accepted message, after `wait_s` seconds or when it has left."""
        state = accepted.state
        if wait_s:
            # None: the database could not be asked. The message is accepted all the same: 202
            state = await self._waiters.until_left(accepted.id, wait_s) or state
        # `@` of chat ids may stand in a path (RFC 3986 3.3), and is easier to read so
        place = "/".join(quote(part, safe="@") for part in (accepted.company_id, accepted.chat_id, str(accepted.id)))
        headers = {"Location": f"/api/v2/messages/{place}", "Cache-Control": "no-store"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s}"
        body = {
            "id": str(accepted.id),
            "status": state,
            "companyId": accepted.company_id,
            "chatId": accepted.chat_id,
            "phoneIndex": accepted.phone_index,
            "connectionType": accepted.connection_type,
            "type": accepted.type,
            "held": accepted.held,
            "createdAt": iso(accepted.created_at),
        }
        if accepted.scheduled_for:
            body["sendAt"] = iso(accepted.scheduled_for)
        # without a wait always 202: a repeated request may find its message sent, and must get the same answer
        has_left = bool(wait_s) and state not in OPEN_MESSAGE_STATES
        return JSONResponse(body, status_code=200 if has_left else 202, headers=headers)

    async def _read_json(self, request: Request, *, may_hold_file: bool) -> dict[str, Any]:
        # small by its own declaration, which the limit then enforces: it need not queue behind large ones
        if not may_hold_file or _is_small(request):
            body = await read_json(request)
        else:
            body = await read_json(request, limit=DATA_BODY_LIMIT, wait_s=DATA_WAIT_S, places=self._big_bodies)
        if not isinstance(body, dict):
            # always raises: a body that is no object fits no fields
            checked(body, ())
        # the name of the form's field: a client that mixed the two up gets the better hint
        if "file" in body:
            raise FieldsInvalid([("/file", "is for forms; in JSON a file is url, data, sha256 or mediaId")])
        return dict(body)

    async def _read_form(self, form: Form, company_id: str, row: MessageType | None) -> None:
        """Read a form to its end, with its file into storage."""
        # before the file: storage must not fill with files of companies that do not exist
        await self._directory.require_company(company_id)
        if await form.head():
            await form.rest(self._files, company_id, await self._most(form.texts, company_id, row))

    async def _most(self, before: Mapping[str, str], company_id: str, row: MessageType | None) -> int:
        """Return how large the file of a form may be, by the fields before it. Raises `Refused` when none is wanted."""
        row = row or (_named_type(dict(before)) if "type" in before else None)
        if row and not row.has_file:
            raise _no_file(row)
        index = before.get("phoneIndex", "")
        if not _INDEX.fullmatch(index):
            # the index may stand after the file: up to there the most that any channel takes applies
            return LARGEST if row is None else largest_of(row.name)
        connection = await self._directory.connection(company_id, int(index))
        # the limit of the channel, applied while the file arrives; the composer checks the file against it once more
        return LARGEST if row is None else require(connection.connection_type, row.name).limit("bytes")


def _is_small(request: Request) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdecimal() and int(declared) <= TEXT_BODY_LIMIT


def _named_type(body: dict[str, Any]) -> MessageType:
    """Return the type that a body names, and remove the name from it."""
    name = body.pop("type", None)
    row = TYPES.get(name) if isinstance(name, str) else None
    if row is None:
        raise FieldsInvalid([("/type", "is missing" if name is None else f"must be one of {', '.join(TYPES)}")])
    return row


def _form_given(form: Form, row: MessageType | None) -> tuple[MessageType, dict[str, Any]]:
    """Return the type and the fields of a form that was read."""
    texts = dict(form.texts)
    row = row or _named_type(texts)
    if form.file is None:
        raise FieldsInvalid([("/file", "is missing")])
    if not row.has_file:
        raise _no_file(row)
    # these two describe the file, and were used when it was kept
    texts = {name: text for name, text in texts.items() if name not in ("mimetype", "filename")}
    return row, form_fields(texts, row.fields)


def _no_file(row: MessageType) -> FieldsInvalid:
    return FieldsInvalid([("/file", f"is not a field of a message of type {row.name}")])


def _phone_index(given: Mapping[str, Any], row: MessageType) -> int:
    if "phoneIndex" not in given:
        return 0
    try:
        index: int = checked({"phoneIndex": given.get("phoneIndex")}, (PHONE_INDEX,))["phoneIndex"]
    except FieldsInvalid:
        # raises with all wrong fields of the body, of which the index may be only one
        checked(given, row.fields)
        raise
    return index
