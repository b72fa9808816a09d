"""The orchestrator's own account of all slots, read from its status file: what is known while PostgreSQL is away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.clock import utc_now

FRESH_S: Final = 5.0
"""The orchestrator writes each second; an older account is said to be stale and is not believed."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the status file says.

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
        """Return what is said about the orchestrator itself."""
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
