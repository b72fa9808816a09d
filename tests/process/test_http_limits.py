"""The HTTP server over real sockets: what a hostile or hasty client can send, and what it gets."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from typing import Any

import pytest
import uvloop
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.clock import monotonic
from shared.process.http_protocol import HttpLimits
from shared.process.request_body import BodyBudget, BodyBudgetExhausted, read_body, with_budget
from shared.process.server import HttpServer
from tests.support.sockets import until_read
from tests.support.waiting import deadline_s, eventually, joined, patient_by

ANSWER_S = 10.0


async def digest(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with method, number of fields and a digest of the body; `/early` answers before it reads, `/slow` when it
    is released.
    """
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/slow":
        await scope["state"]["release"].wait() if "release" in scope["state"] else await asyncio.sleep(0.5)
    text = f"{scope['method']} {len(scope['headers'])} {hashlib.sha256(body).hexdigest()}".encode()
    close = [(b"connection", b"close")] if scope["path"] == "/early" else []
    status = 413 if scope["path"] == "/early" else 200
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(text)).encode()), *close],
        }
    )
    await send({"type": "http.response.body", "body": text})


class Env:
    """A server in a thread of its own."""

    def __init__(self, limits: HttpLimits, app: ASGIApp = digest, listener: socket.socket | None = None) -> None:
        self.listener = listener.dup() if listener else socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = self.listener.getsockname()
        self._limits, self._app = limits, app
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)
        self._thread.start()
        assert self._started.wait(deadline_s(5))

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self.server = HttpServer(self._app, [self.listener.dup()], "test", self._limits)
        await self.server.start()
        self._started.set()
        await self._over.wait()

    def begin_stop(self, within_s: float = 5.0) -> Future[bool]:
        """Return the outcome of a stop that has begun: whether every request was finished."""
        stopped = asyncio.run_coroutine_threadsafe(self.server.stop(monotonic() + within_s), self._loop)
        # the loop begins tasks in their order: when this one has run, the server refuses new connections
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(deadline_s(5))
        return stopped

    def stop(self, within_s: float = 5.0) -> bool:
        """Stop the server; returns whether every request was finished."""
        return self.begin_stop(within_s).result(within_s + 5)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.address, timeout=ANSWER_S)

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes until its end."""
        with self.connect() as client:
            client.sendall(sent)
            return read_all(client)

    def close(self) -> None:
        self.stop(0)
        self._loop.call_soon_threadsafe(self._over.set)
        joined(self._thread, 5)
        self.listener.close()


@pytest.fixture
def env() -> Iterator[Callable[..., Env]]:
    with ExitStack() as made:

        def make(app: ASGIApp = digest, listener: socket.socket | None = None, **limits: Any) -> Env:
            return made.enter_context(closing(Env(HttpLimits(**limits), app, listener)))

        yield make


def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    while piece := client.recv(65536):
        received += piece
    return bytes(received)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def answer_of(client: socket.socket) -> bytes:
    """Return one answer of a kept-alive connection."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        piece = client.recv(65536)
        assert piece, bytes(received)
        received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    length = int(
        next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    )
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


async def until_true(condition: Callable[[], bool]) -> None:
    by = patient_by(5)
    while not condition():
        assert monotonic() < by
        await asyncio.sleep(0)


def digest_of(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Upgrade: TLS/1.0\r\nConnection: keep-alive, Upgrade\r\n",
]


