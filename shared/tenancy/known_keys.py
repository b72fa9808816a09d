"""Which key belongs to whom: rows of `api_keys`, cached for a moment, and when each was used last."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from shared.clock import Monotonic, monotonic, utc_now
from shared.errors import StoreUnavailable
from shared.store import keys
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.limits import LimitRules
from shared.tenancy.principals import Principal
from shared.tenancy.remembered import Remembered

USE_NOTED_S: Final = 10.0
"""Seconds between two writes of when keys were used: exact enough for people, and one statement for all keys."""


class KnownKeys:
    """Finds principals by the digests of their keys."""

    def __init__(self, store: Store, rules: LimitRules, clock: Monotonic = monotonic) -> None:
        self._store, self._rules = store, rules
        self._known = Remembered("key", self._look_up, clock)
        self._used: dict[int, datetime] = {}

    async def find(self, digest: bytes) -> Principal | None:
        """Return the principal of a key, None when no key that may be used has this digest.

        Raises:
            StoreUnavailable: it is not cached and the database is away.
        """
        found = await self._known.find(digest)
        if found is not None and found.key_id is not None:
            self._used[found.key_id] = utc_now()
        return found

    async def _look_up(self, digest: bytes) -> Principal | None:
        row = await self._store.call_each(keys.find, digest)
        return None if row is None else self._principal(row)

    def forget(self) -> None:
        """Look every key up the next time: one was changed just now, by this process."""
        self._known.forget()

    async def note_use(self) -> None:
        """Write when keys were used. Raises `StoreUnavailable`; what is not written is written the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.call(keys.note_use, used)
        except StoreUnavailable:
            # what was used since then is newer
            self._used = used | self._used
            raise

    def _principal(self, row: Row) -> Principal:
        return Principal(
            key_id=row["id"],
            name=row["name"],
            company_id=row["company_id"],
            scopes=frozenset(row["scopes"]),
            is_suspended=row["is_suspended"],
            expires_at=row["expires_at"],
            policies=self._rules.policies(row["id"], row["limits"], row["company_id"], row["company_limits"]),
        )
