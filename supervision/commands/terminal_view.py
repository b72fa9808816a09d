"""Draws tables and live pages on a terminal, in colours and folded to its width. Loaded only where there is a
terminal: the door to its library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shared.table import cell

Drawing: TypeAlias = RenderableType
"""Anything that can be drawn."""

STYLES: Final = {
    "green": ("ready", "active", "healthy", "ok", "taken", "delivered", "read", "sent", "linked"),
    "yellow": (
        "starting",
        "unready",
        "draining",
        "degraded",
        "warn",
        "backoff",
        "paused",
        "needs_link",
        "held",
        "in_doubt",
        "warning",
        "silenced",
        "unsupervised",
    ),
    "red": (
        "down",
        "fail",
        "failed",
        "quarantined",
        "misconfigured",
        "killing",
        "dead",
        "critical",
        "on",
        "revoked",
        "disabled",
        "unhealthy",
    ),
    "dim": ("stopped", "absent", "ended", "unlinked"),
}
"""Words that a table shows in a colour; a colour is never the only sign."""
_STYLE_OF: Final = {word: style for style, words in STYLES.items() for word in words}


def terminal() -> Console:
    """Return the terminal that we write to; it obeys NO_COLOR and COLUMNS."""
    return Console(highlight=False)


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, chosen: int | None = None, is_folded: bool = True
) -> Table:
    """Return a table.

    Args:
        head: names of the columns. rows: their cells.
        chosen: number of the row that is shown as the chosen one.
        is_folded: whether long cells are folded; else each row is one line, and what does not fit is cut.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column, name in enumerate(head):
        is_number = bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
        # what must be read in one piece is never cut: only the last column, which explains, gives way
        is_whole = is_number or (not is_folded and column < len(head) - 1)
        made.add_column(
            name,
            justify="right" if is_number else "left",
            overflow="fold" if is_folded else "ellipsis",
            no_wrap=is_number or not is_folded,
            min_width=max(len(name), *(len(cell(row[column])) for row in rows)) if is_whole and rows else None,
        )
    for number, row in enumerate(rows):
        # as text, not as markup: a name may hold brackets
        cells = [Text(cell(value), style=_STYLE_OF.get(str(value), "")) for value in row]
        made.add_row(*cells, style="reverse" if number == chosen else "")
    return made


def line(text: str, style: str = "") -> Text:
    """Return one line, cut where the terminal ends."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def lines_of(screen: Live) -> int:
    """Return how many lines a screen has now."""
    return screen.console.size.height


def page(parts: Sequence[Drawing]) -> Drawing:
    """Return parts below each other."""
    return Group(*parts)


def live_screen() -> Live:
    """Return a screen of its own, drawn at each update; the terminal is as it was afterwards."""
    return Live(console=terminal(), screen=True, auto_refresh=False)
