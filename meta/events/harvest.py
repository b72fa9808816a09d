"""What a webhook holds, gathered part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from meta.events.parts import Unreadable, known_instant
from shared.arrivals import AccountEvent, Contact, ContactMove, MarketingChoice, MediaSource, Watermark
from shared.messages import InboundMessage, Receipt

_PROBLEMS_MOST: Final = 5


class EventOwners(Protocol):
    """Finds the connections that an event may be about, for the door that it came through."""

    def of_account(self, kind: str, account: str) -> Sequence[int]:
        """Return connections by the webhook's `object` and the provider's id of the number, Page or Instagram account."""

    def of_business_account(self, waba_id: str) -> Sequence[int] | None:
        """Return connections of a WhatsApp Business Account; None when nothing about it may come through this door."""


class Pause(NamedTuple):
    """Why a connection cannot send, and for how long in seconds; None: until somebody acts."""

    reason: str
    for_s: float | None


@dataclass(kw_only=True)
class Harvest:
    """What a webhook holds.

    Attributes:
        received_at: stands in for an instant that an event lacks. owners: finds the connections that an event is about. object: whose events these are.
        heard: connections that it is about, with the newest instant at which something happened; None when no part has one. pauses: connections that cannot send now.
        counts: parts by kind. problems: what could not be read, for the journal.
    """

    received_at: datetime
    owners: EventOwners
    object: str = ""
    receipts: list[Receipt] = field(default_factory=list)
    watermarks: list[Watermark] = field(default_factory=list)
    messages: list[InboundMessage] = field(default_factory=list)
    media: list[MediaSource] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    moves: list[ContactMove] = field(default_factory=list)
    choices: list[MarketingChoice] = field(default_factory=list)
    notices: list[AccountEvent] = field(default_factory=list)
    heard: dict[int, datetime | None] = field(default_factory=dict)
    pauses: dict[int, Pause] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def outcome(self) -> str:
        """Return what the journal says about it: empty when everything was read."""
        more = len(self.problems) - _PROBLEMS_MOST
        return "; ".join(self.problems[:_PROBLEMS_MOST]) + (f"; and {more} more" if more > 0 else "")

    def note_heard(self, connections: Sequence[int], *happened_at: Any) -> None:
        """Note that a part is about connections, and when it happened: the first of the given values that is an instant."""
        at = next((found for value in happened_at if (found := known_instant(value)) is not None), None)
        for connection_id in connections:
            known = self.heard.get(connection_id)
            self.heard[connection_id] = max(known, at) if known and at else known or at

    def name_problem(self, kind: str, where: str, problem: str, parts: int = 1) -> None:
        """Note that something could not be read, or is nobody's."""
        self.counts[kind] += parts
        self.problems.append(f"{where}{problem}")

    def walk(self, parent: Mapping[str, Any], name: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield path and object of each item of a list; what is there and is no list of objects is a problem."""
        items = parent.get(name)
        if items is None:
            return
        if not isinstance(items, list):
            self.name_problem("unreadable", f"{path}{name}", ": not a list")
            return
        for index, item in enumerate(items):
            here = f"{path}{name}[{index}]"
            if isinstance(item, dict):
                yield f"{here}.", item
            else:
                self.name_problem("unreadable", here, ": not an object")

    def attempt(self, path: str, read: Callable[[Mapping[str, Any]], None], part: Mapping[str, Any]) -> None:
        """Read one part; what it lacks is named, and its neighbours are read all the same."""
        try:
            read(part)
        except Unreadable as problem:
            self.name_problem("unreadable", path, str(problem))
