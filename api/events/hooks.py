"""Webhooks: subscribers of the events of a company, or of those of the installation, which are alerts and processes.
Delivered by kind `hooks`, which reads the same rows.
"""

from __future__ import annotations

import base64
import re
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.events.hook_bodies import (
    DECIDE_WHAT_IS_READ,
    HOOK_CHANGES,
    NEW_HOOK,
    REPLAY,
    checked_hook,
    shown_attempt,
    shown_hook,
)
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
from shared.fields import FieldsInvalid, checked, exactly_one, json_schema
from shared.secrets import Vault
from shared.store.pool import Row, Transaction
from shared.store.store import Store

_T = TypeVar("_T")

_COMPANY: Final = "/api/v2/hooks/{companyId}"
_INSTALLATION: Final = "/api/v2/installation/hooks"
_ID: Final = re.compile(r"[0-9]{1,18}")
HOOKS_MOST: Final = 100
"""Webhooks of one company, or of the installation: each costs every event of it a delivery."""
_FORMER_S: Final = 86400.0
"""Seconds for which the secret before the last also signs."""
_SECRET_BYTES: Final = 32
_ACTS: Final = {
    "add{}Hook": "created",
    "change{}Hook": "changed",
    "remove{}Hook": "removed",
    "rotate{}HookSecret": "rotate",
    "test{}Hook": "test",
}
"""What the audit says of the installation's webhooks; of a company's it follows from the path."""
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_NEWEST: Final = (1 << 63) - 1
_OUTCOMES: Final = ("taken", "failed", "dead")


