"""A job function that a stock worker can run by its dotted name."""

from __future__ import annotations

seen: list[int] = []


def look_at(row_id: int) -> None:
    """Remember the row."""
    seen.append(row_id)
