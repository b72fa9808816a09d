"""Places among connections: those that are held long never take the places of others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.http_client.places import SLOW_S, Place, PlaceHolder, PlacePolicy, SharedPlaces, fair_share, first_come

pytestmark = pytest.mark.fast
PLACES, OWN = 100, 300


class Holders:
    """Places, and tasks that ask for them, on a clock that only the test moves."""

    def __init__(self, places: int = PLACES, own: int = OWN, policy: PlacePolicy = fair_share) -> None:
        self.places = SharedPlaces(places, policy, own=own)
        self.tasks: dict[PlaceHolder, list[asyncio.Task[Place]]] = {}
        self.now = 1000.0
        asyncio.get_running_loop().time = lambda: self.now  # type: ignore[method-assign]

    async def ask(self, holder: PlaceHolder, times: int = 1) -> int:
        """Ask for places; return how many of all that were asked for the holder has."""
        self.tasks.setdefault(holder, []).extend(asyncio.create_task(self.places.acquire(holder)) for _ in range(times))
        await asyncio.sleep(0)
        return self.held(holder)

    async def give_back(self, holder: PlaceHolder, after_s: float = 0.0) -> None:
        """Give back the holder's first place."""
        self.now += after_s
        task = next(task for task in self.tasks[holder] if task.done())
        self.tasks[holder].remove(task)
        self.places.release(task.result())
        await asyncio.sleep(0)

    async def proved(self, owner: str) -> PlaceHolder:
        """Return a holder that has answered in time."""
        holder = PlaceHolder(owner)
        await self.ask(holder)
        await self.give_back(holder)
        return holder

    def held(self, holder: PlaceHolder) -> int:
        return sum(task.done() for task in self.tasks[holder])


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def ended() -> None:
        await scenario
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(ended())


@pytest.mark.parametrize("is_one_company", [True, False])
@pytest.mark.parametrize("is_proved", [True, False])
def test_whatever_hangs_one_that_answers_has_a_place_at_once(is_one_company: bool, is_proved: bool) -> None:
    async def scenario() -> None:
        made = Holders()
        for number in range(200):
            owner = "a" if is_one_company else f"a{number}"
            await made.ask(await made.proved(owner) if is_proved else PlaceHolder(owner), 20)
        for owner in ("a", "b"):
            newcomer = PlaceHolder(owner)
            for _ in range(50):
                assert await made.ask(newcomer) == 1
                await made.give_back(newcomer)
            # of its own company nothing may be left but its own place
            few = 1 if is_proved and (owner == "a" or not is_one_company) else 10
            assert await made.ask(newcomer, 20) >= few

    run(scenario())


def test_a_company_takes_half_of_what_is_shared_and_the_next_finds_some() -> None:
    async def scenario() -> None:
        made = Holders()
        first, second = await made.proved("a"), await made.proved("b")
        assert await made.ask(first, PLACES) == 1 + PLACES / 2
        assert await made.ask(second, PLACES) == 1 + PLACES / 4
        # what is given back goes to whose owner holds less
        for _ in range(PLACES):
            await made.give_back(first)
        assert made.held(second) > made.held(first)

    run(scenario())


def test_a_slow_one_has_less_until_it_answers_in_time() -> None:
    async def scenario() -> None:
        made = Holders()
        one = PlaceHolder("a")
        assert await made.ask(one, PLACES) == 1 + PLACES / 4, "unproven"
        await made.give_back(one, after_s=SLOW_S)
        assert made.held(one) == PLACES / 4 + 1, "the next that waits has its own place"
        other = PlaceHolder("a")
        await made.ask(other)
        await made.give_back(other)
        await made.ask(other, PLACES)
        assert made.held(other) == 1 + PLACES / 4, "its company has half"

    run(scenario())


def test_without_shares_a_place_that_becomes_free_goes_to_whose_owner_holds_least() -> None:
    async def scenario() -> None:
        made = Holders(3, 0, first_come)
        full, late, later = PlaceHolder("a"), PlaceHolder("a"), PlaceHolder("b")
        assert await made.ask(full, 3) == 3
        assert await made.ask(late) + await made.ask(later) == 0
        await made.give_back(full)
        assert (made.held(late), made.held(later)) == (0, 1), "its owner holds less"
        await made.give_back(full)
        assert (made.held(late), made.held(later)) == (1, 1)

    run(scenario())


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ask", "soon", "late", "cancel"])), max_size=80))
# more holders than places of their own: one that is given back goes to another holder that waits
@example([(0, "ask"), (0, "soon"), *[(0, "ask")] * 4, *[(number, "ask") for number in (1, 2, 3, 4)], (0, "soon")])
def test_places_are_counted_right_and_given_as_soon_as_they_may_be(steps: list[tuple[int, str]]) -> None:
    async def scenario() -> None:
        made = Holders(6, 4)
        holders = [PlaceHolder(number % 3) for number in range(6)]
        for number, step in steps:
            one = holders[number]
            mine = made.tasks.setdefault(one, [])
            if step == "ask":
                await made.ask(one)
            elif step == "cancel" and mine and not mine[-1].done():
                mine.pop().cancel()
            elif step in ("soon", "late") and made.held(one):
                await made.give_back(one, SLOW_S if step == "late" else 0.0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [holder.held for holder in holders] == [made.held(h) if h in made.tasks else 0 for h in holders]
            assert made.places.free == 10 - sum(holder.held for holder in holders)
            for holder in holders:
                if len(made.tasks.get(holder, [])) > holder.held:
                    before = made.places.free
                    place = made.places._taken(holder)
                    assert place is None, "it waits for what it may have"
                    assert made.places.free == before

    run(scenario())