class HookOperations:
    """The operations on webhooks."""

    def __init__(self, directory: Directory, store: Store, vault: Vault) -> None:
        self._directory, self._store, self._vault = directory, store, vault

    def operations(self) -> list[Operation]:
        """Return them."""
        return [*self._of(_COMPANY), *self._of(_INSTALLATION)]

    def _of(self, base: str) -> list[Operation]:
        """Return the operations on webhooks below one path."""
        is_installations = base == _INSTALLATION
        infix, whose = ("Installation", "the installation") if is_installations else ("", "a company")
        types = "alert.*" if is_installations else "message.*"
        one = f"{base}/{{hookId}}"

        def operation(
            name: str, method: str, path: str, summary: str, handler: Any, *, answers: Any, **given: Any
        ) -> Operation:
            problems = (
                *(() if is_installations else ("company_unknown",)),
                *given.pop("problems", ()),
                *(("hook_unknown",) if "hookId" in path else ()),
            )
            if is_installations and method != "GET":
                given["act"] = f"installation_hooks.{_ACTS[name]}"
            return Operation(
                operation_id=name.format(infix),
                method=method,
                path=path,
                summary=f"{summary} of {whose}" if is_installations or (path == base and method == "GET") else summary,
                handler=handler,
                answers=answers,
                group="Webhooks",
                scope="manage",
                owner="installation" if is_installations else "path",
                problems=problems,
                **given,
            )

        found = [
            operation(
                "list{}Hooks",
                "GET",
                base,
                "Webhooks",
                self.show,
                answers={200: ("All of them.", "Hooks")},
            ),
            operation(
                "add{}Hook",
                "POST",
                base,
                "Add a webhook",
                self.add,
                answers={201: ("Added; `secret` is shown this once.", "NewHook")},
                body=json_schema(NEW_HOOK),
                examples=({"url": "https://example.com/hook", "types": [types]},),
                problems=(*BODY_PROBLEMS, "too_many_hooks"),
            ),
            operation("get{}Hook", "GET", one, "One webhook", self.show_one, answers={200: ("The webhook.", "Hook")}),
            operation(
                "change{}Hook",
                "PATCH",
                one,
                "Change, pause or resume a webhook",
                self.change,
                answers={200: ("As it is now.", "Hook")},
                body=json_schema(HOOK_CHANGES),
                examples=({"state": "active"},),
                problems=BODY_PROBLEMS,
            ),
            operation(
                "remove{}Hook", "DELETE", one, "Remove a webhook", self.remove, answers={200: ("As it was.", "Hook")}
            ),
            operation(
                "rotate{}HookSecret",
                "POST",
                f"{one}/rotate",
                "Give a webhook a new secret",
                self.rotate,
                answers={200: ("The new secret; for a day the one before also signs.", "NewHook")},
            ),
            operation(
                "test{}Hook",
                "POST",
                f"{one}/test",
                "Deliver a test event to a webhook",
                self.test,
                answers={202: ("It will be delivered.", "HookTest")},
            ),
            operation(
                "list{}HookDeliveries",
                "GET",
                f"{one}/deliveries",
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
        if is_installations:
            # alerts that were missed are rows: GET /api/v2/alerts
            return found
        replay = operation(
            "replay{}Hook",
            "POST",
            f"{one}/replay",
            "Deliver events once more",
            self.replay,
            answers={202: ("They will be delivered.", "HookReplay")},
            body={**json_schema(REPLAY), **exactly_one([field.name for field in REPLAY])},
            examples=(
                {"deadLetters": True},
                {"since": "2026-12-01T09:00:00Z"},
                {"eventIds": ["81234-9917"]},
            ),
            problems=BODY_PROBLEMS,
        )
        return [*found, replay]

    async def show(self, request: Request) -> Response:
        """Answer with the webhooks of a company, or of the installation."""
        company_id = _owner(request)
        if company_id is not None:
            require_possible(company_id)
        rows = await self._store.as_company_or_all(company_id).call(_of_owner, company_id, None)
        if not rows and company_id is not None:
            await self._directory.require_company(company_id)
        return JSONResponse({"hooks": [shown_hook(row) for row in rows]})

    async def show_one(self, request: Request) -> Response:
        """Answer with one webhook."""
        return JSONResponse(shown_hook(await self._on(request, lambda _, row: row, locked=False)))

    async def add(self, request: Request) -> Response:
        """Add a webhook."""
        company_id = _owner(request)
        if company_id is not None:
            await self._directory.require_company(company_id)
        given = checked_hook(company_id, checked(await read_json(request), NEW_HOOK))
        _require_reader(request)
        secret = _new_secret()
        kept = HookSecrets(secrets=(secret,), headers=given["headers"] or {})
        row = await self._store.as_company_or_all(company_id).call(_add, self._vault, company_id, given, kept)
        if row is None:
            raise Problem("too_many_hooks", f"There are {HOOKS_MOST} webhooks already.", limit=HOOKS_MOST)
        place = f"{_INSTALLATION if company_id is None else f'/api/v2/hooks/{company_id}'}/{row['id']}"
        return JSONResponse({**shown_hook(row), "secret": secret}, status_code=201, headers={"Location": place})

    async def change(self, request: Request) -> Response:
        """Change a webhook."""
        company_id = _owner(request)
        given = checked_hook(company_id, checked(await read_json(request), HOOK_CHANGES))
        if any(given[name] is not None for name in DECIDE_WHAT_IS_READ):
            _require_reader(request)

        def change(transaction: Transaction, row: Row) -> Row:
            named = {name: given[name] for name in ("url", "types", "state")}
            transaction.execute("change_hook", id=row["id"], phone_indexes=given["phoneIndexes"], **named)
            if given["headers"] is not None:
                kept = HookSecrets.opened(self._vault, row["id"], row["sealed"])
                _seal(transaction, self._vault, row["id"], HookSecrets(secrets=kept.secrets, headers=given["headers"]))
            return _of_owner(transaction, company_id, row["id"])[0]

        return JSONResponse(shown_hook(await self._on(request, change)))

    async def remove(self, request: Request) -> Response:
        """Remove a webhook."""

        def remove(transaction: Transaction, row: Row) -> Row:
            transaction.execute("remove_hook", company_id=_owner(request), id=row["id"])
            return row

        return JSONResponse(shown_hook(await self._on(request, remove)))

    async def rotate(self, request: Request) -> Response:
        """Give a webhook a new secret."""
        secret = _new_secret()

        def rotate(transaction: Transaction, row: Row) -> Row:
            kept = HookSecrets.opened(self._vault, row["id"], row["sealed"])
            changed = HookSecrets(secrets=(secret, kept.secrets[0]), headers=kept.headers)
            _seal(transaction, self._vault, row["id"], changed, former_s=_FORMER_S)
            return _of_owner(transaction, _owner(request), row["id"])[0]

        return JSONResponse({**shown_hook(await self._on(request, rotate)), "secret": secret})

    async def test(self, request: Request) -> Response:
        """Let a test event be delivered."""
        company_id = _owner(request)
        written = await self._on(
            request, lambda transaction, row: transaction.one("test_hook", company_id=company_id, id=row["id"])
        )
        return JSONResponse({"eventId": str(Position(written["xid"], written["id"]))}, status_code=202)

    async def replay(self, request: Request) -> Response:
        """Let events be delivered once more."""
        company_id = request.path_params["companyId"]
        given = {name: value for name, value in checked(await read_json(request), REPLAY).items() if value}
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
            locked=False,
        )
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse({"deliveries": [shown_attempt(row) for row in rows[:most]], "next": following})

    async def _on(self, request: Request, work: Callable[[Transaction, Row], _T], *, locked: bool = True) -> _T:
        """Run `work` on the webhook that the path names; `locked`: which nothing else changes meanwhile.

        Raises:
            Problem: there is none with this id.
        """
        company_id, hook_id = _owner(request), request.path_params["hookId"]
        if company_id is not None:
            require_possible(company_id)
        found = (
            await self._store.as_company_or_all(company_id).call(
                _with_row, company_id, int(hook_id), work, locked=locked
            )
            if _ID.fullmatch(hook_id)
            else None
        )
        if found is None:
            if company_id is not None:
                await self._directory.require_company(company_id)
            raise Problem("hook_unknown", "There is no webhook with this id here.")
        return found[0]


def _owner(request: Request) -> str | None:
    """Return whose webhooks the path is about: a company's, or (None) the installation's."""
    company_id: str | None = request.path_params.get("companyId")
    return company_id


def _require_reader(request: Request) -> None:
    """Raise `Problem` unless the key may read: what a webhook delivers must not be a way around the scope."""
    if "read" not in principal_of(request).scopes:
        raise Problem("scope_missing", "The key has not the scope read, and a webhook delivers messages.", scope="read")


def _with_row(
    transaction: Transaction,
    company_id: str | None,
    hook_id: int,
    work: Callable[[Transaction, Row], _T],
    *,
    locked: bool,
) -> tuple[_T] | None:
    if locked:
        # before it is read: what is changed was seen as it is
        transaction.execute("lock_hook", company_id=company_id, id=hook_id)
    rows = _of_owner(transaction, company_id, hook_id)
    return (work(transaction, rows[0]),) if rows else None


def _of_owner(transaction: Transaction, company_id: str | None, hook_id: int | None) -> list[Row]:
    return transaction.rows("hooks_of_company", company_id=company_id, id=hook_id)


def _add(
    transaction: Transaction, vault: Vault, company_id: str | None, given: Mapping[str, Any], kept: HookSecrets
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
    return _of_owner(transaction, company_id, made["id"])[0]


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


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(random.token_bytes(_SECRET_BYTES)).decode()


__all__: Sequence[str] = ["HOOKS_MOST", "HookOperations"]
