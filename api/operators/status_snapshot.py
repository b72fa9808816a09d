"""The orchestrator's snapshot of all slots, from its status file: available without PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.process import status_file


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Content of the status file.

    Attributes:
        state: `running` or `stopping` from the file, `stale` when it is old, `missing` when it cannot be read.
        slots: by slot name; empty unless fresh.
    """

    state: str
    age_s: float | None
    at: str | None
    slots: Mapping[str, Mapping[str, Any]]

    @property
    def fresh(self) -> bool:
        """Whether the slots are current."""
        return self.state in ("running", "stopping")

    def as_json(self) -> dict[str, Any]:
        """Return the facts about the orchestrator itself."""
        return {"state": self.state, "at": self.at, "ageSeconds": None if self.age_s is None else round(self.age_s, 1)}


def read(path: Path, now: datetime | None = None) -> Snapshot:
    """Read the status file at `path`. Never raises: an unreadable file is `missing`."""
    found = status_file.read(path, now)
    try:
        values = found.values if found else {}
        slots = {str(name): dict(slot) for name, slot in values["slots"].items()}
        state = str(values["state"])
    except (ValueError, TypeError, LookupError, AttributeError):
        # a file of another version, or an incomplete one: health shows it as missing and responds
        found = None
    if found is None:
        return Snapshot(state="missing", age_s=None, at=None, slots={})
    # old slots are not shown: the processes in them may be long gone
    if not found.is_fresh:
        return Snapshot(state="stale", age_s=found.age_s, at=found.values["at"], slots={})
    return Snapshot(state=state, age_s=found.age_s, at=found.values["at"], slots=slots)
