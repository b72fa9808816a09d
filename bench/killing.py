"""Kills processes of a kind that have work in hand, lets work come in as fast as it is done, and waits for its end."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bench.installation import Installation
from shared.process import runtime
from shared.process.slot_lock import read_holder
from tests.support.waiting import eventually

_NEXT_S: Final = 120.0
"""Longest wait for a process with work in hand, and for the end of what shall end between two kills."""
_END_S: Final = 120.0
"""Longest wait for the end of all work, beside what each piece of it takes."""
_SHOWN_KILLS: Final = 10
_SHOWN_EACH_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class KindOfWork:
    """What a kind works on.

    Attributes:
        name: of one piece of it. ended: SQL of how much has ended. holders: SQL of the incarnations that have some in
            hand, a dead one until it is given back. waiting: SQL of how much has not ended. piece_s: seconds that a
            piece takes at most, on average, on a busy machine: what is left at the end has so long.
    """

    name: str
    ended: str
    holders: str
    waiting: str
    piece_s: float

    def done(self, installation: Installation) -> int:
        """Return how much has ended."""
        return int(installation.rows(self.ended)[0][0])

    def left(self, installation: Installation) -> int:
        """Return how much has not ended."""
        return int(installation.rows(self.waiting)[0][0])

    def lives(self, installation: Installation) -> set[str]:
        """Return the incarnations that have some in hand."""
        return {row[0] for row in installation.rows(self.holders)}


def kill_lives(
    installation: Installation, work: KindOfWork, *, kills: int, between: int, within_s: float, dice: random.Random
) -> int:
    """Kill `kills` lives that have work in hand, each somewhere in the `within_s` seconds after it was seen to have
    some. Returns how many had work in hand at that moment.

    Args:
        between: work that ends between two kills: on a busy machine all else would only ever be begun, and given up.
    """
    seen: set[str] = set()
    killed = in_hand = 0
    while killed < kills:
        # one that was killed may still hold its slot, and its work, for a moment
        lives = eventually(
            lambda: sorted(work.lives(installation) - seen), _NEXT_S, f"a process has a {work.name} in hand"
        )
        life = dice.choice(lives)
        time.sleep(dice.uniform(0.0, within_s))
        has_work = life in work.lives(installation)
        seen.add(life)
        holder = read_holder(runtime.slot_lock_file(installation.bulkhead.home, life.partition(".")[0]))
        if holder is None or holder.incarnation != life or holder.pid is None:
            # it has ended by itself meanwhile
            continue
        with suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGKILL)
            killed, in_hand = killed + 1, in_hand + has_work
            if killed % _SHOWN_KILLS == 0:
                _show(f"{killed} of {kills} killed, {work.left(installation)} of {work.name} left")
        _wait_for_more(installation, work, between)
    return in_hand


def _wait_for_more(installation: Installation, work: KindOfWork, more: int) -> None:
    before = work.done(installation)
    eventually(
        lambda: work.done(installation) >= before + more, _NEXT_S, f"{more} of {work.name} end between two kills"
    )


def feed(
    installation: Installation,
    work: KindOfWork,
    give: Callable[[], None],
    *,
    rate: float,
    most: int | None,
    stop: threading.Event,
) -> None:
    """Give work at most `rate` times a second, while less than `most` of it waits, until `stop` is set: kills take most
    of what an installation can do, and a queue that only grows shows no more. None: however much waits, without a look.
    """
    while not stop.wait(1 / rate):
        if most is None or work.left(installation) < most:
            give()


def wait_for_end(installation: Installation, work: KindOfWork) -> None:
    """Wait until all work has ended, however much it is. Raises `NeverHappened` when it takes longer than it may."""
    shown_at = 0.0

    def nothing_left() -> bool:
        nonlocal shown_at
        left = work.left(installation)
        if left and time.monotonic() - shown_at > _SHOWN_EACH_S:
            shown_at = time.monotonic()
            _show(f"{left} of {work.name} left")
        return not left

    eventually(
        nothing_left,
        _END_S + work.piece_s * work.left(installation),
        lambda: f"every {work.name} ends; {work.left(installation)} are left",
        poll_s=0.2,
    )


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
