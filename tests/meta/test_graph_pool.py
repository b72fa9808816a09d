"""The connections behind messages' POSTs: what is no connection notes nothing, and one that has ended is not used."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from meta.graph import GraphAnswer, RequestUnanswered, RequestUnwritten
from shared.http_client import pool
from tests.meta.raw_server import CLOSED, KEPT, OK, WITHIN_S, run, sender, server
from tests.support import certificates
from tests.support.ports import free_ports
from tests.support.waiting import within


def test_a_refused_connection_notes_nothing() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        async with sender() as own:
            assert await own.post(port) == RequestUnwritten("ConnectionRefusedError")
            assert own.noted == 0

    run(scenario())


def test_waiting_for_a_place_has_a_deadline_and_notes_nothing() -> None:
    async def scenario() -> None:
        async with server(([], KEPT)) as provider, sender() as own:
            first = asyncio.create_task(own.post(provider.port, within_s=0.6))
            await within(provider.asked.acquire(), WITHIN_S)
            assert await own.post(provider.port, within_s=0.1) == RequestUnwritten("TimeoutError")
            assert own.noted == 1
            # a place that becomes free is given on
            assert isinstance(await own.post(provider.port), GraphAnswer)
            assert await first == RequestUnanswered("TimeoutError")
            # nothing is written after the deadline
            assert await own.post(provider.port, within_s=0.0) == RequestUnwritten("TimeoutError")
            assert len(provider.requests) == 2

    run(scenario())


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("is_seen", [False, True])
def test_an_idle_connection_that_the_other_side_ended_is_not_used(farewell: bytes, is_seen: bool) -> None:
    """Also if it ended in this very turn of the loop, so that only the kernel knows."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            async with sender() as own:

                async def answered() -> socket.socket:
                    peer, _ = await within(loop.sock_accept(listener), WITHIN_S)
                    peer.setblocking(False)
                    await within(loop.sock_recv(peer, 65_536), WITHIN_S)
                    await loop.sock_sendall(peer, OK)
                    return peer

                first = asyncio.create_task(own.post(port))
                peer = await answered()
                assert isinstance(await first, GraphAnswer)
                if farewell:
                    peer.send(farewell)
                peer.close()
                for _turn in range(20 if is_seen else 0):
                    await asyncio.sleep(0)
                answering = asyncio.create_task(answered())
                # in this task: nothing else runs before the request is written
                reply = await own.post(port)
                assert isinstance(reply, GraphAnswer) and reply.body == b'{"ok":1}'
                assert own.noted == 2
                (await answering).close()

    run(scenario())


def test_connections_are_used_again_for_a_time_and_a_number_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_EXCHANGES", 3)

    async def scenario() -> None:
        async with server() as provider, sender(connections=4) as own:
            for _ in range(4):
                await own.post(provider.port)
            assert provider.connections == 2
            # idle for too long: closed without being asked
            monkeypatch.setattr(pool, "_KEEPALIVE_S", 0.05)
            await own.post(provider.port)
            await within(provider.ended.acquire(), WITHIN_S)
            await asyncio.gather(*(own.post(provider.port) for _ in range(20)))
            assert provider.connections <= 2 + 4 + 20 // 3

    run(scenario())


def test_idle_connections_of_other_hosts_make_room() -> None:
    async def scenario() -> None:
        async with server() as one, server() as other, sender() as own:
            await own.post(one.port)
            await own.post(other.port)
            await within(one.ended.acquire(), WITHIN_S)
            await own.post(other.port)
            assert (one.connections, other.connections) == (1, 1)

    run(scenario())


def test_addresses_are_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        asked = []
        (dead,) = free_ports(1)
        async with server() as provider, sender() as own:

            async def resolve(host: str, port: int, **_: object) -> list[Any]:
                asked.append((host, port))
                return [
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", number))
                    for number in (dead, provider.port)
                ]

            monkeypatch.setattr(loop, "getaddrinfo", resolve)
            for _ in range(2):
                reply = await own.post(7, url="http://provider.example:{port}/", headers={"Connection": "close"})
                assert isinstance(reply, GraphAnswer)
            assert asked == [("provider.example", 7)]

    # on asyncio's own loop, whose resolver can be replaced
    asyncio.run(within(scenario(), 30))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Calls have never used one: how they leave must not depend on how the process was started."""

    async def scenario() -> None:
        async with server() as provider, server() as proxy, sender() as own:
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
            assert isinstance(await own.post(provider.port), GraphAnswer)
            assert (provider.connections, proxy.connections) == (1, 0)

    run(scenario())


@pytest.mark.parametrize(
    ("names", "is_trusted", "outcome"),
    [
        (("localhost", "127.0.0.1"), True, ""),
        (("localhost",), True, "SSLCertVerificationError"),
        (("127.0.0.1",), False, "SSLCertVerificationError"),
    ],
)
def test_tls_checks_the_authority_and_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], is_trusted: bool, outcome: str
) -> None:
    authority, context = certificates.issue(tmp_path, *names)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    async def scenario() -> None:
        async with server(([OK], KEPT), ([OK[:-1]], CLOSED), tls=context) as provider, sender() as own:
            url = "https://127.0.0.1:{port}/"
            reply = await own.post(provider.port, url=url)
            if outcome:
                assert reply == RequestUnwritten(outcome)
                assert (own.noted, provider.requests) == (0, [])
                return
            assert isinstance(reply, GraphAnswer) and reply.body == b'{"ok":1}'
            assert await own.post(provider.port, url=url) == RequestUnanswered("ConnectionClosed")
            assert isinstance(await own.post(provider.port, url=url), GraphAnswer)
            assert provider.connections == 2
            # it speaks TLS, and this is none
            assert isinstance(await own.post(provider.port), RequestUnanswered)

    run(scenario())


def test_a_port_without_tls_is_no_connection() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)

            async def refuse() -> None:
                peer, _ = await loop.sock_accept(listener)
                await loop.sock_recv(peer, 65_536)
                await loop.sock_sendall(peer, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.close()

            async with sender() as own:
                refusing = asyncio.create_task(refuse())
                port = listener.getsockname()[1]
                reply = await own.post(port, url="https://127.0.0.1:{port}/")
                assert isinstance(reply, RequestUnwritten) and own.noted == 0
                await refusing

    run(scenario())


def test_closing_ends_what_is_under_way_and_opens_nothing() -> None:
    async def scenario() -> None:
        async with server(([], KEPT)) as provider, sender() as own:
            posted = asyncio.create_task(own.post(provider.port))
            await within(provider.asked.acquire(), WITHIN_S)
            await own.graph.close()
            assert await posted == RequestUnanswered("ConnectionClosed")
            assert await own.post(provider.port) == RequestUnwritten("PoolClosed")

    run(scenario())
