"""How often a session has connected to WhatsApp in the last hour: WhatsApp bans accounts that connect all the time.

The instants are kept in a file beside the profile, so that a process that is killed again and again does not lose them.
Removing the profile removes the link to the phone and the count. Wall-clock seconds, since they are valid beyond a
reboot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from shared.atomic_file import replace_file
from shared.logs import logger

log = logger(__name__)

HOUR_S: Final = 3600.0
"""Length of the window, in seconds."""
_AHEAD_S: Final = 60.0
"""An instant that lies further ahead comes from a clock that was wrong."""


class Connects:
    """The connects of one session.

    Args:
        file: where they are kept. most: connects within an hour after which it is to wait. pause_s: how long. clock:
            wall-clock seconds.
    """

    def __init__(self, file: Path, *, most: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._file, self._most, self._pause_s, self._clock = file, most, pause_s, clock
        self._at: list[float] | None = None

    def note(self) -> None:
        """Count a connect now. Writes a small file."""
        self._at = [*self._recent(), self._clock()]
        self._write()

    def take_back(self) -> None:
        """Forget the newest one: it did not reach WhatsApp."""
        self._at = self._recent()[:-1]
        self._write()

    def count(self) -> int:
        """Return how many there were within the last hour."""
        return len(self._recent())

    def wait_s(self) -> float:
        """Return the seconds until the next one may happen: 0 while there were few, else the rest of the pause."""
        recent = self._recent()
        # counted from the newest one: each further connect, also one that an operator asked for, restarts the pause
        return max(0.0, recent[-1] + self._pause_s - self._clock()) if len(recent) >= self._most else 0.0

    def forget(self) -> None:
        """Start counting anew: the profile was wiped."""
        self._at = []

    def _write(self) -> None:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # replaced as a whole: a torn file would lose the count
            replace_file(self._file, "".join(f"{at:.1f}\n" for at in self._at or []))
        except OSError as error:
            # the count of this life still holds
            log.warning("connects_not_kept", reason=type(error).__name__)

    def _recent(self) -> list[float]:
        if self._at is None:
            self._at = self._read()
        now = self._clock()
        self._at = [at for at in self._at if now - HOUR_S < at < now + _AHEAD_S]
        return self._at

    def _read(self) -> list[float]:
        try:
            return sorted(float(line) for line in self._file.read_text().split())
        except FileNotFoundError:
            return []
        # an unreadable file counts as empty: the session may start, and counts from here
        except (OSError, ValueError) as error:
            log.warning("connects_not_kept", reason=type(error).__name__)
            return []
