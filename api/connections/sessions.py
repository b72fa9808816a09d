"""Browser sessions: desired and observed state, events, and the code to scan. The webdriver process reads the desired
state from rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.connections.tasks import TASK_PROBLEMS, TaskOperations
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of, principal_of
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from shared import qr
from shared.channels.registry import channel_named
from shared.compose.directory import Directory, phone_index_unknown, read_phone_index, require_possible
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.states import DesiredSession, SessionState
from shared.store import sessions, tasks
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.tenancy.principals import KeyScope
from shared.timestamps import iso

_COMPANY: Final = "/api/v2/sessions/{companyId}"
_PATH: Final = f"{_COMPANY}/{{phoneIndex}}"
# bytes; the bodies here have one short field
_BODY_LIMIT: Final = 4096
# events in one page
_MOST_EVENTS: Final = 200
_DESIRED_FIELDS: Final = (
    Field(
        name="desired",
        kind=str,
        purpose="Desired state.",
        required=True,
        choices=tuple(state.value for state in DesiredSession),
        title="DesiredSession",
    ),
)
_PAIRING_FIELDS: Final = (
    Field(
        name="phone",
        kind=str,
        purpose="Phone number on which the code is entered: country code and number, digits only.",
        required=True,
        longest=20,
    ),
)
# E.164: at most 15 digits, the country code first
_PHONE: Final = re.compile(r"\+?([0-9]{7,15})")
# seconds; the page needs a few, and a browser may have to be started first
_TASK_S: Final = 60.0
_PICTURES: Final[Mapping[str, tuple[str, Callable[[str], bytes]]]] = {
    "png": ("image/png", qr.png),
    "svg": ("image/svg+xml", qr.svg),
    "txt": ("text/plain; charset=utf-8", lambda code: qr.terminal(code).encode()),
}
# the code that is scanned gives access to the account: no cache on the way may keep it
_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_UNKNOWN: Final = ("company_unknown", "phone_index_unknown", "unsupported_operation")


class SessionOperations:
    """The operations on browser sessions."""

    def __init__(self, directory: Directory, store: Store, tasks: TaskOperations) -> None:
        self._directory, self._store, self._tasks = directory, store, tasks

    def operations(self) -> list[Operation]:
        """Return the operations on sessions."""
        return [
            Operation(
                operation_id="listSessions",
                method="GET",
                path=_COMPANY,
                scope="read",
                group="Sessions",
                summary="All browser sessions of a company",
                handler=self.show_all,
                answers={200: ("Desired and observed state of each, by phoneIndex.", "Sessions")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="getSession",
                method="GET",
                path=_PATH,
                scope="read",
                group="Sessions",
                summary="State of a browser session, with the code to scan",
                handler=self.show,
                answers={200: ("Desired and observed state.", "Session")},
                problems=_UNKNOWN,
            ),
            Operation(
                operation_id="setDesiredSession",
                method="POST",
                path=_PATH,
                scope="manage",
                act="sessions.desired",
                group="Sessions",
                summary="Set the desired state of a browser session",
                handler=self.want,
                body=json_schema(_DESIRED_FIELDS),
                examples=({"desired": "linked"},),
                answers={202: ("Noted; `state` follows.", "Session")},
                problems=(*_UNKNOWN, *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="logOutSession",
                method="POST",
                path=f"{_PATH}/logout",
                scope="manage",
                group="Sessions",
                summary="End the link to the phone and remove the profile",
                handler=self.log_out,
                answers={202: ("Noted; `state` becomes `logged_out`.", "Session")},
                problems=_UNKNOWN,
            ),
            self._task(
                "restartSession",
                "restart",
                "operate",
                "End a session's browser and start it anew on its profile",
                "It runs anew.",
            ),
            self._task(
                "wipeSession",
                "wipe",
                "manage",
                "Remove a session's profile, whatever the phone thinks of it",
                "The profile is gone; a wanted session shows a new code.",
            ),
            Operation(
                operation_id="requestPairingCode",
                method="POST",
                path=f"{_PATH}/pairing-code",
                scope="manage",
                group="Sessions",
                summary="A pairing code to enter on the phone instead of scanning",
                handler=self.pair,
                body=json_schema(_PAIRING_FIELDS),
                examples=({"phone": "15550100999"},),
                answers={
                    200: ("`result.code`: eight characters, good for about three minutes.", "Task"),
                    202: ("Not finished yet; see `Location`.", "Task"),
                },
                problems=(*_UNKNOWN, *BODY_PROBLEMS, *TASK_PROBLEMS),
            ),
            Operation(
                operation_id="getSessionCode",
                method="GET",
                path=f"{_PATH}/qr",
                scope="manage",
                group="Sessions",
                summary="The code to scan, as a picture",
                handler=self.show_code,
                parameters=(
                    Parameter(
                        name="format",
                        place="query",
                        purpose="Kind of picture.",
                        schema={**choice("PictureFormat", *_PICTURES), "default": "png"},
                    ),
                ),
                answers={
                    200: (
                        "The picture; `format` chooses SVG or half blocks for a terminal.",
                        *(media_type.partition(";")[0] for media_type, _ in _PICTURES.values()),
                    )
                },
                problems=(*_UNKNOWN, "code_absent", "query_invalid"),
            ),
            Operation(
                operation_id="listSessionEvents",
                method="GET",
                path=f"{_PATH}/events",
                scope="read",
                group="Sessions",
                summary="Events of a browser session",
                handler=self.show_events,
                parameters=(
                    limit("How many at most.", default=50, most=_MOST_EVENTS),
                    cursor(),
                ),
                answers={200: ("Its events of the last month, newest first.", "SessionEvents")},
                problems=(*_UNKNOWN, "query_invalid"),
            ),
        ]

    async def show_all(self, request: Request) -> Response:
        """Answer with every session of a company."""
        company_id = request.path_params["companyId"]
        with_code = _may_see_codes(request)
        rows = [
            _session(row, with_code=with_code)
            for row in await self._rows(company_id)
            if channel_named(row["connection_type"]).session
        ]
        return JSONResponse({"companyId": company_id, "sessions": rows}, headers=_NOT_KEPT)

    async def show(self, request: Request) -> Response:
        """Answer with a session's state."""
        return JSONResponse(_session(await self.row(request), with_code=_may_see_codes(request)), headers=_NOT_KEPT)

    async def want(self, request: Request) -> Response:
        """Set the desired state of a session."""
        row = await self.row(request)
        desired = checked(await read_json(request, limit=_BODY_LIMIT), _DESIRED_FIELDS)["desired"]
        return await self._want(request, row, desired)

    async def log_out(self, request: Request) -> Response:
        """Set the desired state to logged out."""
        return await self._want(request, await self.row(request), DesiredSession.LOGGED_OUT)

    async def pair(self, request: Request) -> Response:
        """Ask the page for a pairing code and answer with it."""
        row = await self.row(request)
        phone = _PHONE.fullmatch(checked(await read_json(request, limit=_BODY_LIMIT), _PAIRING_FIELDS)["phone"])
        if phone is None:
            raise FieldsInvalid([("/phone", "must be 7 to 15 digits, the country code first")])
        return await self._ask(request, row, "request_pairing_code", {"phone": phone[1]})

    def _task(self, operation_id: str, name: str, scope: KeyScope, summary: str, done: str) -> Operation:
        """Return an operation without a body that the session's process carries out."""

        async def ask(request: Request) -> Response:
            return await self._ask(request, await self.row(request), f"{name}_session")

        return Operation(
            operation_id=operation_id,
            method="POST",
            path=f"{_PATH}/{name}",
            scope=scope,
            group="Sessions",
            summary=summary,
            handler=ask,
            answers={200: (done, "Task"), 202: ("Not finished yet; see `Location`.", "Task")},
            problems=(*_UNKNOWN, *TASK_PROBLEMS),
        )

    async def _ask(
        self, request: Request, row: Row, operation: str, arguments: Mapping[str, Any] | None = None
    ) -> Response:
        task_id = await self._store.as_company(row["company_id"]).call(
            recorded(act_of(request), tasks.add, after=lambda made: {"taskId": str(made)}),
            company_id=row["company_id"],
            operation=operation,
            connection_id=row["id"],
            arguments=arguments,
            expires_in_s=_TASK_S,
            # each of these operations is idempotent: a second code, restart or removal replaces the first
            repeatable=True,
        )
        return await self._tasks.answer(request, row["company_id"], task_id)

    async def show_code(self, request: Request) -> Response:
        """Answer with the code to scan as a picture."""
        row = await self.row(request)
        code = _code(row)
        if code is None:
            raise Problem(
                "code_absent", f"The session is {row['observed']}: there is no code to scan now.", state=row["observed"]
            )
        media_type, draw = _PICTURES[query_of(request)["format"]]
        return Response(draw(code), media_type=media_type, headers=_NOT_KEPT)

    async def show_events(self, request: Request) -> Response:
        """Answer with a page of a session's events."""
        query = query_of(request)
        most, before = query["limit"], int(query["cursor"]) if query["cursor"] else None
        row = await self.row(request)
        found = await self._store.as_company(row["company_id"]).call(
            sessions.events, row["id"], most=most, before=before
        )
        # after a page that is exactly full, `next` may lead to an empty one
        following = str(found[-1]["id"]) if len(found) == most else None
        return JSONResponse({"events": [_event(event) for event in found], "next": following}, headers=_NOT_KEPT)

    async def row(self, request: Request) -> Row:
        """Return the session that a path names. Raises `Problem` when there is none."""
        company_id, phone_index = request.path_params["companyId"], read_phone_index(request.path_params["phoneIndex"])
        # a company has a few connections: one statement serves this and the list
        row = next((row for row in await self._rows(company_id) if row["phone_index"] == phone_index), None)
        if row is None:
            raise phone_index_unknown()
        if not channel_named(row["connection_type"]).session:
            raise Problem(
                "unsupported_operation",
                f"A connection of type {row['connection_type']} has no browser session.",
                operation="session",
                connectionType=row["connection_type"],
                reason="channel",
            )
        return row

    async def _rows(self, company_id: str) -> list[Row]:
        require_possible(company_id)
        rows = await self._store.as_company(company_id).call(sessions.of_company, company_id)
        # the rows do not distinguish an unknown company from one without connections
        if not rows:
            await self._directory.require_company(company_id)
        return rows

    async def _want(self, request: Request, row: Row, desired: str) -> Response:
        act = act_of(request)
        if act is not None:
            act.before, act.after = {"desired": row["desired_state"]}, {"desired": desired}
        if not await self._store.as_company(row["company_id"]).call(
            recorded(act, sessions.want),
            company_id=row["company_id"],
            phone_index=row["phone_index"],
            desired_state=desired,
        ):
            # the connection was removed since the row was read
            raise phone_index_unknown()
        # only the desired state is set: the observed one follows when the session's process acts on it
        return JSONResponse(
            _session({**row, "desired_state": desired}, with_code=True), status_code=202, headers=_NOT_KEPT
        )


def _code(row: Row) -> str | None:
    # the row keeps the last code, which is used or expired in any other state
    return row["qr"] if row["observed"] == SessionState.NEEDS_LINK and row["qr"] else None


def _may_see_codes(request: Request) -> bool:
    # scanning the code links a phone, which changes the connection
    return "manage" in principal_of(request).scopes


def _session(row: Row, *, with_code: bool) -> Mapping[str, Any]:
    return {
        "companyId": row["company_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        "account": row["account"] or None,
        "provedAt": iso(row["proved_at"]),
        "observedAt": iso(row["observed_at"]),
        "qr": _code(row) if with_code else None,
        "browser": dict(row["figures"]) or None,
    }


def _event(row: Row) -> Mapping[str, Any]:
    return {
        "id": str(row["id"]),
        "at": iso(row["at"]),
        "event": row["event"],
        "state": row["state"] or None,
        "detail": row["detail"] or None,
        "incarnation": row["incarnation"] or None,
    }
