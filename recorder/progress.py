"""How far a long command is: one line that is written anew at a terminal, and nothing in a file or a pipe."""

from __future__ import annotations

import shutil
import sys
from typing import Final

_BAR: Final = 30
"""Characters of the bar at most; a narrow terminal gets a shorter one."""


class ProgressLine:
    """One line on standard error.

    Args:
        what: what is counted, as the line calls it. total: how many there are; None: it is not known.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total = what, total
        self._is_shown = sys.stderr.isatty()
        self._width = 0

    def show(self, count: int) -> None:
        """Show that so many are done."""
        if not self._is_shown:
            return
        columns = shutil.get_terminal_size().columns - 1
        words = f"{count:,} of {self._total:,} {self._what}" if self._total is not None else f"{count:,} {self._what}"
        size = min(_BAR, columns - len(words) - 3)
        if self._total and size > 0:
            full = size * min(count, self._total) // self._total
            words = f"[{'#' * full}{'.' * (size - full)}] {words}"
        # what the line before had more is blotted out
        line = words[:columns]
        self._write(f"\r{line.ljust(min(self._width, columns))}")
        self._width = len(line)

    def end(self) -> None:
        """Leave the line, if there is one."""
        if self._width:
            self._write("\n")
            self._width = 0

    def clear(self) -> None:
        """Remove the line, if there is one."""
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
