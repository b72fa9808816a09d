"""A wall clock that a test can set while the program runs: every look at the time of day, in orchestrator and children,
goes through here.

No process but a test can set the machine's clock, and no kernel namespace shifts it, so the two doors to it are
replaced: `shared.clock` and `time.time`. The monotonic clock is left alone, as it is when an operator or NTP sets the
wall clock.
"""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

from shared import clock

_VARIABLE = "FIXTURE_WALL_SHIFT"


def follow() -> None:
    """From now on the wall clock of this process goes ahead by as many seconds as the file says that FIXTURE_WALL_SHIFT
    names; without one it is true."""
    if not os.environ.get(_VARIABLE):
        return
    file, true_time = Path(os.environ[_VARIABLE]), time.time

    def ahead_s() -> float:
        return float(file.read_text()) if file.exists() else 0.0

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Shifted:
            return cls.fromtimestamp(true_time() + ahead_s(), tz)

    vars(clock)["datetime"] = Shifted
    time.time = lambda: true_time() + ahead_s()


def set_ahead(file: Path, seconds: float) -> None:
    """Set the clock of all who follow `file`."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)
