"""What every process answers about itself: `/livez`, `/readyz`, `/health` and `/metrics`. None of them asks PostgreSQL
or Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.process.beats import Beats
from shared.process.exposition import CONTENT_TYPE

# `/livez` and `/readyz` as Kubernetes names its own, `/metrics` as Prometheus expects it.
PATHS: Final = ("/livez", "/readyz", "/health", "/metrics")
NUMBER: Final = "number"
"""Convertor of path parameters that are whole numbers: `{index:number}`. Starlette's own `int` takes any number of
digits, and Python refuses to convert more than 4,300, which would be an internal error.
"""


class _Number(Convertor[int]):
    regex = "[0-9]{1,18}"  # fits PostgreSQL's bigint

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


# Starlette knows convertors by name, in one table for the process: this runs on import, before any route is made.
register_url_convertor(NUMBER, _Number())


def process_routes(
    *,
    beats: Beats,
    missing: Callable[[], Mapping[str, str]],
    health: Callable[[], Mapping[str, Any]],
    figures: Callable[[], bytes],
) -> list[Route]:
    """Return the four routes.

    Args:
        beats: the process's work loops. missing: what readiness lacks, by name; empty means ready. health: facts for
            people; `status` is `healthy`, `degraded` or `down`. figures: makes the answer of `/metrics`, in a thread.
    """

    async def livez(_: Request) -> Response:
        stale = beats.stale()
        # 503 makes a prober restart the process; the orchestrator notices a stale loop by the missing WATCHDOG.
        return JSONResponse({"live": not stale, "stalled": stale}, status_code=503 if stale else 200)

    async def readyz(_: Request) -> Response:
        lacks = missing()
        # 503 takes the process out of a load balancer without a restart: what is missing may return.
        return JSONResponse({"ready": not lacks, "missing": lacks}, status_code=503 if lacks else 200)

    async def show_health(_: Request) -> Response:
        facts = health()
        # As a monitor that sees nothing but the status would ask: a process that can do no work is no success.
        return JSONResponse(facts, status_code=503 if facts["status"] == "down" else 200)

    async def show_metrics(_: Request) -> Response:
        # It may read files, and formats thousands of lines.
        return Response(await asyncio.to_thread(figures), media_type=CONTENT_TYPE)

    return [
        Route(path, handler) for path, handler in zip(PATHS, (livez, readyz, show_health, show_metrics), strict=True)
    ]


def beside(own: ASGIApp, room: ASGIApp) -> ASGIApp:
    """Return an application that reads the four paths from `own` and gives everything else, of whatever form, to the
    room's.
    """

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        # Other methods on these paths belong to the room, which answers them with its own error format.
        ours = scope["type"] == "http" and scope["path"] in PATHS and scope["method"] in ("GET", "HEAD")
        await (own if ours else room)(scope, receive, send)

    return choose
