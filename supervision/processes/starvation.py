"""Distinguishes CPU starvation from a hang.

A process that hangs sleeps, or spins on a CPU of its own. One that is starved has a thread that could run, and gets
little of what it could use. CPU time that the machine withholds does not count as a child's silence, just as our own
delays do not.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.clock import Monotonic, monotonic

PROBE_S: Final = 0.25
"""Interval between two samples of a process that waits for a CPU."""
_ENOUGH: Final = 0.5
"""Share of one CPU during a sample with which a process could have sent its beat."""
_FORGOTTEN_S: Final = 4 * PROBE_S
"""Age in seconds at which a sample is no baseline any more: the process sent a beat in between."""
_TICK_S: Final = 0.01
"""Seconds of a clock tick in /proc/PID/stat: USER_HZ is 100 on every architecture that Bulkhead runs on."""
_PROC: Final = Path("/proc")
# States of /proc/PID/stat: R is running or on a run queue, D waits for a disk (proc(5)).
_WANTS: Final = frozenset("RD")


class Starvation:
    """Holds the CPU time of each silent process at its last sample."""

    def __init__(self, clock: Monotonic = monotonic, proc: Path = _PROC) -> None:
        self._clock, self._proc = clock, proc
        self._looks: dict[int, tuple[float, float]] = {}

    def is_starved(self, pid: int) -> bool:
        """Whether the process waits for a CPU (or a disk) and got too little since the last sample. The first sample
        has no baseline and counts as starved."""
        # Removed first: a process that sleeps starts anew the next time, without an old baseline.
        before = self._looks.pop(pid, None)
        if not self._wants_to_run(pid):
            return False
        now, used_s = self._clock(), self._used_s(pid)
        self._looks = {one: look for one, look in self._looks.items() if now - look[0] < _FORGOTTEN_S} | {
            pid: (now, used_s)
        }
        if before is None or now - before[0] >= _FORGOTTEN_S:
            return True
        return used_s - before[1] < _ENOUGH * (now - before[0])

    def _wants_to_run(self, pid: int) -> bool:
        """Whether some thread is on a run queue, or waits for a disk. All threads count: the one that has the
        interpreter's lock keeps the others waiting."""
        with suppress(OSError):
            for task in (self._proc / str(pid) / "task").iterdir():
                with suppress(OSError):
                    if _fields(task / "stat")[0] in _WANTS:
                        return True
        return False

    def _used_s(self, pid: int) -> float:
        with suppress(OSError):
            fields = _fields(self._proc / str(pid) / "stat")
            # utime and stime, fields 14 and 15, of all threads together.
            return (int(fields[11]) + int(fields[12])) * _TICK_S
        return 0.0


def _fields(stat: Path) -> list[str]:
    text = stat.read_text(encoding="utf-8", errors="replace")
    return text[text.rindex(")") + 2 :].split()
