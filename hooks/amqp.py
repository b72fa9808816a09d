"""The connection to a message broker (AMQP 0-9-1), for events; the one door to aio-pika. Loaded only when AMQP_URL is
set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ConnectionClosed

from shared.events.public import PublicEvent

CONNECT_S: Final = 10.0
"""Seconds for connection, channel and exchange."""
_CLOSE_S: Final = 1.0
LIBRARY_ERRORS: Final[tuple[type[BaseException], ...]] = (AMQPError, ChannelInvalidStateError)
"""What may also reach the event loop's handler: tasks of the library end with the connection, awaited nowhere."""
_FAILURES: Final[tuple[type[BaseException], ...]] = (
    *LIBRARY_ERRORS,
    ConnectionError,
    OSError,
    TimeoutError,
    asyncio.InvalidStateError,
)
"""What a broker, or the network before it, may do at any time."""

# They log each failed attempt; what matters of it is an event of ours.
for _name in ("aiormq", "aio_pika"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class BrokerAway(Exception):
    """Raised when the broker has not confirmed: whether it has an event is unknown. The text names a class of errors:
    that of an error may hold the address with its password.
    """


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Turn what a broker may do into `BrokerAway`."""
    try:
        yield
    except _FAILURES as error:
        raise BrokerAway(type(error).__name__) from None
    except asyncio.CancelledError:
        # aiormq cancels what waits for a connection that ended; a cancellation of this very task is another matter
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerAway("closed") from None


class EventBroker:
    """A connection with one channel and one exchange. Made by `open`.

    Attributes:
        unroutable: events so far for which no queue was bound.
    """

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self._connection, self._channel, self._exchange = connection, channel, exchange
        self.unroutable = 0
        # what waits for a confirmation is not always woken when the connection ends
        self._ended = asyncio.Event()
        connection.close_callbacks.add(self._note_end)
        channel.close_callbacks.add(self._note_end)
        channel.return_callbacks.add(self._note_return)

    @classmethod
    async def open(cls, url: str, exchange: str) -> Self:
        """Connect, and declare a durable topic exchange unless it is there. Raises `BrokerAway`."""
        connection = None
        try:
            with _broker_errors():
                async with asyncio.timeout(CONNECT_S):
                    connection = await aio_pika.connect(url)
                    # confirms, since a write into a socket proves nothing
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=False)
                    declared = await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        except BrokerAway:
            if connection is not None:
                await _close(connection)
            raise
        return cls(connection, channel, declared)

    async def publish(self, events: Sequence[PublicEvent]) -> None:
        """Publish events in their order and return when the broker has confirmed each. A broker that is short of memory
        or disk holds this up for as long as it is. Raises `BrokerAway`.
        """
        tasks = [asyncio.create_task(self._publish(event)) for event in events]
        ended = asyncio.create_task(self._ended.wait())
        try:
            with _broker_errors():
                publishing: asyncio.Future[Any] = asyncio.gather(*tasks)
                publishing.add_done_callback(_read)
                waited: set[asyncio.Future[Any]] = {publishing, ended}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if not publishing.done():
                    raise BrokerAway("closed")
                await publishing
        finally:
            await _end([ended, *tasks])

    async def _publish(self, event: PublicEvent) -> None:
        message = aio_pika.Message(
            event.body,
            message_id=str(event.position),
            type=event.type,
            content_type="application/json",
            app_id="bulkhead",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        # mandatory: an event that no queue takes comes back before its confirmation, and is counted
        confirmed = await self._exchange.publish(
            message, routing_key=f"{event.company_id}.{event.type}", mandatory=True
        )
        if confirmed is None:
            raise ConnectionClosed(0, "closed before the confirmation")

    def _note_end(self, *_: object) -> None:
        self._ended.set()

    def _note_return(self, _: AbstractChannel | None, __: AbstractIncomingMessage) -> None:
        self.unroutable += 1

    async def close(self) -> None:
        """Close the connection."""
        await _close(self._connection)


async def _close(connection: AbstractConnection) -> None:
    closing = asyncio.ensure_future(connection.close())
    await asyncio.wait({closing}, timeout=_CLOSE_S)
    await _end([closing])


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what a connection that has ended may still hold, and wait a moment for it; the library shields some of it
    from cancellation.
    """
    for task in tasks:
        task.add_done_callback(_read)
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CLOSE_S)


def _read(task: asyncio.Future[Any]) -> None:
    # each says the same about one connection; an error that is not read would be logged
    if not task.cancelled():
        task.exception()
