"""What every process answers about itself: `/livez`, `/readyz`, `/health` and `/metrics`. None of them asks PostgreSQL or Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.process.beats import Beats
from shared.process.metrics import CONTENT_TYPE, Metrics


def process_routes(*, beats: Beats, missing: Callable[[], Mapping[str, str]], health: Callable[[], Mapping[str, Any]], metrics: Metrics) -> list[Route]:
    """Return the four routes.

    Args:
        beats: the process's work loops. missing: what readiness lacks, by name; empty means ready. health: facts for people.
    """

    async def livez(_: Request) -> Response:
        stale = beats.stale()
        return JSONResponse({"live": not stale, "stalled": stale}, status_code=503 if stale else 200)

    async def readyz(_: Request) -> Response:
        lacks = missing()
        return JSONResponse({"ready": not lacks, "missing": lacks}, status_code=503 if lacks else 200)

    async def show_health(_: Request) -> Response:
        return JSONResponse(health())

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/health", show_health), Route("/metrics", show_metrics)]
