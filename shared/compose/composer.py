"""Accepts drafts: what should be sent becomes one row, whatever its type, its channel and the process that composes
it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from shared import content
from shared.channels.chat_ids import ChatInvalid
from shared.channels.registry import channel_named
from shared.clock import read_timestamp, utc_now
from shared.compose import acceptance
from shared.compose.acceptance import RowAcceptor
from shared.compose.actions import deletion_content, edit_content, reaction_content
from shared.compose.contents import Builder
from shared.compose.files import Files
from shared.compose.refusals import unsupported
from shared.compose.types import TYPES
from shared.errors import Refused
from shared.fields import checked
from shared.media.reach import Reach
from shared.messages import Policy
from shared.origin import origin
from shared.process.metrics import Metrics
from shared.states import MessageState
from shared.store import messages, windows
from shared.store.connections import Connection
from shared.store.media import StoredFile
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store
from shared.store.targets import MessageTarget
from shared.tenancy.known_companies import KnownCompanies

# settings, templates and windows may change before a scheduled message leaves; beyond this a calendar is the better
# tool
_FURTHEST: Final = timedelta(days=30)
_NOT_FINGERPRINTED: Final = ("sendAt", "inDoubtPolicy", "phoneIndex")
"""Fields that are no part of what is sent; the first two are added to the fingerprint when they are given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """One message to be sent.

    Attributes:
        type: a row of `shared.compose.types`. chat_id: in any spelling. fields: of this type, not checked yet.
        file: the file of a type that carries one, when it is in storage already; else `fields` name it.
    """

    type: str
    connection: Connection
    chat_id: str = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False)
    file: StoredFile | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """A message that was accepted.

    Attributes:
        id: its row. replayed: it was accepted by an earlier call with the same key. held: its connection is paused.
            scheduled_for: None for at once.
    """

    id: int
    state: MessageState
    created_at: datetime
    replayed: bool
    company_id: str
    chat_id: str = field(repr=False)
    type: str
    connection_type: str
    phone_index: int
    held: bool
    scheduled_for: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """What is to be accepted: where, and what is asked for; `fields` are those that the fingerprint covers."""

    type: str
    company_id: str
    chat_id: str
    connection_id: int
    process_name: str
    connection_type: str
    phone_index: int
    held: bool
    fields: dict[str, Any]


