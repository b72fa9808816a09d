"""The shadow is a real API: answers are compared, messages wait, and one that could reach people gets no copy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from moving.shadow import NotInSandbox, Shadow
from tests.api.api_env import KEY, ApiEnv
from tests.moving.test_shadow import Server, Setup, _true
from tests.support.waiting import eventually_async, within

SANDBOX = "http://127.0.0.1:3100"
ADDRESSES = {
    "sandbox_url": SANDBOX,
    "graph_base_url": f"{SANDBOX}/graph",
    "d360_base_url": f"{SANDBOX}/d360",
    "instagram_base_url": f"{SANDBOX}/instagram",
    "whatsapp_web_url": f"{SANDBOX}/web/",
}


def test_a_real_api_as_shadow(home: Path, database_url: str, redis_url: str, free_ports: Any) -> None:
    async def compared(env: ApiEnv) -> list[Mapping[str, Any]]:
        reports: list[Mapping[str, Any]] = []
        async with Server().open() as old:
            (port,) = free_ports(1)
            proxy, stopping = Shadow(old.url, env.url, key=KEY, report=reports.append), asyncio.Event()
            setup = Setup(old, old, proxy, f"http://127.0.0.1:{port}", reports)
            running = asyncio.create_task(proxy.run("127.0.0.1", port, stopping))
            await eventually_async(setup.answers, 20)
            for chat in ("15550100200", "not a chat"):
                assert (await setup.post(f"/api/v2/messages/text/alpha/{chat.replace(' ', '%20')}"))[0] == 200
            await eventually_async(lambda: _true(proxy.counts.compared >= 3), 20)
            stopping.set()
            await running
        return reports

    with ApiEnv(home, database_url, redis_url, **ADDRESSES) as env:
        reports = asyncio.run(within(compared(env.seed().start()), 60))
        assert env.sql("SELECT chat_id, state FROM messages") == [{"chat_id": "15550100200", "state": "queued"}]
    refused = [report for report in reports if report["operation"].startswith("POST /api/v2/messages")]
    assert [report["reasons"] for report in refused] == [["accepted there, refused here"]]


def test_a_real_api_that_reaches_people_gets_no_copy(
    home: Path, database_url: str, redis_url: str, free_ports: Any
) -> None:
    live = {**ADDRESSES, "graph_base_url": "https://graph.facebook.com"}
    with ApiEnv(home, database_url, redis_url, **live) as env:
        env.seed().start()
        proxy = Shadow("http://127.0.0.1:1", env.url, key=KEY, report=lambda _: None)
        with pytest.raises(NotInSandbox, match="of company alpha"):
            asyncio.run(proxy.run("127.0.0.1", free_ports(1)[0], asyncio.Event()))
