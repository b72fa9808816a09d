"""The end of the stream that a process keeps in memory."""

from __future__ import annotations

import asyncio

from shared.clock import monotonic
from shared.events.catalogue import Selection
from shared.events.public import PublicEvent
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.messages import InboundMessage
from shared.store import inbound
from tests.events.test_public import arrived
from tests.store.env import StoreEnv

SELECTION = Selection(company_id="acme")
WAIT_S = 10.0


def test_what_is_deleted_is_not_served_from_memory(env: StoreEnv) -> None:
    connection = env.connect()
    message = arrived(connection, "first", content={"body": "sekrit"})
    revoke = arrived(connection, "r", type="revoke", content={"target": "first"})

    async def follow() -> list[list[str]]:
        tail = EventTail(env.store, asyncio.Event())
        reading = asyncio.create_task(tail.run())
        try:
            with tail.following():
                # the tail begins here: what follows is served from memory
                start = (await tail.page(SELECTION, Position(), most=100, wait_by=monotonic() + WAIT_S)).position
                return [await after(tail, start, message, 1), await after(tail, start, revoke, 2)]
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def after(tail: EventTail, start: Position, one: InboundMessage, events: int) -> list[str]:
        """Receive a message, and return what is in memory once it is there."""
        await env.store.call(inbound.insert, [(one, None)])
        position = start
        found: list[PublicEvent] = []
        while len(found) < events:
            page = await tail.page(SELECTION, position, most=1, wait_by=monotonic() + WAIT_S)
            assert page.events, "no event came"
            position = page.position
            found += page.events
        whole = tail._from_memory(SELECTION, start, 10)
        assert whole is not None, "it is kept in memory"
        return [event.body.decode() for event in whole.events]

    before, after_it = asyncio.run(follow())
    assert "sekrit" in before[0]
    assert (len(after_it), [body for body in after_it if "sekrit" in body]) == (2, [])
