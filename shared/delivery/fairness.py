"""How many more sends at once a connection may have, so that a slow one never takes the places of all others. Pure.

Two limits: one of its own for connections that can do only so much at once (browser sessions), and for whoever is slow just now: it holds at most three
times as many places as are free. A slow one alone gets three quarters of all, two of them three sevenths each; whoever comes next finds some free.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

SLOW_S: Final = 1.0
"""A connection with a send that is older than this is slow."""
_TIMES_FREE: Final = 3


@dataclass(frozen=True, slots=True)
class Rooms:
    """How many more sends a connection may have: `each` those that are not in `of`; None is no limit but the process's own."""

    each: int | None = None
    of: Mapping[int, int] = field(default_factory=dict)


def rooms(held: Mapping[int, int], slow: Collection[int], *, places: int, each: int) -> Rooms:
    """Return how many more sends connections may have.

    Args:
        held: sends in hand by connection. slow: connections that are slow just now. places: sends in hand at once, of all. each: most of one connection;
            0: no limit of its own.
    """
    free = places - sum(held.values())
    of: dict[int, int] = {}
    for number in held if each else slow:
        room = free
        if number in slow:
            # what is taken now is no longer free for the next: held + room <= 3 * (free - room)
            room = (_TIMES_FREE * free - held[number]) // (1 + _TIMES_FREE)
        of[number] = max(0, min(room, each - held[number]) if each else room)
    return Rooms(each or None, of)
