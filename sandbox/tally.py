"""Counts from the ledger how often each message arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from sandbox.ledger import Ledger

ARRIVED: Final[Mapping[tuple[str, str], str]] = {
    ("graph", "accepted"): "callback",
    ("d360", "accepted"): "callback",
    ("web", "message_arrived"): "message_id",
}
"""Entries that record the arrival of a business message, and the field with the sender's name for the message."""


class Tally:
    """Counts of the entries after number `since`; each call of `catch_up` reads only what is new."""

    def __init__(self, since: int = 0) -> None:
        self.since = since
        self.seq = since
        self.events: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()
        self.unnamed = 0

    def catch_up(self, ledger: Ledger) -> None:
        """Count the entries since the last call. May run in another thread, one at a time."""
        # `scan`, not `entries`: the tail in memory belongs to the event loop's thread
        for entry in ledger.scan(self.seq):
            self.seq = entry.seq
            self.events[f"{entry.channel}.{entry.event}"] += 1
            if name := ARRIVED.get((entry.channel, entry.event)):
                if message := entry.fields.get(name):
                    self.arrived[message] += 1
                else:
                    # without a name a duplicate cannot be detected, so these are counted and reported
                    self.unnamed += 1

    def summary(self) -> dict[str, Any]:
        """Return the counts; `duplicated` names every message that arrived more than once, `unnamed` counts arrivals
        without callback data.
        """
        return {
            "since": self.since,
            "seq": self.seq,
            "arrived": self.arrived.total() + self.unnamed,
            "distinct": len(self.arrived),
            "unnamed": self.unnamed,
            "duplicated": {message: times for message, times in self.arrived.items() if times > 1},
            "events": dict(self.events),
        }