class Composer:
    """Accepts messages of every type.

    Args:
        acceptor: commits rows. files: of companies. reach: from where files may be fetched. metrics: gets
            `messages_accepted`.
    Attributes:
        accepted: messages accepted so far, without replays.
    """

    def __init__(self, store: Store, acceptor: RowAcceptor, files: Files, metrics: Metrics, *, reach: Reach) -> None:
        self._store, self._acceptor = store, acceptor
        self._companies = KnownCompanies(store)
        self._builder = Builder(store, files, reach)
        self._accepted = metrics.counter(
            "messages_accepted", "Messages accepted, without replays.", ("connection_type",)
        )
        self.accepted = 0

    async def accept(self, draft: Draft, idempotency_key: str | None = None) -> Acceptance:
        """Accept a draft, once for each key of the company.

        Args:
            idempotency_key: the caller's; without one every call is a message of its own.
        Raises:
            Refused: it cannot be sent like this; nothing was accepted, but for `acceptance_unknown`.
            StoreUnavailable: the database is away; nothing was accepted.
        """
        connection = draft.connection
        # before any query: a request that is wrong in itself costs the database nothing
        fields = checked(draft.fields, TYPES[draft.type].fields)
        chat_id = await self._chat(connection, draft.chat_id, draft.type)
        if draft.file is not None:
            TYPES[draft.type].require_file()
            # added after the check: the file of a form is no field that a JSON body could hold
            fields["file"] = draft.file
        order = _Order(
            type=draft.type,
            company_id=connection.company_id,
            chat_id=chat_id,
            connection_id=connection.id,
            process_name=connection.process_name,
            connection_type=connection.connection_type,
            phone_index=connection.phone_index,
            held=connection.status == "paused",
            fields=fields,
        )
        return await self._accept(
            order, lambda: self._builder.content(draft.type, connection, chat_id, fields), idempotency_key
        )

    async def react(
        self, company_id: str, target: MessageTarget, fields: Mapping[str, Any], idempotency_key: str | None = None
    ) -> Acceptance:
        """Accept a reaction to a message. `fields`: `emoji` and `inDoubtPolicy`, checked. Errors as for `accept`."""
        order = _about(company_id, target, content.REACTION, fields)
        return await self._accept(order, _now(lambda: reaction_content(target, fields["emoji"])), idempotency_key)

    async def edit(
        self, company_id: str, target: MessageTarget, fields: Mapping[str, Any], idempotency_key: str | None = None
    ) -> Acceptance:
        """Accept the edit of a text of ours. `fields`: `message` and `inDoubtPolicy`, checked. Errors as for
        `accept`.
        """
        order = _about(company_id, target, content.EDIT, fields)
        return await self._accept(order, _now(lambda: edit_content(target, fields["message"])), idempotency_key)

    async def delete(
        self, company_id: str, target: MessageTarget, whom: str, idempotency_key: str | None = None
    ) -> Acceptance:
        """Accept the deletion of a message for `everyone` or for `me`. Errors as for `accept`."""
        order, everyone = _about(company_id, target, content.DELETE, {"for": whom}), whom == "everyone"
        return await self._accept(order, _now(lambda: deletion_content(target, everyone=everyone)), idempotency_key)

    async def _chat(self, connection: Connection, given: str, operation: str) -> str:
        """Return the canonical id of a chat that the connection can write to. Raises `Refused` when it cannot."""
        channel = channel_named(connection.connection_type)
        try:
            return channel.chat(given).id
        except ChatInvalid as error:
            # the query is made only for ids whose spelling does not show whether such a chat exists
            if error.answerable and await self._wrote(connection, error.answerable):
                chat = channel.chat(given, known=True)
                if chat.form in channel.groups and operation not in channel.in_groups:
                    raise unsupported(
                        channel.name, operation, "channel", f"Nothing of type {operation} can be sent to a group."
                    ) from error
                return chat.id
            raise chat_invalid(error) from error

    async def _wrote(self, connection: Connection, chat_id: str) -> bool:
        last: datetime | None = await self._store.as_company(connection.company_id).call(
            windows.last_received_at, company_id=connection.company_id, connection_id=connection.id, chat_id=chat_id
        )
        return last is not None

    async def _accept(
        self, order: _Order, build: Callable[[], Awaitable[Mapping[str, Any]]], clients_key: str | None
    ) -> Acceptance:
        asked_for, policy = read_send_at(order.fields.get("sendAt")), order.fields.get("inDoubtPolicy")
        await self._companies.require_sending(order.company_id)
        # an instant that has passed means now: the client's clock, or the way here, took longer
        scheduled_for = asked_for if asked_for and asked_for > utc_now() else None
        try:
            made = await build()
        # a repetition is looked up only here: a valid draft finds its key in the commit, without a separate query
        except Refused:
            # what has changed since a message was accepted is no reason to refuse its repetition
            accepted = await self._repetition(order, clients_key)
            if accepted is None:
                raise
        else:
            accepted = await acceptance.accept(
                self._acceptor, _row(order, made, scheduled_for, policy, clients_key or acceptance.own_key())
            )
        if accepted.replayed:
            # the first call's time: the field may name one that has passed since
            scheduled_for = await self._first_schedule(order, clients_key) if asked_for else None
        else:
            # a replay was counted by the first call
            self.accepted += 1
            self._accepted.labels(order.connection_type).inc()
        return Acceptance(
            id=accepted.id,
            state=accepted.state,
            created_at=accepted.created_at,
            replayed=accepted.replayed,
            company_id=order.company_id,
            chat_id=order.chat_id,
            type=order.type,
            connection_type=order.connection_type,
            phone_index=order.phone_index,
            held=order.held,
            scheduled_for=scheduled_for,
        )

    async def _repetition(self, order: _Order, clients_key: str | None) -> Accepted | None:
        """Return what was accepted by an earlier call with the same key and the same fields, None when nothing was."""
        row = (
            await self._store.as_company(order.company_id).call(messages.find_by_key, order.company_id, clients_key)
            if clients_key
            else None
        )
        # the same key with other fields is a mistake of the client: the refusal that was met is reported
        if row is None or row["fingerprint"] != _fingerprint(order):
            return None
        return Accepted(id=row["id"], created_at=row["created_at"], replayed=True, state=MessageState(row["state"]))

    async def _first_schedule(self, order: _Order, clients_key: str | None) -> datetime | None:
        """Return the time for which the first call scheduled a message: by now it may have passed."""
        row = (
            await self._store.as_company(order.company_id).call(messages.find_by_key, order.company_id, clients_key)
            if clients_key
            else None
        )
        scheduled_for: datetime | None = row["scheduled_for"] if row else None
        return scheduled_for


