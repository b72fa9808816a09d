"""The operators' page and its data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.http.pages import file_operation
from api.http.parameters import cursor, query_of
from api.operators.dependencies import ANSWER_S
from api.operators.health import HealthOperations
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.store import connections, messages, processes
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.timestamps import iso

# rows of a table that people read, fetched every two seconds by each open page
_MOST_CONNECTIONS: Final = 200
_MOST_EVENTS: Final = 40
_CURSOR: Final = "^[A-Za-z0-9_-]{1,64}:[0-9]{1,9}$"
"""A connection: company and index."""


class Dashboard:
    """The page's files and its data."""

    def __init__(self, store: Store, health: HealthOperations) -> None:
        self._store, self._health = store, health

    def operations(self) -> list[Operation]:
        """Return the page's operations."""
        return [
            file_operation(
                "getDashboard", "/dashboard", "index.html", "text/html; charset=utf-8", "The operators' page"
            ),
            file_operation(
                "getDashboardStyle", "/dashboard/style.css", "style.css", "text/css; charset=utf-8", "Its looks"
            ),
            file_operation(
                "getDashboardScript", "/dashboard/page.js", "page.js", "text/javascript; charset=utf-8", "Its script"
            ),
            Operation(
                operation_id="getDashboardData",
                method="GET",
                path="/dashboard/data",
                scope="operate",
                owner="installation",
                group="Pages",
                summary="Data of the operators' page",
                handler=self.show_data,
                parameters=(cursor(_CURSOR),),
                answers={
                    200: (
                        "Health, queues, connections and events; the last three are null while the database is away.",
                        "DashboardData",
                    )
                },
            ),
        ]

    async def show_data(self, request: Request) -> Response:
        """Answer with everything that the page shows."""
        health, kept = await asyncio.gather(self._health.everything(), self._kept(query_of(request)["cursor"]))
        return JSONResponse({"health": health, **kept}, headers={"Cache-Control": "no-store"})

    async def _kept(self, cursor_given: str | None) -> Mapping[str, Any]:
        company_id, _, phone_index = (cursor_given or ":0").partition(":")
        after = (company_id, int(phone_index))
        try:
            # a little more than the store's own deadline: this one covers the wait for a thread too
            async with asyncio.timeout(ANSWER_S + 0.2):
                queue, overview, events = await self._store.call_by(monotonic() + ANSWER_S, _read, after)
        except (StoreUnavailable, TimeoutError):
            # null instead of empty: the page must not show an outage as an empty queue
            return {"queue": None, "connections": None, "nextConnections": None, "events": None}
        shown = overview[:_MOST_CONNECTIONS]
        following = f"{shown[-1]['company_id']}:{shown[-1]['phone_index']}" if len(overview) > len(shown) else None
        return {
            "queue": [_queue(row) for row in queue],
            "connections": [_connection(row) for row in shown],
            "nextConnections": following,
            "events": [_event(row) for row in events],
        }


def _read(transaction: Transaction, after: tuple[str, int]) -> tuple[list[Row], list[Row], list[Row]]:
    # one transaction, so one wait for a thread and one deadline for all three
    return (
        messages.queue_depth(transaction),
        connections.overview(transaction, after=after, most=_MOST_CONNECTIONS + 1),
        processes.latest_events(transaction, most=_MOST_EVENTS),
    )


def _queue(row: Row) -> Mapping[str, Any]:
    return {
        "process": row["process_name"],
        "state": row["state"],
        "messages": row["messages"],
        "oldestSeconds": round(row["oldest_s"] or 0.0, 1),
    }


def _connection(row: Row) -> Mapping[str, Any]:
    return {
        "companyId": row["company_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "process": row["process_name"],
        "status": row["configured"],
        "statusReason": row["status_reason"] or None,
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        # a browser session's linked number, or the number that Meta showed at the last check
        "account": row["account"] or row["facts"].get("number", {}).get("displayPhoneNumber") or None,
        "provedAt": iso(row["proved_at"]),
        "observedAt": iso(row["updated_at"]),
        "browser": dict(row["figures"]) or None,
        "warning": row["warning"] or None,
        "quality": row["facts"].get("number", {}).get("qualityRating") or None,
        "tier": row["facts"].get("number", {}).get("messagingLimitTier") or None,
        "checkedAt": iso(row["checked_at"]),
    }


def _event(row: Row) -> Mapping[str, Any]:
    return {
        "at": iso(row["at"]),
        "event": row["event"],
        "process": row["process_name"],
        "instance": row["instance"],
        "detail": row["detail"],
    }
