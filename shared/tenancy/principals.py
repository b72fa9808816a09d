"""A principal: the client behind a request, as far as its key shows, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from shared.tenancy.limits import LimitPolicy

KeyScope = Literal["send", "read", "manage", "operate", "monitor"]
"""What a key may do. None includes another, except `operate` the scope `monitor`: a key that sends and reads has both.

`send`: send, edit, delete and react; upload files. `read`: messages, files, states. `manage`: change what is
configured: companies, connections, sessions, templates, keys. `operate`: intervene in what runs: pause, restart,
redrive, resolve. `monitor`: health and metrics, and nothing else.
"""
SCOPES: Final[tuple[KeyScope, ...]] = get_args(KeyScope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """The client behind a request.

    Attributes:
        key_id: row of `api_keys`; None: the key of the settings, which is no row. name: of the key, for people.
        company_id: the only company that it may reach; None: all of them. scopes: what it may do there.
            is_suspended: its company is. expires_at: end of its key, if it has one. policies: its limits, and those of
            its company.
    """

    key_id: int | None
    name: str
    company_id: str | None
    scopes: frozenset[KeyScope]
    is_suspended: bool = False
    expires_at: datetime | None = None
    policies: tuple[LimitPolicy, ...] = ()

    @property
    def is_admin(self) -> bool:
        """Whether it belongs to the installation and not to one company."""
        return self.company_id is None

    def may_use(self, scope: KeyScope | Literal["any"]) -> bool:
        """Whether its scopes permit operations that need this one; `any`: whatever scopes it has."""
        return scope == "any" or scope in self.scopes or (scope == "monitor" and "operate" in self.scopes)

    def may_reach(self, company_id: str) -> bool:
        """Whether a company's data may be shown to it, or changed by it."""
        return self.company_id is None or self.company_id == company_id


FIRST_ADMIN: Final = Principal(key_id=None, name="API_KEY", company_id=None, scopes=frozenset(SCOPES))
"""The key of the settings, or of the file that the orchestrator made: all companies and all scopes, as long as it is
set."""
