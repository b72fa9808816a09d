"""The audit: changes made with keys, as a feed that is read from a position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.keys import asked_company, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, limit, query_of
from api.http.shapes import choice
from shared.store import audit
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.principals import Principal
from shared.timestamps import iso

_MOST: Final = 200
"""Acts in one page at most."""
_PAGE: Final = 50
_NEWEST: Final = f"{(1 << 63) - 1}.{(1 << 63) - 1}"
"""The position behind every act."""


class AuditOperations:
    """The operation that reads the audit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="listAudit",
                method="GET",
                path="/api/v2/audit",
                scope="manage",
                owner="principal",
                group="Keys",
                summary="What keys changed, oldest first unless `order` says otherwise; a company's key sees what was "
                "changed of its company",
                handler=self.show,
                parameters=(
                    Parameter(
                        name="after",
                        place="query",
                        purpose="`next` of an earlier answer.",
                        # transaction and id; 18 digits fit PostgreSQL's bigint
                        schema={"type": "string", "pattern": "^[0-9]{1,18}[.][0-9]{1,18}$"},
                        rule="`next` of an earlier answer",
                    ),
                    Parameter(
                        name="order",
                        place="query",
                        purpose="`newest`: the newest first, and `after` goes back in time.",
                        schema=choice("AuditOrder", "oldest", "newest"),
                    ),
                    limit("Acts in one page.", default=_PAGE, most=_MOST),
                    Parameter(name="companyId", place="query", purpose="Only what was changed of this company."),
                ),
                answers={200: ("One page; read on from `next`, now or later.", "Audit")},
                problems=("company_unknown",),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one page."""
        query, company_id = query_of(request), asked_company(request)
        newest = query["order"] == "newest"
        xid, _, event_id = (query["after"] or (_NEWEST if newest else "0.0")).partition(".")
        after = int(xid), int(event_id)
        rows = await self._store.as_company_or_all(company_id).call(
            audit.read_back if newest else audit.read, company_id=company_id, after=after, most=query["limit"]
        )
        last = (rows[-1]["xid"], rows[-1]["id"]) if rows else after
        # also after the newest act, so that later ones follow it
        return JSONResponse(
            {"events": [_shown(row, principal_of(request)) for row in rows], "next": f"{last[0]}.{last[1]}"},
            headers={"Cache-Control": "no-store"},
        )


def _shown(row: Row, principal: Principal) -> Mapping[str, Any]:
    data = row["data"]
    if not principal.is_admin and data["key"]["companyId"] is None:
        # a company may see changes by the installation's operators, but not their addresses
        data = data | {"address": None}
    return {
        "id": str(row["id"]),
        "type": row["type"],
        "at": iso(row["at"]),
        "companyId": row["company_id"],
        "data": data,
    }
