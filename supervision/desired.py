"""The recorder's last word on which kinds some connection needs, kept over the orchestrator's lives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def read(path: Path) -> frozenset[str] | None:
    """Return the kept word; None when there is none, or none that can be read: then the recorder is waited for."""
    try:
        kinds = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return frozenset(map(str, kinds)) if isinstance(kinds, list) else None


def write(path: Path, kinds: Iterable[str]) -> None:
    """Keep the word, in one step."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(sorted(kinds)), encoding="utf-8")
    beside.replace(path)
