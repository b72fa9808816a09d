"""Shapes that cross rooms: a message to send, the outcome of sending it, a receipt about it, and one that came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from shared.clock import utc_now
from shared.states import MessageState


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundMessage:
    """One claimed row: what a channel needs to send it.

    Attributes:
        id: row id. attempt: 1 on the first. chat_id: as the client gave it (digits for a phone, or the channel's own
            chat id).
        type: `text`, later others. content: by type; for text `{"body": str, "quoted": provider id or None}`.
        token: what identifies this message at the provider while its answer is unknown: on Meta the callback data, in a
            browser session the WhatsApp message id. Empty until a channel chose one; kept for every later attempt in a
            browser session.
        attempts_before_redrive: they do not count any more. account: the provider's account, or the linked number, that
            it was accepted for; empty: not known. created_at: when it was accepted. request_id, traceparent: of the
            request that asked for it; empty: none did.
    """

    id: int
    company_id: str
    connection_id: int
    connection_type: str
    chat_id: str = field(repr=False)
    type: str
    content: Mapping[str, Any] = field(repr=False)
    attempt: int
    token: str
    incarnation: str
    attempts_before_redrive: int = 0
    account: str = field(default="", repr=False)
    # not compared: two views of a row are equal when what is sent is equal
    created_at: datetime = field(default_factory=utc_now, compare=False)
    request_id: str = field(default="", compare=False)
    traceparent: str = field(default="", compare=False)

    @property
    def attempts_used(self) -> int:
        """Attempts that count against SEND_ATTEMPTS, this one included; 1 on the first."""
        return self.attempt - self.attempts_before_redrive


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The provider accepted the message and named it `provider_id`.

    Attributes:
        code: what it does with it first, for the history; empty: it sends it. recipient: its own id of whom it was sent
            to; empty when it named none.
    """

    provider_id: str
    code: str = ""
    recipient: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Surely not sent, and trying again may help.

    Attributes:
        after_s: the provider's own wait; None leaves it to the retry policy. counts: False when the attempt should not
            be charged (a drain, a session that is not ready). code, detail: for the history; never message text or
            phone numbers.
    """

    code: str
    detail: str = ""
    after_s: float | None = None
    counts: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead:
    """Surely not sent, and trying again cannot help."""

    code: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class InDoubt:
    """The request may have been carried out; only reconciliation can show."""

    code: str
    detail: str = ""


# the difference that delivery depends on: `Retry` and `Dead` are surely unsent, `InDoubt` may have been sent
Outcome: TypeAlias = Sent | Retry | Dead | InDoubt

Policy: TypeAlias = Literal["auto", "resend", "hold"]
"""What to do with a message in doubt when reconciliation has had its time; see `shared.delivery.reconcile`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What the provider reports about a message: matched by `token` or by (`connection_id`, `provider_id`).

    Attributes:
        state: SENT, DELIVERED, READ or FAILED. at: the provider's instant. code, detail: on FAILED. recipient: the
            provider's own id of whom it was sent to; empty when it reported none.
        extra: what else is worth keeping in the history (pricing, trace ids).
    """

    connection_id: int
    state: MessageState
    at: datetime
    provider_id: str = ""
    token: str = ""
    code: str = ""
    detail: str = ""
    recipient: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundMessage:
    """A message from outside, in one shape for every channel.

    Attributes:
        provider_id: unique within its connection; the database refuses a second one. sender: the channel's user id or
            phone.
        content: by type; for text `{"body": str}`. context: what it replies to or was forwarded from. from_me: written
            on the phone by the company itself. at: the provider's instant. may_trigger: whether automations may act on
            it; never on what the company wrote itself, on history, and on lines without an author.
    """

    connection_id: int
    provider_id: str
    chat_id: str = field(repr=False)
    sender: str = field(repr=False)
    type: str
    content: Mapping[str, Any] = field(repr=False)
    at: datetime
    sender_name: str = field(default="", repr=False)
    sender_username: str = field(default="", repr=False)
    from_me: bool = False
    may_trigger: bool = True
    context: Mapping[str, Any] = field(default_factory=dict)
