"""Decides which incarnations have been silent in the heartbeat table for long enough to count as dead; pure.

One query is not enough: after an outage of the database every process seems silent until it has had time to write
again.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.clock import Monotonic, monotonic


class DeadHosts:
    """Remembers since when each incarnation was seen to be silent.

    Args:
        for_s: how long an incarnation must be found silent at every look. gap_s: a longer time without a look starts
            the time of every incarnation anew.
    """

    def __init__(self, *, for_s: float, gap_s: float, clock: Monotonic = monotonic) -> None:
        self._for_s, self._gap_s, self._clock = for_s, gap_s, clock
        self._looked_at = clock()
        self._since: dict[str, float] = {}

    def judge(self, silent: Collection[str]) -> list[str]:
        """Return those of the incarnations found `silent` just now that count as dead."""
        now = self._clock()
        if now - self._looked_at > self._gap_s:
            # What was silent before the gap may have written during it and be silent again: each silence must be seen
            # whole.
            self._since.clear()
        self._looked_at = now
        # One that is not silent at this look loses its time: it lives.
        self._since = {incarnation: self._since.get(incarnation, now) for incarnation in silent}
        return [incarnation for incarnation, since in self._since.items() if now - since >= self._for_s]