class TestUpgradeIsIgnored:
    """RFC 9110 7.8: a server may ignore `Upgrade`; then the request is one like any other, body included."""

    @pytest.mark.parametrize("fields", UPGRADES)
    @pytest.mark.parametrize("pieces", [1, 2, 40])
    def test_the_body_is_read(self, env: Callable[..., Env], fields: bytes, pieces: int) -> None:
        body = b'{"message": "upgraded"}' * 10
        head = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body)
        with env().connect() as client:
            for piece in _cut(head + body, pieces):
                client.sendall(piece)
                until_read(client)
            assert digest_of(body) in answer_of(client)

    @pytest.mark.parametrize("fields", UPGRADES)
    def test_a_chunked_body_and_the_next_request_are_read(self, env: Callable[..., Env], fields: bytes) -> None:
        sent = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + fields + b"\r\n5\r\nhello\r\n0\r\n\r\n"
        after = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = env().exchange(sent + after)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert b"POST" in answer
        assert digest_of(b"hello") in answer

    @pytest.mark.parametrize("fields", UPGRADES)
    def test_a_body_that_comes_later_is_no_request(self, env: Callable[..., Env], fields: bytes) -> None:
        smuggled = b"DELETE /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        with env().connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(smuggled))
            until_read(client)
            client.sendall(smuggled)
            answer = answer_of(client)
            assert answer.split(b"\r\n\r\n")[1].startswith(b"POST")
            assert digest_of(smuggled) in answer
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_all(client).count(b"HTTP/1.1 200") == 1

    def test_without_a_body(self, env: Callable[..., Env]) -> None:
        with env().connect() as client:
            for _ in range(3):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADES[0] + b"\r\n")
                assert answer_of(client).split(b"\r\n\r\n")[1].startswith(b"GET 3 ")

    def test_connect_is_refused(self, env: Callable[..., Env]) -> None:
        assert status(env().exchange(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n")) == 405


def _cut(data: bytes, pieces: int) -> list[bytes]:
    size = -(-len(data) // pieces)
    return [data[start : start + size] for start in range(0, len(data), size)]


class TestHead:
    def test_endless_small_fields_are_refused(self, env: Callable[..., Env]) -> None:
        with env().connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            assert status(_answer_to_flood(client, b"a: b\r\n" * 20)) == 431

    def test_many_small_fields_below_the_size_are_refused(self, env: Callable[..., Env]) -> None:
        fields = b"a: b\r\n" * 300
        assert status(env().exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")) == 431

    def test_one_endless_field_is_refused(self, env: Callable[..., Env]) -> None:
        with env().connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
            assert status(_answer_to_flood(client, b"y" * 4096)) == 431

    def test_an_endless_target_is_refused(self, env: Callable[..., Env]) -> None:
        with env().connect() as client:
            client.sendall(b"GET /")
            assert status(_answer_to_flood(client, b"y" * 4096)) == 431

    def test_a_head_beyond_the_limit_in_one_piece_is_refused(self, env: Callable[..., Env]) -> None:
        fields = b"".join(b"x%d: %s\r\n" % (number, b"y" * 1000) for number in range(70))
        assert status(env().exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")) == 431

    def test_a_large_body_before_the_next_head_is_not_counted_for_it(self, env: Callable[..., Env]) -> None:
        body = b"z" * 200_000
        first = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        answer = env().exchange(first + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 2

    def test_a_head_that_does_not_come_is_refused(self, env: Callable[..., Env]) -> None:
        with env(head_s=0.2).connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost:")
            assert status(read_all(client)) == 408

    def test_a_connection_that_sends_nothing_is_closed_without_an_answer(self, env: Callable[..., Env]) -> None:
        with env(head_s=0.2).connect() as client:
            assert read_all(client) == b""

    @pytest.mark.parametrize(
        "fields",
        [
            b"",
            b"Host: a\r\nHost: a\r\n",
            b"Host: a\r\nhost: b\r\n",
            b"Host: a b\r\n",
            b"Host: a/b\r\n",
            b"Host: a@b\r\n",
        ],
    )
    def test_a_request_has_one_host(self, env: Callable[..., Env], fields: bytes) -> None:
        assert status(env().exchange(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")) == 400

    @pytest.mark.parametrize("line", [b"Host: a:3000\r\n", b"Host: [::1]:3000\r\n", b"Host:\r\n"])
    def test_hosts_that_are_right(self, env: Callable[..., Env], line: bytes) -> None:
        assert status(env().exchange(b"GET / HTTP/1.1\r\n" + line + b"Connection: close\r\n\r\n")) == 200

    def test_http_1_0_needs_no_host(self, env: Callable[..., Env]) -> None:
        assert status(env().exchange(b"GET / HTTP/1.0\r\n\r\n")) == 200

    def test_too_many_requests_in_one_packet_end_the_connection(self, env: Callable[..., Env]) -> None:
        one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        assert env(pipelined=8).exchange(one * 500).count(b"HTTP/1.1 200") < 12

    def test_requests_in_one_packet_are_answered_in_order(self, env: Callable[..., Env]) -> None:
        sent = b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(8))
        answer = env().exchange(sent + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        places = [answer.find(digest_of(b"%d" % number)) for number in range(8)]
        assert places == sorted(places)
        assert places[0] > 0


def _answer_to_flood(client: socket.socket, piece: bytes) -> bytes:
    sent = 0
    try:
        while sent < 4 << 20:
            sent += client.send(piece)
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        pass
    return read_all(client)


class TestBody:
    def test_a_body_that_stops_is_refused(self, env: Callable[..., Env]) -> None:
        with env(body_pause_s=0.3).connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
            assert status(read_all(client)) == 408

    def test_a_slow_body_is_read(self, env: Callable[..., Env]) -> None:
        with env(body_pause_s=1.5).connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                time.sleep(0.3)
                client.sendall(b"a")
            assert digest_of(b"a" * 8) in answer_of(client)

    @pytest.mark.parametrize("tail", [b"5;x=" + b"y" * 4096, b"0\r\nTrailer: " + b"y" * 4096])
    def test_what_is_no_body_has_an_end(self, env: Callable[..., Env], tail: bytes) -> None:
        with env().connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + tail)
            assert status(_answer_to_flood(client, b"y" * 4096)) == 400

    def test_trailers_are_no_headers(self, env: Callable[..., Env]) -> None:
        sent = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        answer = env().exchange(sent + b"1\r\na\r\n0\r\nX-API-Key: k\r\n\r\n")
        assert b"POST 3 " in answer

    def test_an_answer_before_the_body_arrives_intact(self, env: Callable[..., Env]) -> None:
        """The client writes all of its body before it reads, as most do."""
        body = b"x" * (8 << 20)
        made = env()
        for _ in range(5):
            with made.connect() as client:
                client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                assert status(read_all(client)) == 413

    def test_but_not_for_ever(self, env: Callable[..., Env]) -> None:
        with env(linger_bytes=1 << 20).connect() as client:
            client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                for _ in range(2000):
                    client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


class TestBudget:
    """Bodies that are gathered in memory share a budget; a refused or ended request gives its share back."""

    async def held(self, budget: BodyBudget, body: bytes, owner: str, until: asyncio.Event | None = None) -> int:
        pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]

        async def receive() -> Message:
            if not pieces:
                await asyncio.Event().wait()
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def app(scope: Scope, receive: Receive, _: Send) -> None:
            await read_body(Request(scope, receive), limit=10 << 20, wait_s=5, owner=owner)
            if until:
                await until.wait()

        async def send(_: Message) -> None: ...

        await with_budget(app, budget)({"type": "http", "headers": []}, receive, send)
        return budget.held

    def test_one_owner_leaves_room_for_others(self) -> None:
        async def run() -> None:
            budget, over = BodyBudget(4 << 20, 2 << 20), asyncio.Event()
            large = b"x" * (3 << 19)
            waiting = asyncio.create_task(self.held(budget, large, "a", over))
            await until_true(lambda: budget.held == len(large))
            with pytest.raises(BodyBudgetExhausted):
                await self.held(budget, large, "a")
            assert budget.held == len(large), "the refused one gave its part back"
            await self.held(budget, large, "b")
            await self.held(budget, b"small", "a")
            over.set()
            assert await waiting == 0

        asyncio.run(run())

    def test_all_of_them_together_have_a_limit(self) -> None:
        async def run() -> None:
            budget, over = BodyBudget(4 << 20, 2 << 20), asyncio.Event()
            large = b"x" * (3 << 19)
            waiting = [asyncio.create_task(self.held(budget, large, owner, over)) for owner in ("a", "b")]
            await until_true(lambda: budget.held == 2 * len(large))
            with pytest.raises(BodyBudgetExhausted):
                await self.held(budget, large, "c")
            over.set()
            await asyncio.gather(*waiting)
            assert budget.held == 0

        asyncio.run(run())


class TestConnections:
    def test_idle_ones_make_room(self, env: Callable[..., Env]) -> None:
        made = env(connections=10)
        with ExitStack() as clients:
            for _ in range(40):
                clients.enter_context(made.connect())
            assert status(made.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200

    def test_beyond_the_limit_they_are_refused(self, env: Callable[..., Env]) -> None:
        made = env(connections=10)
        with ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(made.connect()).sendall(b"GET / HTTP/1.1\r\n")
            eventually(
                lambda: status(made.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 503,
                5,
                "it is refused",
            )
        eventually(
            lambda: status(made.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200,
            5,
            "it is served",
        )

    def test_slow_heads_make_room(self, env: Callable[..., Env]) -> None:
        made = env(connections=10, head_s=60)
        with ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(made.connect()).sendall(b"GET / HTTP/1.1\r\n")
            eventually(
                lambda: status(made.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200,
                5,
                "it is served",
            )

    def test_an_idle_connection_is_closed(self, env: Callable[..., Env]) -> None:
        with env(idle_s=0.2).connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer_of(client)
            assert read_all(client) == b""

    def test_a_client_that_does_not_read_is_cut_off(self, env: Callable[..., Env]) -> None:
        ended = threading.Event()

        async def endless(_: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                for _piece in range(4000):
                    await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            finally:
                ended.set()

        with env(endless, write_stall_s=0.3).connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert ended.wait(deadline_s(ANSWER_S))


class TestDrain:
    def test_the_last_answers_say_so(self, env: Callable[..., Env]) -> None:
        made = env()
        with made.connect() as client, made.connect() as recent:
            client.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            recent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer_of(recent)
            stopping = made.begin_stop()
            recent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for one in (client, recent):
                answer = read_all(one)
                assert status(answer) == 200
                assert b"connection: close" in answer.lower()
            assert stopping.result(deadline_s(10))

    def test_idle_ones_do_not_hold_it_up(self, env: Callable[..., Env]) -> None:
        made = env(drain_idle_s=0.2)
        with made.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer_of(client)
            began = monotonic()
            assert made.stop(10)
            assert monotonic() - began < deadline_s(3)

    def test_while_servers_replace_each_other_no_kept_alive_client_notices(self, env: Callable[..., Env]) -> None:
        """Two servers share a listening socket, as two processes of a kind do; each is replaced in turn."""
        over, answered, errors = threading.Event(), [0] * 6, list[str]()
        old = env()
        servers = [old, env(listener=old.listener)]

        def ask(place: int) -> None:
            client = old.connect()
            while not over.is_set():
                try:
                    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
                    answer = answer_of(client)
                except (OSError, AssertionError) as error:
                    errors.append(repr(error))
                    return
                answered[place] += 1
                if b"connection: close" in answer.lower():
                    client.close()
                    client = old.connect()
                if place % 2:
                    time.sleep(0.003 * place)  # some clients pause between requests
            client.close()

        clients = [threading.Thread(target=ask, args=(place,)) for place in range(len(answered))]
        for client in clients:
            client.start()
        for turn in range(4):
            began = sum(answered)
            assert servers[0].stop(10)
            servers = [servers[1], env(listener=old.listener)]
            eventually(lambda began=began: sum(answered) > began + 100, 10, f"requests are answered after turn {turn}")  # type: ignore[misc]
        over.set()
        for client in clients:
            joined(client, 10)
        assert not errors
