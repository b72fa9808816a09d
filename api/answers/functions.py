"""Functions that a company's assistant may call: defined by name, listed, removed."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.problems import Problem
from api.tenants.companies import PATH
from shared.compose.directory import Directory
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import functions
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

_ONE: Final = f"{PATH}/functions/{{name}}"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What models take as a function's name, beginning with a letter."""
FUNCTIONS_MOST: Final = 30
"""Functions of one company: a model reads all of them with each question."""
_BODY_LIMIT: Final = 64 * 1024
_PARAMETER: Final = (
    Field(name="name", kind=str, required=True, shortest=1, longest=64, purpose="Letters, digits, underscores."),
    Field(
        name="type",
        kind=str,
        default="string",
        choices=("string", "integer", "number", "boolean"),
        title="FunctionParameterType",
        purpose="What it is.",
    ),
    Field(name="description", kind=str, default="", longest=500, purpose="What the model should give."),
    Field(name="required", kind=bool, default=False, purpose="Whether it must be given."),
    Field(
        name="choices",
        kind=list,
        items=Field(kind=str, shortest=1, longest=100),
        most=50,
        purpose="Texts of which it is one; for strings.",
    ),
)
_FIELDS: Final = (
    Field(
        name="description",
        kind=str,
        required=True,
        shortest=1,
        longest=1000,
        purpose="What it does and when to use it; the model decides by it.",
    ),
    Field(
        name="parameters",
        kind=list,
        default=[],
        items=Field(kind=dict, fields=_PARAMETER, title="FunctionParameter"),
        most=20,
        purpose="Its arguments.",
    ),
    Field(
        name="url",
        kind=str,
        required=True,
        shortest=1,
        longest=2000,
        form="url",
        purpose="Gets a POST of the arguments; its host must be in `assistantConfig.functionHosts`.",
    ),
    Field(
        name="hasEffects",
        kind=bool,
        default=True,
        purpose="Whether calling it twice would do harm: then a call whose answer was lost is not repeated.",
    ),
    Field(
        name="secret",
        kind=str,
        longest=64,
        purpose="Name of the company's secret that is sent as bearer token; none: without one.",
    ),
)
_EXAMPLE: Final = {
    "description": "Looks up where an order is. Use it when the customer asks about an order.",
    "parameters": [{"name": "order_number", "type": "string", "description": "The order's number", "required": True}],
    "url": "https://shop.example.com/functions/order-status",
    "hasEffects": False,
}


class FunctionOperations:
    """The operations on functions."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listFunctions",
                method="GET",
                path=f"{PATH}/functions",
                scope="manage",
                group="Assistant",
                summary="Functions that a company's assistant may call",
                handler=self.show,
                answers={200: (f"By name; at most {FUNCTIONS_MOST}.", "Functions")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="putFunction",
                method="PUT",
                path=_ONE,
                scope="manage",
                group="Assistant",
                summary="Define a function, or replace its definition",
                handler=self.put,
                act="functions.changed",
                body=json_schema(_FIELDS),
                examples=(_EXAMPLE,),
                answers={200: ("It is defined.", "Function")},
                problems=("company_unknown", *BODY_PROBLEMS, "function_unknown", "too_many_functions"),
            ),
            Operation(
                operation_id="removeFunction",
                method="DELETE",
                path=_ONE,
                scope="manage",
                group="Assistant",
                summary="Remove a function",
                handler=self.remove,
                act="functions.removed",
                answers={200: ("As it was.", "Function")},
                problems=("company_unknown", "function_unknown"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with all of them."""
        company_id = await self._company(request)
        rows = await self._store.as_company(company_id).call(functions.listed, company_id)
        return JSONResponse({"companyId": company_id, "functions": [_shown(row) for row in rows]})

    async def put(self, request: Request) -> Response:
        """Define one."""
        company_id, name = await self._company(request), _name(request)
        given = checked(await read_json(request, limit=_BODY_LIMIT), _FIELDS)
        _require_parameters(given["parameters"])
        row = await self._store.as_company(company_id).call(
            recorded(act_of(request), functions.put, after=_named),
            company_id,
            name,
            functions.FunctionDefinition(
                description=given["description"],
                parameters=given["parameters"],
                url=given["url"],
                has_effects=given["hasEffects"],
                secret=given["secret"],
            ),
            most=FUNCTIONS_MOST,
        )
        if row is None:
            raise Problem("too_many_functions", f"The company has {FUNCTIONS_MOST} functions.", limit=FUNCTIONS_MOST)
        return JSONResponse(_shown(row))

    async def remove(self, request: Request) -> Response:
        """Remove one."""
        company_id, name = await self._company(request), _name(request)
        removed = recorded(act_of(request), functions.remove, after=_named)
        row = await self._store.as_company(company_id).call(removed, company_id, name)
        if row is None:
            raise _unknown("The company has no function of this name.")
        return JSONResponse(_shown(row))

    async def _company(self, request: Request) -> str:
        company_id: str = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        return company_id


def _require_parameters(parameters: list[dict[str, Any]]) -> None:
    wrong = []
    for index, one in enumerate(parameters):
        # defaults of nested objects are not filled in
        one.setdefault("type", "string")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", one["name"]):
            wrong.append((f"/parameters/{index}/name", "must be letters, digits and underscores, a letter first"))
        if one["name"] in {other["name"] for other in parameters[:index]}:
            wrong.append((f"/parameters/{index}/name", "is given twice"))
        if one.get("choices") and one["type"] != "string":
            wrong.append((f"/parameters/{index}/choices", "are for strings"))
    if wrong:
        raise FieldsInvalid(wrong)


def _unknown(detail: str) -> Problem:
    return Problem("function_unknown", detail)


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not NAME.fullmatch(name):
        raise _unknown("A function's name has 1 to 64 letters, digits, `_`, `-`, and begins with a letter or `_`.")
    return name


def _named(row: Row | None) -> dict[str, Any]:
    return {"name": row["name"]} if row else {}


def _shown(row: Row) -> dict[str, Any]:
    return {
        "name": row["name"],
        "description": row["description"],
        "parameters": row["parameters"],
        "url": row["url"],
        "hasEffects": row["has_effects"],
        "secret": row["secret"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
