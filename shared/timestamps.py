"""Timestamps are written in ISO 8601, in UTC, with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def iso(at: datetime) -> str: ...
@overload
def iso(at: None) -> None: ...
def iso(at: datetime | None) -> str | None:
    """Return an instant as clients see it, None for none."""
    # `Z` and not `+00:00`: the plus sign turns into a space in a query that is not escaped
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
