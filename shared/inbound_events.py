"""Shapes of what arrives beside messages: who wrote, how people's names change, files to fetch, how far a chat was
read, and events of an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.messages import InboundMessage
from shared.states import MessageState


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """A person as one connection sees it.

    Attributes:
        user_id: the channel's id of the person: a business-scoped user id where there is one, else the phone number; a
            page-scoped id on Messenger.
        phone: digits; empty when it is not reported. name, username: as the person gives them; empty when they are not
            reported. at: when it was seen.
    """

    connection_id: int
    user_id: str = field(repr=False)
    at: datetime
    phone: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    username: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactMove:
    """A person's number or user id has changed.

    Attributes:
        former: user id or phone number until now. user_id: from now on; empty when it stays. phone: from now on; empty
            when it stays.
    """

    connection_id: int
    # private fields are left out of `repr`, which ends up in logs and tracebacks
    former: str = field(repr=False)
    user_id: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketingChoice:
    """A person's choice to stop marketing messages, or to resume them. `user_id` may be a phone number."""

    connection_id: int
    user_id: str = field(repr=False)
    accepts: bool
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSource:
    """A file that came with a message and lies at the provider.

    Attributes:
        provider_id: of the message. id, url: how the provider names the file; at least one of them. sha256: as the
            provider spells it.
    """

    connection_id: int
    provider_id: str
    id: str = ""
    url: str = field(default="", repr=False)
    mimetype: str = ""
    sha256: str = ""
    filename: str = field(default="", repr=False)

    def stored(self) -> Mapping[str, str]:
        """Return what is kept about it until it is fetched."""
        return {
            "id": self.id,
            "url": self.url,
            "mimetype": self.mimetype,
            "sha256": self.sha256,
            "filename": self.filename,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """A message that was stored just now for a company that keeps conversations. `id`: our row of it."""

    id: int
    company_id: str
    message: InboundMessage


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark:
    """Everything that we sent to a chat up to an instant has reached a state."""

    connection_id: int
    chat_id: str = field(repr=False)
    state: MessageState
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountEvent:
    """An event about a business account, a number or a template.

    Attributes:
        account_id: the account as the provider names it (WhatsApp Business Account, Page). name: identifies the event;
            a second arrival has the same. connection_ids: the connections that it concerns; the process that reads the
            event has checked that they are its owner's.
    """

    account_id: str
    kind: str
    value: Mapping[str, Any] = field(repr=False)
    at: datetime
    name: str
    connection_ids: tuple[int, ...] = ()
