"""The state of a connection: what the provider reports about the number, the token and the webhooks, on demand and
every few hours.

The findings are kept as facts of the connection. An invalid token pauses the connection before the next send; one that
expires soon causes a warning; a connection that was paused for its credentials is resumed when they work again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from meta.accounts.calls import ProviderCalls, ProviderRefused, text
from meta.accounts.registry import D360, PAGES, Account, AccountRegistry, UnusableAccount
from meta.errors import ErrorAction
from meta.inbound.webhooks import D360_GUARD
from shared.clock import utc_now
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.settings import Settings
from shared.store import connections, tasks
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed

log = logger(__name__)

OPERATION: Final = "test_connection"
NUMBER_FIELDS: Final = "id,display_phone_number,verified_name,quality_rating,code_verification_status,name_status,status,throughput,messaging_limit_tier,platform_type"  # noqa: E501
_LOOK_S: Final = 30.0
"""Mean interval in seconds between two searches for connections that are due for a check."""
_TASK_S: Final = 120.0
"""Seconds after which a check that is not finished expires; a later search asks for it again."""
_MOST: Final = 20
"""Checks that one search asks for: after an outage all connections are due, and a check makes up to five calls that
count against the app's limit.
"""
_JITTER: Final = 0.1
"""Share of the interval by which checks spread, so that connections created together are not always checked together.
"""
_BAD_QUALITY: Final = "RED"


@dataclass(slots=True)
class HealthFinding:
    """The result of one check of a connection.

    Attributes:
        facts: by name. warnings: sentences that an operator should act on. dead: why nothing can be sent at all; empty:
            something can.
        proved: the provider's ids that the token was proved to reach.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    dead: str = ""
    proved: set[str] = field(default_factory=set)

    @property
    def warning(self) -> str:
        """All warnings as one text."""
        return "; ".join(self.warnings)


