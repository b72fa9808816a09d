"""Measures the process trees of all slots in rounds, one process at a time, and keeps the last result of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from supervision.decisions.model import SERVING, Measured, Slot
from supervision.processes.resources import Sampler, Usage, own_usage

EVERY_S = 3.0
"""Seconds between two rounds; each reads /proc for every process."""
_APART_S = 0.005
"""Seconds between measuring two processes, so that measuring many of them delays no event."""


class Measurements:
    """What each slot's tree uses, and the orchestrator itself.

    Args:
        tree_of: returns the pids of a slot's tree.

    Attributes:
        of_slots: the last measurement, by slot. own: of this process.
    """

    def __init__(self, tree_of: Callable[[str], Iterable[int]]) -> None:
        self._sampler = Sampler(tree_of)
        self.of_slots: dict[str, Usage] = {}
        self.own = own_usage()

    @property
    def pause_s(self) -> float | None:
        """How long to pause before the next `step`; None: no round is under way."""
        return None if self._sampler.is_idle else _APART_S

    def begin(self, slots: Mapping[str, Slot]) -> None:
        """Begin a round, and forget slots that no longer exist."""
        self.own = own_usage()
        self.of_slots = {name: usage for name, usage in self.of_slots.items() if name in slots}
        # Processes that drain or die are not measured: ceilings no longer matter to them.
        self._sampler.begin([name for name, slot in slots.items() if slot.state in SERVING])

    def step(self) -> Measured | None:
        """Measure one more process, and return a slot's measurement when it was the last of its tree."""
        measured = self._sampler.step()
        if measured is None:
            return None
        slot, usage = measured
        self.of_slots[slot] = usage
        return Measured(slot, usage.memory_mb)
