"""Events on a real RabbitMQ: each confirmed, in order, and none lost while the broker is away, short of memory, or the
process is killed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from tests.conftest import running
from tests.hooks.env import HooksEnv
from tests.hooks.test_delivery import CHATS, in_order
from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.rabbitmq import RabbitBroker, running_broker
from tests.support.waiting import eventually

QUEUE = "of-the-test"


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitBroker]:
    with running_broker() as made:
        # it outlives a test, and is started anew in one
        running.append(made)
        yield made
        running.remove(made)


@pytest.fixture
def exporting(home: Path, env: StoreEnv, broker: RabbitBroker) -> Iterator[HooksEnv]:
    """The process with a broker, not started."""
    with_broker(broker, bound="acme.#")
    hooks = HooksEnv(home, env, amqp_url=broker.url, amqp_exchange="events")
    yield hooks
    hooks.close()


def with_broker(broker: RabbitBroker, *, bound: str = "") -> list[dict[str, Any]]:
    """Return what lies in the queue, and take it. `bound`: make the queue anew, bound to this key."""

    async def scenario() -> list[dict[str, Any]]:
        connection = await aio_pika.connect(broker.url)
        async with connection:
            channel = await connection.channel()
            if bound:
                await channel.queue_delete(QUEUE)
                exchange = await channel.declare_exchange("events", aio_pika.ExchangeType.TOPIC, durable=True)
                queue = await channel.declare_queue(QUEUE, durable=True)
                await queue.bind(exchange, bound)
            found = []
            while message := await (await channel.get_queue(QUEUE)).get(fail=False):
                await message.ack()
                event = json.loads(message.body)
                assert message.message_id == event["id"]
                assert (message.routing_key, message.type) == (f"acme.{event['type']}", event["type"])
                assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
                found.append(event)
            return found

    return asyncio.run(scenario())


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [f"{event['data']['message']['chatId']} {event['data']['message']['message']}" for event in events]


def collected(broker: RabbitBroker, until: Callable[[list[str]], bool], within_s: float = 60.0) -> list[dict[str, Any]]:
    """Return all events that came until a condition on their texts."""
    events: list[dict[str, Any]] = []

    def enough() -> bool:
        events.extend(with_broker(broker))
        return until(texts(events))

    eventually(enough, within_s, lambda: f"enough events came: {len(events)}", poll_s=0.2)
    return events


def at_the_end(hooks: HooksEnv) -> None:
    """Wait until the process has made its cursor: what was written before it is not published."""
    eventually(lambda: bool(query(hooks.store.url, "SELECT name FROM event_exports")), 20.0, "its cursor")


def export(hooks: HooksEnv) -> Mapping[str, Any]:
    (row,) = query(hooks.store.url, "SELECT * FROM event_exports")
    return row


def outcomes(hooks: HooksEnv) -> str:
    return hooks.entry.log.read_text()


def test_events_are_published_while_there_is_no_webhook(exporting: HooksEnv, broker: RabbitBroker) -> None:
    exporting.start()
    at_the_end(exporting)
    exporting.receive(*[(chat, str(number)) for number in range(30) for chat in CHATS])
    events = collected(broker, lambda found: len(found) >= 150)
    assert len(events) == 150, "each once while nothing breaks"
    in_order(texts(events), CHATS, 30)
    assert exporting.entry.stop() == 0
    assert export(exporting)["incarnation"] == "", "given back at the end"


def test_a_broker_that_dies_and_comes_back_gets_everything(exporting: HooksEnv, broker: RabbitBroker) -> None:
    exporting.start()
    at_the_end(exporting)
    exporting.receive(*[(chat, str(number)) for number in range(10) for chat in CHATS])
    early = collected(broker, lambda found: len(set(found)) >= 20)
    broker.kill()
    exporting.receive(*[(chat, str(number)) for number in range(10, 20) for chat in CHATS])
    eventually(lambda: "amqp_away" in outcomes(exporting), 40.0, lambda: f"it is noticed: {outcomes(exporting)}")
    broker.start()
    events = early + collected(broker, lambda found: len(set(texts(early) + found)) == 100)
    in_order(texts(events), CHATS, 20)
    eventually(lambda: "amqp_back" in outcomes(exporting), 10.0, "it is back")


def test_a_kill_loses_nothing(exporting: HooksEnv, broker: RabbitBroker) -> None:
    exporting.start()
    at_the_end(exporting)
    for number in range(20):
        exporting.receive(*[(chat, str(number)) for chat in CHATS])
        if number in (5, 12):
            exporting.kill()
            query(exporting.store.url, "UPDATE event_exports SET incarnation = '', leased_until = now()")
            exporting.restart()
    events = collected(broker, lambda found: len(set(found)) == 100)
    in_order(texts(events), CHATS, 20)


def test_a_broker_that_is_short_of_memory_holds_events_up(exporting: HooksEnv, broker: RabbitBroker) -> None:
    exporting.start()
    at_the_end(exporting)
    broker.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        exporting.receive(*[(chat, "0") for chat in CHATS])
        eventually(lambda: "blocked" in broker.control("list_connections", "state"), 30.0, "it is blocked", poll_s=0.5)
        before = export(exporting)["xid"]
    finally:
        broker.control("set_vm_memory_high_watermark", "0.9")
    events = collected(broker, lambda found: len(set(found)) == 5)
    assert len(events) == 5
    eventually(lambda: export(exporting)["xid"] > before, 20.0, "it goes on")


def test_an_event_that_no_queue_takes_is_noted_and_no_other_waits(exporting: HooksEnv, broker: RabbitBroker) -> None:
    with_broker(broker, bound="acme.message.read")
    exporting.start()
    at_the_end(exporting)
    exporting.receive(*[(chat, "0") for chat in CHATS])
    eventually(lambda: "amqp_unroutable" in outcomes(exporting), 30.0, "it is noted")
    with_broker(broker, bound="acme.#")
    exporting.receive(*[(chat, "1") for chat in CHATS])
    assert len(collected(broker, lambda found: len(found) >= 5)) == 5


def test_another_process_takes_over(exporting: HooksEnv, broker: RabbitBroker) -> None:
    """Of two processes one publishes: the lease of a dead one ends."""
    exporting.start()
    at_the_end(exporting)
    eventually(lambda: export(exporting)["incarnation"] != "", 10.0, "it is leased")
    query(
        exporting.store.url,
        "UPDATE event_exports SET incarnation = 'another', leased_until = now() + interval '3 seconds'",
    )
    exporting.receive((CHATS[0], "0"))
    assert [event["type"] for event in collected(broker, bool)] == ["message.received"]
    assert export(exporting)["incarnation"] != "another"
