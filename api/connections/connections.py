"""Connections of a company: create, change, pause, remove; their configuration, observed state and capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.connections.bodies import (
    CHANGE,
    CREATE,
    credentials_of,
    kept_options,
    require_ids,
    require_whole,
    shown_options,
)
from api.connections.credentials import Credentials
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from shared.channels.capabilities import of
from shared.channels.registry import channel_named
from shared.compose.directory import Directory, phone_index_unknown, read_phone_index, require_possible
from shared.fields import Field, checked, json_schema
from shared.store import connections, tasks
from shared.store.connections import Connection
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.audit import Act, recorded
from shared.timestamps import iso

PATH: Final = "/api/v2/connections/{companyId}/{phoneIndex}"
UNKNOWN: Final = ("company_unknown", "phone_index_unknown")
BODY_LIMIT: Final = 1 << 16
"""Bytes; more than the longest credentials and all options."""
# shown as `statusReason`; a pause by the provider or by the breaker has a reason of its own
_BY_OPERATOR: Final = "an operator paused it"
_STATUS_FIELDS: Final = (
    Field(
        name="status",
        kind=str,
        purpose="`active` sends, `paused` holds the connection's queue.",
        required=True,
        choices=("active", "paused"),
        title="ConnectionStatus",
    ),
    Field(
        name="reason",
        kind=str,
        purpose="Reason for the pause, shown as `statusReason`.",
        default=_BY_OPERATOR,
        longest=200,
    ),
)
_WIPE_S: Final = 300.0
"""Seconds that the process of the browser sessions has for removing a profile; it may have to be started for it."""


class ConnectionOperations:
    """The operations on connections."""

    def __init__(self, directory: Directory, store: Store, credentials: Credentials, worlds: Mapping[str, str]) -> None:
        self._directory, self._store, self._credentials, self._worlds = directory, store, credentials, worlds

    def operations(self) -> list[Operation]:
        """Return the operations on connections."""
        one = {200: ("The connection, as it is now.", "Connection")}
        return [
            Operation(
                operation_id="listConnections",
                method="GET",
                path="/api/v2/connections/{companyId}",
                scope="read",
                group="Connections",
                summary="Connections of a company, with state and capabilities",
                handler=self.show_all,
                answers={200: ("All connections, by phoneIndex.", "Connections")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="createConnection",
                method="POST",
                path="/api/v2/connections/{companyId}",
                scope="manage",
                group="Connections",
                summary="Create a connection",
                handler=self.create,
                body=json_schema(CREATE),
                examples=(
                    {"connectionType": "meta_direct", "accountId": "106540352242922", "accessToken": "EAAG…"},
                    {"connectionType": "wwebjs"},
                ),
                answers={201: ("The connection; `Location` is its path.", "Connection")},
                problems=("company_unknown", *BODY_PROBLEMS, "connection_exists", "account_in_use"),
            ),
            Operation(
                operation_id="getConnection",
                method="GET",
                path=PATH,
                scope="read",
                group="Connections",
                summary="One connection",
                handler=self.show,
                answers=one,
                problems=UNKNOWN,
            ),
            Operation(
                operation_id="changeConnection",
                method="PATCH",
                path=PATH,
                scope="manage",
                group="Connections",
                summary="Change credentials, account or options; new credentials resume a connection that was paused "
                "for the old ones",
                handler=self.change,
                body=json_schema(CHANGE),
                examples=({"options": {"messagesPerSecond": 20}},),
                answers=one,
                problems=(*UNKNOWN, *BODY_PROBLEMS, "account_in_use"),
            ),
            Operation(
                operation_id="removeConnection",
                method="DELETE",
                path=PATH,
                scope="manage",
                group="Connections",
                summary="Remove a connection; its messages keep their history",
                handler=self.remove,
                parameters=(
                    Parameter(
                        name="force",
                        place="query",
                        purpose="Fail what is not finished, with code `connection_removed`.",
                        schema={"type": "boolean", "default": False},
                    ),
                ),
                answers={200: ("Removed.", "RemovedConnection")},
                problems=(*UNKNOWN, "query_invalid", "messages_open"),
            ),
            Operation(
                operation_id="setConnectionStatus",
                method="POST",
                path=PATH,
                scope="operate",
                act="connections.status",
                group="Connections",
                summary="Pause a connection, or resume one that an operator, its provider or its breaker paused",
                handler=self.set_status,
                body=json_schema(_STATUS_FIELDS),
                examples=({"status": "paused", "reason": "the number is moved"},),
                answers={200: ("All connections, as they are now.", "Connections")},
                problems=(*UNKNOWN, *BODY_PROBLEMS),
            ),
            Operation(
                operation_id="pauseConnection",
                method="POST",
                path=f"{PATH}/pause",
                scope="operate",
                group="Connections",
                summary="Pause a connection",
                handler=self.pause,
                answers=one,
                problems=UNKNOWN,
            ),
            Operation(
                operation_id="resumeConnection",
                method="POST",
                path=f"{PATH}/resume",
                scope="operate",
                group="Connections",
                summary="Resume a connection",
                handler=self.resume,
                answers=one,
                problems=UNKNOWN,
            ),
        ]

    async def show_all(self, request: Request) -> Response:
        """Answer with all connections of a company."""
        company_id = request.path_params["companyId"]
        return JSONResponse(
            {"companyId": company_id, "connections": [self._connection(row) for row in await self._rows(company_id)]}
        )

    async def show(self, request: Request) -> Response:
        """Answer with one connection."""
        return await self._shown(request.path_params["companyId"], read_phone_index(request.path_params["phoneIndex"]))

    async def create(self, request: Request) -> Response:
        """Create a connection; its process is started by the orchestrator if it is the first of its kind."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        # after the company: the body for an unknown company is not read
        given = checked(await read_json(request, limit=BODY_LIMIT), CREATE)
        connection_type = given["connectionType"]
        require_whole(connection_type, given)
        require_ids(connection_type, given)
        # one transaction: no process may find the connection without its credentials, since its sends would fail
        phone_index = await self._store.as_company(company_id).call(
            self._add, act_of(request), company_id, given, credentials_of(connection_type, given)
        )
        answer = await self._shown(company_id, phone_index, status=201)
        answer.headers["Location"] = f"/api/v2/connections/{company_id}/{phone_index}"
        return answer

    def _add(
        self,
        transaction: Transaction,
        act: Act | None,
        company_id: str,
        given: Mapping[str, Any],
        credentials: Mapping[str, str],
    ) -> int:
        connection_type, account_id = given["connectionType"], given["accountId"] or ""
        # only a verified account blocks: a company that merely names an account must not lock out its owner. Of two
        # created at the same time, the first verification decides
        _require_free(transaction, connection_type, account_id, None)
        made = connections.add(
            transaction,
            company_id=company_id,
            connection_type=connection_type,
            phone_index=given["phoneIndex"],
            account_id=account_id,
            waba_id=given["wabaId"] or "",
            options=kept_options(given["options"]),
        )
        if made is None:
            raise Problem("connection_exists", f"The company has a connection {given['phoneIndex']} already.")
        connection_id, phone_index = made
        if credentials:
            # sealed with its index, which is known only now
            connections.update(
                transaction, connection_id, credentials=self._credentials.sealed(company_id, phone_index, credentials)
            )
        if act is not None:
            act.subject["phoneIndex"] = str(phone_index)
            act.after = _named(given, credentials) | {"connectionType": connection_type}
            act.write(transaction)
        return phone_index

    async def change(self, request: Request) -> Response:
        """Change the given fields; a connection that was paused because the provider refused its credentials is
        resumed.
        """
        connection = await self.connection(request)
        given = checked(await read_json(request, limit=BODY_LIMIT), CHANGE)
        require_ids(connection.connection_type, given)
        await self._store.as_company(connection.company_id).call(
            self._change, act_of(request), connection, given, credentials_of(connection.connection_type, given)
        )
        return await self._shown(connection.company_id, connection.phone_index)

    def _change(
        self,
        transaction: Transaction,
        act: Act | None,
        connection: Connection,
        given: Mapping[str, Any],
        credentials: Mapping[str, str],
    ) -> None:
        if given["accountId"]:
            _require_free(transaction, connection.connection_type, given["accountId"], connection.id)
        # read again, so that two changes at the same time do not undo each other
        now = connections.lock(transaction, connection.id)
        if now is None:
            raise phone_index_unknown()
        connections.update(
            transaction,
            connection.id,
            account_id=given["accountId"],
            waba_id=given["wabaId"],
            credentials=self._credentials.changed(now, credentials) if credentials else None,
            options=kept_options(given["options"]),
        )
        # only then: the pause that this ends was for credentials that the provider refused
        if credentials:
            connections.resume_mended(transaction, connection.id)
        if act is not None:
            act.after = _named(given, credentials)
            act.before = {name: value for name, value in _facts(now).items() if name in act.after}
            act.write(transaction)

    async def remove(self, request: Request) -> Response:
        """Remove a connection, unless messages wait there and `force` is not set."""
        connection = await self.connection(request)
        failed = await self._store.as_company(connection.company_id).call(
            partial(_remove, force=query_of(request)["force"]), act_of(request), connection
        )
        # other processes of the API forget it within a second; what they still accept is failed by `fail_leftovers`
        self._directory.forget(connection.company_id, connection.phone_index)
        return JSONResponse(
            {"companyId": connection.company_id, "phoneIndex": connection.phone_index, "failedMessages": failed}
        )

    async def set_status(self, request: Request) -> Response:
        """Pause or resume; no effect in the requested state."""
        connection = await self.connection(request)
        fields = checked(await read_json(request), _STATUS_FIELDS)
        if fields["status"] == "paused":
            await self._pause(request, connection, fields["reason"])
        else:
            await self._resume(request, connection)
        return await self.show_all(request)

    async def pause(self, request: Request) -> Response:
        """Pause a connection."""
        connection = await self.connection(request)
        await self._pause(request, connection, _BY_OPERATOR)
        return await self.show(request)

    async def resume(self, request: Request) -> Response:
        """Let a connection send again."""
        await self._resume(request, await self.connection(request))
        return await self.show(request)

    async def _pause(self, request: Request, connection: Connection, reason: str) -> None:
        change = recorded(act_of(request), connections.pause, after=lambda _: {"status": "paused", "reason": reason})
        await self._store.as_company(connection.company_id).call(change, connection.id, reason)

    async def _resume(self, request: Request, connection: Connection) -> None:
        change = recorded(act_of(request), connections.resume, after=lambda _: {"status": "active"})
        await self._store.as_company(connection.company_id).call(change, connection.id)

    async def connection(self, request: Request) -> Connection:
        """Return the current row of the connection in a path. Raises `Problem` when there is none."""
        company_id, phone_index = request.path_params["companyId"], read_phone_index(request.path_params["phoneIndex"])
        require_possible(company_id)
        # the row and not the directory's cache, since the row is changed next
        connection = await self._store.as_company(company_id).call(connections.by_index, company_id, phone_index)
        if connection is None:
            await self._directory.require_company(company_id)
            raise phone_index_unknown()
        return connection

    async def _shown(self, company_id: str, phone_index: int, status: int = 200) -> Response:
        # a company has a few connections, so that one statement for all of them serves both operations
        row = next((row for row in await self._rows(company_id) if row["phone_index"] == phone_index), None)
        if row is None:
            raise phone_index_unknown()
        return JSONResponse(self._connection(row), status_code=status)

    def _connection(self, row: Row) -> Mapping[str, Any]:
        return _connection(row) | {"sandbox": self._worlds[row["connection_type"]] == "sandbox"}

    async def _rows(self, company_id: str) -> list[Row]:
        require_possible(company_id)
        rows = await self._store.as_company(company_id).call(connections.of_company, company_id)
        if not rows:
            await self._directory.require_company(company_id)
        return rows


