"""Which key belongs to whom: rows of `api_keys`, cached for a moment, and when each was used last."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import Final

from shared.clock import Monotonic, monotonic, utc_now
from shared.errors import StoreUnavailable
from shared.store import keys
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.limits import LimitRules
from shared.tenancy.principals import Principal

REMEMBERED_S: Final = 1.0
"""Lifetime of a cached key, in seconds: a revocation takes effect everywhere within it."""
_MOST_REMEMBERED: Final = 10_000
"""Keys that are cached at most, found or not: a few megabytes."""
_LOOKUPS: Final = 4
"""Lookups at once in one process: guesses that are well-formed must not take all of its database connections."""
USE_NOTED_S: Final = 10.0
"""Seconds between two writes of when keys were used: exact enough for people, and one statement for all keys."""


class KnownKeys:
    """Finds principals by the digests of their keys."""

    def __init__(self, store: Store, rules: LimitRules, clock: Monotonic = monotonic) -> None:
        self._store, self._rules, self._clock = store, rules, clock
        self._known: dict[bytes, tuple[Principal | None, float]] = {}
        self._sought: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._used: dict[int, datetime] = {}

    async def find(self, digest: bytes) -> Principal | None:
        """Return the principal of a key, None when no key that may be used has this digest.

        Raises:
            StoreUnavailable: it is not cached and the database is away.
        """
        found, until = self._known.get(digest, (None, 0.0))
        if self._clock() >= until:
            found = await self._looked_up(digest)
        if found is not None and found.key_id is not None:
            self._used[found.key_id] = utc_now()
        return found

    async def _looked_up(self, digest: bytes) -> Principal | None:
        # requests with one key that come together share one query
        sought = self._sought.get(digest)
        if sought is None:
            sought = self._sought[digest] = asyncio.create_task(self._look_up(digest), name="key-lookup")
            sought.add_done_callback(partial(self._end, digest))
        # shielded: a client that goes away must not cancel what others wait for
        return await asyncio.shield(sought)

    def _end(self, digest: bytes, sought: asyncio.Task[Principal | None]) -> None:
        del self._sought[digest]
        # read here: with every client gone, asyncio would log the error as unhandled
        if not sought.cancelled():
            sought.exception()

    async def _look_up(self, digest: bytes) -> Principal | None:
        async with self._lookups:
            # before the query: what changes while it runs is seen a second after this instant at the latest
            began = self._clock()
            row = await self._store.call_each(keys.find, digest)
        found = None if row is None else self._principal(row)
        if len(self._known) >= _MOST_REMEMBERED:
            # simpler than the oldest: it fills again within a second
            self._known.clear()
        self._known[digest] = (found, began + REMEMBERED_S)
        return found

    def forget(self) -> None:
        """Look every key up the next time: one was changed just now, by this process."""
        self._known.clear()

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
            expires_at=row["expires_at"],
            policies=self._rules.policies(row["id"], row["limits"], row["company_id"], row["company_limits"]),
        )