def chat_invalid(error: ChatInvalid) -> Refused:
    """Return the refusal of a chat id."""
    sentence = str(error)
    return Refused("chat_invalid", f"{sentence[0].upper()}{sentence[1:]}.", field="chatId")


def read_send_at(text: str | None) -> datetime | None:
    """Return the instant at which a message should be sent, None for at once. Raises `Refused` for what is no instant,
    or too far ahead."""
    if text is None:
        return None
    try:
        at = read_timestamp(text)
    except ValueError as error:
        raise Refused(
            "send_at_invalid", "The field sendAt is no instant of ISO 8601 with a time zone.", field="sendAt"
        ) from error
    if at > utc_now() + _FURTHEST:
        raise Refused(
            "send_at_invalid", f"The field sendAt lies more than {_FURTHEST.days} days ahead.", field="sendAt"
        )
    return at


def _about(company_id: str, target: MessageTarget, type_: str, fields: Mapping[str, Any]) -> _Order:
    return _Order(
        type=type_,
        company_id=company_id,
        chat_id=target.chat_id,
        connection_id=target.connection_id,
        process_name=target.process_name,
        connection_type=target.connection_type,
        phone_index=target.phone_index,
        held=target.connection_status == "paused",
        # our own id: the same message named by the provider's id is the same request
        fields={**fields, "messageId": target.id},
    )


def _now(make: Callable[[], Mapping[str, Any]]) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    async def build() -> Mapping[str, Any]:
        return make()

    return build


def _row(
    order: _Order, made: Mapping[str, Any], scheduled_for: datetime | None, policy: Policy | None, key: str
) -> NewMessage:
    return NewMessage(
        company_id=order.company_id,
        connection_id=order.connection_id,
        process_name=order.process_name,
        chat_id=order.chat_id,
        type=order.type,
        content=made,
        fingerprint=_fingerprint(order),
        idempotency_key=key,
        scheduled_for=scheduled_for,
        in_doubt_policy=policy,
        origin=origin.get(),
    )


def _fingerprint(order: _Order) -> str:
    fields = order.fields
    send_at, policy = fields.get("sendAt"), fields.get("inDoubtPolicy")
    # absent fields do not count: keys that were used before a field was introduced stay valid
    further = [send_at, policy] if send_at or policy else []
    if order.type == content.TEXT:
        if fields["preview"] or fields["tag"]:
            further = [send_at, policy, fields["preview"], fields["tag"]]
        return acceptance.fingerprint(
            [order.type, order.connection_id, order.chat_id, fields["message"], fields["quotedMessageId"], *further]
        )
    asked = {name: value for name, value in fields.items() if value is not None and name not in _NOT_FINGERPRINTED}
    for name in ("file", "data"):
        if isinstance(kept := asked.get(name), StoredFile):
            # the same file is the same message, however it came
            asked = {other: value for other, value in asked.items() if other not in (name, "mimetype")}
            asked |= {"sha256": kept.sha256, "filename": kept.filename}
    return acceptance.fingerprint([order.type, order.connection_id, order.chat_id, sorted(asked.items()), *further])
