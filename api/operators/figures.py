"""Figures of every process for scrapers elsewhere, and of one kind under the names that its users know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.http.operations import Operation
from shared.process import metrics_files
from shared.process.exposition import CONTENT_TYPE, render

_PRESENT: Final[Mapping[str, str]] = {
    "sessionsActive": "sessions{state=ready}",
    "botsActive": "meta_connections_usable",
}
"""Gauges: each process of a kind sees all connections, so the largest value counts."""
_COUNTED: Final[Mapping[str, tuple[str, ...]]] = {
    "messagesSent": ("message_outcomes_total{outcome=sent",),
    "messagesReceived": ("messages_received_total",),
    "errors": ("process_errors_total",),
    "apiErrors": ("meta_refusals_total", "meta_transport_failures_total"),
}
"""Counters since each process started, by the beginning of their names: added."""
_DURATIONS: Final = ("send_seconds", "http_request_seconds")


class FigureOperations:
    """The operation that shows every figure to a key: `/metrics` answers this machine alone."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="getAllMetrics",
                method="GET",
                path="/api/v2/metrics",
                scope="monitor",
                owner="installation",
                group="Processes",
                summary="Figures of every process for Prometheus, as `/metrics` shows them to this machine",
                handler=self.show,
                answers={200: ("Text exposition format 0.0.4.", "text/plain")},
            )
        ]

    async def show(self, _: Request) -> Response:
        """Answer with the figures of all processes of this home."""
        return Response(await asyncio.to_thread(self._text), media_type=CONTENT_TYPE)

    def _text(self) -> bytes:
        return render(metrics_files.gather(self._home))


def summed(snapshots: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """Return the figures; null: the kind does not have it.

    Args:
        snapshots: the latest metrics of each process (`shared.process.metrics.Metrics.snapshot`).
    """
    found = list(snapshots)
    return {
        **{name: _largest(found, metric) for name, metric in _PRESENT.items()},
        **{name: _sum(found, metrics) for name, metrics in _COUNTED.items()},
        "avgResponseTime": next((mean for name in _DURATIONS if (mean := _mean(found, name)) is not None), None),
    }


def _largest(snapshots: Iterable[Mapping[str, float]], metric: str) -> int | None:
    values = [one[metric] for one in snapshots if metric in one]
    return int(max(values)) if values else None


def _sum(snapshots: Iterable[Mapping[str, float]], beginnings: tuple[str, ...]) -> int | None:
    values = [value for one in snapshots for name, value in one.items() if name.startswith(beginnings)]
    return int(sum(values)) if values else None


def _mean(snapshots: Iterable[Mapping[str, float]], name: str) -> float | None:
    """Return seconds."""
    total = count = 0.0
    for one in snapshots:
        for key, value in one.items():
            if key.startswith(f"{name}_sum"):
                total += value
            elif key.startswith(f"{name}_count"):
                count += value
    return round(total / count, 4) if count else None
