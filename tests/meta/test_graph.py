"""Between the note that the provider may have a message and its way into the kernel there is no time to die in."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
import uvloop

from meta.graph import Endpoint, GraphAnswer, GraphClient, GraphReply, RequestUnanswered, RequestUnwritten
from shared.clock import monotonic
from shared.errors import Fenced
from tests.support.ports import free_ports
from tests.support.waiting import within


async def _nothing() -> None:
    """Note nothing."""


async def _connection(listener: socket.socket) -> socket.socket:
    loop = asyncio.get_running_loop()
    accepted, _ = await within(loop.sock_accept(listener), 5)
    return accepted


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def _endpoint(listener: socket.socket) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/messages", {})


def test_what_is_noted_leaves_in_the_same_turn_of_the_loop(listener: socket.socket) -> None:
    async def scenario() -> bool:
        graph, noted = GraphClient(connections=1), asyncio.Event()

        async def note() -> None:
            noted.set()

        async def first_look(peer: socket.socket) -> bool:
            """Look in every turn of the loop; return whether the peer had it when it was first seen to be noted."""
            while not noted.is_set():
                await asyncio.sleep(0)
            return bool(select.select([peer], [], [], 0)[0])

        # the first request opens the connection, which the second one finds idle
        opened = asyncio.create_task(graph.post(_endpoint(listener), b"{}", monotonic() + 5, _nothing))
        peer = await _connection(listener)
        loop = asyncio.get_running_loop()
        await within(loop.sock_recv(peer, 65_536), 5)
        await loop.sock_sendall(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await opened
        posted = asyncio.create_task(graph.post(_endpoint(listener), b"{}", monotonic() + 5, note))
        # created after the request: in every turn it looks after it
        seen = await within(asyncio.create_task(first_look(peer)), 5)
        peer.close()
        await posted
        await graph.close()
        return seen

    with uvloop_runner() as runner:
        assert runner.run(scenario())


def uvloop_runner() -> asyncio.Runner:
    """Return a runner with the loop that processes use."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@pytest.mark.parametrize("refusal", [Fenced("not ours"), RuntimeError("a bug")])
def test_a_refusal_to_write_is_raised_as_it_is_and_nothing_leaves(listener: socket.socket, refusal: Exception) -> None:
    async def scenario() -> bytes:
        graph = GraphClient(connections=1)

        async def refuse() -> None:
            raise refusal

        posted = asyncio.create_task(graph.post(_endpoint(listener), b"{}", monotonic() + 5, refuse))
        peer = await _connection(listener)
        with pytest.raises(type(refusal), match=str(refusal)):
            await posted
        received = await within(asyncio.get_running_loop().sock_recv(peer, 65_536), 5)
        peer.close()
        await graph.close()
        return received

    with uvloop_runner() as runner:
        assert runner.run(scenario()) == b""


def test_a_call_without_a_body_may_have_been_received(listener: socket.socket) -> None:
    """Its headers are the whole request: cut off after them, its outcome is unknown."""

    async def scenario() -> None:
        graph = GraphClient(connections=1)
        called = asyncio.create_task(graph.call("GET", _endpoint(listener).url, {}, monotonic() + 0.5))
        peer = await _connection(listener)
        assert isinstance(await called, RequestUnanswered)
        peer.close()
        assert isinstance(await graph.call("GET", _unused_endpoint(), {}, monotonic() + 5), RequestUnwritten)
        await graph.close()

    with uvloop_runner() as runner:
        runner.run(scenario())


def _unused_endpoint() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}/"


TOKEN: Final = "AQBmX9dummy/Zk3Rt7-not-a-real-token-0000"


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


async def _served(
    listener: socket.socket, answer: bytes, ask: Callable[[GraphClient], Awaitable[GraphReply]]
) -> GraphReply:
    """Return what the client makes of an answer; the server answers one connection, and no other comes."""
    loop = asyncio.get_running_loop()
    graph = GraphClient(connections=1)
    asked = asyncio.ensure_future(ask(graph))
    peer = await _connection(listener)
    await within(loop.sock_recv(peer, 65_536), 5)
    await loop.sock_sendall(peer, answer)
    reply = await within(asked, 5)
    peer.close()
    await graph.close()
    return reply


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_of_a_send_is_an_answer_and_is_not_followed(listener: socket.socket, status: str) -> None:
    """A send that is repeated elsewhere may be a second message, and carries the token to the host that the answer
    names.
    """
    elsewhere = f"http://127.0.0.1:{listener.getsockname()[1]}/elsewhere"
    answer = _answer(status, b"{}", f"Location: {elsewhere}", "Connection: close")

    async def scenario() -> GraphReply:
        endpoint = Endpoint(_endpoint(listener).url, {"Authorization": f"Bearer {TOKEN}"})
        return await _served(listener, answer, lambda graph: graph.post(endpoint, b"{}", monotonic() + 3, _nothing))

    with uvloop_runner() as runner:
        reply = runner.run(scenario())
    assert isinstance(reply, GraphAnswer)
    assert reply.status == int(status[:3])
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize(
    "words",
    [
        f"Malformed access token {TOKEN}",
        f"Malformed access token {TOKEN[:14]}...",
        "twice: " + TOKEN + " and " + TOKEN,
        "escaped: " + TOKEN.replace("/", "\\/"),
    ],
)
@pytest.mark.parametrize("place", ["header", "key", "parameter", "app"])
def test_a_response_does_not_repeat_the_secrets_of_its_request(listener: socket.socket, words: str, place: str) -> None:
    headers = {
        "header": {"Authorization": f"Bearer {TOKEN}"},
        "key": {"D360-API-KEY": TOKEN},
        "app": {"Authorization": f"Bearer 300000000000001|{TOKEN}"},
    }.get(place, {})
    params = {"input_token": TOKEN} if place == "parameter" else {}
    body = f'{{"error":{{"message":"{words}","code":190,"app_id":"300000000000001"}}}}'.encode()

    async def scenario() -> GraphReply:
        url = _endpoint(listener).url
        return await _served(
            listener,
            _answer("400 Bad Request", body, "Connection: close"),
            lambda graph: graph.call("GET", url, headers, monotonic() + 3, params=params),
        )

    with uvloop_runner() as runner:
        reply = runner.run(scenario())
    assert isinstance(reply, GraphAnswer)
    said = json.loads(reply.body)["error"]
    assert TOKEN[:14] not in said["message"]
    assert (said["code"], said["app_id"]) == (190, "300000000000001")
