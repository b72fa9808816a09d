"""Embedded signup and registration: from the code that a customer's browser got to a connection that sends.

The steps are `exchange`, `connect`, `inspect`, `subscribe`, `register`, `activate`. The code works once and for 30
seconds, so the token obtained with it is stored (sealed, on a paused connection) before anything else is done with it:
a later failure is resumed from there, without a code.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from meta.accounts.calls import ProviderCalls, text
from meta.accounts.health import NUMBER_FIELDS, ConnectionHealth
from meta.accounts.registry import Account, AccountRegistry, CredentialsUnusable, UnusableAccount
from shared.logs import logger
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import connections, tasks
from shared.store.connections import Connection
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed

log = logger(__name__)

CONNECTION_TYPE: Final = "meta_embedded"
_UNFINISHED: Final = "signup: not finished"
"""Beginning of the reason for which a connection is paused until its signup is complete: only such a pause is ended by
`activate`, an operator's own stays.
"""
_CONNECTED: Final = "CONNECTED"
"""A number's status when it is registered."""


class EmbeddedSignup:
    """Handlers of tasks that sign numbers up."""

    def __init__(
        self,
        store: Store,
        accounts: AccountRegistry,
        calls: ProviderCalls,
        health: ConnectionHealth,
        *,
        vault: Vault,
        settings: Settings,
    ) -> None:
        self._store, self._accounts, self._calls, self._health, self._vault, self._settings = (
            store,
            accounts,
            calls,
            health,
            vault,
            settings,
        )

    async def sign_up(self, task: Task) -> Mapping[str, Any]:
        """Handler `signup`: create a connection from the result of embedded signup, or finish one that was begun."""
        if not (self._settings.meta_app_id and self._settings.meta_app_secret):
            raise TaskFailed("invalid", "META_APP_ID and META_APP_SECRET must be set for embedded signup")
        run = _Run(task, tasks.open_secrets(self._vault, task))
        try:
            return await self._steps(run)
        except TaskFailed as failure:
            raise TaskFailed(
                failure.code,
                f"step {run.step}: {failure.detail}",
                **{**failure.facts, "step": run.step, "done": run.done},
            ) from failure

    async def _steps(self, run: _Run) -> Mapping[str, Any]:
        # conflicts are found before the code is used: it works once, and would be lost
        begun = await self._store.call(self._begun, run)
        token = self._kept_token(begun, run)
        if not token:
            run.step = "exchange"
            token = await self._exchange(run)
            run.done.append("exchange")
        run.step = "connect"
        # the token is committed before the next call: from here on any death or failure can be continued without a code
        connection = await self._store.call(self._connect, run, token)
        run.done.append("connect")
        account = await self._account(connection.id)
        run.step = "inspect"
        await self._inspect(account, run)
        run.done.append("inspect")
        run.step = "subscribe"
        # to subscribe twice is harmless; without it no webhook of this account comes
        await self._calls.post(
            "subscribing the app", f"{account.base}/{run.waba_id}/subscribed_apps", account.endpoint.headers, {}
        )
        run.done.append("subscribe")
        run.step = "register"
        # a number that stays on the Business app is registered there; to register it again would take it off the app
        if not run.coexistence:
            run.done.append(await self._register_once(account, run.pin))
        run.step = "activate"
        await self._store.call(_activate, connection.id)
        run.done.append("activate")
        # last, when the number already sends: a failure here fails the task but not the connection
        finding = await self._health.look(account)
        await self._store.call(
            connections.note_facts, connection.id, finding.facts, warning=finding.dead or finding.warning, checked=True
        )
        await self._store.call(connections.prove, connection.id, finding.proved, account.connection.credentials)
        log.info("number_signed_up", connection_id=connection.id, coexistence=run.coexistence)
        return {"phoneIndex": connection.phone_index, "done": run.done, **finding.facts}

    async def _exchange(self, run: _Run) -> str:
        if not run.code:
            raise TaskFailed("invalid", "there is no code, and no signup of this number was begun")
        found = await self._calls.get(
            "exchanging the code",
            f"{self._accounts.graph_base()}/oauth/access_token",
            {},
            client_id=self._settings.meta_app_id,
            client_secret=self._settings.meta_app_secret,
            code=run.code,
        )
        if not (token := text(found, "access_token")):
            # the code is used up, and no token was obtained
            raise TaskFailed("unclear", "exchanging the code: the answer holds no token")
        return token

    def _begun(self, transaction: Transaction, run: _Run) -> Connection | None:
        """Return this number's connection, if the company has it already. Raises `TaskFailed` when another one is in
        the way.
        """
        # in the transaction that writes too (`_connect`): two signups of one number may run at the same time
        mine = connections.by_account(
            transaction, company_id=run.company_id, connection_type=CONNECTION_TYPE, account_id=run.account_id
        )
        if connections.account_in_use(
            transaction, connection_type=CONNECTION_TYPE, account_id=run.account_id, but=mine.id if mine else None
        ):
            raise TaskFailed("conflict", "another connection serves this number")
        if mine is not None and run.phone_index is not None and mine.phone_index != run.phone_index:
            raise TaskFailed("conflict", f"the number is the company's connection {mine.phone_index} already")
        if mine is not None and mine.connection_type != CONNECTION_TYPE:
            raise TaskFailed(
                "conflict", f"the number is the company's connection {mine.phone_index} of type {mine.connection_type}"
            )
        return mine

    def _kept_token(self, begun: Connection | None, run: _Run) -> str:
        """Return the token that an earlier run of this task, or an earlier unfinished signup, has obtained; empty when
        a code must be used.
        """
        if begun is None:
            return ""
        kept_for = begun.options.get("signup")
        by_this_task = isinstance(kept_for, Mapping) and kept_for.get("task") == run.task_id
        # a new code means new consent, perhaps with other permissions: it wins over a token from an earlier signup
        if run.code and not by_this_task:
            return ""
        return self._kept(begun, "access_token")

    def _kept(self, connection: Connection, name: str) -> str:
        try:
            return text(self._accounts.credentials(connection), name)
        # nothing was kept, or it was sealed with another key: a code is needed then
        except CredentialsUnusable:
            return ""

    def _connect(self, transaction: Transaction, run: _Run, token: str) -> Connection:
        """Keep the token on the number's connection, which is made when there is none, and hold its queue until the
        rest is done.
        """
        begun = self._begun(transaction, run)
        if begun is None:
            made = connections.add(
                transaction,
                company_id=run.company_id,
                connection_type=CONNECTION_TYPE,
                phone_index=run.phone_index,
                account_id=run.account_id,
                waba_id=run.waba_id,
            )
            if made is None:
                raise TaskFailed("conflict", f"the company has another connection {run.phone_index}")
            connection_id, phone_index = made
        else:
            connection_id, phone_index = begun.id, begun.phone_index
        # the PIN of the first run: Meta keeps the first one that a number was registered with, and counts wrong ones
        if begun is not None and not run.pin:
            run.pin = self._kept(begun, "pin")
        # six digits, from the system's generator; zeros in front count
        run.pin = run.pin or f"{secrets.randbelow(10**6):06}"
        sealed = self._accounts.sealed(run.company_id, phone_index, {"access_token": token, "pin": run.pin})
        noted = {"task": run.task_id, "businessId": run.business_id or None, "coexistence": run.coexistence}
        # a number that is also on the Business app has a lower rate
        options = {"signup": noted, **({"coexistence": True} if run.coexistence else {})}
        connections.update(transaction, connection_id, waba_id=run.waba_id, credentials=sealed, options=options)
        # a connection that sends already is not held by a repeated signup
        if begun is None or begun.status_reason.startswith(_UNFINISHED):
            connections.pause(transaction, connection_id, f"{_UNFINISHED}; POST /api/v2/signup again to go on")
        connection = connections.by_index(transaction, run.company_id, phone_index)
        if connection is None:
            raise TaskFailed("conflict", "the connection was removed meanwhile")
        return connection

    async def _account(self, connection_id: int) -> Account:
        await self._accounts.refresh()
        known = await self._accounts.find(connection_id)
        if not isinstance(known, Account):
            raise TaskFailed(
                "internal",
                known.problem if isinstance(known, UnusableAccount) else "the connection was removed meanwhile",
            )
        return known

    async def _inspect(self, account: Account, run: _Run) -> None:
        data = await self._health.inspect(account.token)
        if data.get("is_valid") is not True:
            raise TaskFailed("refused", "the token is not valid")
        # the list may be missing; when it is there it must name the account
        scopes = data.get("granular_scopes")
        for scope in scopes if isinstance(scopes, list) else []:
            if isinstance(scope, Mapping) and scope.get("scope") == "whatsapp_business_management":
                targets = scope.get("target_ids")
                if isinstance(targets, list) and run.waba_id not in map(str, targets):
                    raise TaskFailed("conflict", "the token was not given for this WhatsApp Business Account")

    async def _register_once(self, account: Account, pin: str) -> str:
        """Register the number unless it is; to do so again would count against ten in 72 hours."""
        url = f"{account.base}/{account.connection.account_id}"
        found = await self._calls.get("looking at the number", url, account.endpoint.headers, fields=NUMBER_FIELDS)
        if text(found, "status") == _CONNECTED:
            return "registered_before"
        await self._register(account, pin)
        return "register"

    async def _register(self, account: Account, pin: str) -> None:
        url = f"{account.base}/{account.connection.account_id}/register"
        await self._calls.post(
            "registering the number", url, account.endpoint.headers, {"messaging_product": "whatsapp", "pin": pin}
        )

    async def register(self, task: Task) -> Mapping[str, Any]:
        """Handler `register`: register the number with its two-step PIN, and keep the PIN."""
        account = await self._health.account_of(task)
        credentials = dict(self._accounts.credentials(account.connection))
        pin = text(tasks.open_secrets(self._vault, task), "pin") or text(credentials, "pin")
        if not pin:
            raise TaskFailed("invalid", "there is no PIN: give one of six digits")
        await self._register(account, pin)
        connection = account.connection
        sealed = self._accounts.sealed(connection.company_id, connection.phone_index, {**credentials, "pin": pin})
        await self._store.call(connections.update, connection.id, credentials=sealed)
        return {"registered": True}

    async def deregister(self, task: Task) -> Mapping[str, Any]:
        """Handler `deregister`: take the number off the Cloud API, and hold its queue."""
        account = await self._health.account_of(task)
        await self._calls.post(
            "deregistering the number",
            f"{account.base}/{account.connection.account_id}/deregister",
            account.endpoint.headers,
            {},
        )
        # after the call: a failed deregistration leaves a number that sends
        await self._store.call(connections.pause, account.connection.id, "deregistered by an operator")
        return {"registered": False}


class _Run:
    """One run of a signup: what it was given, and how far it is."""

    def __init__(self, task: Task, given: Mapping[str, Any]) -> None:
        asked = task.arguments
        self.task_id, self.company_id = task.id, task.company_id
        self.account_id, self.waba_id, self.business_id = (
            str(asked["phoneNumberId"]),
            str(asked["wabaId"]),
            str(asked.get("businessId") or ""),
        )
        index = asked.get("phoneIndex")
        self.phone_index = index if isinstance(index, int) else None
        self.coexistence = asked.get("coexistence") is True
        self.code, self.pin = text(given, "code"), text(given, "pin")
        self.step = "exchange"
        self.done: list[str] = []


def _activate(transaction: Transaction, connection_id: int) -> None:
    # both pauses that a signup ends: its own, and one for a token that the new one replaces
    connections.resume_from(transaction, connection_id, _UNFINISHED)
    connections.resume_mended(transaction, connection_id)
