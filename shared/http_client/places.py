"""Places among connections, shared so that no owner can fill them all."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

SLOW_S: Final = 1.0
"""Seconds; a holder that keeps a place for longer is slow until it releases a place sooner than that."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class PlaceHolder:
    """A holder of places: one of several of an owner (a subscriber of a company).

    Attributes:
        held: places. has_own: whether one of them is the holder's own. is_quick: whether it released its last place
            soon; a new holder counts as slow.
    """

    owner: Hashable
    held: int = 0
    has_own: bool = False
    is_quick: bool = False


@dataclass(eq=False, slots=True)
class Place:
    """One place that is held. `at`: instant on the event loop's clock since when."""

    holder: PlaceHolder
    is_own: bool
    at: float


class PlacePolicy(Protocol):
    """Decides whether a holder may take one more place."""

    def __call__(self, *, places: int, free: int, of_owner: int, is_quick: bool) -> bool:
        """Return whether the holder may take one more place.

        Args:
            places: to be shared. free: of them. of_owner: held by the holder's owner. is_quick: see `PlaceHolder`.
        """


def first_come(*, places: int, free: int, of_owner: int, is_quick: bool) -> bool:
    """Grant places in the order of requests."""
    return free > 0


def fair_share(*, places: int, free: int, of_owner: int, is_quick: bool) -> bool:
    """Grant an owner at most as many places as remain free, and slow holders only one half of all.

    A place may be held for many seconds and cannot be revoked, so some stay free for the next owner.
    """
    return of_owner < (free if is_quick else free - places // 2)


_Waiting: TypeAlias = dict[Hashable, dict[PlaceHolder, deque[asyncio.Future[Place]]]]


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
        # slow ones and quick ones, by owner, each in the order in which it waits; only the event loop touches them
        self._waiting: tuple[_Waiting, _Waiting] = ({}, {})

    @property
    def free(self) -> int:
        """See the class."""
        return self._free + self._own_free

    async def acquire(self, holder: PlaceHolder) -> Place:
        """Return when the holder has one more place."""
        # those that wait could not have it either: each release gives on all that may be had
        if not self._waits(holder) and (place := self._taken(holder)) is not None:
            return place
        waiting: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting[holder.is_quick].setdefault(holder.owner, {}).setdefault(holder, deque()).append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                waits = self._removed(holder)
                waits.remove(waiting)
                self._put(holder, waits)
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
                # owners come and go: one that holds nothing must not stay in memory
                del self._of_owner[holder.owner]
        is_quick = _now() - place.at < SLOW_S
        if is_quick != holder.is_quick:
            waits = self._removed(holder) if self._waits(holder) else deque()
            holder.is_quick = is_quick
            self._put(holder, waits)
        if place.is_own:
            if self._waits(holder):
                self._give(holder)
            # none was free before, so another holder may be waiting for it; otherwise the queue need not be examined
            elif self._own_free == 1 and (without := self._without_own()) is not None:
                self._give(without)
        while any(self._waiting) and (following := self._next()) is not None:
            self._give(following)

    def _waits(self, holder: PlaceHolder) -> bool:
        return holder in self._waiting[holder.is_quick].get(holder.owner, ())

    def _removed(self, holder: PlaceHolder) -> deque[asyncio.Future[Place]]:
        """Remove a waiting holder from the queue."""
        waiting = self._waiting[holder.is_quick]
        of_owner = waiting[holder.owner]
        waits = of_owner.pop(holder)
        if not of_owner:
            del waiting[holder.owner]
        return waits

    def _put(self, holder: PlaceHolder, waits: deque[asyncio.Future[Place]]) -> None:
        """Move a waiting holder behind the others of its owner."""
        if waits:
            self._waiting[holder.is_quick].setdefault(holder.owner, {})[holder] = waits

    def _taken(self, holder: PlaceHolder) -> Place | None:
        """Take a place if the holder may have one."""
        is_own = not holder.has_own and self._own_free > 0
        if not is_own and not self._may_have(holder.owner, is_quick=holder.is_quick):
            return None
        holder.held += 1
        if is_own:
            holder.has_own = True
            self._own_free -= 1
        else:
            self._free -= 1
            self._of_owner[holder.owner] += 1
        return Place(holder, is_own, _now())

    def _may_have(self, owner: Hashable, *, is_quick: bool) -> bool:
        return self._may_take(
            places=self._places, free=self._free, of_owner=self._of_owner.get(owner, 0), is_quick=is_quick
        )

    def _next(self) -> PlaceHolder | None:
        """Return who waits and may have a place of those that are shared: of the owner that holds least, in turn."""
        for is_quick in (True, False):
            waiting = self._waiting[is_quick]
            # while no place is free, owners are not examined a thousand times a second
            if waiting and self._may_take(places=self._places, free=self._free, of_owner=0, is_quick=is_quick):
                owner = min(waiting, key=lambda one: self._of_owner.get(one, 0))
                if self._may_have(owner, is_quick=is_quick):
                    return next(iter(waiting[owner]))
        return None

    def _without_own(self) -> PlaceHolder | None:
        """Return the first that waits and has no place of its own."""
        for is_quick in (True, False):
            for of_owner in self._waiting[is_quick].values():
                for holder in of_owner:
                    if not holder.has_own:
                        return holder
        return None

    def _give(self, holder: PlaceHolder) -> None:
        waits = self._removed(holder)
        if (place := self._taken(holder)) is not None:
            waits.popleft().set_result(place)
        self._put(holder, waits)


def _now() -> float:
    return asyncio.get_running_loop().time()
