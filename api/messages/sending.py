"""The operations that send, and the path of a request through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.http.idempotency import read_key
from api.http.operations import Operation
from api.messages.acceptance import ACCEPTING, ACCEPTING_PROBLEMS, ANSWERS, AcceptanceAnswers
from api.messages.drafts import DraftReader
from api.messages.request_schemas import body_schema, form_schema, typed_form_schema, typed_schema
from api.messages.waiting import read_wait_s
from shared import content
from shared.compose.composer import Composer
from shared.compose.types import TYPES, MessageType

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
        drafts: reads requests. composer: accepts messages. answers: with accepted messages.
    """

    def __init__(self, drafts: DraftReader, composer: Composer, answers: AcceptanceAnswers) -> None:
        self._drafts, self._composer, self._answers = drafts, composer, answers

    def operations(self) -> list[Operation]:
        """Return the operations that send: one for each type, and one for a body that names its type."""
        where = ("company_unknown", "phone_index_unknown", "chat_invalid")
        return [
            Operation(
                operation_id=f"send{row.name.capitalize()}",
                method="POST",
                path=f"/api/v2/messages/{row.name}/{{companyId}}/{{chatId}}",
                scope="send",
                group="Messages",
                summary=row.summary,
                handler=self.of_type(row),
                body=body_schema(row),
                examples=row.examples,
                form=form_schema(row) if row.has_file else None,
                parameters=ACCEPTING,
                answers=ANSWERS,
                problems=(*where, *ACCEPTING_PROBLEMS, *_PROBLEMS[row.name]),
            )
            for row in TYPES.values()
        ] + [
            Operation(
                operation_id="sendMessage",
                method="POST",
                path="/api/v2/messages/{companyId}/{chatId}",
                scope="send",
                group="Messages",
                summary="Send a message of the type that the body names",
                handler=self.send_typed,
                body=typed_schema(),
                examples=tuple({"type": row.name, **row.examples[0]} for row in TYPES.values()),
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
        # headers before the body: a request with invalid headers need not be read
        key, wait_s = read_key(request.headers), read_wait_s(request.headers)
        draft = await self._drafts.read_draft(request, row)
        accepted = await self._composer.accept(draft, key)
        return await self._answers.answer(accepted, wait_s)
