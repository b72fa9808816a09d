"""Edits, deletions and reactions of the message that a path names."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import read_json
from api.http.idempotency import read_key
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.messages.acceptance import ACCEPTING, ACCEPTING_PROBLEMS, ANSWERS, AcceptanceAnswers
from api.messages.paths import message_unknown, named_by_any
from api.messages.serializers import MessageSerializer
from api.messages.waiting import read_wait_s
from shared import content
from shared.compose.composer import Composer
from shared.compose.directory import Directory, require_possible
from shared.compose.refusals import require
from shared.compose.types import EDIT_FIELDS, REACT_FIELDS
from shared.fields import checked, json_schema
from shared.states import MessageState
from shared.store import interventions, targets
from shared.store.store import Store
from shared.store.targets import MessageTarget

# the path of the message itself: PUT and DELETE act on what GET shows
_ONE_PATH: Final = "/api/v2/messages/{companyId}/{chatId}/{messageId}"
# WhatsApp's two ways to delete: for both sides, or only on the company's own devices; the first is the default
_WHOM: Final = ("everyone", "me")
_ONE_PROBLEMS: Final = (
    "company_unknown",
    "chat_invalid",
    "message_unknown",
    "message_not_sent",
    "unsupported_operation",
)


class AmendmentOperations:
    """The operations on existing messages."""

    def __init__(
        self,
        directory: Directory,
        store: Store,
        composer: Composer,
        answers: AcceptanceAnswers,
        shown: MessageSerializer,
    ) -> None:
        self._directory, self._store, self._composer = directory, store, composer
        self._answers, self._shown = answers, shown

    def operations(self) -> list[Operation]:
        """Return the operations on existing messages."""
        return [
            Operation(
                operation_id="editMessage",
                method="PUT",
                path=_ONE_PATH,
                scope="send",
                group="Messages",
                summary="Edit a text that was sent",
                handler=self.edit,
                body=json_schema(EDIT_FIELDS),
                examples=({"message": "Your parcel comes on Tuesday."},),
                parameters=ACCEPTING,
                answers=ANSWERS,
                problems=(*_ONE_PROBLEMS, *ACCEPTING_PROBLEMS, "text_empty", "text_too_long"),
            ),
            Operation(
                operation_id="deleteMessage",
                method="DELETE",
                path=_ONE_PATH,
                scope="send",
                group="Messages",
                summary="Cancel a message that is still queued, or delete one that was sent or received",
                handler=self.delete,
                parameters=(
                    Parameter(
                        name="for",
                        place="query",
                        purpose="For whom it is deleted.",
                        schema={**choice("DeletedFor", *_WHOM), "default": "everyone"},
                    ),
                    *ACCEPTING,
                ),
                answers={
                    200: (
                        "It is never sent, or was deleted before; with `Prefer: wait` also: the deletion has left.",
                        "MessageOrAccepted",
                    ),
                    202: ("Accepted: `id` is that of the deletion.", "AcceptedMessage"),
                },
                problems=(
                    "company_unknown",
                    "chat_invalid",
                    "message_unknown",
                    "message_not_queued",
                    "unsupported_operation",
                    "query_invalid",
                    "header_invalid",
                    "idempotency_key_reused",
                    "acceptance_unknown",
                ),
            ),
            Operation(
                operation_id="reactToMessage",
                method="POST",
                path="/api/messages/react/{companyId}/{messageId}",
                scope="send",
                group="Messages",
                summary="React to a message; an empty emoji removes the reaction",
                handler=self.react,
                body=json_schema(REACT_FIELDS),
                examples=({"emoji": "👍"}, {"emoji": ""}),
                parameters=ACCEPTING,
                answers=ANSWERS | {202: ("Accepted: `id` is that of the reaction.", "AcceptedMessage")},
                problems=(
                    "company_unknown",
                    "message_unknown",
                    "message_not_sent",
                    "unsupported_operation",
                    *ACCEPTING_PROBLEMS,
                ),
            ),
        ]

    async def edit(self, request: Request) -> Response:
        """Accept the edit of a text that we sent."""
        target = await self._named(request)
        require(target.connection_type, content.EDIT)
        # after the channel: without support for edits, the body does not matter
        fields = checked(await read_json(request), EDIT_FIELDS)
        accepted = await self._composer.edit(
            request.path_params["companyId"], target, fields, read_key(request.headers)
        )
        return await self._answers.answer(accepted, read_wait_s(request.headers))

    async def delete(self, request: Request) -> Response:
        """Cancel a message that is still queued; accept the deletion of one that was sent or received."""
        # before anything is done: a key that cannot be used is refused also where none is needed
        key = read_key(request.headers)
        # `acting`: a queued edit, reaction or deletion can be cancelled like any message
        target = await self._named(request, acting=True)
        company_id = request.path_params["companyId"]
        if target.state == MessageState.QUEUED:
            # a claim may come first, and then nothing is cancelled: the state read after this decides, not the one
            # before
            await self._store.as_company(company_id).call(
                interventions.cancel, company_id=company_id, chat_id=target.chat_id, message_id=target.id
            )
            target = await self._named(request, acting=True)
        # cancelled just now, or deleted before: a repeated request gets the same response
        if target.state == MessageState.DELETED:
            return JSONResponse(await self._shown.one(company_id, target.chat_id, target.id))
        # being sent, in doubt or failed: the provider has no message that could be deleted
        if not target.is_there:
            raise Problem("message_not_queued", target.condition, state=target.state)
        accepted = await self._composer.delete(company_id, target, query_of(request)["for"], key)
        return await self._answers.answer(accepted, read_wait_s(request.headers))

    async def react(self, request: Request) -> Response:
        """Accept a reaction to a message of any chat."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        found = await self._store.as_company(company_id).call(
            targets.find, company_id, request.path_params["messageId"]
        )
        if not found:
            await self._directory.require_company(company_id)
            raise Problem("message_unknown", "The company has no such message.")
        # a provider's id can be known on several connections of a company: the oldest row is taken
        target = found[0]
        require(target.connection_type, content.REACTION)
        fields = checked(await read_json(request), REACT_FIELDS)
        accepted = await self._composer.react(company_id, target, fields, read_key(request.headers))
        return await self._answers.answer(accepted, read_wait_s(request.headers))

    async def _named(self, request: Request, *, acting: bool = False) -> MessageTarget:
        """Return the message that the path names. Raises `Problem` when the chat has no such message, or (without
        `acting`) only one about another.
        """
        company_id, chat_id, message_id = named_by_any(request)
        # the id is looked up by company alone: the chat of the path must match too, or a guessed id would reach
        # another chat
        for target in await self._store.as_company(company_id).call(
            targets.find, company_id, str(message_id), acting=acting
        ):
            if message_id in (target.id, target.provider_id) and chat_id in target.chat_ids:
                return target
        await self._directory.require_company(company_id)
        raise message_unknown()
