"""What is set up at the provider for one connection: 360dialog's webhook, and the business profile that customers
see.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from meta.accounts.calls import ProviderCalls
from meta.accounts.health import ConnectionHealth, webhook_address
from meta.accounts.registry import D360, Account, AccountRegistry
from meta.inbound.webhooks import D360_GUARD
from shared.settings import Settings
from shared.store import connections
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed

PROFILE: Final = ("about", "address", "description", "email", "profile_picture_url", "websites", "vertical")


class ConnectionSetup:
    """Handlers of tasks that set something up."""

    def __init__(
        self,
        store: Store,
        accounts: AccountRegistry,
        calls: ProviderCalls,
        health: ConnectionHealth,
        settings: Settings,
    ) -> None:
        self._store, self._accounts, self._calls, self._health, self._settings = (
            store,
            accounts,
            calls,
            health,
            settings,
        )

    async def set_webhook(self, task: Task) -> Mapping[str, Any]:
        """Handler `set_webhook`: set the address of this number's webhooks at 360dialog, and the secret header they
        carry; at Meta, whose address is the app's, subscribe the app to the number's account.
        """
        account = await self._health.account_of(task)
        if account.connection.connection_type != D360:
            return await self._subscribe(account)
        if not self._settings.public_url:
            raise TaskFailed("invalid", "PUBLIC_URL is not set: the address at which 360dialog reaches META_PORT")
        account = await self._guarded(account)
        url = webhook_address(self._settings, account)
        headers = {D360_GUARD: account.webhook_secret.decode()}
        await self._calls.post(
            "setting the webhook",
            f"{account.base}/v1/configs/webhook",
            account.endpoint.headers,
            {"url": url, "headers": headers},
        )
        return {"url": url, "guarded": True}

    async def _subscribe(self, account: Account) -> Mapping[str, Any]:
        if not account.connection.waba_id:
            raise TaskFailed("invalid", "the connection has no wabaId: the account whose events the app subscribes to")
        # twice is harmless; without it no webhook of this account comes
        await self._calls.post(
            "subscribing the app",
            f"{account.base}/{account.connection.waba_id}/subscribed_apps",
            account.endpoint.headers,
            {},
        )
        return {"subscribed": True, "wabaId": account.connection.waba_id}

    async def _guarded(self, account: Account) -> Account:
        """Return the account with a secret for its webhooks, stored before 360dialog gets it, so that no webhook finds
        an older one.
        """
        if account.webhook_secret:
            return account
        connection = account.connection
        # 256 bits, in characters that a header can carry
        credentials = {**self._accounts.credentials(connection), "webhook_secret": secrets.token_urlsafe(32)}
        sealed = self._accounts.sealed(connection.company_id, connection.phone_index, credentials)
        await self._store.call(connections.update, connection.id, credentials=sealed)
        # this process must know the secret before 360dialog does; the others read it within REFRESH_S
        await self._accounts.refresh()
        known = await self._accounts.find(connection.id)
        if not isinstance(known, Account):
            raise TaskFailed("conflict", "the connection was removed meanwhile")
        return known

    async def profile(self, task: Task) -> Mapping[str, Any]:
        """Handler `profile`: change what is given of the business profile, and return all of it."""
        account = await self._health.account_of(task)
        url = (
            f"{account.base}/whatsapp_business_profile"
            if account.connection.connection_type == D360
            else f"{account.base}/{account.connection.account_id}/whatsapp_business_profile"
        )
        # the profile is read back: Meta's answer to the change has only `success`
        changes = {name: value for name, value in task.arguments.items() if name in PROFILE}
        if changes:
            await self._calls.post(
                "changing the profile", url, account.endpoint.headers, {"messaging_product": "whatsapp", **changes}
            )
        found = await self._calls.get("reading the profile", url, account.endpoint.headers, fields=",".join(PROFILE))
        data = found.get("data")
        first = data[0] if isinstance(data, list) and data and isinstance(data[0], Mapping) else {}
        return {"profile": {name: first[name] for name in PROFILE if name in first}}
