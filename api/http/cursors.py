"""Cursors of pages: the place of the last row, encoded so that clients do not take it apart."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any, Final

from api.http.parameters import query_invalid
from api.http.problems import Problem
from shared.clock import read_timestamp
from shared.store.texts import storable

PATTERN: Final = "^[A-Za-z0-9_-]{1,600}$"
"""An instant, a chat id (160 characters at most, some of four bytes) and a number, in base64."""
_MOST: Final = 1 << 63


def encode(at: datetime, *places: str | int) -> str:
    """Return the cursor of a row."""
    # instant and more: providers' instants are whole seconds, so several rows share one
    text = json.dumps([at.isoformat(), *places], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(given: str, *kinds: type) -> tuple[Any, ...]:
    """Return the instant of a cursor, and its places, of these kinds.

    Raises:
        Problem: it is no cursor of this list.
    """
    try:
        # padding is not sent; `validate` refuses characters that the decoder would otherwise skip
        raw = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        at, *places = json.loads(raw.decode())
        instant = read_timestamp(at)
    # a client's own text: anything may be in it
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise invalid() from error
    if [type(place) for place in places] != list(kinds) or not all(map(_fits, places)):
        raise invalid()
    return instant, *places


def _fits(place: str | int) -> bool:
    # what PostgreSQL can hold: JSON can spell NUL and half of a surrogate pair
    return place == storable(place) if isinstance(place, str) else 0 <= place < _MOST


def invalid() -> Problem:
    """Return the refusal of a cursor."""
    return query_invalid("cursor", "cursor must be `next` of an earlier page.")
