"""API keys: create, list, rotate, revoke. No key can create or take over one with more rights than its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json, read_optional_json
from api.http.keys import act_of, asked_company, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from shared.clock import read_timestamp, utc_now
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import companies, keys
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.audit import Act, recorded
from shared.tenancy.key_text import KeyText, make_key
from shared.tenancy.known_companies import company_unknown
from shared.tenancy.known_keys import KnownKeys
from shared.tenancy.limits import KINDS
from shared.tenancy.principals import SCOPES, KeyScope, Principal
from shared.timestamps import iso

_P = ParamSpec("_P")
_PATH: Final = "/api/v2/keys"
_ONE_PATH: Final = f"{_PATH}/{{keyId}}"
_MOST: Final = 200
"""Keys in one page."""
_BODY_LIMIT: Final = 4096
"""Bytes; the bodies here have a few short fields."""
# 18 digits fit PostgreSQL's bigint
_ID: Final = re.compile(r"[0-9]{1,18}")
OVERLAP_S: Final = 3600
"""Default seconds for which a key stays valid after its rotation: time to deploy the new one to every client."""
_LONGEST_OVERLAP_S: Final = 30 * 86_400
_NEW: Final = (
    Field(name="name", kind=str, required=True, shortest=1, longest=200, purpose="For people: who uses the key."),
    Field(
        name="companyId",
        kind=str,
        longest=64,
        purpose="The only company that the key reaches; null: all of them. Of a company's own key: its company.",
    ),
    Field(
        name="scopes",
        kind=list,
        required=True,
        items=Field(kind=str, choices=SCOPES, title="KeyScope"),
        fewest=1,
        most=len(SCOPES),
        purpose="What the key may do; none of them includes another.",
    ),
    Field(
        name="expiresAt",
        kind=str,
        longest=64,
        documented=(("format", "date-time"),),
        purpose="ISO 8601 with a time zone; left out: it does not expire.",
    ),
)
_ROTATION: Final = (
    Field(
        name="overlapSeconds",
        kind=int,
        default=OVERLAP_S,
        high=_LONGEST_OVERLAP_S,
        purpose="For how long the key's text from before is still taken; 0: it ends at once.",
    ),
)


class KeyOperations:
    """The operations on keys.

    Args:
        known: cache of keys, cleared when a key changes. sandbox: whether the installation sends to stand-ins only.
    """

    def __init__(self, store: Store, known: KnownKeys, *, sandbox: bool) -> None:
        self._store, self._known, self._sandbox = store, known, sandbox

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listKeys",
                method="GET",
                path=_PATH,
                scope="manage",
                owner="principal",
                group="Keys",
                summary="API keys, without the keys themselves",
                handler=self.show_all,
                parameters=(
                    Parameter(name="companyId", place="query", purpose="Only keys of this company."),
                    Parameter(
                        name="after",
                        place="query",
                        purpose="`next` of the page before.",
                        schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
                        rule="`next` of the page before",
                    ),
                ),
                answers={200: (f"By id, at most {_MOST}; a company's key sees those of its company.", "Keys")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="getOwnKey",
                method="GET",
                path="/api/v2/whoami",
                scope="any",
                owner="principal",
                group="Keys",
                summary="What the key of this request may do, and where",
                handler=self.show_own,
                answers={200: ("Of the request's own key.", "OwnKey")},
            ),
            Operation(
                operation_id="createKey",
                method="POST",
                path=_PATH,
                scope="manage",
                owner="principal",
                group="Keys",
                summary="Create an API key, with scopes that the creating key has itself",
                handler=self.create,
                body=json_schema(_NEW),
                examples=({"name": "shop", "companyId": "demo", "scopes": ["send", "read"]},),
                answers={201: ("Created; `key` is shown this once.", "NewKey")},
                problems=("installation_only", "company_unknown", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="getKey",
                method="GET",
                path=_ONE_PATH,
                scope="manage",
                owner="principal",
                group="Keys",
                summary="One API key, without the key itself",
                handler=self.show,
                answers={200: ("The key.", "Key")},
                problems=("key_unknown",),
            ),
            Operation(
                operation_id="rotateKey",
                method="POST",
                path=f"{_ONE_PATH}/rotate",
                scope="manage",
                owner="principal",
                group="Keys",
                summary="Give a key a new text; the old one is taken for a while longer",
                handler=self.rotate,
                body=json_schema(_ROTATION),
                examples=({"overlapSeconds": 3600},),
                answers={200: ("Rotated; `key` is shown this once.", "NewKey")},
                problems=("key_unknown", "key_revoked", *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="revokeKey",
                method="DELETE",
                path=_ONE_PATH,
                scope="manage",
                owner="principal",
                group="Keys",
                summary="Revoke a key: within a second no process takes it any more",
                handler=self.revoke,
                answers={200: ("Revoked, now or before.", "Key")},
                problems=("key_unknown",),
            ),
        ]

    async def show_all(self, request: Request) -> Response:
        """Answer with a page of keys."""
        query, company_id = query_of(request), asked_company(request)
        rows = await self._store.as_company_or_all(company_id).call(
            _page, company_id=company_id, after=int(query["after"] or 0)
        )
        following = str(rows[-1]["id"]) if len(rows) == _MOST else None
        return JSONResponse({"keys": [_shown(row) for row in rows], "next": following})

    async def show_own(self, request: Request) -> Response:
        """Answer with what the request's key may do."""
        principal = principal_of(request)
        body = {
            "id": None if principal.key_id is None else str(principal.key_id),
            "name": principal.name,
            "companyId": principal.company_id,
            "scopes": [scope for scope in SCOPES if scope in principal.scopes],
            "expiresAt": iso(principal.expires_at),
            "sandbox": self._sandbox,
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    async def create(self, request: Request) -> Response:
        """Create a key."""
        principal = principal_of(request)
        body = await read_json(request, limit=_BODY_LIMIT)
        given = checked(body, _NEW)
        company_id = given["companyId"]
        if company_id is None and not principal.is_admin:
            # default: the company of the requesting key; null must be explicit
            if "companyId" in body:
                raise Problem("installation_only", "A company's key makes no keys of the installation.")
            company_id = principal.company_id
        if company_id is not None and not principal.may_reach(company_id):
            raise company_unknown()
        expires_at = _read_expiry(given["expiresAt"], principal)
        scopes = tuple(scope for scope in SCOPES if scope in given["scopes"])
        _require_scopes(principal, scopes)
        text = make_key(sandbox=self._sandbox)
        act = act_of(request)
        if act is not None:
            act.company_id = company_id
        row = await self._store.call(
            recorded(act, _add, after=_audited),
            company_id=company_id,
            name=given["name"],
            text=text,
            scopes=scopes,
            expires_at=expires_at,
            maker_id=principal.key_id,
        )
        return _new(row, text, status=201, headers={"Location": f"{_PATH}/{row['id']}"})

    async def show(self, request: Request) -> Response:
        """Answer with one key."""
        principal = principal_of(request)
        own = self._store.as_company_or_all(principal.company_id)
        return JSONResponse(_shown(await own.call(_of, principal, read_key_id(request))))

    async def rotate(self, request: Request) -> Response:
        """Rotate a key."""
        given = checked(await read_optional_json(request, limit=_BODY_LIMIT), _ROTATION)
        text = make_key(sandbox=self._sandbox)
        row = await self._store.call(
            _of_company(act_of(request), _rotate),
            principal_of(request),
            read_key_id(request),
            text=text,
            overlap_s=given["overlapSeconds"],
        )
        self._known.forget()
        return _new(row, text)

    async def revoke(self, request: Request) -> Response:
        """Revoke a key."""
        principal = principal_of(request)
        own = self._store.as_company_or_all(principal.company_id)
        row = await own.call(_of_company(act_of(request), _revoke), principal, read_key_id(request))
        # other processes of the API follow within a second
        self._known.forget()
        return JSONResponse(_shown(row))


def _of_company(
    act: Act | None, change: Callable[Concatenate[Transaction, _P], Row]
) -> Callable[Concatenate[Transaction, _P], Row]:
    """Return a recorded change of a key, audited as one of the key's company."""

    def after(row: Row) -> Mapping[str, Any]:
        if act is not None:
            act.company_id = row["company_id"]
        return _audited(row)

    return recorded(act, change, after=after)


def _audited(row: Row) -> Mapping[str, Any]:
    shown = _shown(row)
    return {name: shown[name] for name in ("id", "name", "companyId", "prefix", "scopes", "expiresAt", "previousUntil")}


def _page(transaction: Transaction, *, company_id: str | None, after: int) -> list[Row]:
    rows = keys.listed(transaction, company_id=company_id, after=after, most=_MOST)
    if not rows and company_id is not None and not companies.exists(transaction, company_id):
        raise company_unknown()
    return rows


def _add(
    transaction: Transaction,
    *,
    company_id: str | None,
    name: str,
    text: KeyText,
    scopes: tuple[KeyScope, ...],
    expires_at: datetime | None,
    maker_id: int | None,
) -> Row:
    if company_id is not None and not companies.exists(transaction, company_id):
        raise company_unknown()
    return keys.add(
        transaction,
        company_id=company_id,
        name=name,
        prefix=text.prefix,
        digest=text.digest,
        scopes=scopes,
        expires_at=expires_at,
        maker_id=maker_id,
    )


def _of(transaction: Transaction, principal: Principal, key_id: int) -> Row:
    """Return a key that the principal may see, locked. Raises `Problem`."""
    row = keys.lock(transaction, key_id)
    # for a company's key, keys of the installation and of other companies do not exist
    if row is None or not (principal.is_admin or row["company_id"] == principal.company_id):
        raise Problem("key_unknown", "There is no such key.")
    return row


def _rotate(transaction: Transaction, principal: Principal, key_id: int, *, text: KeyText, overlap_s: int) -> Row:
    row = _of(transaction, principal, key_id)
    # the requester holds the key after a rotation: it must have no more rights and no longer life than the requester's
    # own
    _require_scopes(principal, row["scopes"])
    if principal.expires_at is not None and (row["expires_at"] is None or row["expires_at"] > principal.expires_at):
        raise Problem("scope_missing", "A key that expires cannot rotate one that lasts longer.", scope="manage")
    rotated = keys.rotate(transaction, key_id, prefix=text.prefix, digest=text.digest, overlap_s=overlap_s)
    if rotated is None:
        raise Problem("key_revoked", "The key is revoked; create another one.")
    return rotated


def _revoke(transaction: Transaction, principal: Principal, key_id: int) -> Row:
    _of(transaction, principal, key_id)
    return keys.revoke(transaction, key_id)


def _require_scopes(principal: Principal, scopes: tuple[KeyScope, ...]) -> None:
    for scope in scopes:
        if not principal.may_use(scope):
            raise Problem("scope_missing", f"The key has not the scope {scope} itself.", scope=scope)


def _read_expiry(text: str | None, principal: Principal) -> datetime | None:
    if text is None:
        # a key that expires creates none that lasts longer
        return principal.expires_at
    try:
        expires_at = read_timestamp(text)
    except ValueError as error:
        raise FieldsInvalid([("/expiresAt", "is no instant of ISO 8601 with a time zone")]) from error
    if expires_at <= utc_now():
        raise FieldsInvalid([("/expiresAt", "is over")])
    if principal.expires_at is not None and expires_at > principal.expires_at:
        raise FieldsInvalid([("/expiresAt", f"is after {iso(principal.expires_at)}, when the creating key expires")])
    return expires_at


def read_key_id(request: Request) -> int:
    """Return the key id of a path. Raises `Problem` when no key can have it."""
    text = request.path_params["keyId"]
    if not _ID.fullmatch(text):
        raise Problem("key_unknown", "There is no such key.")
    return int(text)


def _new(row: Row, text: KeyText, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # no cache on the way may keep a key
    return JSONResponse(
        _shown(row) | {"key": text.text}, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})}
    )


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "companyId": row["company_id"],
        "prefix": row["prefix"],
        "scopes": row["scopes"],
        "createdAt": iso(row["created_at"]),
        "expiresAt": iso(row["expires_at"]),
        "rotatedAt": iso(row["rotated_at"]),
        "previousUntil": iso(row["previous_until"]),
        "lastUsedAt": iso(row["last_used_at"]),
        "revokedAt": iso(row["revoked_at"]),
        "limits": dict.fromkeys(kind.name for kind in KINDS) | row["limits"],
    }
