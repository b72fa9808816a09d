"""Progress of a run: a bar on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import shutil
from typing import Final, TextIO

from chaos.run import Progress

_BAR: Final = 24
"""Characters of the bar; the rest of the line is for the counts."""
_LINE_EVERY_S: Final = 10.0
"""Seconds between two lines without a terminal, as in a CI log."""


class Screen:
    """Shows progress on `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._next_line_s = 0.0
        self._doing = ""

    def show(self, progress: Progress) -> None:
        """Show the progress."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            # one column stays free: a character in the last one makes some terminals start a new line
            self._write("\r" + line(progress)[: width - 1].ljust(width - 1))
        elif progress.elapsed_s >= self._next_line_s or progress.doing != self._doing:
            self._next_line_s = progress.elapsed_s + _LINE_EVERY_S
            self._doing = progress.doing
            self._write(line(progress) + "\n")

    def say(self, text: str) -> None:
        """Show a message."""
        self._write(("\r" if self._is_terminal else "") + text + "\n")

    def done(self) -> None:
        """End the bar's line."""
        if self._is_terminal:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def line(progress: Progress) -> str:
    """Return one line."""
    part = progress.faults / progress.planned if progress.planned else 1.0
    bar = "#" * round(part * _BAR)
    return (
        f"[{bar:<{_BAR}}] {progress.faults}/{progress.planned} faults  {progress.doing:<12} {progress.elapsed_s:5.0f} "
        f"s  "
        f"asked {progress.asked}  accepted {progress.accepted}  arrived {progress.arrived}"
    )
