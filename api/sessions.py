"""Browser sessions: what should be, what is, and the code to scan. The webdriver process makes what should be so; nothing here speaks to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.bodies import Field, json_schema, read_fields, read_json
from api.directory import Directory, phone_index_unknown, read_phone_index, require_possible
from api.instants import iso
from api.operations import Operation, Parameter
from api.problems import Problem
from shared import qr
from shared.states import DesiredSession, SessionState
from shared.store import connections
from shared.store.pool import Row
from shared.store.store import Store

_PATH: Final = "/api/v2/sessions/{companyId}/{phoneIndex}"
_SESSION_TYPES: Final = ("wwebjs",)
"""Connection types that are browser sessions."""
_BODY_LIMIT: Final = 4096
_DESIRED_FIELDS: Final = (
    Field(name="desired", kind=str, purpose="What the session should be.", required=True, choices=tuple(state.value for state in DesiredSession)),
)
_PICTURES: Final[Mapping[str, tuple[str, Callable[[str], bytes]]]] = {
    "png": ("image/png", qr.png),
    "svg": ("image/svg+xml", qr.svg),
    "txt": ("text/plain; charset=utf-8", lambda code: qr.terminal(code).encode()),
}
_NOT_KEPT: Final = {"Cache-Control": "no-store"}


class Sessions:
    """The operations on browser sessions."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return the operations on sessions."""
        problems = ("company_unknown", "phone_index_unknown", "unsupported_operation")
        return [
            Operation(
                method="GET",
                path=_PATH,
                group="Sessions",
                summary="State of a browser session, with the code to scan",
                handler=self.show,
                answers={200: ("What should be and what is.", "Session")},
                problems=problems,
            ),
            Operation(
                method="POST",
                path=_PATH,
                group="Sessions",
                summary="Say what a browser session should be",
                handler=self.want,
                body=json_schema(_DESIRED_FIELDS),
                answers={202: ("Noted; `state` follows.", "Session")},
                problems=(*problems, "body_not_json", "body_late", "body_too_large", "media_type_unsupported", "body_invalid"),
            ),
            Operation(
                method="GET",
                path=f"{_PATH}/qr",
                group="Sessions",
                summary="The code to scan, as a picture",
                handler=self.show_code,
                parameters=(
                    Parameter(name="format", place="query", purpose="Kind of picture.", schema={"type": "string", "enum": list(_PICTURES), "default": "png"}),
                ),
                answers={200: ("The picture; `format` chooses SVG or half blocks for a terminal.", "image/png")},
                problems=(*problems, "code_absent", "query_invalid"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with a session's state."""
        return JSONResponse(_session(request, await self._row(request)), headers=_NOT_KEPT)

    async def want(self, request: Request) -> Response:
        """Note what a session should be."""
        row = await self._row(request)
        fields = read_fields(await read_json(request, limit=_BODY_LIMIT), _DESIRED_FIELDS)
        company_id, desired = request.path_params["companyId"], fields["desired"]
        if not await self._store.call(connections.set_desired_state, company_id=company_id, phone_index=row["phone_index"], desired_state=desired):
            raise phone_index_unknown()
        return JSONResponse(_session(request, {**row, "desired_state": desired}), status_code=202, headers=_NOT_KEPT)

    async def show_code(self, request: Request) -> Response:
        """Answer with the code to scan as a picture."""
        chosen = request.query_params.get("format", "png")
        if chosen not in _PICTURES:
            raise Problem("query_invalid", f"format must be one of {', '.join(_PICTURES)}.", parameter="format")
        row = await self._row(request)
        code = _code(row)
        if code is None:
            raise Problem("code_absent", f"The session is {row['observed']}: there is no code to scan now.", state=row["observed"])
        media_type, draw = _PICTURES[chosen]
        return Response(draw(code), media_type=media_type, headers=_NOT_KEPT)

    async def _row(self, request: Request) -> Row:
        company_id, phone_index = request.path_params["companyId"], read_phone_index(request.path_params["phoneIndex"])
        require_possible(company_id)
        rows = await self._store.call(connections.of_company, company_id)
        if not rows:
            await self._directory.require_company(company_id)
        row = next((row for row in rows if row["phone_index"] == phone_index), None)
        if row is None:
            raise phone_index_unknown()
        if row["connection_type"] not in _SESSION_TYPES:
            raise Problem(
                "unsupported_operation",
                f"A connection of type {row['connection_type']} has no browser session.",
                operation="session",
                connectionType=row["connection_type"],
                reason="channel",
            )
        return row


def _code(row: Row) -> str | None:
    return row["qr"] if row["observed"] == SessionState.NEEDS_LINK and row["qr"] else None


def _session(request: Request, row: Row) -> Mapping[str, Any]:
    return {
        "companyId": request.path_params["companyId"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        "provedAt": iso(row["proved_at"]),
        "observedAt": iso(row["observed_at"]),
        "qr": _code(row),
    }
