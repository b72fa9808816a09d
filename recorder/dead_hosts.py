"""Decides which lives of processes count as dead because of their heartbeats and leases; pure.

One query is not enough. After an outage of the database every process seems silent until it has had time to write
again, and every lease has run out when the database's clock jumps. So a life counts as dead when its lease has run out
and it was seen without any sign of life, at every look, for a time that this process has measured itself.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.clock import Monotonic, monotonic
from shared.store.processes import SilentLife


class DeadHosts:
    """Remembers since when each silent life has shown the same sign of life.

    Args:
        for_s: how long that must be. gap_s: a longer time without a look starts the time of every life anew.
    """

    def __init__(self, *, for_s: float, gap_s: float, clock: Monotonic = monotonic) -> None:
        self._for_s, self._gap_s, self._clock = for_s, gap_s, clock
        self._looked_at = clock()
        self._since: dict[tuple[str, str], float] = {}

    def judge(self, silent: Collection[SilentLife]) -> list[SilentLife]:
        """Return those of the lives found `silent` just now that count as dead."""
        now = self._clock()
        if now - self._looked_at > self._gap_s:
            # What was silent before the gap may have written during it and be silent again: each silence must be seen
            # whole.
            self._since.clear()
        self._looked_at = now
        # One that is not silent at this look, or has written since the last one, loses its time: it lives.
        keys = [(life.incarnation, life.beat) for life in silent]
        self._since = {key: self._since.get(key, now) for key in keys}
        return [
            life
            for life, key in zip(silent, keys, strict=True)
            if life.expired and now - self._since[key] >= self._for_s
        ]
