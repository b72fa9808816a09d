"""How many more sends in flight a connection may have, so that a slow one never takes the places of all others. Pure.

Two limits: a fixed one for connections that can do only so much at once (browser sessions), and one for a connection
that is slow just now: it holds at most three times as many places as are free. A slow one alone gets three quarters of
all, two of them three sevenths each; the next one finds some free.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

SLOW_S: Final = 1.0
"""Seconds; a connection with an older send in flight is slow. A provider that is well answers in less."""
_TIMES_FREE: Final = 3
"""Places that a slow connection may hold for each free one: what is left free shrinks, but never to nothing."""


@dataclass(frozen=True, slots=True)
class Capacities:
    """How many more sends a connection may have: `default`, unless it is in `of`; None is no limit but the process's
    own."""

    default: int | None = None
    of: Mapping[int, int] = field(default_factory=dict)


def capacities(held: Mapping[int, int], slow: Collection[int], *, places: int, each: int) -> Capacities:
    """Return how many more sends connections may have.

    Args:
        held: sends in flight by connection. slow: connections that are slow just now. places: sends in flight at once,
            of all. each: most of one connection; 0: no limit of its own.
    """
    free = places - sum(held.values())
    of: dict[int, int] = {}
    # without a fixed limit only slow connections are limited; one that holds nothing has `default`
    for connection_id in held if each else slow:
        more = free
        if connection_id in slow:
            # what is taken now is no longer free for the next: held + more <= 3 * (free - more)
            more = (_TIMES_FREE * free - held[connection_id]) // (1 + _TIMES_FREE)
        # never below zero: a connection that has become slow may hold more than its share already
        of[connection_id] = max(0, min(more, each - held[connection_id]) if each else more)
    return Capacities(each or None, of)
