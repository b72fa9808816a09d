"""The process's way to PostgreSQL from its event loop: functions that take a `Transaction` run in workers, which wait
without a thread (`waiting.py`), one connection each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, TypeVar

from psycopg2.extensions import TransactionRollbackError

from shared.backoff import BackoffPolicy
from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.settings import ChildEnvironment, Settings
from shared.store import waiting
from shared.store.observer import PoolStats, StoreObserver
from shared.store.pool import Pool, StaleSession, Transaction

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Opened = Callable[[float], AbstractContextManager[Transaction]]
_TRIES = 4
"""Attempts of one transaction. More than a few lost races in a row mean that the statement's locks are wrong, and not
bad luck.
"""
_AFTER_RACE_S = 0.02
"""Least wait after a lost race, in seconds: about the length of a transaction that holds the contested locks."""
_RACES = BackoffPolicy(base_s=_AFTER_RACE_S, cap_s=1.0)
"""Waits of later attempts, with jitter: two losers must not meet again at the same instant. A second at most, since
deadlines are a few seconds.
"""
_STATEMENT_S = 20.0
"""Least limit of one statement in the server: as long as the longest deadline that a caller sets for itself (the
inbound processor's).
"""


class Store:
    """Runs transactions with a deadline.

    Args:
        pool: the process's own pool. query_s: time for one call when the caller names no deadline, in seconds.
    """

    def __init__(self, pool: Pool, *, query_s: float) -> None:
        self._pool, self.query_s = pool, query_s
        self._closed = False

    @classmethod
    def open(cls, settings: Settings, identity: ChildEnvironment, *, limit: int) -> Store:
        """Make the store of one process; connects on first use."""
        pool = Pool(
            settings.database_url,
            limit=limit,
            # 63 bytes are what PostgreSQL keeps of it (NAMEDATALEN - 1); kind and slot come first, so that the cut
            # takes the end.
            application_name=f"bulkhead/{identity.slot}/{identity.process_incarnation}"[:63],
            idle_s=settings.database_idle_s,
            connect_s=settings.database_connect_s,
            # Twice the caller's own deadline, so that the client gives up first and reports it; the server's limit only
            # cleans up.
            statement_s=max(_STATEMENT_S, 2 * settings.database_query_s),
        )
        return cls(pool, query_s=settings.database_query_s)

    @property
    def stats(self) -> PoolStats:
        """Return the pool's counts."""
        return self._pool.stats

    def observe(self, observer: StoreObserver) -> None:
        """Let `observer` measure from now on how long statements and waits for a connection take."""
        self._pool.observer = observer

    def prune(self) -> None:
        """Close connections that were idle for too long."""
        self._pool.prune()

    def as_company(self, company_id: str) -> CompanyStore:
        """Return this store for one company: its transactions see and change rows of that company only, whatever their
        statements say. Every request about one company goes through it. Raises `ValueError` for an empty id.
        """
        return CompanyStore(self, company_id)

    def as_company_or_all(self, company_id: str | None) -> CompanyStore | Store:
        """Return `as_company`, or (None) this store: for operations that a key of the installation uses for all
        companies.
        """
        return self if company_id is None else self.as_company(company_id)

    def run(self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run `function(transaction, …)` in the calling thread, in one transaction, with the store's own time limit.

        A transaction that lost a race for row locks is run again, so `function` must have no effect outside the
        database.

        Raises:
            StoreUnavailable: see `Pool.transaction`.
        """
        return self._run(monotonic() + self.query_s, lambda transaction: function(transaction, *args, **kwargs))

    async def call(
        self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Like `run`, from the event loop, which goes on while PostgreSQL is waited for. What `function` itself
        computes holds the loop.
        """
        return await self.call_by(monotonic() + self.query_s, function, *args, **kwargs)

    async def call_by(
        self, by: float, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Like `call`, with the deadline `by` (monotonic) in place of the store's own limit."""
        return await self._in_worker(by, lambda transaction: function(transaction, *args, **kwargs))

    async def call_each(
        self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Like `call`, but each statement is a transaction of its own; for functions of one statement whose repetition,
        or late commit, is harmless.

        Raises:
            StoreUnavailable: see `Pool.statements`.
        """
        by = monotonic() + self.query_s
        return await self._in_worker(
            by, lambda transaction: function(transaction, *args, **kwargs), self._pool.statements
        )

    def close(self) -> None:
        """Close the pool; calls still waiting get `StoreUnavailable`."""
        self._closed = True
        self._pool.close()

    async def _in_worker(self, by: float, work: Callable[[Transaction], _T], opened: _Opened | None = None) -> _T:
        if self._closed:
            raise StoreUnavailable("the store is closed", outage="stopping")
        return await waiting.in_worker(lambda: self._run(by, work, opened))

    def _run(self, by: float, work: Callable[[Transaction], _T], opened: _Opened | None = None) -> _T:
        opened = opened or self._pool.transaction
        for attempt in range(1, _TRIES + 1):
            # Waits before count too: a transaction that begins after its deadline has no caller any more.
            if monotonic() >= by:
                raise StoreUnavailable("PostgreSQL did not answer in time", outage="slow")
            try:
                with opened(by) as transaction:
                    return work(transaction)
            except StaleSession:
                if attempt == _TRIES:
                    raise
                # nothing to wait for: the next try opens a new connection
                continue
            except TransactionRollbackError as error:
                if attempt == _TRIES:
                    raise StoreUnavailable(
                        f"lost {_TRIES} races for row locks: {type(error).__name__}", outage="busy"
                    ) from error
            # the winner must be able to acquire the locks before we try again
            waiting.sleep(min(left(by), _AFTER_RACE_S + _RACES.jittered_s(attempt)))
        raise AssertionError("unreachable")


class CompanyStore:
    """Runs transactions in the tenant role, for one company; see `Store.as_company`."""

    def __init__(self, store: Store, company_id: str) -> None:
        if not company_id:
            raise ValueError("a company's transaction needs its id")
        self._store, self.company_id = store, company_id

    def run(self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Like `Store.run`."""
        by = monotonic() + self._store.query_s
        return self._store._run(by, lambda transaction: function(transaction, *args, **kwargs), self._opened)

    async def call(
        self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Like `Store.call`."""
        return await self.call_by(monotonic() + self._store.query_s, function, *args, **kwargs)

    async def call_by(
        self, by: float, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Like `Store.call_by`."""
        return await self._store._in_worker(
            by, lambda transaction: function(transaction, *args, **kwargs), self._opened
        )

    def _opened(self, by: float) -> AbstractContextManager[Transaction]:
        return self._store._pool.transaction(by, company_id=self.company_id)


def ping(transaction: Transaction) -> None:
    """Probe PostgreSQL: the cheapest proof that it answers, that the schema is there and that rows can be written."""
    transaction.row("ping")


def installation(transaction: Transaction) -> str:
    """Return the name of this installation, which no other one has."""
    return str(transaction.one("installation")["name"])
