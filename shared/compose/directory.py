"""Looks up which company has which connection: the one place where a company is checked, so that none sees
another's.
"""

from __future__ import annotations

import re
from typing import Final

from shared.clock import Monotonic, monotonic
from shared.errors import Refused
from shared.store import companies, connections
from shared.store.connections import Connection
from shared.store.store import Store
from shared.tenancy.known_companies import company_unknown

REMEMBERED_S: Final = 1.0
"""Lifetime of a cached connection, in seconds: a change takes effect within it."""
_MOST_REMEMBERED: Final = 10_000
"""Connections that are cached at most: a few megabytes."""
# as COMPANY_ID allows; what cannot exist is refused without a query
_COMPANY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PHONE_INDEX: Final = re.compile(r"[0-9]{1,4}")


class Directory:
    """Finds connections, and remembers them for a moment: they change rarely and every message needs one."""

    def __init__(self, store: Store, clock: Monotonic = monotonic) -> None:
        self._store, self._clock = store, clock
        self._known: dict[tuple[str, int], tuple[Connection, float]] = {}

    async def connection(self, company_id: str, phone_index: int) -> Connection:
        """Return a company's connection.

        Raises:
            Refused: the company, or its connection, is unknown.
            StoreUnavailable: it is not remembered and the database is away.
        """
        known, until = self._known.get((company_id, phone_index), (None, 0.0))
        # also while the database is away: for as long as the entry lives, a request gets as far as the commit
        if known is not None and self._clock() < until:
            return known
        require_possible(company_id)
        found = await self._store.as_company(company_id).call(connections.by_index, company_id, phone_index)
        if found is None:
            self._known.pop((company_id, phone_index), None)
            # the company's absence is the better reason, and costs a query only for requests that fail anyway
            await self.require_company(company_id)
            raise phone_index_unknown()
        if len(self._known) >= _MOST_REMEMBERED:
            # simpler than the oldest: it fills again within a second
            self._known.clear()
        self._known[company_id, phone_index] = (found, self._clock() + REMEMBERED_S)
        return found

    def forget(self, company_id: str, phone_index: int) -> None:
        """Drop a removed connection from the cache."""
        self._known.pop((company_id, phone_index), None)

    async def require_company(self, company_id: str) -> None:
        """Raise `Refused` unless there is such a company."""
        require_possible(company_id)
        if not await self._store.as_company(company_id).call(companies.exists, company_id):
            raise company_unknown()


def require_possible(company_id: str) -> None:
    """Raise `Refused` when no company can have this id."""
    if not _COMPANY.fullmatch(company_id):
        raise company_unknown()


def read_phone_index(text: str) -> int:
    """Return the index in a path. Raises `Refused` when no connection can have it."""
    if not _PHONE_INDEX.fullmatch(text):
        raise phone_index_unknown()
    return int(text)


def phone_index_unknown() -> Refused:
    """Return the refusal of an index that the company has not."""
    return Refused("phone_index_unknown", "The company has no connection with this index.")
