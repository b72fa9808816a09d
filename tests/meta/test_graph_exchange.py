"""A message's POST over real sockets: whatever the other side does, the outcome has a name, and a connection is used
again only after a clean answer.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meta.graph import GraphAnswer, GraphReply, RequestUnanswered, RequestUnwritten
from tests.meta.raw_server import CLOSED, KEPT, OK, RESET, WITHIN_S, run, sender, server
from tests.support.waiting import within


def fields(*lines: str) -> bytes:
    """Return a head."""
    return "\r\n".join([*lines, "", ""]).encode()


CHUNKED: Final = (
    fields("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b'4;x=y\r\n{"ok\r\n4\r\n":1}\r\n0\r\nT: 1\r\n\r\n'
)
TO_THE_END: Final = fields("HTTP/1.1 200 OK") + b'{"ok":1}'
INTERIM: Final = fields("HTTP/1.1 100 Continue") + fields("HTTP/1.1 103 Early Hints", "Link: </x>")

WHOLE: Final[dict[str, tuple[bytes, str, int, bytes, bool]]] = {
    # name -> answer, what follows it, status, body, whether the connection is used again
    "length": (OK, KEPT, 200, b'{"ok":1}', True),
    "chunks": (CHUNKED, KEPT, 200, b'{"ok":1}', True),
    "to the end": (TO_THE_END, CLOSED, 200, b'{"ok":1}', False),
    "none": (fields("HTTP/1.1 204 No Content"), KEPT, 204, b"", True),
    "interim": (INTERIM + OK, KEPT, 200, b'{"ok":1}', True),
    "announced": (fields("HTTP/1.1 500 No", "Content-Length: 2", "Connection: close") + b"{}", KEPT, 500, b"{}", False),
    "older": (fields("HTTP/1.0 200 OK", "Content-Length: 2") + b"{}", KEPT, 200, b"{}", False),
    "closed behind it": (OK, CLOSED, 200, b'{"ok":1}', False),
    "more behind it": (OK + b"HTTP/1.1 200 OK\r\n", KEPT, 200, b'{"ok":1}', False),
    "compressed": (
        fields("HTTP/1.1 200 OK", "Content-Encoding: gzip", "Content-Length: 2") + b"xx",
        KEPT,
        200,
        b"",
        True,
    ),
    "huge": (fields("HTTP/1.1 200 OK", "Content-Length: 300000") + b"x" * 300_000, KEPT, 200, b"", False),
    "huge and in grains": (
        fields("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"1;" + b"x" * 2_000_000,
        KEPT,
        200,
        b"",
        False,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("is_dribbled", [False, True])
def test_a_whole_answer_is_read_to_its_end_and_no_further(name: str, is_dribbled: bool) -> None:
    raw, end, status, body, is_reused = WHOLE[name]
    # huge ones in pieces of a few kilobytes
    size = (len(raw) // 200 + 1) if is_dribbled else len(raw)

    async def scenario() -> None:
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        async with server((pieces, end)) as provider, sender() as own:
            reply = await own.post(provider.port)
            assert isinstance(reply, GraphAnswer), reply
            assert (reply.status, reply.body) == (status, body)
            # what follows an answer is seen once it is there
            await within(provider.answered.acquire(), WITHIN_S)
            again = await own.post(provider.port)
            assert isinstance(again, GraphAnswer) and again.body == b'{"ok":1}'
            assert provider.connections == (1 if is_reused else 2)
            assert own.noted == 2

    run(scenario())


NONE: Final[dict[str, tuple[bytes, str, str]]] = {
    # name -> what comes, what follows it, the reason
    "nothing": (b"", CLOSED, "ConnectionClosed"),
    "reset": (b"", RESET, "ConnectionResetError"),
    "torn head": (OK[:20], CLOSED, "ConnectionClosed"),
    "torn body": (OK[:-1], CLOSED, "ConnectionClosed"),
    "reset body": (OK[:-1], RESET, "ConnectionResetError"),
    "torn chunk": (CHUNKED[:-14], CLOSED, "ConnectionClosed"),
    "torn trailers": (CHUNKED[:-4], CLOSED, "ConnectionClosed"),
    "interim only": (INTERIM, CLOSED, "ConnectionClosed"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", KEPT, "InvalidAnswer"),
    "two lengths": (fields("HTTP/1.1 200 OK", "Content-Length: 8", "Content-Length: 9"), KEPT, "InvalidAnswer"),
    "length and chunks": (
        fields("HTTP/1.1 200 OK", "Content-Length: 8", "Transfer-Encoding: chunked"),
        KEPT,
        "InvalidAnswer",
    ),
    "another protocol": (
        fields("HTTP/1.1 101 Switching Protocols", "Upgrade: h2c", "Connection: upgrade"),
        KEPT,
        "InvalidAnswer",
    ),
    "endless head": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, KEPT, "HeadTooLong"),
    "countless headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2500, KEPT, "HeadTooLong"),
    "endless interim": (fields("HTTP/1.1 100 Continue") * 3000, KEPT, "HeadTooLong"),
}


@pytest.mark.parametrize("name", NONE)
def test_without_a_whole_answer_a_request_that_was_written_is_in_doubt(name: str) -> None:
    raw, end, reason = NONE[name]

    async def scenario() -> None:
        async with server(([raw] if raw else [], end)) as provider, sender() as own:
            assert await own.post(provider.port) == RequestUnanswered(reason)
            assert own.noted == 1
            # never twice by itself; and the next one has a connection of its own
            assert len(provider.requests) == 1
            assert isinstance(await own.post(provider.port), GraphAnswer)
            assert provider.connections == 2

    run(scenario())


@pytest.mark.parametrize(
    ("url", "headers", "reason"),
    [
        ("http://127.0.0.1:{port}/", {"X": "a\r\nEvil: b"}, "InvalidHeader"),
        ("http://127.0.0.1:{port}/", {"X\nEvil": "b"}, "InvalidHeader"),
        ("http://127.0.0.1:{port}/", {"X: y": "b"}, "InvalidHeader"),
        ("http://127.0.0.1:{port}/", {"X": "schlüssel"}, "InvalidHeader"),
        ("http://127.0.0.1:{port}/a b", {}, "InvalidAddress"),
        ("http://127.0.0.1:{port}/ä", {}, "InvalidAddress"),
        ("ftp://127.0.0.1:{port}/", {}, "InvalidAddress"),
        ("http://user:word@127.0.0.1:{port}/", {}, "InvalidAddress"),
        ("http:///", {}, "InvalidAddress"),
        ("http://a..b:{port}/", {}, "UnicodeError"),
        ("http://127.0.0.1:99999/", {}, "ValueError"),
    ],
)
def test_what_is_no_request_is_not_written(url: str, headers: dict[str, str], reason: str) -> None:
    async def scenario() -> None:
        async with server() as provider, sender() as own:
            assert await own.post(provider.port, url=url, headers=headers) == RequestUnwritten(reason)
            assert (own.noted, provider.connections) == (0, 0)

    run(scenario())


def test_what_leaves() -> None:
    async def scenario() -> list[bytes]:
        async with server() as provider, sender() as own:
            await own.post(provider.port, url="http://127.0.0.1:{port}/v1/m?x=1")
            provider.requests[0] = provider.requests[0].replace(b"%d" % provider.port, b"PORT")
            return provider.requests

    assert run(scenario()) == [
        b"POST /v1/m?x=1 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        b"User-Agent: bulkhead\r\nContent-Type: application/json\r\nAuthorization: Bearer x\r\n"
        b'Content-Length: 7\r\n\r\n{"a":1}'
    ]


def test_late_and_cancelled_sends_close_their_connection() -> None:
    async def scenario() -> None:
        async with server(([OK[:30]], KEPT), ([], KEPT)) as provider, sender() as own:
            assert await own.post(provider.port, within_s=0.2) == RequestUnanswered("TimeoutError")
            await within(provider.asked.acquire(), WITHIN_S)
            await within(provider.ended.acquire(), WITHIN_S)
            posted = asyncio.create_task(own.post(provider.port))
            await within(provider.asked.acquire(), WITHIN_S)
            posted.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posted
            await within(provider.ended.acquire(), WITHIN_S)
            assert isinstance(await own.post(provider.port), GraphAnswer)
            assert provider.connections == 3

    run(scenario())


def test_a_connection_that_ends_while_it_is_noted_was_not_written_to() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)

            async def cut() -> None:
                peer, _ = await loop.sock_accept(listener)
                peer.close()
                # its end comes to the client in one of the next turns
                for _turn in range(20):
                    await asyncio.sleep(0)

            async with sender() as own:
                port = listener.getsockname()[1]
                assert await own.post(port, writing=cut) == RequestUnwritten("ConnectionClosed")

    run(scenario())


ANSWERS: Final = {name: WHOLE[name][0] for name in ("length", "chunks", "interim", "none", "older", "to the end")}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(ANSWERS)),
    kept=st.integers(0, 200),
    cuts=st.lists(st.integers(1, 199), max_size=12),
    end=st.sampled_from([CLOSED, RESET]),
)
def test_an_answer_that_is_torn_anywhere_is_whole_or_in_doubt(name: str, kept: int, cuts: list[int], end: str) -> None:
    whole = ANSWERS[name]
    raw = whole[:kept]
    marks = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw)]
    pieces = [raw[start:stop] for start, stop in itertools.pairwise(marks) if stop > start]

    async def scenario() -> tuple[GraphReply, int]:
        async with server((pieces, end)) as provider, sender() as own:
            reply = await own.post(provider.port)
            await within(provider.answered.acquire(), WITHIN_S)
            again = await own.post(provider.port)
            # never what was left of the first one
            assert isinstance(again, GraphAnswer) and again.body == b'{"ok":1}'
            assert own.noted == 2
            return reply, provider.connections

    reply, connections = run(scenario())
    assert connections == 2
    if isinstance(reply, GraphAnswer):
        # of unknown length: what came until the end is all there was; a reset may overtake what was read late
        assert raw == whole or (name == "to the end" and end == CLOSED and raw.endswith(reply.body))
        assert reply.status == WHOLE[name][2]
    else:
        assert isinstance(reply, RequestUnanswered)
        assert raw != whole or end == RESET
