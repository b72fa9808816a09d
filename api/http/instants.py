"""Query parameters that are instants or days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from api.http.parameters import Parameter, query_invalid
from shared.clock import read_timestamp

_INSTANT: Final = "an instant in ISO 8601 with a time zone, such as 2026-12-01T09:00:00Z"
_DAY: Final = "a day, such as 2026-12-01"


def instant(name: str, purpose: str) -> Parameter:
    """Return the parameter for an instant."""
    return Parameter(
        name=name,
        place="query",
        purpose=purpose,
        schema={"type": "string", "format": "date-time", "maxLength": 40},
        rule=_INSTANT,
    )


def day(name: str, purpose: str) -> Parameter:
    """Return the parameter for a day."""
    return Parameter(
        name=name,
        place="query",
        purpose=purpose,
        schema={"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        rule=_DAY,
    )


def read_instant(query: Mapping[str, Any], name: str) -> datetime | None:
    """Return the instant of a parameter, None when it is absent. Raises `Problem` when it is none."""
    if query[name] is None:
        return None
    try:
        # a plus sign that was not escaped is a space
        return read_timestamp(query[name].replace(" ", "+"))
    except ValueError:
        raise query_invalid(name, f"{name} must be {_INSTANT}.") from None


def read_day(query: Mapping[str, Any], name: str) -> date | None:
    """Return the day of a parameter, None when it is absent. Raises `Problem` when it is none."""
    if query[name] is None:
        return None
    try:
        return date.fromisoformat(query[name])
    except ValueError:
        raise query_invalid(name, f"{name} must be {_DAY}.") from None
