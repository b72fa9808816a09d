"""The orchestrator's snapshot of all slots, from its status file: available without PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.clock import utc_now

FRESH_S: Final = 5.0
"""The orchestrator writes each second; an older snapshot is reported as stale and not used."""


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
        """Whether the slots can be believed."""
        return self.state in ("running", "stopping")

    def as_json(self) -> dict[str, Any]:
        """Return the facts about the orchestrator itself."""
        return {"state": self.state, "at": self.at, "ageSeconds": None if self.age_s is None else round(self.age_s, 1)}


def read(path: Path, now: datetime | None = None) -> Snapshot:
    """Read the status file at `path`. Never raises: what cannot be read is `missing`."""
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
        written_at = datetime.fromisoformat(account["at"])
        age_s = ((now or utc_now()) - written_at).total_seconds()
        slots = {str(name): dict(slot) for name, slot in account["slots"].items()}
        state = str(account["state"])
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return Snapshot(state="missing", age_s=None, at=None, slots={})
    # a clock that was set back must not make an old account look fresh
    if not -FRESH_S <= age_s <= FRESH_S:
        return Snapshot(state="stale", age_s=age_s, at=account["at"], slots={})
    return Snapshot(state=state, age_s=age_s, at=account["at"], slots=slots)
