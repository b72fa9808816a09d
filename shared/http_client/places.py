"""Places among connections, shared so that no owner can fill them all."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, TypeAlias

SLOW_S: Final = 1.0
"""Seconds; who holds a place for longer is slow until the next one is given back sooner."""


@dataclass(eq=False, slots=True)
class PlaceHolder:
    """What holds places: one of an owner's several (a subscriber of a company).

    Attributes:
        held: places. has_own: whether one of them is the holder's own. is_quick: whether the last place was given back
            soon; unproven, a holder is slow.
    """

    owner: Hashable
    held: int = 0
    has_own: bool = False
    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """One place that is held. `at`: instant on the event loop's clock since when."""

    holder: PlaceHolder
    is_own: bool
    at: float


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """What is asked of a policy: one more place for a holder.

    Attributes:
        places: to be shared. free: of them. of_owner: held by the holder's owner. is_quick: see `PlaceHolder`.
    """

    places: int
    free: int
    of_owner: int
    is_quick: bool


PlacePolicy: TypeAlias = Callable[[PlaceRequest], bool]
"""Decides whether the place may be taken."""


def first_come(asked: PlaceRequest) -> bool:
    """Give places to those that ask first."""
    return asked.free > 0


def fair_share(asked: PlaceRequest) -> bool:
    """Give an owner no more places than stay free besides, and slow holders only those of one half.

    A place may be held for many seconds and cannot be taken back: therefore some stay free for the next.
    """
    free = asked.free if asked.is_quick else asked.free - asked.places // 2
    return asked.of_owner < free


class SharedPlaces:
    """Places by holder.

    Args:
        places: to be shared by `may_take`. own: holders at once that have one more place of their own each, whatever
            others hold.

    Attributes:
        free: places that are not held, of both kinds.
    """

    def __init__(self, places: int, may_take: PlacePolicy, *, own: int = 0) -> None:
        self._places, self._may_take = places, may_take
        self._free, self._own_free = places, own
        self._of_owner: Counter[Hashable] = Counter()
        # slow ones and quick ones, each in the order in which they wait; only the event loop touches them
        self._waiting: tuple[dict[PlaceHolder, deque[asyncio.Future[Place]]], ...] = ({}, {})

    @property
    def free(self) -> int:
        """See the class."""
        return self._free + self._own_free

    async def acquire(self, holder: PlaceHolder) -> Place:
        """Return when the holder has one more place."""
        # those that wait could not have it either: each release gives on all that may be had
        if holder not in self._waiting[holder.is_quick] and (place := self._taken(holder)) is not None:
            return place
        waiting: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting[holder.is_quick].setdefault(holder, deque()).append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                mine = self._waiting[holder.is_quick]
                mine[holder].remove(waiting)
                if not mine[holder]:
                    del mine[holder]
            else:
                # given in the same turn
                self.release(waiting.result())
            raise

    def release(self, place: Place) -> None:
        """Give back a place."""
        holder = place.holder
        holder.held -= 1
        if place.is_own:
            holder.has_own = False
            self._own_free += 1
        else:
            self._free += 1
            self._of_owner[holder.owner] -= 1
            if not self._of_owner[holder.owner]:
                # owners come and go: what holds nothing must not stay in memory
                del self._of_owner[holder.owner]
        is_quick = _now() - place.at < SLOW_S
        if is_quick != holder.is_quick:
            if waits := self._waiting[holder.is_quick].pop(holder, None):
                self._waiting[is_quick][holder] = waits
            holder.is_quick = is_quick
        if place.is_own and holder in self._waiting[is_quick]:
            self._give(holder)
        while (following := self._next()) is not None:
            self._give(following)

    def _taken(self, holder: PlaceHolder) -> Place | None:
        """Take a place if the holder may have one."""
        is_own = not holder.has_own and self._own_free > 0
        if not is_own and not self._may_have(holder):
            return None
        holder.held += 1
        if is_own:
            holder.has_own = True
            self._own_free -= 1
        else:
            self._free -= 1
            self._of_owner[holder.owner] += 1
        return Place(holder, is_own, _now())

    def _may_have(self, holder: PlaceHolder) -> bool:
        return self._may_take(PlaceRequest(self._places, self._free, self._of_owner[holder.owner], holder.is_quick))

    def _next(self) -> PlaceHolder | None:
        """Return who waits and may have a place of those that are shared: whose owner, then who itself holds least."""
        for is_quick in (True, False):
            # not all of them are asked, a thousand times a second, while none may have any
            if self._waiting[is_quick] and self._may_take(PlaceRequest(self._places, self._free, 0, is_quick)):
                able = [holder for holder in self._waiting[is_quick] if self._may_have(holder)]
                if able:
                    return min(able, key=lambda one: (self._of_owner[one.owner], one.held))
        return None

    def _give(self, holder: PlaceHolder) -> None:
        waits = self._waiting[holder.is_quick].pop(holder)
        place = self._taken(holder)
        if place is not None:
            waits.popleft().set_result(place)
        if waits:
            # behind the others that hold as much
            self._waiting[holder.is_quick][holder] = waits


def _now() -> float:
    return asyncio.get_running_loop().time()
