"""Which numbers of a single-process server Bulkhead serves, and when it gives them back: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from hashlib import sha256
from typing import Final

FEWEST: Final = 20
"""Messages below which their share of failures says nothing."""


class Side(StrEnum):
    """Who serves a number."""

    THERE = auto()
    """The single-process server."""
    BETWEEN = auto()
    """Neither: a move was interrupted, and its messages wait."""
    HERE = auto()


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class MovedNumber:
    """One number of both programs; `is_session`: a browser serves it."""

    company_id: str
    phone_index: int
    connection_id: int
    is_session: bool
    side: Side

    @property
    def name(self) -> str:
        """Return it as operators write it."""
        return f"{self.company_id}/{self.phone_index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReturnLimits:
    """Above which numbers are given back. `failed_share`: of messages that ended; `oldest_s`: age of a message that is
    due, in seconds.
    """

    failed_share: float
    oldest_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedFigures:
    """Of messages of the moved numbers that were accepted within the window.

    Attributes:
        failed, ended: how many. oldest_s: for how long the oldest that is not sent has been due; 0: none is. paused: a
            number that is paused, and why; empty: none is.
    """

    failed: int
    ended: int
    oldest_s: float
    paused: str = ""


def steps(numbers: Sequence[MovedNumber], percent: float) -> tuple[list[MovedNumber], list[MovedNumber]]:
    """Return the numbers that come here and those that go back, so that `percent` of all are here.

    In an order that depends on nothing but their names: 50 % holds all of the 10 %, at any time.
    """
    in_order = sorted(numbers, key=lambda one: (sha256(one.name.encode()).digest(), one))
    many = math.ceil(len(in_order) * percent / 100)
    come = [one for one in in_order[:many] if one.side is not Side.HERE]
    go = [one for one in in_order[many:] if one.side is not Side.THERE]
    return come, go


def reason_to_return(figures: MovedFigures, limits: ReturnLimits) -> str:
    """Return why the numbers are given back; empty: they stay."""
    if figures.paused:
        # the breaker pauses a number before it has failed often enough to count
        name, _, why = figures.paused.partition(": ")
        return f"{name} is paused here: {why}"
    if figures.ended >= FEWEST and figures.failed > limits.failed_share * figures.ended:
        return f"{figures.failed} of {figures.ended} messages failed, more than {limits.failed_share:.0%}"
    if figures.oldest_s > limits.oldest_s:
        return f"a message is due for {figures.oldest_s:.0f} s, longer than {limits.oldest_s:.0f} s"
    return ""
