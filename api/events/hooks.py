"""Webhooks: subscribers of a company's events. Delivered by kind `hooks`, which reads the same rows."""

from __future__ import annotations

import base64
import re
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from shared.clock import read_timestamp
from shared.compose.directory import Directory, require_possible
from shared.events.catalogue import TEST_TYPE, Selection
from shared.events.hook_secrets import HookSecrets
from shared.events.reader import Position
from shared.fields import Field, FieldsInvalid, checked, exactly_one, json_schema
from shared.media import reach
from shared.media.errors import FetchFailed
from shared.secrets import Vault
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.timestamps import iso

_T = TypeVar("_T")

_COMPANY: Final = "/api/v2/hooks/{companyId}"
_PATH: Final = f"{_COMPANY}/{{hookId}}"
_ID: Final = re.compile(r"[0-9]{1,18}")
HOOKS_MOST: Final = 100
"""Webhooks of one company: each costs every event of it a delivery."""
_FORMER_S: Final = 86400.0
"""Seconds for which the secret before the last also signs."""
_SECRET_BYTES: Final = 32
_HEADERS_MOST: Final = 20
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1000}")
_RESERVED: Final = frozenset(
    {
        "host",
        "connection",
        "content-type",
        "content-length",
        "content-encoding",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
"""Headers that make the request what it is; and all that begin with `webhook-`."""
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_REPLAYED_MOST: Final = 100
_NEWEST: Final = (1 << 63) - 1
_OUTCOMES: Final = ("taken", "failed", "dead")

_URL: Final = Field(name="url", kind=str, longest=2000, shortest=1, form="url", purpose="Where events are posted to.")
_SHARED: Final = (
    Field(
        name="types",
        kind=list,
        items=Field(kind=str, longest=60),
        most=50,
        purpose="Types of events, `message.*` for all of a subject; none: all.",
    ),
    Field(
        name="phoneIndexes",
        kind=list,
        items=Field(kind=int, low=0, high=9999),
        most=1000,
        purpose="Only events of these connections; none: of all.",
    ),
    Field(name="headers", kind=dict, purpose="Headers that each delivery has, by name: for example `Authorization`."),
)
_NEW: Final = (
    Field(
        name="url", kind=str, required=True, longest=2000, shortest=1, form="url", purpose="Where events are posted to."
    ),
    *_SHARED,
)
_CHANGES: Final = (
    _URL,
    *_SHARED,
    Field(
        name="state",
        kind=str,
        choices=("active", "paused"),
        title="HookSwitch",
        purpose="`paused`: events wait. `active`: it gets them, also after it was disabled.",
    ),
)
_DECIDE_WHAT_IS_READ: Final = ("url", "types", "phoneIndexes")
_REPLAY: Final = (
    Field(name="since", kind=str, longest=40, purpose="Everything that was written since this instant."),
    Field(
        name="eventIds",
        kind=list,
        items=Field(kind=str, longest=40),
        most=_REPLAYED_MOST,
        purpose="These events, whatever types are chosen.",
    ),
    Field(name="deadLetters", kind=bool, purpose="What was given up."),
)


class HookOperations:
    """The operations on webhooks."""

    def __init__(self, directory: Directory, store: Store, vault: Vault) -> None:
        self._directory, self._store, self._vault = directory, store, vault

    def operations(self) -> list[Operation]:
        """Return them."""

        def operation(
            operation_id: str, method: str, path: str, summary: str, handler: Any, *, answers: Any, **given: Any
        ) -> Operation:
            problems = ("company_unknown", *given.pop("problems", ()), *(("hook_unknown",) if "hookId" in path else ()))
            return Operation(
                operation_id=operation_id,
                method=method,
                path=path,
                summary=summary,
                handler=handler,
                answers=answers,
                group="Webhooks",
                scope="manage",
                problems=problems,
                **given,
            )

        return [
            operation(
                "listHooks",
                "GET",
                _COMPANY,
                "Webhooks of a company",
                self.show,
                answers={200: ("All of them.", "Hooks")},
            ),
            operation(
                "addHook",
                "POST",
                _COMPANY,
                "Add a webhook",
                self.add,
                answers={201: ("Added; `secret` is shown this once.", "NewHook")},
                body=json_schema(_NEW),
                examples=({"url": "https://example.com/hook", "types": ["message.*"]},),
                problems=(*BODY_PROBLEMS, "too_many_hooks"),
            ),
            operation("getHook", "GET", _PATH, "One webhook", self.show_one, answers={200: ("The webhook.", "Hook")}),
            operation(
                "changeHook",
                "PATCH",
                _PATH,
                "Change, pause or resume a webhook",
                self.change,
                answers={200: ("As it is now.", "Hook")},
                body=json_schema(_CHANGES),
                examples=({"state": "active"},),
                problems=BODY_PROBLEMS,
            ),
            operation(
                "removeHook", "DELETE", _PATH, "Remove a webhook", self.remove, answers={200: ("As it was.", "Hook")}
            ),
            operation(
                "rotateHookSecret",
                "POST",
                f"{_PATH}/rotate",
                "Give a webhook a new secret",
                self.rotate,
                answers={200: ("The new secret; for a day the one before also signs.", "NewHook")},
            ),
            operation(
                "testHook",
                "POST",
                f"{_PATH}/test",
                "Deliver a test event to a webhook",
                self.test,
                answers={202: ("It will be delivered.", "HookTest")},
            ),
            operation(
                "replayHook",
                "POST",
                f"{_PATH}/replay",
                "Deliver events once more",
                self.replay,
                answers={202: ("They will be delivered.", "HookReplay")},
                body={**json_schema(_REPLAY), **exactly_one([field.name for field in _REPLAY])},
                examples=(
                    {"deadLetters": True},
                    {"since": "2026-12-01T09:00:00Z"},
                    {"eventIds": ["81234-9917"]},
                ),
                problems=BODY_PROBLEMS,
            ),
            operation(
                "listHookDeliveries",
                "GET",
                f"{_PATH}/deliveries",
                "Attempts of deliveries, newest first",
                self.deliveries,
                answers={200: ("One page.", "HookDeliveries")},
                parameters=(
                    limit("Attempts in one page.", default=_PAGE, most=_LONGEST_PAGE),
                    cursor(),
                    Parameter(
                        name="outcome",
                        place="query",
                        purpose="Only these.",
                        schema=choice("DeliveryOutcome", *_OUTCOMES),
                    ),
                ),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with a company's webhooks."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        rows = await self._store.as_company(company_id).call(_of_company, company_id, None)
        if not rows:
            await self._directory.require_company(company_id)
        return JSONResponse({"hooks": [_shown(row) for row in rows]})

    async def show_one(self, request: Request) -> Response:
        """Answer with one webhook."""
        return JSONResponse(_shown(await self._on(request, lambda _, row: row)))

    async def add(self, request: Request) -> Response:
        """Add a webhook."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        given = _checked(company_id, checked(await read_json(request), _NEW))
        _require_reader(request)
        secret = _new_secret()
        kept = HookSecrets(secrets=(secret,), headers=given["headers"] or {})
        row = await self._store.as_company(company_id).call(_add, self._vault, company_id, given, kept)
        if row is None:
            raise Problem("too_many_hooks", f"The company has {HOOKS_MOST} webhooks.", limit=HOOKS_MOST)
        place = f"/api/v2/hooks/{company_id}/{row['id']}"
        return JSONResponse({**_shown(row), "secret": secret}, status_code=201, headers={"Location": place})

    async def change(self, request: Request) -> Response:
        """Change a webhook."""
        company_id = request.path_params["companyId"]
        given = _checked(company_id, checked(await read_json(request), _CHANGES))
        if any(given[name] is not None for name in _DECIDE_WHAT_IS_READ):
            _require_reader(request)

        def change(transaction: Transaction, row: Row) -> Row:
            named = {name: given[name] for name in ("url", "types", "state")}
            transaction.execute("change_hook", id=row["id"], phone_indexes=given["phoneIndexes"], **named)
            if given["headers"] is not None:
                kept = HookSecrets.opened(self._vault, row["id"], row["sealed"])
                _seal(transaction, self._vault, row["id"], HookSecrets(secrets=kept.secrets, headers=given["headers"]))
            return _of_company(transaction, company_id, row["id"])[0]

        return JSONResponse(_shown(await self._on(request, change)))

    async def remove(self, request: Request) -> Response:
        """Remove a webhook."""

        def remove(transaction: Transaction, row: Row) -> Row:
            transaction.execute("remove_hook", company_id=request.path_params["companyId"], id=row["id"])
            return row

        return JSONResponse(_shown(await self._on(request, remove)))

    async def rotate(self, request: Request) -> Response:
        """Give a webhook a new secret."""
        secret = _new_secret()

        def rotate(transaction: Transaction, row: Row) -> Row:
            kept = HookSecrets.opened(self._vault, row["id"], row["sealed"])
            changed = HookSecrets(secrets=(secret, kept.secrets[0]), headers=kept.headers)
            _seal(transaction, self._vault, row["id"], changed, former_s=_FORMER_S)
            return _of_company(transaction, request.path_params["companyId"], row["id"])[0]

        return JSONResponse({**_shown(await self._on(request, rotate)), "secret": secret})

    async def test(self, request: Request) -> Response:
        """Let a test event be delivered."""
        company_id = request.path_params["companyId"]
        written = await self._on(
            request, lambda transaction, row: transaction.one("test_hook", company_id=company_id, id=row["id"])
        )
        return JSONResponse({"eventId": str(Position(written["xid"], written["id"]))}, status_code=202)

    async def replay(self, request: Request) -> Response:
        """Let events be delivered once more."""
        company_id = request.path_params["companyId"]
        given = {name: value for name, value in checked(await read_json(request), _REPLAY).items() if value}
        if len(given) != 1:
            raise FieldsInvalid([("", "must have one of since, eventIds and deadLetters")])
        work = _replay_of(company_id, given)
        return JSONResponse(await self._on(request, work), status_code=202)

    async def deliveries(self, request: Request) -> Response:
        """Answer with attempts of deliveries."""
        query = query_of(request)
        most, before = query["limit"], int(query["cursor"] or _NEWEST)
        rows = await self._on(
            request,
            lambda transaction, row: transaction.rows(
                "hook_deliveries_of", hook_id=row["id"], before=before, outcome=query["outcome"], most=most + 1
            ),
        )
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse({"deliveries": [_attempt(row) for row in rows[:most]], "next": following})

    async def _on(self, request: Request, work: Callable[[Transaction, Row], _T]) -> _T:
        """Run `work` on the webhook that the path names. Raises `Problem` when the company has none with this id."""
        company_id, hook_id = request.path_params["companyId"], request.path_params["hookId"]
        require_possible(company_id)
        found = (
            await self._store.as_company(company_id).call(_with_row, company_id, int(hook_id), work)
            if _ID.fullmatch(hook_id)
            else None
        )
        if found is None:
            await self._directory.require_company(company_id)
            raise Problem("hook_unknown", "The company has no webhook with this id.")
        return found[0]


def _require_reader(request: Request) -> None:
    """Raise `Problem` unless the key may read: what a webhook delivers must not be a way around the scope."""
    if "read" not in principal_of(request).scopes:
        raise Problem("scope_missing", "The key has not the scope read, and a webhook delivers messages.", scope="read")


def _with_row(
    transaction: Transaction, company_id: str, hook_id: int, work: Callable[[Transaction, Row], _T]
) -> tuple[_T] | None:
    rows = _of_company(transaction, company_id, hook_id)
    return (work(transaction, rows[0]),) if rows else None


def _of_company(transaction: Transaction, company_id: str, hook_id: int | None) -> list[Row]:
    return transaction.rows("hooks_of_company", company_id=company_id, id=hook_id)


def _add(
    transaction: Transaction, vault: Vault, company_id: str, given: Mapping[str, Any], kept: HookSecrets
) -> Row | None:
    made = transaction.row(
        "add_hook",
        company_id=company_id,
        url=given["url"],
        types=given["types"] or [],
        phone_indexes=given["phoneIndexes"] or [],
        header_names=[],
        most=HOOKS_MOST,
    )
    if made is None:
        return None
    # sealed for its own row, whose id is known only now
    _seal(transaction, vault, made["id"], kept)
    return _of_company(transaction, company_id, made["id"])[0]


def _seal(
    transaction: Transaction, vault: Vault, hook_id: int, kept: HookSecrets, *, former_s: float | None = None
) -> None:
    transaction.execute(
        "seal_hook",
        id=hook_id,
        sealed=kept.sealed(vault, hook_id),
        header_names=sorted(kept.headers),
        former_s=former_s,
    )


def _replay_of(company_id: str, given: Mapping[str, Any]) -> Callable[[Transaction, Row], Mapping[str, Any]]:
    """Return what does a replay. Raises `FieldsInvalid` for what is no instant or no id."""
    if "since" in given:
        try:
            since = read_timestamp(given["since"])
        except ValueError:
            raise FieldsInvalid([("/since", "must be an instant in ISO 8601 with a time zone")]) from None

        def move(transaction: Transaction, row: Row) -> Mapping[str, Any]:
            moved = transaction.row("replay_hook_since", company_id=company_id, id=row["id"], since=since)
            return {"events": None, "after": str(Position((moved or row)["xid"]))}

        return move
    if "deadLetters" in given:
        return lambda transaction, row: {
            "events": transaction.one("replay_dead_hook_retries", id=row["id"])["events"],
            "after": None,
        }
    try:
        positions = [Position.parse(text) for text in given["eventIds"]]
    except ValueError:
        raise FieldsInvalid([("/eventIds", "must be ids of events")]) from None

    def again(transaction: Transaction, row: Row) -> Mapping[str, Any]:
        types, subjects = Selection(company_id=company_id, types=frozenset(row["types"])).internal()
        found = transaction.one(
            "replay_hook_events",
            company_id=company_id,
            id=row["id"],
            # a test is for one subscriber alone, and no part of its stream
            types=[one for one in types if one != TEST_TYPE],
            subjects=subjects,
            xids=[one.xid for one in positions],
            ids=[one.id for one in positions],
        )
        return {"events": found["events"], "after": None}

    return again


def _checked(company_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body whose address, types and headers can be used. Raises `FieldsInvalid`."""
    wrong: list[tuple[str, str]] = []
    if given["url"] is not None:
        try:
            # which addresses may be reached is decided where it is connected to; here only what is no address at all
            reach.checked(given["url"], reach.Reach.PRIVATE)
        except FetchFailed as error:
            wrong.append(("/url", f"cannot be used: {error}"))
    try:
        Selection(company_id=company_id, types=frozenset(given["types"] or ()))
    except ValueError as error:
        wrong.append(("/types", str(error)))
    headers = given["headers"] or {}
    if len(headers) > _HEADERS_MOST:
        wrong.append(("/headers", f"may have {_HEADERS_MOST} names"))
    # one header to every receiver (RFC 9110 5.1): which value it gets would be chance
    if len({name.lower() for name in headers}) < len(headers):
        wrong.append(("/headers", "must not have one name twice; upper and lower case are the same"))
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            wrong.append(("/headers", "must be names of headers with texts in ASCII"))
        elif name.lower() in _RESERVED or name.lower().startswith("webhook-"):
            wrong.append(("/headers", f"must not have {name.lower()}, which each delivery has already"))
    if wrong:
        raise FieldsInvalid(wrong[:10])
    return given


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(random.token_bytes(_SECRET_BYTES)).decode()


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "url": row["url"],
        "types": row["types"],
        "phoneIndexes": row["phone_indexes"],
        "headers": row["header_names"],
        "state": row["state"],
        "stateReason": row["state_reason"] or None,
        "position": str(Position(row["xid"], row["event_id"])),
        "waiting": row["waiting"],
        "deadLetters": row["dead"],
        "failingSince": iso(row["failing_since"]),
        "formerSecretUntil": iso(row["former_until"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }


def _attempt(row: Row) -> dict[str, Any]:
    return {
        "eventId": str(Position(row["xid"], row["event_id"])),
        "type": row["type"],
        "at": iso(row["at"]),
        "attempt": row["attempt"],
        "outcome": row["outcome"],
        "statusCode": row["status"],
        "error": row["error"] or None,
        "tookMs": row["took_ms"],
    }


__all__: Sequence[str] = ["HOOKS_MOST", "HookOperations"]
