"""The connections of this kind with their opened credentials, kept fresh from PostgreSQL. Secrets live here and in
request headers, nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from meta.graph import Endpoint
from shared.channels.worlds import worlds
from shared.clock import Monotonic, monotonic
from shared.errors import BulkheadError, StoreUnavailable
from shared.kinds import ProcessKind
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings
from shared.store import connections
from shared.store.connections import Connection
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

REFRESH_S: Final = 3.0
"""Seconds between two reads of all connections: how long a new token or a removed connection may go unnoticed."""
_MISS_PAUSE_S: Final = 0.25
"""Shortest time between two refreshes for missing connections, in seconds: posts to addresses that do not exist must
not become a query each.
"""
_GRAPH: Final = "https://graph.facebook.com"
_INSTAGRAM: Final = "https://graph.instagram.com"
_D360: Final = "https://waba-v2.360dialog.io"
# part of a URL path: anything but digits could lead the token to another resource
_NUMBER_ID: Final = re.compile(r"[0-9]{1,32}")
D360: Final = "360dialog"
"""The connection type that has a webhook address and a key of its own for each number."""
PAGES: Final = ("messenger", "instagram")
"""Connection types whose account is a Page or an Instagram account, and that know no phone numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One connection that can send.

    Attributes:
        endpoint: where its messages are posted. source: what its webhooks are journalled as. webhook_secret: the value
            that 360dialog must send in its header; empty: nothing is accepted. base: address that other calls about it
            begin with; the endpoint's headers go with them.
    """

    connection: Connection
    endpoint: Endpoint
    source: str
    webhook_secret: bytes = field(default=b"", repr=False)
    base: str = ""

    @property
    def token(self) -> str:
        """Its access token; empty for one that has a key in place of it."""
        return self.endpoint.headers.get("Authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnusableAccount:
    """One connection that cannot send, and why; the sentence names no secret."""

    connection: Connection
    problem: str


KnownAccount: TypeAlias = Account | UnusableAccount

META_SOURCE: Final = "meta"
"""Source of every webhook that our app's secret signed, in the journal."""


def d360_source(connection_id: int) -> str:
    """Return the source of one 360dialog number's webhooks: each number's webhooks prove only its own endpoint."""
    return f"d360:{connection_id}"


class CredentialsUnusable(BulkheadError):
    """Raised when a connection's credentials do not open or lack something; the sentence names no secret."""