class ConnectionHealth:
    """Checks connections."""

    def __init__(
        self, store: Store, accounts: AccountRegistry, calls: ProviderCalls, settings: Settings, *, kind: str
    ) -> None:
        self._store, self._accounts, self._calls, self._settings, self._kind = store, accounts, calls, settings, kind

    async def run(self, beat: LoopBeat) -> None:
        """Request checks of connections whose last one is too old; never returns."""
        # at random, so that instances that start together do not search together
        await _rest(beat, random.uniform(_LOOK_S, 3 * _LOOK_S))  # noqa: S311 - spreads the load, hides nothing
        while True:
            try:
                await self._store.call(self._ask)
            except StoreUnavailable as error:
                log.info("checks_not_requested", reason=str(error))
            await _rest(beat, random.uniform(0.5 * _LOOK_S, 1.5 * _LOOK_S))  # noqa: S311 - as above

    def _ask(self, transaction: Transaction) -> None:
        # as above
        interval_s = self._settings.connection_check_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        # a check that did not end well is due again after ten minutes: the provider may have been down
        again_s = min(interval_s, 600.0)
        for connection_id in connections.unchecked(
            transaction, self._kind, older_s=interval_s, operation=OPERATION, again_s=again_s, most=_MOST
        ):
            tasks.add(
                transaction,
                company_id=connections.company_of(transaction, connection_id),
                connection_id=connection_id,
                operation=OPERATION,
                expires_in_s=_TASK_S,
                # it changes nothing at the provider, so a death in the middle begins it anew
                repeatable=True,
            )

    async def test(self, task: Task) -> Mapping[str, Any]:
        """Handler: check the task's connection now."""
        account = await self.account_of(task)
        finding = await self.look(account)
        await self._store.call(self.write, account, finding)
        return {
            "healthy": not finding.dead and not finding.warnings,
            "problem": finding.dead or None,
            "warnings": finding.warnings,
            **finding.facts,
        }

    async def account_of(self, task: Task) -> Account:
        """Return the account of a task's connection, as it is now. Raises `TaskFailed` when it is gone or cannot be
        used.
        """
        if task.connection_id is None:
            raise TaskFailed("conflict", "the connection was removed")
        # the task may be about a change that was committed a moment ago: its credentials must be the new ones
        await self._accounts.refresh()
        known = await self._accounts.find(task.connection_id)
        if known is None:
            raise TaskFailed("conflict", "the connection was removed")
        if isinstance(known, UnusableAccount):
            raise TaskFailed("invalid", known.problem)
        return known

    async def look(self, account: Account, finding: HealthFinding | None = None) -> HealthFinding:
        """Ask the provider about a connection.

        Args:
            finding: filled as far as it goes; a new one by default.
        Raises:
            TaskFailed: the provider does not answer, or refuses.
        """
        finding = HealthFinding() if finding is None else finding
        try:
            if account.connection.connection_type == D360:
                await self._d360(account, finding)
            elif account.connection.connection_type in PAGES:
                await self._token(account, finding)
                await self._page(account, finding)
            else:
                await self._token(account, finding)
                await self._number(account, finding)
        except ProviderRefused as refused:
            # only codes that stop every send make the connection dead; any other refusal is a failure of this check
            if refused.rule.action is not ErrorAction.PAUSE:
                raise
            finding.dead = finding.dead or f"{refused.provider_code}: {refused.rule.meaning}"
        return finding

    async def _number(self, account: Account, finding: HealthFinding) -> None:
        if finding.dead:
            return
        found = await self._calls.get(
            "looking at the number",
            f"{account.base}/{account.connection.account_id}",
            account.endpoint.headers,
            fields=NUMBER_FIELDS,
        )
        # Graph answers by the id that was asked for: another one would be a redirect or an alias, and proves nothing
        if text(found, "id") == account.connection.account_id:
            finding.proved.add(account.connection.account_id)
        throughput = found.get("throughput")
        finding.facts["number"] = {
            "displayPhoneNumber": text(found, "display_phone_number"),
            "verifiedName": text(found, "verified_name"),
            "qualityRating": text(found, "quality_rating"),
            "messagingLimitTier": text(found, "messaging_limit_tier"),
            "throughput": text(throughput, "level") if isinstance(throughput, Mapping) else "",
            "codeVerificationStatus": text(found, "code_verification_status"),
            "nameStatus": text(found, "name_status"),
            "status": text(found, "status"),
            "platformType": text(found, "platform_type"),
        }
        if text(found, "quality_rating") == _BAD_QUALITY:
            finding.warnings.append("the number's quality is red: the provider may lower its limits")
        if account.connection.waba_id:
            await self._subscribed(account, account.connection.waba_id, finding)

    async def _page(self, account: Account, finding: HealthFinding) -> None:
        if finding.dead:
            return
        own_login = account.connection.options.get("login") == "instagram"
        page = account.connection.account_id
        found = await self._calls.get(
            "looking at the page",
            f"{account.base}/{page}",
            account.endpoint.headers,
            fields="id,username" if own_login else "id,name",
        )
        finding.facts["page"] = {"id": text(found, "id"), "name": text(found, "name") or text(found, "username")}
        await self._subscribed(account, page, finding)
        await self._other_names(account, finding)

    async def _other_names(self, account: Account, finding: HealthFinding) -> None:
        """Prove the other ids that an Instagram connection's events may name."""
        page_id, instagram_id = (account.connection.options.get(name) for name in ("page_id", "instagram_id"))
        if isinstance(page_id, str) and page_id:
            await self._subscribed(account, page_id, finding)
        if isinstance(instagram_id, str) and instagram_id:
            found = await self._calls.get(
                "reading the Page's Instagram account",
                f"{account.base}/{account.connection.account_id}",
                account.endpoint.headers,
                fields="instagram_business_account",
            )
            linked = found.get("instagram_business_account")
            if isinstance(linked, Mapping) and text(linked, "id") == instagram_id:
                finding.proved.add(instagram_id)

    async def _subscribed(self, account: Account, owner: str, finding: HealthFinding) -> None:
        found = await self._calls.get(
            "looking at the subscribed apps", f"{account.base}/{owner}/subscribed_apps", account.endpoint.headers
        )
        # Graph answers this to the owner's token only, a Page's name to any token
        finding.proved.add(owner)
        apps = found.get("data")
        ids = [_app_id(app) for app in apps if isinstance(app, Mapping)] if isinstance(apps, Sequence) else []
        ours = self._settings.meta_app_id
        # without META_APP_ID ours cannot be recognised, and any subscribed app counts
        subscribed = ours in ids if ours else bool(ids)
        finding.facts["webhooks"] = {"subscribed": subscribed, "apps": len(ids)}
        if not subscribed:
            finding.warnings.append("the app is not subscribed to the account: no webhook comes")

    async def _token(self, account: Account, finding: HealthFinding) -> None:
        app_id, secret = self._settings.meta_app_id, self._settings.meta_app_secret
        # `debug_token` needs the app's own token; the other calls still show whether the token works
        if not (app_id and secret):
            finding.facts["token"] = {"checked": False, "reason": "META_APP_ID is not set"}
            return
        data = await self.inspect(account.token)
        expires_at = _instant(data.get("expires_at"))
        access_ends_at = _instant(data.get("data_access_expires_at"))
        valid = data.get("is_valid") is True
        scopes = data.get("scopes")
        finding.facts["token"] = {
            "checked": True,
            "valid": valid,
            "type": text(data, "type"),
            "scopes": sorted(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else [],
            "expiresAt": _iso(expires_at),
            "dataAccessExpiresAt": _iso(access_ends_at),
        }
        error = data.get("error")
        # an expired token counts as dead whatever `is_valid` is
        if not valid or (expires_at is not None and expires_at <= utc_now()):
            # the reason begins with a code of credentials, by which `resume_mended` finds the pause
            code = error.get("code") if isinstance(error, Mapping) else None
            finding.dead = f"{code if isinstance(code, int) else 190}: the access token is no longer valid"
        elif expires_at is not None and expires_at <= utc_now() + timedelta(days=self._settings.expiry_warning_days):
            finding.warnings.append(f"the access token expires at {_iso(expires_at)}")

    async def inspect(self, token: str) -> Mapping[str, Any]:
        """Return what Meta reports about a token (`debug_token`), called with the app's own token. Raises
        `TaskFailed`.
        """
        # an app's own token is its id, a bar and its secret; in a header, since addresses end in access logs
        headers = {"Authorization": f"Bearer {self._settings.meta_app_id}|{self._settings.meta_app_secret}"}
        found = await self._calls.get(
            "looking at the token", f"{self._accounts.graph_base()}/debug_token", headers, input_token=token
        )
        data = found.get("data")
        if not isinstance(data, Mapping):
            raise TaskFailed("unclear", "looking at the token: the answer says nothing about it")
        return data

    async def _d360(self, account: Account, finding: HealthFinding) -> None:
        found = await self._calls.get(
            "looking at the key", f"{account.base}/v1/configs/webhook", account.endpoint.headers
        )
        url, headers = text(found, "url"), found.get("headers")
        guarded = isinstance(headers, Mapping) and any(str(name).lower() == D360_GUARD.lower() for name in headers)
        ours = bool(url) and url == webhook_address(self._settings, account)
        finding.facts["webhooks"] = {"subscribed": bool(url), "ours": ours, "guarded": guarded}
        if self._settings.public_url and not ours:
            finding.warnings.append("360dialog posts its webhooks to another address: set it with POST …/webhook")

    def write(self, transaction: Transaction, account: Account, finding: HealthFinding) -> None:
        """Store the result of a check."""
        connection = account.connection
        # fenced by the credentials that were looked at, as the pause below: they may have been replaced during the
        # calls
        if finding.proved:
            connections.prove(transaction, connection.id, finding.proved, connection.credentials)
        connections.note_facts(
            transaction, connection.id, finding.facts, warning=finding.dead or finding.warning, checked=True
        )
        if finding.dead:
            if connections.pause(transaction, connection.id, finding.dead, connection.credentials):
                log.warning("connection_paused", connection_id=connection.id, reason=finding.dead)
        elif connections.resume_mended(transaction, connection.id):
            log.info("connection_resumed", connection_id=connection.id, reason="its credentials work again")
        if finding.warnings:
            log.warning("connection_warned", connection_id=connection.id, reason=finding.warning)


def webhook_address(settings: Settings, account: Account) -> str:
    """Return where 360dialog shall post a number's webhooks."""
    connection = account.connection
    return f"{settings.public_url.rstrip('/')}/webhooks/360dialog/{connection.company_id}/{connection.phone_index}"


def _app_id(app: Mapping[str, Any]) -> str:
    """Return an app's id, from a WhatsApp account's list or a Page's."""
    own = app.get("whatsapp_business_api_data")
    # a WhatsApp account's list nests the app in `whatsapp_business_api_data`; a Page's has it at the top
    return text(own, "id") if isinstance(own, Mapping) else text(app, "id")


def _instant(value: object) -> datetime | None:
    """Return seconds since 1970 as an instant; None for 0, which means never, and for what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 32_503_680_000:
        return None
    return datetime.fromtimestamp(value, UTC)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


async def _rest(beat: LoopBeat, for_s: float) -> None:
    """Wait, and send beats meanwhile: the wait is longer than the limit of the loop's beat."""
    while for_s > 0:
        beat.beat()
        await asyncio.sleep(min(5.0, for_s))
        for_s -= 5.0
