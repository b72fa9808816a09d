"""Companies: the tenants. A company is created explicitly before its first connection, so that a misspelled id
creates none.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import connections
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

# an id stands in paths, file names and contexts of sealed secrets: characters that need no escaping in any of them
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# companies in one page
_MOST: Final = 200
_FIELDS: Final = (
    Field(
        name="companyId",
        kind=str,
        required=True,
        shortest=1,
        longest=64,
        purpose="1 to 64 letters, digits, `-` and `_`; stands in every path.",
    ),
    Field(name="name", kind=str, default="", longest=200, purpose="Display name."),
    Field(
        name="inDoubtPolicy",
        kind=str,
        choices=("auto", "resend", "hold"),
        title="InDoubtPolicy",
        purpose="What to do with messages that may have been sent; overrides the setting.",
    ),
)


class CompanyOperations:
    """The operations on companies."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listCompanies",
                method="GET",
                path="/api/v2/companies",
                scope="read",
                owner="principal",
                group="Companies",
                summary="All companies",
                handler=self.show,
                parameters=(Parameter(name="after", place="query", purpose="`next` of the page before."),),
                answers={200: (f"By id, at most {_MOST}.", "Companies")},
            ),
            Operation(
                operation_id="createCompany",
                method="POST",
                path="/api/v2/companies",
                scope="manage",
                owner="installation",
                group="Companies",
                summary="Create a company",
                handler=self.create,
                body=json_schema(_FIELDS),
                examples=({"companyId": "acme", "name": "Acme"},),
                answers={201: ("Created.", "Company")},
                problems=(*BODY_PROBLEMS, "company_exists"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with companies: those that the key may reach."""
        principal = principal_of(request)
        rows = await self._store.call(
            connections.companies,
            # any text works as a lower bound
            after=query_of(request)["after"] or "",
            most=_MOST,
            only=principal.company_id,
        )
        listed = [
            {
                "companyId": row["id"],
                "name": row["name"],
                "inDoubtPolicy": row["in_doubt_policy"],
                "connections": row["connections"],
                "createdAt": iso(row["created_at"]),
            }
            for row in rows
        ]
        # after a page that is exactly full, `next` may lead to an empty one: simpler than to read one row more
        return JSONResponse({"companies": listed, "next": rows[-1]["id"] if len(rows) == _MOST else None})

    async def create(self, request: Request) -> Response:
        """Create a company."""
        given = checked(await read_json(request), _FIELDS)
        company_id = given["companyId"]
        if not _ID.fullmatch(company_id):
            raise FieldsInvalid([("/companyId", "must be 1 to 64 letters, digits, - and _")])
        # the primary key decides: of two concurrent requests one creates the company, without a query beforehand
        act = act_of(request)
        if act is not None:
            act.company_id = company_id
            act.after = {"name": given["name"], "inDoubtPolicy": given["inDoubtPolicy"]}
        if not await self._store.call(
            recorded(act, connections.add_company),
            company_id,
            name=given["name"],
            in_doubt_policy=given["inDoubtPolicy"],
        ):
            raise Problem("company_exists", "There is a company with this id.")
        body = {
            "companyId": company_id,
            "name": given["name"],
            "inDoubtPolicy": given["inDoubtPolicy"],
            "connections": 0,
        }
        return JSONResponse(body, status_code=201, headers={"Location": f"/api/v2/connections/{company_id}"})
