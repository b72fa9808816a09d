"""What one process has claimed and not settled: the messages, whose they are, since when, and the journal that outlives
the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from shared.clock import Monotonic, monotonic
from shared.delivery import fairness
from shared.delivery.backlog import ChatKey
from shared.delivery.fairness import Capacities
from shared.delivery.in_flight_journal import InFlightJournal, Stage
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent


class InFlight:
    """Messages in flight.

    Args:
        journal: records them for the reader after a death. limit: most of all connections. each: most of one
            connection; 0: no limit of its own.
    """

    def __init__(self, journal: InFlightJournal, *, limit: int, each: int, clock: Monotonic = monotonic) -> None:
        self._journal, self._limit, self._each, self._clock = journal, limit, each, clock
        self._messages: dict[int, OutboundMessage] = {}
        self._held: Counter[int] = Counter()
        self._started_at: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._messages

    def __iter__(self) -> Iterator[int]:
        """Row ids."""
        return iter(self._messages)

    @property
    def free(self) -> int:
        """How many more may be in flight."""
        return self._limit - len(self._messages)

    @property
    def held(self) -> Mapping[int, int]:
        """Messages in flight by connection."""
        return self._held

    def chats(self) -> Collection[ChatKey]:
        """Return the chats with a message in flight."""
        return {(message.connection_id, message.chat_id) for message in self._messages.values()}

    def capacities(self) -> Capacities:
        """Return how many more sends each connection may have."""
        return fairness.capacities(self._held, self._slow(), places=self._limit, each=self._each)

    def start(self, message: OutboundMessage) -> None:
        """Record a claimed message."""
        self._messages[message.id] = message
        self._started_at[message.id] = self._clock()
        self._held[message.connection_id] += 1
        self._journal.begin(message.id)

    def may_leave(self, message: OutboundMessage) -> None:
        """Record that from now on the provider may have the message."""
        self._journal.writing(message.id)

    def answered(self, message: OutboundMessage, outcome: Outcome) -> None:
        """Record the outcome where a death cannot remove it, until it is committed to the database."""
        match outcome:
            case Sent(provider_id=provider_id):
                self._journal.answered(message.id, Stage.SENT, provider_id)
            case Retry(code=code):
                self._journal.answered(message.id, Stage.UNSENT, code)
            case Dead(code=code):
                self._journal.answered(message.id, Stage.DEAD, code)
            # kept as written without an answer: its reader decides the same as for a death in the middle of the send
            case InDoubt():
                self._journal.writing(message.id)

    def end(self, message: OutboundMessage) -> None:
        """Remove a message whose outcome is committed, or that is not ours any more."""
        del self._messages[message.id], self._started_at[message.id]
        self._held[message.connection_id] -= 1
        if not self._held[message.connection_id]:
            # a Counter keeps zeros, and `held` must list only connections with sends in flight
            del self._held[message.connection_id]
        self._journal.end(message.id)

    def _slow(self) -> set[int]:
        """Connections with a send that takes long."""
        slow, before = set(), self._clock() - fairness.SLOW_S
        # in the order of their start
        for row_id, started_at in self._started_at.items():
            if started_at > before:
                break
            slow.add(self._messages[row_id].connection_id)
        return slow
