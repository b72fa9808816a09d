"""What the public port shows to other machines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.process.servers import private_to_this_machine


def status_of(path: str, client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]]) -> int:
    """Return the status of a request from `client`."""
    app = private_to_this_machine(
        Starlette(
            routes=[Route(one, lambda _: PlainTextResponse("seen")) for one in ("/health", "/metrics", "/readyz", "/x")]
        )
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": client,
        "server": ("127.0.0.1", 3000),
        "scheme": "http",
    }

    async def call() -> None:
        await app(scope, receive, send)

    asyncio.run(call())
    return int(sent[0]["status"])


HERE, ELSEWHERE = ("127.0.0.1", 5000), ("203.0.113.9", 5000)
PROXIED = [(b"X-Forwarded-For", b"203.0.113.9")]


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_health_and_metrics_are_for_this_machine(path: str) -> None:
    assert status_of(path, HERE, []) == status_of(path, ("::1", 5000), []) == 200
    assert status_of(path, ELSEWHERE, []) == 403
    assert status_of(path, HERE, PROXIED) == 403, "a proxy on this machine speaks for another"
    assert status_of(path, ("unknown", 0), []) == 403


@pytest.mark.parametrize("path", ["/readyz", "/x"])
def test_everything_else_is_open(path: str) -> None:
    assert status_of(path, ELSEWHERE, []) == status_of(path, HERE, PROXIED) == 200
