"""Figures of every process of a home, by files below `home/run`: each process writes its own every few seconds, and any
process can show all of them. No process asks another, so a hung one holds up no scrape; its figures just end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from shared.atomic_file import replace_file
from shared.clock import utc_now
from shared.process import runtime, status_file
from shared.process.exposition import Family, family_of, merged
from shared.process.metrics import Metrics
from shared.process.slot_metrics import orchestrator_families

WRITTEN_S: Final = 5.0
"""Seconds between two writes: a third of Prometheus' usual interval."""
FRESH_S: Final = 15.0
"""Age of a file up to which it counts: what is older is of a process that is gone or hangs."""


def write(home: Path, slot: str, metrics: Metrics) -> None:
    """Write the figures of this process. Raises `OSError`."""
    values = {"at": utc_now().timestamp(), "families": [family.as_json() for family in metrics.families()]}
    replace_file(runtime.metrics_file(home, slot), json.dumps(values))


def remove(home: Path, slot: str) -> None:
    """Remove the figures of a process that stops."""
    runtime.metrics_file(home, slot).unlink(missing_ok=True)


def gather(home: Path, now: float | None = None) -> list[Family]:
    """Return the figures of every process that wrote them just now, and what the orchestrator knows of its slots.

    Args:
        now: of the wall clock; None: this moment. Never raises: what cannot be read is left out.
    """
    now = utc_now().timestamp() if now is None else now
    groups = [_read(path, now) for path in sorted(runtime.run_dir(home).glob(f"*{runtime.METRICS_SUFFIX}"))]
    return merged([*groups, _of_the_orchestrator(home)])


def _read(path: Path, now: float) -> list[Family]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        # a file of before the last boot is older too; a clock that was set back must not make an old one look fresh
        if not -FRESH_S <= now - float(values["at"]) <= FRESH_S:
            return []
        return [family_of(one) for one in values["families"]]
    # removed by a process that stops, or written by another version
    except (OSError, ValueError, TypeError, LookupError):
        return []


def _of_the_orchestrator(home: Path) -> list[Family]:
    found = status_file.read(runtime.status_file(home))
    try:
        return orchestrator_families(found.values if found is not None and found.is_fresh else None)
    # of another version, during an upgrade: its figures end, and nothing is claimed of it
    except (ValueError, TypeError, LookupError, AttributeError):
        return []
