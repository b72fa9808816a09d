"""How long slots were ready, and how long it took to replace a process that was lost: pure, time is an argument."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from shared.process.slot_metrics import RECOVERY_BUCKETS_S
from shared.states import SlotState
from supervision.decisions.model import Slot

_WORKING = (SlotState.READY, SlotState.UNREADY)


class Reliability:
    """Follows the states of all slots."""

    def __init__(self) -> None:
        # slot -> state and instant (monotonic) since which it counts
        self._since: dict[str, tuple[SlotState, float]] = {}
        self._up_s: dict[str, float] = {}
        self._down_s: dict[str, float] = {}
        self._lost_at: dict[str, float] = {}
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def changed(self, old: SlotState | None, slot: Slot, now: float) -> None:
        """Record that a slot is in another state than `old`; None: it is new."""
        self._add(slot.name, now)
        self._since[slot.name] = (slot.state, now)
        # A replacement that was asked for drains first, and is no loss.
        if slot.state is SlotState.KILLING and old in _WORKING:
            self._lost_at.setdefault(slot.name, now)
        elif slot.state is SlotState.STOPPED:
            self._lost_at.pop(slot.name, None)
        elif slot.state is SlotState.READY and (lost_at := self._lost_at.pop(slot.name, None)) is not None:
            counts = self._counts.setdefault(slot.kind, [0] * (len(RECOVERY_BUCKETS_S) + 1))
            counts[bisect_left(RECOVERY_BUCKETS_S, now - lost_at)] += 1
            self._sums_s[slot.kind] = self._sums_s.get(slot.kind, 0.0) + now - lost_at

    def of_slot(self, name: str, now: float) -> Mapping[str, float]:
        """Return the seconds for which a slot was ready, and was not although it should have been."""
        self._add(name, now)
        return {"up_s": round(self._up_s.get(name, 0.0), 3), "down_s": round(self._down_s.get(name, 0.0), 3)}

    def recoveries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return by kind how many recoveries took how long (`RECOVERY_BUCKETS_S`), and the sum of their seconds."""
        return {
            kind: {"counts": counts, "sum_s": round(self._sums_s[kind], 3)} for kind, counts in self._counts.items()
        }

    def _add(self, name: str, now: float) -> None:
        if name not in self._since:
            return
        state, since = self._since[name]
        self._since[name] = (state, now)
        # a stopped slot is neither: nothing should run there
        if state is not SlotState.STOPPED:
            sums = self._up_s if state is SlotState.READY else self._down_s
            sums[name] = sums.get(name, 0.0) + now - since
