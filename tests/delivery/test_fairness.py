"""A connection whose sends are slow does not take the places of all others."""

from __future__ import annotations

import asyncio

import pytest

from shared.delivery import fairness
from shared.delivery.channel import RecordToken
from shared.delivery.fairness import Capacities, capacities
from shared.messages import OutboundMessage, Outcome
from tests.delivery.env import Gate, Process, Script, cancelled, run, soon, takes
from tests.store.env import StoreEnv


class TestCapacities:
    def test_a_fast_connection_may_have_all_places(self) -> None:
        assert capacities({1: 200}, (), places=200, each=0) == Capacities(None, {})

    def test_a_slow_one_holds_at_most_three_times_what_is_free(self) -> None:
        assert capacities({1: 20}, {1}, places=200, each=0) == Capacities(None, {1: 130})
        assert capacities({1: 150}, {1}, places=200, each=0) == Capacities(None, {1: 0})
        assert capacities({1: 149}, {1}, places=200, each=0) == Capacities(None, {1: 1})

    def test_two_slow_ones_leave_a_seventh(self) -> None:
        held = {1: 1, 2: 1}
        while any(capacities(held, {1, 2}, places=210, each=0).of.values()):
            for number in held:
                held[number] += min(1, capacities(held, {1, 2}, places=210, each=0).of[number])
        assert held == {1: 90, 2: 90}

    def test_a_connection_gets_no_more_places_than_its_limit(self) -> None:
        assert capacities({}, (), places=20, each=2) == Capacities(2, {})
        assert capacities({1: 1, 2: 2}, (), places=20, each=2) == Capacities(2, {1: 1, 2: 0})


@pytest.mark.parametrize(("each", "most"), [(2, 2), (0, 6)])
def test_others_go_on_beside_a_slow_one(env: StoreEnv, each: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight places; one connection hangs with thirty queued chats; the other's messages leave at once, and the hanging
    one's all leave when it goes on."""
    monkeypatch.setattr(fairness, "SLOW_S", 0.0)
    lame = env.accept(*(f"lame-{number}" for number in range(30)))
    other = env.connect(phone_index=1)
    gate = Gate()
    in_hand: set[int] = set()
    highest = 0

    async def behave(message: OutboundMessage, token: RecordToken) -> Outcome:
        nonlocal highest
        if message.connection_id == other:
            return await takes(message, token)
        in_hand.add(message.id)
        highest = max(highest, len(in_hand))
        try:
            return await gate(message, token)
        finally:
            in_hand.discard(message.id)

    async def scenario() -> None:
        async with Process(env, Script(behave), in_flight=8, each=each, send_s=120.0) as process:
            process.dispatcher.offer(lame[:1])
            await soon(lambda: in_hand, "the first one hangs")
            process.dispatcher.offer(lame)
            await soon(lambda: len(in_hand) == most, f"{most} hang")
            relay = asyncio.create_task(process.relay.run())
            for number in range(3):
                ids = env.accept(*(f"swift-{number}-{chat}" for chat in range(10)), connection_id=other)
                process.dispatcher.offer(ids)
                await process.until(ids, "sent")
            assert len(in_hand) == most
            await cancelled(relay)
            gate.open()
            await process.until(lame, "sent")

    run(scenario())
    assert highest == most
