"""How often a subscriber's waiting events are looked at: hundreds that fail must not keep the database busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from hooks import rows, subscriber
from hooks.rows import SubscriberSettlement
from hooks.sending import Poster
from hooks.subscriber import HookMetrics, Subscriber, SubscriberLoop
from shared.events.catalogue import Selection
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.media.reach import Reach
from shared.process.metrics import Metrics
from shared.store.store import Store

pytestmark = pytest.mark.fast
TURNS = 50


class OneThatWaits:
    """A store in which one event waits for `after_s` more seconds, and the loop over it, which ends after some turns.

    Attributes:
        looks: for what is due.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after_s: float) -> None:
        self.looks, self._after_s, self._turns = 0, after_s, 0
        monkeypatch.setattr(subscriber, "wait_for_event", self._next_turn)
        one = Subscriber(
            id=1,
            url="http://127.0.0.1:9/",
            selection=Selection(company_id="acme"),
            phone_indexes=frozenset(),
            secrets=(),
            headers={},
            position=Position(),
            version=1,
        )
        self.loop = SubscriberLoop(
            one,
            store=cast(Store, self),
            settle=self._settle,
            tail=cast(EventTail, None),
            poster=Poster(Reach.PRIVATE),
            metrics=HookMetrics(Metrics()),
            incarnation="",
            stop=asyncio.Event(),
            disable_after_s=1000.0,
        )
        self.loop._waiting["a"] = 1

    async def call(self, step: Callable[..., object], *_: object, **__: object) -> object:
        """Answer as the database would."""
        self.looks += step is rows.due
        return [] if step is rows.due else self._after_s

    async def _settle(self, _: SubscriberSettlement) -> dict[str, Any]:
        return {"failing_s": None}

    async def _next_turn(self, _: asyncio.Event, __: float) -> None:
        self._turns += 1
        if self._turns == TURNS:
            self.loop.stop.set()


@pytest.mark.parametrize(("after_s", "looks"), [(300.0, 1), (-1.0, TURNS)])
def test_nothing_is_looked_for_before_something_is_due(
    monkeypatch: pytest.MonkeyPatch, after_s: float, looks: int
) -> None:
    async def scenario() -> int:
        made = OneThatWaits(monkeypatch, after_s)
        await made.loop._retry()
        return made.looks

    assert asyncio.run(scenario()) == looks


@pytest.mark.parametrize(("attempts", "is_brought_forward"), [(1, True), (0, False)])
def test_what_is_kept_brings_the_next_look_forward_when_it_is_the_first_of_its_conversation(
    monkeypatch: pytest.MonkeyPatch, attempts: int, is_brought_forward: bool
) -> None:
    async def scenario() -> float:
        made = OneThatWaits(monkeypatch, 300.0)
        await made.loop._find_next([])
        before = made.loop._look_by
        kept = {"attempts": attempts, "after_s": 5.0}
        await made.loop._settle(SubscriberSettlement(hook_id=1, version=1, kept=[kept]))
        return before - made.loop._look_by

    assert (asyncio.run(scenario()) > 50.0) is is_brought_forward
