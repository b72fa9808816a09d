"""The last known set of kinds that some connection needs, kept over restarts of the orchestrator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from shared.atomic_file import replace_file


def read(path: Path) -> frozenset[str] | None:
    """Return the saved set; None when there is none or it cannot be parsed: the recorder then has to report first."""
    try:
        kinds = json.loads(path.read_text(encoding="utf-8"))
    # Unknown is safe: kinds that depend on rows then wait for the recorder's first report.
    except (FileNotFoundError, ValueError):
        return None
    return frozenset(map(str, kinds)) if isinstance(kinds, list) else None


def write(path: Path, kinds: Iterable[str]) -> None:
    """Save the set atomically."""
    replace_file(path, json.dumps(sorted(kinds)))
