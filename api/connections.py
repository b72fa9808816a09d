"""A company's connections: what they are, what is observed of them, and what each can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import capabilities
from api.directory import Directory, require_possible
from api.instants import iso
from api.operations import Operation
from shared.store import connections
from shared.store.pool import Row
from shared.store.store import Store


class Connections:
    """The operations on connections."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return the operations on connections."""
        return [
            Operation(
                method="GET",
                path="/api/v2/connections/{companyId}",
                group="Connections",
                summary="Connections of a company, with state and capabilities",
                handler=self.show,
                answers={200: ("All connections, by phoneIndex.", "Connections")},
                problems=("company_unknown",),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with all connections of a company."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        rows = await self._store.call(connections.of_company, company_id)
        if not rows:
            await self._directory.require_company(company_id)
        return JSONResponse({"companyId": company_id, "connections": [_connection(row) for row in rows]})


def _connection(row: Row) -> Mapping[str, Any]:
    return {
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "process": row["process_name"],
        "status": row["status"],
        "statusReason": row["status_reason"] or None,
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        "accountId": row["account_id"] or None,
        "provedAt": iso(row["proved_at"]),
        "lastEventAt": iso(row["last_event_at"]),
        "observedAt": iso(row["observed_at"]),
        "capabilities": {name: capability.as_json() for name, capability in capabilities.of(row["connection_type"]).items()},
    }