def _named(given: Mapping[str, Any], credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the changed fields of a connection for the audit; of credentials only their names."""
    changed = {name: given[name] for name in ("accountId", "wabaId", "options") if given[name] is not None}
    return changed | ({"credentials": sorted(credentials)} if credentials else {})


def _facts(connection: Connection) -> dict[str, Any]:
    return {
        "accountId": connection.account_id,
        "wabaId": connection.waba_id,
        "options": shown_options(connection.options),
        "connectionType": connection.connection_type,
    }


def _require_free(transaction: Transaction, connection_type: str, account_id: str, but: int | None) -> None:
    if connections.account_in_use(transaction, connection_type=connection_type, account_id=account_id, but=but):
        # the owner is not disclosed to other companies
        raise Problem("account_in_use", "Another connection serves this account already.")


def _remove(transaction: Transaction, act: Act | None, connection: Connection, *, force: bool) -> int:
    waiting = connections.open_messages(transaction, connection.id)
    if waiting and not force:
        raise Problem("messages_open", f"{waiting} messages of this connection are not finished.", messages=waiting)
    # None: another request removed it since it was read
    failed = connections.remove(transaction, connection.id, "removed by an operator")
    if failed is None:
        raise phone_index_unknown()
    if act is not None:
        act.before, act.after = _facts(connection), {"failedMessages": failed}
        act.write(transaction)
    channel = channel_named(connection.connection_type)
    if channel.session:
        # in the same transaction: the profile on disk still gives access to the account, so that its removal must not
        # be lost
        tasks.add(
            transaction,
            company_id=connection.company_id,
            connection_id=connection.id,
            # explicit, since no process serves the removed connection any more
            kind=channel.kind,
            operation="wipe_session",
            expires_in_s=_WIPE_S,
            repeatable=True,
        )
    return failed


def _connection(row: Row) -> dict[str, Any]:
    return {
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        "process": row["process_name"],
        "status": row["status"],
        "statusReason": row["status_reason"] or None,
        "desired": row["desired_state"],
        "state": row["observed"],
        "detail": row["detail"] or None,
        "accountId": row["account_id"] or None,
        "account": row["account"] or None,
        "wabaId": row["waba_id"] or None,
        "options": shown_options(row["options"]),
        "warning": row["warning"] or None,
        "facts": row["facts"],
        "checkedAt": iso(row["checked_at"]),
        "templatesSyncedAt": iso(row["templates_synced_at"]),
        "provedAt": iso(row["proved_at"]),
        "lastEventAt": iso(row["last_event_at"]),
        "observedAt": iso(row["observed_at"]),
        "capabilities": {name: capability.as_json() for name, capability in of(row["connection_type"]).items()},
    }
