"""Secrets of companies: set and removed by name, never shown."""

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
from shared.fields import Field, checked, json_schema
from shared.secrets import Vault
from shared.store import sealed
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.tenancy.tenant_secrets import secret_unknown
from shared.timestamps import iso

_ONE: Final = f"{PATH}/secrets/{{name}}"
# not `.` and `..`, which clients remove from a path (RFC 3986 5.2.4)
_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,64}")
SECRETS_MOST: Final = 100
"""Secrets of one company: a list of them is never longer."""
_LONGEST: Final = 16_384
"""Characters of a value: the longest private keys and certificates fit."""
_FIELDS: Final = (
    Field(
        name="value", kind=str, required=True, shortest=1, longest=_LONGEST, purpose="The secret; never shown again."
    ),
)
_BODY_LIMIT: Final = 128 * 1024
"""Bytes: the longest value, with each character escaped."""


class SecretOperations:
    """The operations on secrets."""

    def __init__(self, directory: Directory, store: Store, vault: Vault) -> None:
        self._directory, self._store, self._vault = directory, store, vault

    def operations(self) -> list[Operation]:
        """Return them."""

        def operation(operation_id: str, method: str, summary: str, handler: Any, **given: Any) -> Operation:
            return Operation(
                operation_id=operation_id,
                method=method,
                path=_ONE,
                scope="manage",
                group="Companies",
                summary=summary,
                handler=handler,
                problems=("company_unknown", *given.pop("problems")),
                **given,
            )

        return [
            Operation(
                operation_id="listSecrets",
                method="GET",
                path=f"{PATH}/secrets",
                scope="manage",
                group="Companies",
                summary="Names of a company's secrets; never their values",
                handler=self.show,
                answers={200: (f"By name; at most {SECRETS_MOST}.", "Secrets")},
                problems=("company_unknown",),
            ),
            operation(
                "putSecret",
                "PUT",
                "Set a secret of a company",
                self.put,
                act="secrets.changed",
                body=json_schema(_FIELDS),
                examples=({"value": "sk-example"},),
                answers={200: ("It is set.", "Secret")},
                problems=(*BODY_PROBLEMS, "secret_unknown", "too_many_secrets"),
            ),
            operation(
                "removeSecret",
                "DELETE",
                "Remove a secret of a company",
                self.remove,
                act="secrets.removed",
                answers={200: ("As it was.", "Secret")},
                problems=("secret_unknown",),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with the names."""
        company_id = await self._company(request)
        rows = await self._store.as_company(company_id).call(sealed.secrets_of, company_id)
        return JSONResponse({"companyId": company_id, "secrets": [_shown(row) for row in rows]})

    async def put(self, request: Request) -> Response:
        """Set one."""
        company_id, name = await self._company(request), _name(request)
        value = checked(await read_json(request, limit=_BODY_LIMIT), _FIELDS)["value"]
        row = await self._store.as_company(company_id).call(
            recorded(act_of(request), sealed.put_secret, after=_named),
            company_id,
            name,
            sealed=self._vault.seal(value, context=sealed.secret_context(company_id, name)).to_text(),
            most=SECRETS_MOST,
        )
        if row is None:
            raise Problem("too_many_secrets", f"The company has {SECRETS_MOST} secrets.", limit=SECRETS_MOST)
        return JSONResponse(_shown(row))

    async def remove(self, request: Request) -> Response:
        """Remove one."""
        company_id, name = await self._company(request), _name(request)
        removed = recorded(act_of(request), sealed.remove_secret, after=_named)
        row = await self._store.as_company(company_id).call(removed, company_id, name)
        if row is None:
            raise secret_unknown()
        return JSONResponse(_shown(row))

    async def _company(self, request: Request) -> str:
        company_id: str = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        return company_id


def _named(row: Row | None) -> dict[str, Any]:
    return {"name": row["name"]} if row else {}


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise Problem(
            "secret_unknown", "A secret's name has 1 to 64 letters, digits, `.`, `-`, `_`, not only one or two dots."
        )
    return name


def _shown(row: Row) -> dict[str, Any]:
    return {"name": row["name"], "createdAt": iso(row["created_at"]), "updatedAt": iso(row["updated_at"])}
