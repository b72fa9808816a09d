"""The judgement of deliveries to subscribers of webhooks; pure.

The feed of events shows what each company's subscribers must receive. The provider's ledger, by way of the messages'
states, shows that the feed itself is complete. The subscribers' own records show what they received.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

TEST: Final = "hook.test"
"""Type of the events that are for one subscriber alone."""
_PROVES_ARRIVAL: Final = frozenset({"message.sent", "message.delivered", "message.read"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedEvent:
    """One event of a company's feed.

    Attributes:
        number: the part of its id that is unique. conversation: events with the same are delivered in order; empty: in
            any order. message_id: of the message that it is about; 0: of none. hook_id: of the subscriber that it is
            about; empty: of none.
    """

    id: str
    number: int
    type: str
    conversation: str = ""
    message_id: int = 0
    hook_id: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """Its place in the stream."""
        return position(self.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What one subscriber received.

    Attributes:
        after: position in the stream from which on it subscribed. log: numbers of events in the order of their arrival:
            positive when it was answered with 2xx, negative when not; only the first arrival of each and the first that
            was answered so. ids: whole ids by number. wrong: what was wrong with deliveries, by their ids. unread:
            events that were answered, and whose body never came.
    """

    name: str
    company: str
    hook_id: str
    after: str
    types: frozenset[str] = frozenset()
    log: Sequence[int] = ()
    ids: Mapping[int, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[int] = frozenset()

    def gets(self, event: FeedEvent) -> bool:
        """Whether it must receive an event of its company."""
        if event.type == TEST:
            return event.hook_id == self.hook_id
        subject = f"{event.type.partition('.')[0]}.*"
        return event.position > position(self.after) and (not self.types or bool(self.types & {event.type, subject}))


@dataclass(frozen=True, kw_only=True)
class HookResult:
    """The outcome for all subscribers.

    Attributes:
        deliveries: requests that subscribers received, repetitions included. events: different ones that they received.
        undelivered: events that a subscriber must have, and has not. unannounced: messages that arrived at the
            provider, of which a subscriber received no event that says so. disordered: events that arrived before an
            earlier one of their conversation was answered with 2xx. foreign: events of another company, of another
            subscriber, or of none. invalid: deliveries with a wrong signature, id or time.
    """

    subscribers: int = 0
    deliveries: int = 0
    events: int = 0
    undelivered: Mapping[str, str] = field(default_factory=dict)
    unannounced: Mapping[str, str] = field(default_factory=dict)
    disordered: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    invalid: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> Mapping[str, Mapping[str, str]]:
        """What broke a guarantee, by the fault's name."""
        return {
            "undelivered": self.undelivered,
            "unannounced": self.unannounced,
            "disordered": self.disordered,
            "foreign": self.foreign,
            "invalid": self.invalid,
        }

    @property
    def is_clean(self) -> bool:
        """Whether every guarantee was kept."""
        return not any(self.faults.values())


def position(text: str) -> tuple[int, int]:
    """Return the place in the stream that an id or a position names. Raises `ValueError` for what is none."""
    xid, _, number = text.partition("-")
    return int(xid), int(number)


def _is_beyond(event_id: str, read_to: str) -> bool:
    """Whether an event was written after a feed was read up to a position."""
    try:
        return position(event_id) > position(read_to)
    except ValueError:
        return False


def missing(received: Received, feed: Iterable[FeedEvent]) -> list[FeedEvent]:
    """Return the events that a subscriber must still receive, and answer with 2xx."""
    taken = {number for number in received.log if number > 0} - received.unread
    return [event for event in feed if event.number not in taken and received.gets(event)]


def judge_hooks(
    subscribers: Sequence[Received],
    feeds: Mapping[str, Sequence[FeedEvent]],
    arrived: Mapping[str, Collection[int]],
    *,
    read_to: Mapping[str, str],
    deliveries: int = 0,
) -> HookResult:
    """Compare what subscribers received with the feeds of their companies.

    Args:
        feeds: by company, oldest first. arrived: ids of messages that are at the provider, by company. read_to:
            position up to which each feed was read; what a subscriber received from beyond it is not judged.
            deliveries: how many requests there were.
    """
    undelivered: dict[str, str] = {}
    unannounced: dict[str, str] = {}
    disordered: dict[str, str] = {}
    foreign: dict[str, str] = {}
    invalid: dict[str, str] = {}
    events = 0
    for one in subscribers:
        feed = feeds.get(one.company, ())
        known = {event.number: event for event in feed if one.gets(event)}
        undelivered |= {f"{one.name} {event.id}": event.type for event in missing(one, feed)}
        first = dict.fromkeys(abs(number) for number in one.log)
        events += len(first)
        foreign |= {
            f"{one.name} {one.ids.get(number, str(number))}": "no event of its own"
            for number in first
            if (number not in known and not _is_beyond(one.ids.get(number, ""), read_to.get(one.company, "")))
            or (number in known and one.ids.get(number, known[number].id) != known[number].id)
        }
        invalid |= {f"{one.name} {name}": why for name, why in one.wrong.items()}
        disordered |= {f"{one.name} {known[number].id}": why for number, why in _disordered(one, known).items()}
        if not one.types or one.types & {"message.*", *_PROVES_ARRIVAL}:
            said = {known[number].message_id for number in first if number in known and _proves(known[number])}
            unannounced |= {
                f"{one.name} message {message_id}": "is at the provider"
                for message_id in arrived.get(one.company, ())
                if message_id not in said
            }
    return HookResult(
        subscribers=len(subscribers),
        deliveries=deliveries,
        events=events,
        undelivered=undelivered,
        unannounced=unannounced,
        disordered=disordered,
        foreign=foreign,
        invalid=invalid,
    )


def _proves(event: FeedEvent) -> bool:
    return event.type in _PROVES_ARRIVAL


def _disordered(one: Received, known: Mapping[int, FeedEvent]) -> dict[int, str]:
    """Return events that came too early, with what they came before."""
    expected: dict[str, list[int]] = {}
    places: dict[int, int] = {}
    for event in known.values():
        if event.conversation:
            row = expected.setdefault(event.conversation, [])
            places[event.number] = len(row)
            row.append(event.number)
    # how many of a conversation's events, from its beginning on, were answered with 2xx
    done = dict.fromkeys(expected, 0)
    taken: set[int] = set()
    seen: set[int] = set()
    found: dict[int, str] = {}
    for signed in one.log:
        number = abs(signed)
        if number not in places:
            continue
        conversation = known[number].conversation
        row = expected[conversation]
        # an earlier one was not taken yet when this one came first
        if number not in seen and places[number] > done[conversation]:
            found[number] = f"before {known[row[done[conversation]]].id}"
        seen.add(number)
        if signed > 0:
            taken.add(number)
            while done[conversation] < len(row) and row[done[conversation]] in taken:
                done[conversation] += 1
    return found
