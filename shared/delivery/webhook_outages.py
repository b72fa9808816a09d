"""How long silence about a message has been worth something: it proves nothing about a time in which nobody could have heard.

A process that looks at its doubts twice a second thereby proves that it ran and that PostgreSQL answered, so that webhooks could be taken and kept. A
longer time without such a look, by any process of the kind, is a break, and so is the time for which a post waited that was refused or answered late:
what was posted then was perhaps not heard, and the provider posts it again at its own pace. A provider that doubles its waits comes back at the latest
after as long again as the break was; only silence beyond that counts.

What is remembered stands in one small file for each kind, so that the next life of a process knows it too: its time stamp is the last look, its lines
are the breaks (begin and end, seconds since 1970).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from shared.store.messages import Doubt

OUTAGE_S: Final = 3.0
"""A longer time between two looks is a break."""
_KEPT: Final = 200
_LONGEST_FILE: Final = 65_536

Break = tuple[float, float]


class WebhookOutages:
    """The watch of one kind's processes in one home.

    Args:
        path: the file that they share. clock: seconds since 1970, as in the file's time stamp.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def record_alive(self) -> None:
        """Say that a look succeeded just now; the first one of all ends a break that had no beginning."""
        now = self._clock()
        try:
            known = self._path.stat()
        except FileNotFoundError:
            self._add((0.0, now))
        else:
            if now - known.st_mtime > OUTAGE_S:
                self._add((known.st_mtime, now))
            if known.st_size > _LONGEST_FILE:
                self._shorten()
        os.utime(self._path, (now, now))

    def record_outage(self, for_s: float) -> None:
        """Say that somebody who spoke to us had no answer for so long, or none at all: a break, however short, since he may come again later than others."""
        now = self._clock()
        try:
            looked = self._path.stat().st_mtime
        except FileNotFoundError:
            return  # the first look of all ends a break that this one lies in
        self._add((now - for_s, now))
        os.utime(self._path, (looked, looked))

    def discount(self, doubts: Sequence[Doubt]) -> list[Doubt]:
        """Return the doubts with only the silence that counts: `doubt_s` without breaks and what they cost, `claimed_at` not before the last of them."""
        breaks, now = self._breaks() if doubts else [], self._clock()
        return [_weigh(doubt, [one for one in breaks if one[1] > now - doubt.age_s], now) for doubt in doubts]

    def _breaks(self) -> list[Break]:
        lines = (line.split() for line in self._path.read_text(encoding="ascii").splitlines())
        return [(float(begin), float(end)) for begin, end in lines]

    def _add(self, one: Break) -> None:
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{one[0]:.3f} {one[1]:.3f}\n")

    def _shorten(self) -> None:
        """Keep the youngest breaks."""
        shorter = self._path.with_suffix(".new")
        shorter.write_text(
            "".join(f"{begin:.3f} {end:.3f}\n" for begin, end in self._breaks()[-_KEPT:]), encoding="ascii"
        )
        shorter.replace(self._path)


def _weigh(doubt: Doubt, breaks: Sequence[Break], now: float) -> Doubt:
    """Take out of a doubt what `breaks`, all of which ended after its claim, leave of it."""
    if not breaks:
        return doubt
    claimed = now - doubt.age_s
    unbroken_s = now - max(end for _, end in breaks)
    longest_s = max(end - max(begin, claimed) for begin, end in breaks)
    return replace(
        doubt,
        doubt_s=max(0.0, min(doubt.doubt_s, unbroken_s) - longest_s),
        claimed_at=doubt.claimed_at + timedelta(seconds=max(0.0, doubt.age_s - unbroken_s)),
    )
