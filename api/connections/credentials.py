"""Seals credentials of connections before they leave this process, merged with the unchanged ones."""

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
        """Return the sealed form of a connection's credentials, which opens only for this company and index."""
        return self._vault.seal(
            json.dumps(dict(credentials)), context=credentials_context(company_id, phone_index)
        ).to_text()

    def changed(self, connection: Connection, changes: Mapping[str, str]) -> str:
        """Return a connection's credentials with `changes`, sealed. Credentials that cannot be opened are replaced by
        `changes`.
        """
        # bound to company and index: a sealed text does not open after it is copied into another row
        context = credentials_context(connection.company_id, connection.phone_index)
        kept: Any = {}
        if connection.credentials:
            try:
                kept = json.loads(self._vault.open(Sealed.from_text(connection.credentials), context=context))
            except (SecretUnreadable, ValueError):
                # for example after a change of the key: an operator repairs that with new credentials, which must not
                # fail because of the old ones
                kept = {}
        return self.sealed(
            connection.company_id, connection.phone_index, {**(kept if isinstance(kept, dict) else {}), **changes}
        )
