"""Companies: the tenants. A company is created explicitly before its first connection, so that a misspelled id
creates none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.connections.tasks import task_json
from api.http.bodies import BODY_PROBLEMS, read_json, read_optional_json
from api.http.keys import act_of, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_invalid, query_of
from api.http.problems import Problem
from shared.compose.directory import require_possible
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.states import CompanyState
from shared.store import companies, tasks
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.store.texts import storable
from shared.tenancy.audit import Act, key_facts, recorded
from shared.tenancy.company_settings import SETTINGS, complete, merged, require_consistent
from shared.tenancy.known_companies import company_unknown
from shared.tenancy.principals import Principal
from shared.timestamps import iso

PATH: Final = "/api/v2/companies/{companyId}"
# an id stands in paths, file names and contexts of sealed secrets: characters that need no escaping in any of them
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# companies in one page
_MOST: Final = 200
_NAME: Final = Field(name="name", kind=str, default="", longest=200, purpose="Display name.")
_POLICY: Final = Field(
    name="inDoubtPolicy",
    kind=str,
    choices=("auto", "resend", "hold"),
    title="InDoubtPolicy",
    purpose="What to do with messages that may have been sent; overrides the setting.",
)
_NEW: Final = (
    Field(
        name="companyId",
        kind=str,
        required=True,
        shortest=1,
        longest=64,
        documented=(("pattern", "^[A-Za-z0-9_-]{1,64}$"),),
        purpose="1 to 64 letters, digits, `-` and `_`; stands in every path.",
    ),
    _NAME,
    _POLICY,
)
_CHANGES: Final = (
    _NAME,
    _POLICY,
    Field(name="settings", kind=dict, fields=SETTINGS, purpose="Fields that change; null: the default again."),
)
_SUSPENSION: Final = (
    Field(name="reason", kind=str, default="", longest=200, purpose="Why; shown with the company, also to its keys."),
)
_BODY_LIMIT: Final = 64 * 1024
"""Bytes: every field at its longest, with each character escaped, fits."""
_TAGGED: Final = {200: ("ETag",)}
_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


class CompanyOperations:
    """The operations on companies."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operations(self) -> list[Operation]:
        """Return them."""
        changed = {200: ("As it is now; `ETag` is its version.", "Company")}
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
                body=json_schema(_NEW),
                examples=({"companyId": "acme", "name": "Acme"},),
                answers={201: ("Created.", "Company")},
                headers={201: ("ETag",)},
                problems=(*BODY_PROBLEMS, "company_exists"),
            ),
            Operation(
                operation_id="getCompany",
                method="GET",
                path=PATH,
                scope="manage",
                group="Companies",
                summary="A company and its settings",
                handler=self.show_one,
                answers={200: ("The company; `ETag` is its version.", "Company")},
                headers=_TAGGED,
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="updateCompany",
                method="PATCH",
                path=PATH,
                scope="manage",
                group="Companies",
                summary="Change a company's name, policy and settings (JSON merge patch)",
                handler=self.change,
                parameters=(
                    Parameter(
                        name="If-Match",
                        place="header",
                        purpose="`ETag` of an earlier answer: refused when it was changed since.",
                    ),
                ),
                body=json_schema(_CHANGES),
                examples=({"name": "Acme Ltd", "settings": {"brandName": "Acme", "locale": ["en", "pt-BR"]}},),
                answers=changed,
                headers=_TAGGED,
                problems=("company_unknown", "company_deleting", "version_outdated", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="suspendCompany",
                method="POST",
                path=f"{PATH}/suspend",
                scope="manage",
                owner="installation",
                group="Companies",
                summary="Suspend a company: its keys are refused, and nothing is sent for it",
                handler=self.suspend,
                body=json_schema(_SUSPENSION),
                examples=({"reason": "unpaid"},),
                answers=changed,
                headers=_TAGGED,
                problems=("company_unknown", "company_deleting", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="resumeCompany",
                method="POST",
                path=f"{PATH}/resume",
                scope="manage",
                owner="installation",
                group="Companies",
                summary="Resume a suspended company: what waits is sent, in its order",
                handler=self.resume,
                answers=changed,
                headers=_TAGGED,
                problems=("company_unknown", "company_deleting"),
            ),
            Operation(
                operation_id="deleteCompany",
                method="DELETE",
                path=PATH,
                scope="manage",
                owner="installation",
                act="companies.delete",
                group="Companies",
                summary="Delete a company with everything of it",
                handler=self.delete,
                parameters=(
                    Parameter(
                        name="confirm",
                        place="query",
                        purpose="The company's id once more: there is no way back.",
                        rule="the id of the company that is deleted",
                    ),
                ),
                answers={202: ("It is being deleted; see `Location`.", "Task")},
                headers={202: ("Location",)},
                problems=("company_unknown",),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with companies: those that the key may reach."""
        only = principal_of(request).company_id
        rows = await self._store.as_company_or_all(only).call(
            companies.listed,
            # any text works as a lower bound
            after=query_of(request)["after"] or "",
            most=_MOST,
            only=only,
        )
        # after a page that is exactly full, `next` may lead to an empty one: simpler than to read one row more
        return JSONResponse(
            {
                "companies": [_shown(row) for row in rows],
                "next": rows[-1]["id"] if len(rows) == _MOST else None,
            }
        )

    async def create(self, request: Request) -> Response:
        """Create a company."""
        given = checked(await read_json(request), _NEW)
        company_id = given["companyId"]
        if not _ID.fullmatch(company_id):
            raise FieldsInvalid([("/companyId", "must be 1 to 64 letters, digits, - and _")])
        # the primary key decides: of two concurrent requests one creates the company, without a query beforehand
        act = act_of(request)
        if act is not None:
            act.company_id = company_id
            act.after = {"name": given["name"], "inDoubtPolicy": given["inDoubtPolicy"]}
        row = await self._store.call(
            recorded(act, companies.add), company_id, name=given["name"], in_doubt_policy=given["inDoubtPolicy"]
        )
        if row is None:
            raise Problem("company_exists", "There is a company with this id.")
        return _answer(row, status_code=201, headers={"Location": PATH.format(companyId=company_id)})

    async def show_one(self, request: Request) -> Response:
        """Answer with one company."""
        company_id = _company_id(request)
        row = await self._store.as_company(company_id).call(companies.find, company_id)
        # a company's own keys end with its deletion, so that only the installation's see it
        if row is None:
            raise company_unknown()
        return _answer(row)

    async def change(self, request: Request) -> Response:
        """Change a company."""
        company_id = _company_id(request)
        patch = await read_json(request, limit=_BODY_LIMIT)
        # refuses what is wrong; null means something else in a merge patch than to `checked`, so that its result is not
        # used
        checked(patch, _CHANGES)
        own = self._store.as_company(company_id)
        return _answer(await own.call(_change, act_of(request), company_id, patch, request.headers.get("if-match")))

    async def suspend(self, request: Request) -> Response:
        """Suspend a company."""
        company_id = _company_id(request)
        given = checked(await read_optional_json(request, limit=_BODY_LIMIT), _SUSPENSION)
        return _answer(
            await self._store.call(_move, act_of(request), company_id, CompanyState.SUSPENDED, given["reason"])
        )

    async def resume(self, request: Request) -> Response:
        """Resume a company."""
        return _answer(await self._store.call(_move, act_of(request), _company_id(request), CompanyState.ACTIVE, ""))

    async def delete(self, request: Request) -> Response:
        """Begin to delete a company."""
        company_id = _company_id(request)
        if query_of(request)["confirm"] != company_id:
            raise query_invalid("confirm", "confirm must be the id of the company that is deleted.")
        row = await self._store.call(_delete, act_of(request), company_id, principal_of(request))
        return JSONResponse(
            task_json(row),
            status_code=202,
            headers={"Location": f"/api/v2/tasks/{company_id}/{row['id']}", "Cache-Control": "no-store"},
        )


def _company_id(request: Request) -> str:
    company_id: str = request.path_params["companyId"]
    require_possible(company_id)
    return company_id


def _change(
    transaction: Transaction, act: Act | None, company_id: str, patch: Mapping[str, Any], tags: str | None
) -> Row:
    before = _locked(transaction, company_id)
    if tags is not None and not _matches(tags, before["version"]):
        raise Problem(
            "version_outdated", "The company was changed since this version was read.", version=before["version"]
        )
    settings = merged(before["settings"], patch["settings"] or {}) if "settings" in patch else before["settings"]
    # null in place of all settings: each has its default again
    if "settings" in patch and patch["settings"] is None:
        settings = {}
    require_consistent(settings, "/settings")
    name = storable(patch.get("name", before["name"]) or "")
    policy = patch.get("inDoubtPolicy", before["in_doubt_policy"])
    was = {"name": before["name"], "inDoubtPolicy": before["in_doubt_policy"], "settings": before["settings"]}
    now = {"name": name, "inDoubtPolicy": policy, "settings": settings}
    if now != was:
        companies.change(transaction, company_id, name=name, in_doubt_policy=policy, settings=settings)
    _record(transaction, act, was, now)
    return _found(transaction, company_id)


def _move(transaction: Transaction, act: Act | None, company_id: str, state: CompanyState, reason: str) -> Row:
    before = _locked(transaction, company_id)
    # a second request finds what it asks for
    if before["state"] != state:
        companies.move(transaction, before, state, storable(reason))
    _record(transaction, act, {"state": before["state"]}, {"state": state.value})
    return _found(transaction, company_id)


def _delete(transaction: Transaction, act: Act | None, company_id: str, principal: Principal) -> Row:
    company = companies.lock(transaction, company_id)
    task_id = companies.deletion_of(transaction, company_id)
    if act is not None:
        # of the installation: it outlives the company, whose own events are deleted with it
        act.company_id, act.subject, act.is_settled = None, {"companyId": company_id}, True
    # a second request gets the task of the first, also when only its last step is left
    if task_id is None:
        if company is None:
            raise company_unknown()
        task_id = companies.begin_deletion(transaction, company, by=key_facts(principal))
        if act is not None:
            act.before, act.after = {"state": company["state"]}, {"state": "deleting", "taskId": str(task_id)}
            act.write(transaction)
    row = tasks.by_id(transaction, company_id=company_id, task_id=task_id, installations=True)
    if row is None:
        raise company_unknown()
    return row


def _record(transaction: Transaction, act: Act | None, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if act is None:
        return
    act.is_settled = True
    changed = [name for name in now if now[name] != was[name]]
    if changed:
        act.before, act.after = {name: was[name] for name in changed}, {name: now[name] for name in changed}
        act.write(transaction)


def _locked(transaction: Transaction, company_id: str) -> Row:
    row = companies.lock(transaction, company_id)
    if row is None:
        raise company_unknown()
    if row["state"] == CompanyState.DELETING:
        raise Problem("company_deleting", "The company is being deleted.")
    return row


def _found(transaction: Transaction, company_id: str) -> Row:
    row = companies.find(transaction, company_id)
    if row is None:
        raise company_unknown()
    return row


def _matches(tags: str, version: int) -> bool:
    """Whether `If-Match` (RFC 9110 13.1.1) allows a change of this version."""
    # a weak tag is taken as well: proxies that compress answers make strong ones weak, and this one is a version
    return tags.strip() == "*" or str(version) in _TAG.findall(tags)


def _answer(row: Row, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(
        _shown(row),
        status_code=status_code,
        headers={"ETag": f'"{row["version"]}"', "Cache-Control": "no-store", **(headers or {})},
    )


def _shown(row: Row) -> Mapping[str, Any]:
    return {
        "companyId": row["id"],
        "name": row["name"],
        "inDoubtPolicy": row["in_doubt_policy"],
        "state": row["state"],
        "stateReason": row["state_reason"] or None,
        "stateAt": iso(row["state_at"]),
        "settings": complete(row["settings"]),
        "connections": row["connections"],
        "version": row["version"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }
