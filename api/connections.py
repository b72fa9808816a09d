"""A company's connections: what they are, what is observed of them, and what each can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import capabilities
from api.bodies import Field, json_schema, read_fields, read_json
from api.directory import Directory, phone_index_unknown, read_phone_index, require_possible
from api.instants import iso
from api.operations import Operation
from shared.store import connections
from shared.store.pool import Row
from shared.store.store import Store

_STATUS_FIELDS: Final = (
    Field(name="status", kind=str, purpose="`active` sends, `paused` holds the connection's queue.", required=True, choices=("active", "paused")),
    Field(name="reason", kind=str, purpose="Why it is paused, for those who look.", default="an operator said so", longest=200),
)


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
            ),
            Operation(
                method="POST",
                path="/api/v2/connections/{companyId}/{phoneIndex}",
                group="Connections",
                summary="Pause a connection, or resume one that an operator, its provider or its breaker paused",
                handler=self.set_status,
                body=json_schema(_STATUS_FIELDS),
                answers={200: ("All connections, as they are now.", "Connections")},
                problems=(
                    "company_unknown",
                    "phone_index_unknown",
                    "body_not_json",
                    "body_late",
                    "body_too_large",
                    "media_type_unsupported",
                    "body_invalid",
                ),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with all connections of a company."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        rows = await self._store.call(connections.of_company, company_id)
        if not rows:
            await self._directory.require_company(company_id)
        return JSONResponse({"companyId": company_id, "connections": [_connection(row) for row in rows]})

    async def set_status(self, request: Request) -> Response:
        """Pause or resume; one that is so already stays as it is."""
        company_id, phone_index = request.path_params["companyId"], read_phone_index(request.path_params["phoneIndex"])
        require_possible(company_id)
        fields = read_fields(await read_json(request), _STATUS_FIELDS)
        connection = await self._store.call(connections.by_index, company_id, phone_index)
        if connection is None:
            await self._directory.require_company(company_id)
            raise phone_index_unknown()
        if fields["status"] == "paused":
            await self._store.call(connections.pause, connection.id, fields["reason"])
        else:
            await self._store.call(connections.resume, connection.id)
        return await self.show(request)


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
