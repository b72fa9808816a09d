"""Secrets of companies and of their connections: opened for the time of one callback.

The only way to a secret's value. Python cannot promise more than this: the buffer that the callback gets is overwritten
afterwards, but what the callback makes of it (a `str`, a header, a copy in a library) lives until it is freed, and that
memory is not cleared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.errors import Refused
from shared.secrets import Sealed, Vault
from shared.store import sealed
from shared.store.connections import Connection, credentials_context
from shared.store.store import Store

_T = TypeVar("_T")


class SecretService:
    """Opens secrets."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store, self._vault = store, vault

    async def with_tenant_secret(self, company_id: str, name: str, use: Callable[[bytearray], Awaitable[_T]]) -> _T:
        """Return what `use` returns for a secret of a company; the buffer is overwritten when it has returned.

        Raises:
            Refused: the company has no secret of this name. SecretUnreadable: it does not open.
            StoreUnavailable: the database is away.
        """
        kept = await self._store.call(sealed.find_secret, company_id, name)
        if kept is None:
            raise secret_unknown()
        with self._vault.opened(Sealed.from_text(kept), context=sealed.secret_context(company_id, name)) as value:
            return await use(value)

    async def with_channel_secret(self, connection: Connection, use: Callable[[bytearray], Awaitable[_T]]) -> _T:
        """As `with_tenant_secret`, for the credentials of a connection: a JSON object. Raises `SecretUnreadable`, also
        when it has none.
        """
        context = credentials_context(connection.company_id, connection.phone_index)
        with self._vault.opened(Sealed.from_text(connection.credentials), context=context) as value:
            return await use(value)


def secret_unknown() -> Refused:
    """Return the refusal of a name of which the company has no secret."""
    return Refused("secret_unknown", "The company has no secret of this name.")
