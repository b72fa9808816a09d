"""What a company's assistant has cost, by month."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.tenants.companies import PATH
from shared.compose.directory import Directory
from shared.store import functions
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.known_companies import KnownCompanies

_MONTHS_MOST: Final = 24
_MICROS: Final = 1_000_000


class SpendingOperations:
    """The operation on money."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store
        self._companies = KnownCompanies(store)

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="getModelSpend",
                method="GET",
                path=f"{PATH}/model-spend",
                scope="read",
                group="Assistant",
                summary="What a company's assistant has cost",
                handler=self.show,
                answers={200: (f"By month (UTC), the last first; at most {_MONTHS_MOST}.", "ModelSpend")},
                problems=("company_unknown",),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with the months."""
        company_id: str = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        found = await self._companies.find(company_id)
        budget = found.settings.assistant.budget_micros if found else None
        rows = await self._store.as_company(company_id).call(functions.spending, company_id, most=_MONTHS_MOST)
        return JSONResponse(
            {
                "companyId": company_id,
                "monthlyBudget": None if budget is None else budget / _MICROS,
                "months": [_month(row) for row in rows],
            }
        )


def _month(row: Row) -> dict[str, Any]:
    return {
        "month": f"{row['month']:%Y-%m}",
        "spent": row["spent_micros"] / _MICROS,
        "reserved": row["reserved_micros"] / _MICROS,
        "calls": row["calls"],
        "tokensIn": row["tokens_in"],
        "tokensOut": row["tokens_out"],
    }
