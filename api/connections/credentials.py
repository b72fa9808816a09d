"""Credentials of connections on their way into the database: sealed before they leave this process, merged with those
that stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.store.connections import Connection, credentials_context


class Credentials:
    """Seals with the vault's key."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def sealed(self, company_id: str, phone_index: int, credentials: Mapping[str, Any]) -> str:
        """Return credentials as a connection's row holds them; they open for this company's index alone."""
        return self._vault.seal(
            json.dumps(dict(credentials)), context=credentials_context(company_id, phone_index)
        ).to_text()

    def changed(self, connection: Connection, changes: Mapping[str, str]) -> str:
        """Return a connection's credentials with `changes`, sealed. Those that do not open (any more) are replaced by
        the changes alone.
        """
        # bound to company and index: a sealed text that is copied into another row does not open there
        context = credentials_context(connection.company_id, connection.phone_index)
        kept: Any = {}
        if connection.credentials:
            try:
                kept = json.loads(self._vault.open(Sealed.from_text(connection.credentials), context=context))
            except (SecretUnreadable, ValueError):
                # for example after a change of the key: new credentials are how an operator repairs that, so they must
                # not fail on the old
                kept = {}
        return self.sealed(
            connection.company_id, connection.phone_index, {**(kept if isinstance(kept, dict) else {}), **changes}
        )
