"""What subscribers may do to a connection: everything is bounded, in bytes and in seconds, and no kept connection is
taken for a sound one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from hooks.sending import LIMITS, DeliveryResult, Poster
from shared.clock import monotonic
from shared.http_client.places import PlaceHolder
from shared.media.errors import FetchFailed
from shared.media.reach import Reach
from tests.support.waiting import deadline_s, within

WHOLE_S: Final = 1.0
"""For a delivery that is ended by time."""
NEVER_PASSED_S: Final = 60.0
"""For one that something else ends: a busy machine must not be taken for a slow subscriber."""
ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
BODY: Final = b'{"id":"1-1"}'
SHARED: Final = 100
_MEGABYTES: Final = 64 << 20
"""More than the buffers of a connection hold."""

Script = Callable[["RawSubscriber", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawSubscriber:
    """A raw server that plays a script on each connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.connections = self.written = 0
        self._served: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._served.add(asyncio.current_task())  # type: ignore[arg-type] # there is one
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(self, reader, writer)
        finally:
            writer.transport.abort()

    async def ended(self) -> None:
        """Wait until every connection has ended; the other end has closed them."""
        for task in self._served:
            await within(task, 5.0)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Read one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))

    async def flood(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        """Write until the other end has had enough."""
        while self.written < _MEGABYTES:
            writer.write(piece)
            await writer.drain()
            self.written += len(piece)


def posted(
    script: Script, *, times: int = 1, pause_s: float = 0.0, whole_s: float = NEVER_PASSED_S
) -> tuple[list[DeliveryResult], RawSubscriber, float]:
    """Post deliveries one after the other; return how they went, the subscriber, and how long the longest took."""

    async def scenario() -> tuple[list[DeliveryResult], RawSubscriber, float]:
        subscriber = RawSubscriber(script)
        server = await asyncio.start_server(subscriber.serve, "127.0.0.1", 0)
        poster = Poster(Reach.PRIVATE, whole_s=whole_s)
        try:
            target = poster.target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ho ok?a=ü", {"X-Own": "1"})
            results, longest = [], 0.0
            for _ in range(times):
                began = monotonic()
                results.append(await poster.post(target, BODY, {"webhook-id": "1-1"}))
                longest = max(longest, monotonic() - began)
                # for what the other end does after its answer
                await asyncio.sleep(pause_s)
            return results, subscriber, longest
        finally:
            await poster.close()
            server.close()
            await subscriber.ended()

    return asyncio.run(scenario())


async def good(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await subscriber.read(reader)
        writer.write(ANSWER)


def test_deliveries_share_a_connection() -> None:
    results, subscriber, _ = posted(good, times=3)
    assert [result.status for result in results] == [204, 204, 204]
    assert subscriber.connections == 1
    head, _, body = subscriber.requests[0].partition(b"\r\n\r\n")
    assert body == BODY
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /ho%20ok?a=%C3%BC HTTP/1.1"
    assert {b"X-Own: 1", b"webhook-id: 1-1", b"Content-Type: application/json"} <= set(lines)


@pytest.mark.parametrize(
    ("first", "piece", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Endless: 0123456789\r\n" * 1000, "answer_too_long"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x" * 20_000, "answer_too_long"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, "answer_too_long"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", b"x" * 20_000, "http_101"),
        (b"", b"\x00" * 20_000, "not_http"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 20_000, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n", ""),
        (b"HTTP/1.1 500 x\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 20_000, "http_500"),
    ],
)
def test_what_never_ends_is_ended_soon(first: bytes, piece: bytes, error: str) -> None:
    async def endless(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        writer.write(first)
        await subscriber.flood(writer, piece)

    (result,), subscriber, took_s = posted(endless, pause_s=0.2)
    assert result.error == error
    assert took_s < NEVER_PASSED_S / 2, "by the count of its bytes, not by time"
    assert subscriber.written < _MEGABYTES, "it was cut off"


@pytest.mark.parametrize("piece", [b"", b"H", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_head_that_does_not_end_is_ended_by_time(piece: bytes) -> None:
    async def drip(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        writer.write(piece)
        while not reader.at_eof():
            await asyncio.sleep(0.05)
            writer.write(b"x" if b"\n" in piece else b"")

    (result,), _, took_s = posted(drip, whole_s=WHOLE_S)
    assert (result.error, result.status) == ("timeout", None)
    assert took_s < deadline_s(WHOLE_S + 0.5)


def test_a_slow_body_keeps_nothing_waiting() -> None:
    async def slow(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        # closed by the other end, which gives up on the rest of it
        assert await reader.read() == b""
        subscriber.written = 1

    results, subscriber, took_s = posted(slow, times=2, pause_s=1.3)
    assert [result.error for result in results] == ["", ""]
    assert took_s < (LIMITS.rest_s or 0.0), "the status is known with the head"
    assert (subscriber.connections, subscriber.written) == (2, 1)


def test_a_delivery_that_met_the_end_of_a_kept_connection_is_repeated() -> None:
    async def once(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        writer.write(ANSWER)
        await writer.drain()
        if subscriber.connections == 1:
            # closed when the next request is on its way
            await subscriber.read(reader)

    results, subscriber, _ = posted(once, times=2)
    assert [result.error for result in results] == ["", ""]
    assert subscriber.connections == 2


def test_a_cut_without_an_answer_on_a_new_connection_is_a_failure() -> None:
    async def cut(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)

    (result,), subscriber, _ = posted(cut)
    assert (result.error, subscriber.connections) == ("cut", 1)


@pytest.mark.parametrize("behind", [ANSWER, ANSWER * 2, b"garbage"])
def test_what_comes_unasked_ends_the_connection(behind: bytes) -> None:
    async def twice(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        writer.write(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n" + behind)
        await reader.read()

    results, subscriber, _ = posted(twice, times=2, pause_s=0.1)
    assert [result.error for result in results] == ["http_500", "http_500"], "no answer counts for another delivery"
    assert subscriber.connections == 2


def test_many_at_once_have_a_connection_each_and_are_kept() -> None:
    async def scenario() -> tuple[int, int]:
        subscriber = RawSubscriber(good)
        server = await asyncio.start_server(subscriber.serve, "127.0.0.1", 0)
        poster = Poster(Reach.PRIVATE, whole_s=NEVER_PASSED_S)
        target = poster.target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {})
        for _ in range(3):
            results = await asyncio.gather(*(poster.post(target, BODY, {"webhook-id": "1-1"}) for _ in range(20)))
            assert all(result.is_taken for result in results)
        await poster.close()
        server.close()
        await subscriber.ended()
        return len(subscriber.requests), subscriber.connections

    assert asyncio.run(scenario()) == (60, 20)


@pytest.mark.parametrize("is_one_company", [True, False])
def test_two_hundred_that_hang_delay_none_that_answers(is_one_company: bool) -> None:
    async def hang(subscriber: RawSubscriber, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await subscriber.read(reader)
        await reader.read()

    async def scenario() -> float:
        bad, well = RawSubscriber(hang), RawSubscriber(good)
        poster = Poster(Reach.PRIVATE, shared=SHARED, whole_s=NEVER_PASSED_S)
        async with (
            await asyncio.start_server(bad.serve, "127.0.0.1", 0, backlog=1024) as hanging,
            await asyncio.start_server(well.serve, "127.0.0.1", 0) as answering,
        ):
            there = poster.target(f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}/", {})
            deliveries = [
                asyncio.create_task(poster.post(there, BODY, {"webhook-id": "1-1"}, one))
                for one in [PlaceHolder("a" if is_one_company else f"a{number}") for number in range(200)]
                for _ in range(20)
            ]
            # all that may hang does: one place of each, and a share of the others
            least = 200 + SHARED // 4
            async with asyncio.timeout(deadline_s(20.0)):
                while bad.connections < least:
                    await asyncio.sleep(0.01)
            target = poster.target(f"http://127.0.0.1:{answering.sockets[0].getsockname()[1]}/", {})
            longest = 0.0
            for company in ("a", "b"):
                holder = PlaceHolder(company)
                for _ in range(20):
                    began = monotonic()
                    result = await poster.post(target, BODY, {"webhook-id": "1-1"}, holder)
                    longest = max(longest, monotonic() - began)
                    assert result.is_taken
            for delivery in deliveries:
                delivery.cancel()
            await asyncio.gather(*deliveries, return_exceptions=True)
            await poster.close()
            await bad.ended()
            await well.ended()
        return longest

    assert asyncio.run(scenario()) < NEVER_PASSED_S / 2, "not after the others' timeouts"


def test_headers_and_addresses_are_checked() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="line break"):
            Poster(Reach.PUBLIC).target("https://example.com/", {"X-Own": "a\r\nb"})
        with pytest.raises(FetchFailed):
            Poster(Reach.PUBLIC).target("http://10.0.0.1/", {})
        # a name is checked where it is connected to
        poster = Poster(Reach.PUBLIC)
        refused = await poster.post(poster.target("http://localhost:9/", {}), BODY, {})
        assert refused.error == "address_refused"

    asyncio.run(scenario())


def test_the_limit_is_below_what_a_page_of_memory_costs() -> None:
    assert LIMITS.head <= 64 << 10
