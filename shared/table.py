"""Aligned tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def lines(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return `rows` under `head` with aligned columns; numbers to the right, None as a dash."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[column]) for row in cells)]) for column, name in enumerate(head)]
    # a column is numeric only when every cell is: a text among numbers would shift the digits
    right = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(head))
    ]
    return [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *cells]
    ]


def age(at: str | None) -> str:
    """Return how long ago the instant `at` (ISO 8601) was, in one or two units."""
    if not at:
        return "-"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    sign, seconds = ("in ", -seconds) if seconds < 0 else ("", seconds)
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{sign}{days}d {hours}h"
    if hours:
        return f"{sign}{hours}h {minutes}m"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{seconds}s"


def cell(value: object) -> str:
    """Return a value as one line that a terminal obeys nothing of; a dash for None and for nothing."""
    # a name may hold control characters, which a terminal would obey: clients choose names
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(value))
    return "-" if value is None or text == "" else text
