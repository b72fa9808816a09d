"""Whether companies may act and what they are set to, for every process: rows of `companies`, cached for a moment."""

from __future__ import annotations

from shared.clock import Monotonic, monotonic
from shared.errors import Refused
from shared.states import CompanyState
from shared.store.store import Store
from shared.tenancy.company_settings import KnownCompany, read_company
from shared.tenancy.remembered import Remembered


class KnownCompanies:
    """Finds companies; what it returns is at most `remembered.REMEMBERED_S` old."""

    def __init__(self, store: Store, clock: Monotonic = monotonic) -> None:
        self._known: Remembered[str, KnownCompany | None] = Remembered(
            "company", lambda company_id: store.call_each(read_company, company_id), clock
        )

    async def find(self, company_id: str) -> KnownCompany | None:
        """Return a company, None when there is none. Raises `StoreUnavailable`."""
        return await self._known.find(company_id)

    async def require_sending(self, company_id: str) -> None:
        """Raise `Refused` when nothing may be sent for a company: it is suspended, or being deleted.

        Raises:
            StoreUnavailable: it is not cached and the database is away.
        """
        found = await self.find(company_id)
        if found is None or found.state is CompanyState.DELETING:
            raise company_unknown()
        if found.state is CompanyState.SUSPENDED:
            raise Refused("company_suspended", "The company is suspended: nothing is sent for it.")


def company_unknown() -> Refused:
    """Return the refusal of a company that does not exist, or not for the caller: the two must not differ."""
    return Refused("company_unknown", "There is no such company.")
