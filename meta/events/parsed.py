"""The contents of one webhook, read part by part and merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from meta.events.values import Unreadable, known_instant
from shared.inbound_events import AccountEvent, Contact, ContactMove, MarketingChoice, MediaSource, Watermark
from shared.messages import InboundMessage, Receipt

_PROBLEMS_MOST: Final = 5
"""Problems of one webhook that are written to the journal: enough to recognise the cause; further ones are only
counted."""

OWNERLESS: Final = "no connection has this"
"""Beginning of the problem of an event whose account no connection is proved to have. `replay_unowned` searches for it.
"""


class EventOwners(Protocol):
    """Finds the connections that an event may be about, for the endpoint through which it arrived."""

    def of_account(self, kind: str, account: str) -> Sequence[int]:
        """Return connections by the webhook's `object` and the provider's id of the number, Page or Instagram
        account.
        """

    def of_business_account(self, waba_id: str) -> Sequence[int] | None:
        """Return connections of a WhatsApp Business Account; None when nothing about it may come through this door."""

    def is_claimed(self, waba_id: str) -> bool:
        """Whether a connection names a WhatsApp Business Account that it is not proved to have, perhaps not yet."""


class WebhookContext(NamedTuple):
    """What every part of one webhook shares: its `object`, when it came, and who owns events of this door."""

    object: str
    received_at: datetime
    owners: EventOwners


class ConnectionPause(NamedTuple):
    """Why a connection cannot send, and for how long in seconds; None: until an operator resumes it."""

    reason: str
    for_s: float | None


@dataclass(kw_only=True)
class ParsedEvents:
    """What a webhook, or a part of one, holds.

    Attributes:
        echoes: messages only if no receipt with their provider id finds a message of ours.
        door_events: connections that it is about, with the newest instant at which something happened; None when no
            part names one.
        pauses: connections that cannot send now. counts: parts by kind. problems: what could not be read, for the
            journal.
    """

    receipts: list[Receipt] = field(default_factory=list)
    watermarks: list[Watermark] = field(default_factory=list)
    messages: list[InboundMessage] = field(default_factory=list)
    echoes: list[InboundMessage] = field(default_factory=list)
    media: list[MediaSource] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    moves: list[ContactMove] = field(default_factory=list)
    choices: list[MarketingChoice] = field(default_factory=list)
    account_events: list[AccountEvent] = field(default_factory=list)
    door_events: dict[int, datetime | None] = field(default_factory=dict)
    pauses: dict[int, ConnectionPause] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: ParsedEvents) -> None:
        """Add what another part holds, after what is here."""
        self.receipts += other.receipts
        self.watermarks += other.watermarks
        self.messages += other.messages
        self.echoes += other.echoes
        self.media += other.media
        self.contacts += other.contacts
        self.moves += other.moves
        self.choices += other.choices
        self.account_events += other.account_events
        for connection_id, at in other.door_events.items():
            known = self.door_events.get(connection_id)
            # the newer one; a part without an instant must not replace the instant of another part
            self.door_events[connection_id] = max(known, at) if known and at else known or at
        self.pauses |= other.pauses
        self.counts.update(other.counts)
        self.problems += other.problems

    def outcome(self) -> str:
        """Return the outcome for the journal: empty when everything was read."""
        more = len(self.problems) - _PROBLEMS_MOST
        return "; ".join(self.problems[:_PROBLEMS_MOST]) + (f"; and {more} more" if more > 0 else "")


def merged(parts: Iterable[ParsedEvents]) -> ParsedEvents:
    """Return everything that parts hold, in their order."""
    whole = ParsedEvents()
    for part in parts:
        whole.add(part)
    return whole


def problem(kind: str, where: str, what: str, parts: int = 1) -> ParsedEvents:
    """Return a problem: a part that could not be read, or has no owner."""
    return ParsedEvents(counts=Counter({kind: parts}), problems=[f"{where}{what}"])


def counted(kind: str) -> Counter[str]:
    """Return the count of one part."""
    return Counter({kind: 1})


def door_event(connections: Iterable[int], *happened_at: Any) -> ParsedEvents:
    """Return the connections that a part is about, with its instant: the first of the given values that is one."""
    at = next((found for value in happened_at if (found := known_instant(value)) is not None), None)
    return ParsedEvents(door_events=dict.fromkeys(connections, at))


def read_part(path: str, read: Callable[[], ParsedEvents]) -> ParsedEvents:
    """Read one part; what is missing is recorded as a problem."""
    try:
        return read()
    # named in the journal's outcome; the other parts of the webhook are read all the same
    except Unreadable as unreadable:
        return problem("unreadable", path, str(unreadable))


def read_list(
    parent: Mapping[str, Any], name: str, path: str, read: Callable[[str, Mapping[str, Any]], ParsedEvents]
) -> ParsedEvents:
    """Read each object of a list; `read` gets its path and the object. One that cannot be read is named and hides no
    other.
    """
    items = parent.get(name)
    if items is None:
        return ParsedEvents()
    if not isinstance(items, list):
        return problem("unreadable", f"{path}{name}", ": not a list")
    whole = ParsedEvents()
    for index, item in enumerate(items):
        here = f"{path}{name}[{index}]"
        if not isinstance(item, dict):
            whole.add(problem("unreadable", here, ": not an object"))
            continue
        try:
            whole.add(read(f"{here}.", item))
        except Unreadable as unreadable:
            whole.add(problem("unreadable", f"{here}.", str(unreadable)))
    return whole
