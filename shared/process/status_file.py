"""The orchestrator's snapshot of all slots, `run/status.json`, as its readers see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.clock import utc_now
from shared.process.slot_lock import boot_id

FRESH_S: Final = 5.0
"""Age up to which a snapshot counts as the present state: it is written every second, and a busy machine may delay
that.
"""


@dataclass(frozen=True)
class StatusFile:
    """One snapshot. `age_s`: seconds since it was written, by the wall clock."""

    values: dict[str, Any]
    age_s: float

    @property
    def is_fresh(self) -> bool:
        """Whether an orchestrator wrote it just now. A clock that was set back must not make an old one look fresh."""
        return -FRESH_S <= self.age_s <= FRESH_S


def read(path: Path, now: datetime | None = None) -> StatusFile | None:
    """Return the last snapshot; None when there is none, it cannot be parsed, or it was written before the machine's
    last boot.

    Args:
        path: `runtime.status_file` of the home. now: of the wall clock; None: this moment.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        age_s = ((now or utc_now()) - datetime.fromisoformat(values["at"])).total_seconds()
        # A pid of an earlier boot says nothing about the processes of this one.
        is_of_this_boot = values.get("boot_id", boot_id()) == boot_id()
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return StatusFile(values, age_s) if is_of_this_boot else None
