"""The HTTP server of a child, in this process's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.clock import monotonic
from shared.process.server import HttpServer
from tests.support.waiting import patient_by

BURST = 200
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as opened:
        yield opened


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("here")


def connect(listener: socket.socket, clients: ExitStack) -> socket.socket:
    client = clients.enter_context(socket.create_connection(listener.getsockname(), timeout=10))
    client.sendall(REQUEST)
    return client


def test_a_burst_of_clients_is_accepted_in_a_few_iterations_of_a_busy_loop(listener: socket.socket) -> None:
    async def run() -> float:
        server = HttpServer(Starlette(routes=[Route("/", answer)]), [listener], "test")
        with ExitStack() as clients:
            waiting = [connect(listener, clients) for _ in range(BURST)]
            await server.start()
            loop, left, turns = asyncio.get_running_loop(), set(waiting), 0
            for client in waiting:
                client.setblocking(False)
            by = patient_by(20)
            while left and monotonic() < by:
                turns += 1
                await asyncio.sleep(0)
                left = {client for client in left if not _answered(client)}
            assert not left
            assert loop.is_running()
        await server.stop(patient_by(5))
        return turns

    # libuv alone takes one connection in a turn
    assert uvloop.run(run()) < BURST / 2


def _answered(client: socket.socket) -> bool:
    try:
        return client.recv(100).startswith(b"HTTP/1.1 200")
    except BlockingIOError:
        return False


def test_after_a_stop_it_accepts_no_connection(listener: socket.socket) -> None:
    async def run() -> None:
        kept = listener.dup()
        server = HttpServer(Starlette(routes=[Route("/", answer)]), [listener], "test")
        await server.start()
        assert await server.stop(patient_by(5))
        with kept, ExitStack() as clients:
            client = connect(kept, clients)
            client.setblocking(False)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not _answered(client)
            # another process that holds the socket finds the client there
            kept.setblocking(False)
            kept.accept()[0].close()

    uvloop.run(run())
