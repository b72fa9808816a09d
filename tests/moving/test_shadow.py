"""A single-process server's clients notice nothing of the shadow, and what the shadow answers otherwise is reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from moving import shadow
from moving.comparison import Answer, compare, operation
from moving.shadow import NotInSandbox, Shadow
from tests.support.waiting import eventually_async, within

KEY = "shadow-key"
HEADERS = {"Authorization": "Bearer old-key", "Content-Type": "application/json"}


class Server:
    """One of the two servers, over a real socket.

    Attributes:
        requests: (method, path, headers, body) of what came. answers: status and body by path; others get 200.
    """

    def __init__(self, *, sandbox: bool = True) -> None:
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, str]] = {
            "/api/v2/companies": (200, '{"companies": [{"companyId": "acme"}], "next": null}'),
            "/api/v2/connections/acme": (
                200,
                json.dumps({"connections": [{"phoneIndex": 0, "sandbox": sandbox}]}),
            ),
        }
        self.released = asyncio.Event()
        self.released.set()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Server]:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        try:
            yield self
        finally:
            self.released.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        await self.released.wait()
        status, text = self.answers.get(request.path, (200, "{}"))
        return web.Response(status=status, text=text, headers={"X-Server": "real"})

    def messages(self) -> list[tuple[str, str, Mapping[str, str], bytes]]:
        """Return the requests that are a client's."""
        return [one for one in self.requests if one[0] == "POST"]


class Setup:
    def __init__(self, old: Server, new: Server, proxy: Shadow, url: str, reports: list[Mapping[str, Any]]) -> None:
        self.old, self.new, self.proxy, self.url, self.reports = old, new, proxy, url, reports

    async def post(self, path: str, body: bytes = b'{"message": "x"}') -> tuple[int, str, Mapping[str, str]]:
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{self.url}{path}", data=body, headers=HEADERS) as answer,
        ):
            return answer.status, await answer.text(), answer.headers

    async def answers(self) -> bool:
        """Whether the proxy takes requests."""
        try:
            await self.post("/ready")
        except aiohttp.ClientError:
            return False
        return True


@asynccontextmanager
async def running(free_port: int) -> AsyncIterator[Setup]:
    async with Server().open() as old, Server().open() as new:
        reports: list[Mapping[str, Any]] = []
        proxy, stopping = Shadow(old.url, new.url, key=KEY, report=reports.append), asyncio.Event()
        running_proxy = asyncio.create_task(proxy.run("127.0.0.1", free_port, stopping))
        setup = Setup(old, new, proxy, f"http://127.0.0.1:{free_port}", reports)

        await eventually_async(setup.answers, 10)
        try:
            yield setup
        finally:
            stopping.set()
            await running_proxy


def test_the_client_gets_the_old_servers_answer_and_the_shadow_a_copy_with_its_own_key(free_ports: Any) -> None:
    async def scenario() -> None:
        async with running(free_ports(1)[0]) as env:
            path = "/api/v2/messages/text/acme/15550100200?x=%20y"
            env.old.answers["/api/v2/messages/text/acme/15550100200"] = (200, '{"success": true}')
            env.new.answers["/api/v2/messages/text/acme/15550100200"] = (202, '{"id": "1"}')
            status, text, headers = await env.post(path)
            assert (status, text, headers["X-Server"]) == (200, '{"success": true}', "real")
            await eventually_async(lambda: _true(env.proxy.counts.compared >= 2), 10)
            (there,), (here,) = ([one for one in server.messages() if one[1] == path] for server in (env.old, env.new))
            assert there[3] == here[3] == b'{"message": "x"}'
            assert (there[2]["Authorization"], here[2]["Authorization"]) == ("Bearer old-key", f"Bearer {KEY}")
            assert env.reports == [], "200 and 202 are both accepted"

    asyncio.run(within(scenario(), 60))


def test_what_differs_is_reported_without_what_names_a_person(free_ports: Any) -> None:
    async def scenario() -> None:
        async with running(free_ports(1)[0]) as env:
            env.new.answers["/api/v2/messages/text/acme/15550100200"] = (422, '{"code": "chat_invalid"}')
            assert (await env.post("/api/v2/messages/text/acme/15550100200"))[0] == 200
            await eventually_async(lambda: _true(len(env.reports) == 1), 10)
            (report,) = env.reports
            assert report["operation"] == "POST /api/v2/messages/text/acme/…"
            assert (report["reasons"], report["new"]["code"]) == (["accepted there, refused here"], "chat_invalid")
            assert "1 differences" in env.proxy.counts.lines()[1]

    asyncio.run(within(scenario(), 60))


def test_a_shadow_that_hangs_delays_no_client(free_ports: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(shadow, "_QUEUE", 2)
        async with running(free_ports(1)[0]) as env:
            env.new.released.clear()
            for _ in range(shadow._AT_ONCE + 10):
                assert (await env.post("/api/v2/messages/text/acme/15550100200"))[0] == 200
            await eventually_async(lambda: _true(env.proxy.counts.not_compared["the shadow is too slow"] >= 7), 10)

    asyncio.run(within(scenario(), 60))


def test_a_shadow_that_sends_to_real_providers_gets_no_copy(free_ports: Any) -> None:
    async def scenario() -> None:
        async with Server().open() as old, Server(sandbox=False).open() as new:
            proxy = Shadow(old.url, new.url, key=KEY, report=lambda _: None)
            with pytest.raises(NotInSandbox, match="a copy of a request would be a second message"):
                await proxy.run("127.0.0.1", free_ports(1)[0], asyncio.Event())
            new.answers["/api/v2/companies"] = (401, "{}")
            with pytest.raises(NotInSandbox, match="answers 401"):
                await proxy.run("127.0.0.1", free_ports(1)[0], asyncio.Event())
            assert new.messages() == []

    asyncio.run(within(scenario(), 60))


@pytest.mark.parametrize(
    ("old", "new", "reasons"),
    [
        ((200, 0.1), (202, 0.1), None),
        ((400, 0.1), (422, 0.1), None),
        ((200, 0.1), (500, 0.1), ("accepted there, failed here",)),
        ((200, 0.1), (0, 30.0), ("accepted there, failed here", "slow")),
        ((500, 0.1), (202, 0.1), ("failed there, accepted here",)),
        ((200, 0.4), (202, 0.7), None),
        ((200, 0.1), (202, 0.7), ("slow",)),
    ],
)
def test_what_a_client_would_notice(
    old: tuple[int, float], new: tuple[int, float], reasons: tuple[str, ...] | None
) -> None:
    there, here = (Answer(status=status, seconds=seconds) for status, seconds in (old, new))
    found = compare("POST", "/x", there, here)
    assert (found and found.reasons) == reasons


def test_numbers_and_queries_leave_no_trace() -> None:
    assert (
        operation("GET", "/api/v2/messages/acme/15550100200@c.us?after=15550100201") == "GET /api/v2/messages/acme/…?…"
    )


async def _true(value: bool) -> bool:
    return value
