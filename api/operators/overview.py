"""What operators look at across all companies: queues, connections, and what changed lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.shapes import choice
from shared.store import connections, messages, processes
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.timestamps import iso

_FRESH: Final = {"Cache-Control": "no-store"}
_CONNECTION_CURSOR: Final = "^[A-Za-z0-9_-]{1,64}:[0-9]{1,9}$"
"""A connection: company and index."""
_NEWEST: Final = (1 << 63) - 1
_SUBJECTS: Final = ("process", "connection", "session", "alert", "hook", "audit")
_WAITING_MOST: Final = 200
"""Connections with a queue in one answer; the ones beyond wait no differently."""


class OverviewOperations:
    """The operations that look across companies."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listQueues",
                method="GET",
                path="/api/v2/queues",
                scope="monitor",
                owner="installation",
                group="Processes",
                summary="Open messages by kind and state, and the connections whose messages wait",
                handler=self.show_queues,
                answers={200: (f"At most {_WAITING_MOST} connections; counts of one end at 1,000.", "Queues")},
            ),
            Operation(
                operation_id="listAllConnections",
                method="GET",
                path="/api/v2/connections",
                scope="operate",
                owner="installation",
                group="Connections",
                summary="Connections of all companies, with what is observed of them",
                handler=self.show_connections,
                parameters=(
                    limit("Connections in one page.", default=100, most=200),
                    cursor(_CONNECTION_CURSOR),
                ),
                answers={200: ("One page, by company and index.", "AllConnections")},
                problems=("query_invalid",),
            ),
            Operation(
                operation_id="listChanges",
                method="GET",
                path="/api/v2/changes",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="What happened to processes, connections, sessions, alerts, and what keys changed",
                handler=self.show_changes,
                parameters=(
                    limit("Changes in one page.", default=50, most=200),
                    cursor(),
                    Parameter(
                        name="subject",
                        place="query",
                        purpose="Only changes of this subject.",
                        schema=choice("ChangeSubject", *_SUBJECTS),
                    ),
                ),
                answers={200: ("One page, newest first.", "Changes")},
                problems=("query_invalid",),
            ),
        ]

    async def show_queues(self, _: Request) -> Response:
        """Answer with what waits."""
        depth, waiting = await self._store.call(_queues)
        body = {
            "queues": [
                {
                    "process": row["process_name"],
                    "state": row["state"],
                    "messages": row["messages"],
                    "oldestSeconds": round(row["oldest_s"] or 0.0, 1),
                }
                for row in depth
            ],
            "connections": [_waiting(row) for row in waiting],
        }
        return JSONResponse(body, headers=_FRESH)

    async def show_connections(self, request: Request) -> Response:
        """Answer with one page of connections."""
        query = query_of(request)
        company_id, _, phone_index = (query["cursor"] or ":0").partition(":")
        most = query["limit"]
        rows = await self._store.call(connections.overview, after=(company_id, int(phone_index)), most=most + 1)
        following = f"{rows[most - 1]['company_id']}:{rows[most - 1]['phone_index']}" if len(rows) > most else None
        body = {"connections": [_connection(row) for row in rows[:most]], "next": following}
        return JSONResponse(body, headers=_FRESH)

    async def show_changes(self, request: Request) -> Response:
        """Answer with one page of changes."""
        query = query_of(request)
        most = query["limit"]
        rows = await self._store.call(
            processes.recent_changes,
            before=int(query["cursor"] or _NEWEST),
            subjects=None if query["subject"] is None else [query["subject"]],
            most=most + 1,
        )
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse({"changes": [_change(row) for row in rows[:most]], "next": following}, headers=_FRESH)


def _queues(transaction: Transaction) -> tuple[list[Row], list[Row]]:
    waiting = transaction.rows("unwell_connections", company_id=None, after=0, whole=False, most=500)
    waiting = [row for row in waiting if row["due"] or row["held"] or row["dead"] or row["is_paused"]]
    waiting.sort(key=lambda row: (-row["oldest_due_s"], -row["held"], -row["dead"]))
    return messages.queue_depth(transaction), waiting[:_WAITING_MOST]


def _waiting(row: Row) -> Mapping[str, Any]:
    return {
        "companyId": row["company_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "process": row["process_name"],
        "paused": row["is_paused"],
        "due": row["due"],
        "oldestSeconds": round(row["oldest_due_s"], 1),
        "held": row["held"],
        "dead": row["dead"],
    }


def _connection(row: Row) -> Mapping[str, Any]:
    number = row["facts"].get("number", {})
    return {
        "companyId": row["company_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "name": row["name"] or None,
        "process": row["process_name"],
        "status": row["configured"],
        "statusReason": row["status_reason"] or None,
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        # a browser session's linked number, or the number that Meta showed at the last check
        "account": row["account"] or number.get("displayPhoneNumber") or None,
        "provedAt": iso(row["proved_at"]),
        "observedAt": iso(row["updated_at"]),
        "browser": dict(row["figures"]) or None,
        "warning": row["warning"] or None,
        "quality": number.get("qualityRating") or None,
        "tier": number.get("messagingLimitTier") or None,
        "checkedAt": iso(row["checked_at"]),
    }


def _change(row: Row) -> Mapping[str, Any]:
    data = row["data"] or {}
    subject = row["type"].partition(".")[0]
    # of a process, the journal's own details; of the audit, who did it: never what was written in it before or after
    facts = data.get("detail") if subject == "process" else None
    key = data.get("key", {}).get("name") if subject == "audit" else None
    return {
        "id": str(row["id"]),
        "at": iso(row["at"]),
        "type": row["type"],
        "companyId": row["company_id"],
        "phoneIndex": row["phone_index"],
        "process": row["slot"],
        "state": row["state"],
        "detail": row["detail"] or data.get("summary") or None,
        "key": key,
        "facts": facts,
    }
