"""What is under way to one subscriber, in the order of the stream. Conversations finish in any order; a position may be
written only when nothing before it is unfinished.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from hooks.rows import SubscriberSettlement
from shared.events.reader import Position


@dataclass(slots=True, eq=False)
class WindowEntry:
    """One event, or the end of a page of the stream.

    Attributes:
        settlement: what is to be written about it; None: unfinished. The end of a page is finished from the beginning.
    """

    position: Position
    settlement: SubscriberSettlement | None = None


class DeliveryWindow:
    """Entries that were read and are not written, the oldest first.

    Args:
        most: entries from which on no page is read.
    Attributes:
        finished: set while the oldest entry is finished, and for ever once it is closed. room: set while a page may be
            read.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: deque[WindowEntry] = deque()
        self._writing = 0
        self._closed = False
        self.finished, self.room = asyncio.Event(), asyncio.Event()
        self.room.set()

    def add(self, entry: WindowEntry) -> None:
        """Add the newest entry."""
        self._entries.append(entry)
        self._show()

    def finish(self, entry: WindowEntry, settlement: SubscriberSettlement) -> None:
        """Note what is to be written about an entry."""
        entry.settlement = settlement
        self._show()

    def take(self) -> SubscriberSettlement | None:
        """Return what is to be written about all entries before the first unfinished one, with the position up to
        there; None when the first is unfinished. They keep their places until `written`.
        """
        taken: SubscriberSettlement | None = None
        while self._entries and (settlement := self._entries[0].settlement) is not None:
            if taken is None:
                taken = settlement
            else:
                taken.include(settlement)
            taken.position = self._entries.popleft().position
            self._writing += 1
        self._show()
        return taken

    def written(self) -> None:
        """Give back the places of what was taken."""
        self._writing = 0
        self._show()

    def close(self) -> None:
        """Let `finished` be set: what is unfinished will not be finished any more."""
        self._closed = True
        self._show()

    def _show(self) -> None:
        first_is_finished = bool(self._entries) and self._entries[0].settlement is not None
        for event, holds in (
            (self.finished, self._closed or first_is_finished),
            (self.room, len(self._entries) + self._writing < self._most),
        ):
            if holds:
                event.set()
            else:
                event.clear()