class AccountRegistry:
    """What is known about this kind's connections.

    Args:
        incarnation: written beside what is observed of a connection.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        settings: Settings,
        kind: ProcessKind,
        *,
        incarnation: str,
        clock: Monotonic = monotonic,
    ) -> None:
        self._store, self._vault, self._kind, self._incarnation, self._clock = store, vault, kind, incarnation, clock
        self._graph = f"{(settings.graph_base_url or _GRAPH).rstrip('/')}/{settings.graph_version}"
        self._instagram = f"{(settings.instagram_base_url or _INSTAGRAM).rstrip('/')}/{settings.graph_version}"
        self._d360 = (settings.d360_base_url or _D360).rstrip("/")
        self._worlds = worlds(settings)
        self._known: Mapping[int, KnownAccount] = {}
        self._by_index: Mapping[tuple[str, int], KnownAccount] = {}
        self._observed: dict[int, str] = {}
        # one refresh at a time: two that overlap could put an older read in place of a newer one, and write what is
        # observed twice. Senders read the mappings without it: each is replaced as a whole
        self._refreshing = asyncio.Lock()
        self._refreshed_at: float | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the connections were read at least once."""
        return self._refreshed_at is not None

    def usable(self) -> int:
        """How many connections can send now: credentials in order and not paused."""
        return sum(isinstance(known, Account) and known.connection.status == "active" for known in self._known.values())

    def connections(self) -> list[Connection]:
        """Return every connection as it was last read, usable or not."""
        return [known.connection for known in self._known.values()]

    def usable_accounts(self) -> list[Account]:
        """Return every connection that has usable credentials, as it was last read."""
        return [known for known in self._known.values() if isinstance(known, Account)]

    async def find(self, connection_id: int) -> KnownAccount | None:
        """Return a connection, read anew if it is not known. Raises `StoreUnavailable`."""
        if connection_id not in self._known:
            await self._refresh_for_miss()
        return self._known.get(connection_id)

    async def find_by_index(self, company_id: str, phone_index: int) -> KnownAccount | None:
        """Return a company's connection, read anew if it is not known. Raises `StoreUnavailable`."""
        if (company_id, phone_index) not in self._by_index:
            await self._refresh_for_miss()
        return self._by_index.get((company_id, phone_index))

    async def run(self, beat: LoopBeat) -> None:
        """Refresh for ever; a database that is away leaves what is known as it is."""
        while True:
            beat.beat()
            try:
                await self.refresh()
            except StoreUnavailable as error:
                log.info("accounts_not_refreshed", reason=str(error))
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Read every connection, open what changed, and write what is seen of those whose state changed. Raises
        `StoreUnavailable`.
        """
        async with self._refreshing:
            rows = await self._store.call(self._read)
            self._known = {row.id: self._same_or_opened(row) for row in rows}
            self._by_index = {
                (known.connection.company_id, known.connection.phone_index): known for known in self._known.values()
            }
            self._refreshed_at = self._clock()
            changed = [
                known for known in self._known.values() if self._observed.get(known.connection.id) != _problem(known)
            ]
            # only changes are written: a row each 3 s and connection would be load without information
            if changed:
                await self._store.call(_observe, changed, self._incarnation)
            for known in changed:
                self._log_account(known)
            # last: if the write failed, it is tried again at the next refresh
            self._observed = {known.connection.id: _problem(known) for known in self._known.values()}

    def _read(self, transaction: Transaction) -> list[Connection]:
        rows = connections.of_kind(transaction, self._kind.name)
        # read first: `enter_worlds` locks rows, and is needed only after addresses were changed
        if all(row.world == self._worlds[row.connection_type] for row in rows):
            return rows
        for connection_id in connections.enter_worlds(transaction, self._kind.name, self._worlds):
            log.warning("connection_world_changed", connection_id=connection_id)
        # Where this process sends, also if one with other settings has entered its own world meanwhile.
        return [
            replace(row, world=self._worlds[row.connection_type])
            for row in connections.of_kind(transaction, self._kind.name)
        ]

    async def _refresh_for_miss(self) -> None:
        if self._refreshed_at is None or self._clock() - self._refreshed_at >= _MISS_PAUSE_S:
            await self.refresh()

    def _log_account(self, known: KnownAccount) -> None:
        before, problem = self._observed.get(known.connection.id), _problem(known)
        if problem:
            log.warning("credentials_unusable", connection_id=known.connection.id, problem=problem)
        elif before:
            log.info("credentials_usable_again", connection_id=known.connection.id)

    def _same_or_opened(self, row: Connection) -> KnownAccount:
        known = self._known.get(row.id)
        # opening costs a decryption; an unchanged row has the same credentials
        if known is not None and known.connection == row:
            return known
        try:
            return self._opened(row)
        except CredentialsUnusable as error:
            return UnusableAccount(connection=row, problem=str(error))

    def _opened(self, row: Connection) -> Account:
        credentials = self._credentials(row)
        if row.connection_type == D360:
            secret = credentials.get("webhook_secret", "")
            return Account(
                connection=row,
                endpoint=Endpoint(f"{self._d360}/messages", {"D360-API-KEY": _header(credentials, "api_key")}),
                source=d360_source(row.id),
                webhook_secret=secret.encode() if isinstance(secret, str) else b"",
                base=self._d360,
            )
        if not _NUMBER_ID.fullmatch(row.account_id):
            raise CredentialsUnusable(
                f"the connection has no {'page id' if row.connection_type in PAGES else 'phone number id'}"
            )
        headers = {"Authorization": f"Bearer {_header(credentials, 'access_token')}"}
        # an Instagram account is reached through its Page, or by a login of its own
        base = self._instagram if row.options.get("login") == "instagram" else self._graph
        return Account(
            connection=row,
            endpoint=Endpoint(f"{base}/{row.account_id}/messages", headers),
            source=META_SOURCE,
            base=base,
        )

    def graph_base(self) -> str:
        """Return the address that calls about no connection begin with."""
        return self._graph

    def credentials(self, row: Connection) -> Mapping[str, Any]:
        """Return a connection's opened credentials. Raises `CredentialsUnusable`."""
        return self._credentials(row)

    def sealed(self, company_id: str, phone_index: int, credentials: Mapping[str, str]) -> str:
        """Return credentials as a connection's row holds them."""
        return self._vault.seal(
            json.dumps(dict(credentials)), context=connections.credentials_context(company_id, phone_index)
        ).to_text()

    def _credentials(self, row: Connection) -> Mapping[str, Any]:
        if not row.credentials:
            raise CredentialsUnusable("the connection has no credentials")
        try:
            with self._vault.opened(
                Sealed.from_text(row.credentials),
                context=connections.credentials_context(row.company_id, row.phone_index),
            ) as opened:
                credentials = json.loads(opened)
        # not chained: the cause could carry parts of what was being opened
        except SecretUnreadable as error:
            raise CredentialsUnusable(str(error)) from None
        except ValueError:
            credentials = None
        if not isinstance(credentials, dict):
            # not chained: the parser's error would carry the text
            raise CredentialsUnusable("the credentials are not a JSON object") from None
        return credentials


def _header(credentials: Mapping[str, Any], name: str) -> str:
    value = credentials.get(name)
    if not isinstance(value, str) or not value:
        raise CredentialsUnusable(f"the credentials have no {name}")
    # a line break would add headers to every request (CWE-113)
    if not (value.isascii() and value.isprintable()):
        raise CredentialsUnusable(f"the credentials' {name} holds characters that no header can carry")
    return value


def _problem(known: KnownAccount) -> str:
    return known.problem if isinstance(known, UnusableAccount) else ""


def _observe(transaction: Transaction, changed: Iterable[KnownAccount], incarnation: str) -> None:
    # sorted: instances that observe the same connections lock them in one order
    for known in sorted(changed, key=lambda one: one.connection.id):
        problem = _problem(known)
        connections.observe(
            transaction,
            connection_id=known.connection.id,
            status="misconfigured" if problem else "ready",
            detail=problem,
            incarnation=incarnation,
        )
