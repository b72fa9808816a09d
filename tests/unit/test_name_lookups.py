"""Names whose servers do not answer hold threads for long; those of one company never hold all."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from shared.http_client.names import NameLookups
from shared.http_client.places import PlaceHolder
from shared.http_client.request import HttpOrigin
from tests.support.waiting import deadline_s

pytestmark = pytest.mark.fast
MOST, WITHIN_S = 16, 20.0
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


def test_names_that_hang_leave_threads_to_another_company(monkeypatch: pytest.MonkeyPatch) -> None:
    release, hanging = threading.Event(), threading.Semaphore(0)

    def getaddrinfo(host: str, *_: Any, flags: int = 0, **__: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("it is a name")
        if host.startswith("hang"):
            hanging.release()
            release.wait(WITHIN_S)
            raise socket.gaierror("no name server answers")
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def scenario() -> None:
        look_up = NameLookups(MOST)
        waiting = [
            asyncio.create_task(look_up(HttpOrigin(True, f"hang-{number}", 443), PlaceHolder("a")))
            for number in range(200)
        ]
        # a quarter, since none has been found soon
        for _ in range(MOST // 4):
            assert await asyncio.to_thread(hanging.acquire, timeout=WITHIN_S)
        async with asyncio.timeout(deadline_s(WITHIN_S / 2)):
            other = PlaceHolder("b")
            for _ in range(3):
                assert await look_up(HttpOrigin(True, "example.com", 443), other) == FOUND
        assert not any(task.done() for task in waiting)
        release.set()
        async with asyncio.timeout(deadline_s(WITHIN_S)):
            found = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in found} == {socket.gaierror}

    asyncio.run(scenario())


def test_an_address_is_looked_up_without_a_thread() -> None:
    async def scenario() -> list[Any]:
        before = threading.active_count()
        found = await NameLookups()(HttpOrigin(False, "127.0.0.1", 8080), PlaceHolder("a"))
        assert threading.active_count() == before
        return found

    assert [one[4] for one in asyncio.run(scenario())] == [("127.0.0.1", 8080)]
