"""Limits of single keys and companies, which override those of the settings; only keys of the installation can set
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.problems import Problem
from api.tenants.keys import read_key_id
from shared.compose.directory import require_possible
from shared.fields import Field, checked, json_schema
from shared.store import limits
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.audit import Act
from shared.tenancy.known_companies import company_unknown

_MOST: Final = 1e9
"""Above every meaningful limit."""
_FIELDS: Final = (
    Field(
        name="requestsPerSecond",
        kind=float,
        others=(Field(kind=int, high=_MOST),),
        high=_MOST,
        purpose="Requests a second.",
    ),
    Field(
        name="messagesPerSecond",
        kind=float,
        others=(Field(kind=int, high=_MOST),),
        high=_MOST,
        purpose="Messages a second.",
    ),
    Field(
        name="fileMegabytesPerHour",
        kind=float,
        others=(Field(kind=int, high=_MOST),),
        high=_MOST,
        purpose="Megabytes an hour of requests with files.",
    ),
    Field(
        name="openWaits",
        kind=int,
        high=_MOST,
        purpose="Requests that wait at the same time (`Prefer: wait`), in one process of the API.",
    ),
)
_SCHEMA: Final = {
    **json_schema(_FIELDS),
    "properties": {
        field.name: {
            "type": ["integer" if field.kind is int else "number", "null"],
            "minimum": 0,
            "maximum": _MOST,
            "description": field.purpose,
        }
        for field in _FIELDS
    },
}
"""With null, which takes a limit back."""
_BODY_LIMIT: Final = 4096
"""Bytes; four numbers."""


class LimitOperations:
    """The operations that set limits."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return them."""
        answers = {200: ("The limits; null: the setting decides, 0: none.", "Limits")}
        return [
            Operation(
                operation_id="setKeyLimits",
                method="PUT",
                path="/api/v2/keys/{keyId}/limits",
                scope="manage",
                owner="installation",
                group="Keys",
                summary="Set the limits of a key; what is left out is as in the settings",
                handler=self.set_of_key,
                body=_SCHEMA,
                examples=({"requestsPerSecond": 20, "openWaits": 5},),
                answers=answers,
                problems=("key_unknown", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="setCompanyLimits",
                method="PUT",
                path="/api/v2/companies/{companyId}/limits",
                scope="manage",
                owner="installation",
                group="Companies",
                summary="Set the limits of all keys of a company together; what is left out is as in the settings",
                handler=self.set_of_company,
                body=_SCHEMA,
                examples=({"requestsPerSecond": 20, "openWaits": 5},),
                answers=answers,
                problems=("company_unknown", *BODY_PROBLEMS),
            ),
        ]

    async def set_of_key(self, request: Request) -> Response:
        """Set the limits of a key."""
        key_id, given = read_key_id(request), await _read(request)
        row = await self._store.call(_set_of_key, act_of(request), key_id, given)
        return JSONResponse({"limits": row["limits"]})

    async def set_of_company(self, request: Request) -> Response:
        """Set the limits of a company."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        row = await self._store.call(_set_of_company, act_of(request), company_id, await _read(request))
        return JSONResponse({"limits": row["limits"]})


async def _read(request: Request) -> dict[str, Any]:
    return checked(await read_json(request, limit=_BODY_LIMIT), _FIELDS)


def _set_of_key(transaction: Transaction, act: Act | None, key_id: int, given: Mapping[str, Any]) -> Row:
    row = limits.set_of_key(transaction, key_id, given)
    if row is None:
        raise Problem("key_unknown", "There is no such key.")
    if act is not None:
        act.company_id = row["company_id"]
    return _audited(transaction, act, row)


def _set_of_company(transaction: Transaction, act: Act | None, company_id: str, given: Mapping[str, Any]) -> Row:
    row = limits.set_of_company(transaction, company_id, given)
    if row is None:
        raise company_unknown()
    return _audited(transaction, act, row)


def _audited(transaction: Transaction, act: Act | None, row: Row) -> Row:
    if act is not None:
        act.after = row["limits"]
        act.write(transaction)
    return row
