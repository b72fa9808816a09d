"""A connection pool that keeps its deadlines: waits with a deadline, never hands out a dead connection, never waits for
a frozen server.

psycopg2's own pool raises when it is exhausted and returns dead connections, and a plain psycopg2 call waits for a
frozen server for ever. Here every statement runs under psycopg2's wait callback (`waiting.py`) with the deadline of the
running transaction; when it passes, the connection is closed and the caller gets `StoreUnavailable`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from typing import Any, Final

import psycopg2
from psycopg2 import extensions, extras

from shared.clock import Monotonic, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.store import roles, waiting
from shared.store.address import connected, options_of
from shared.store.observer import UNOBSERVED, PoolStats, StoreObserver
from shared.store.sqlstates import Trouble, outage, trouble
from shared.store.statements import prepared, statements
from shared.store.texts import all_storable
from shared.store.waiting import DeadlinePassed

log = logger(__name__)

Row = Mapping[str, Any]

_STATEMENT_S: Final = 30.0
"""Longest run of one statement in the server unless the pool is given another limit: it ends what a caller gave up and
left running.
"""
_POOLER_STATES: Final = frozenset({"26000", "42P05"})
"""A statement that this connection prepared is unknown, or one that it did not prepare is known: another session's
server process answered.
"""
_GRANTED_S: Final = 5.0
"""Seconds for which callers wait for connections of this process, once the server has refused a further one."""
_PLANS_S: Final = 30.0
"""Seconds for which a plan is used: tables may grow a hundredfold before statistics are taken again."""


@contextmanager
def deadline(by: float) -> Iterator[None]:
    """Let no statement of this block wait beyond the monotonic instant `by`; for code that opens connections of its
    own.
    """
    try:
        with waiting.deadline(by):
            yield
    except DeadlinePassed as error:
        raise StoreUnavailable("PostgreSQL did not answer in time", outage="slow") from error


class StaleSession(StoreUnavailable):
    """Raised when a connection's prepared statements do not fit any more; the same work succeeds on a new
    connection.
    """


class _Connection(extensions.connection):
    """A connection that knows which statements it has prepared, and until when their plans are good (monotonic)."""

    # Kept on the connection: prepared statements live and die with the session in the server.
    prepared: set[str]
    plans_by: float


class Transaction:
    """One open transaction: runs statements by name. Given to functions that `Pool.run` and `Store.call` execute."""

    def __init__(
        self, cursor: Any, known: set[str], *, prepares: bool = True, observer: StoreObserver = UNOBSERVED
    ) -> None:
        self._cursor, self._known, self._prepares, self._observer = cursor, known, prepares, observer

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        """Run the statement called `name` and return all its rows as mappings by column name."""
        self._run(name, parameters)
        if self._cursor.description is None:
            return []
        columns = [column.name for column in self._cursor.description]
        return [dict(zip(columns, values, strict=True)) for values in self._cursor.fetchall()]

    def row(self, name: str, /, **parameters: Any) -> Row | None:
        """Run the statement called `name` and return its first row, None when there is none."""
        found = self.rows(name, **parameters)
        return found[0] if found else None

    def one(self, name: str, /, **parameters: Any) -> Row:
        """Run the statement called `name`, which always answers with a row. Raises `LookupError` when it does not."""
        found = self.row(name, **parameters)
        if found is None:
            raise LookupError(f"{name} answered without a row")
        return found

    def execute(self, name: str, /, **parameters: Any) -> int:
        """Run the statement called `name` and return how many rows it touched."""
        self._run(name, parameters)
        return int(self._cursor.rowcount)

    def _run(self, name: str, parameters: Mapping[str, Any]) -> None:
        began_at = monotonic()
        try:
            self._send(name, parameters)
        finally:
            self._observer.statement_ran(name, monotonic() - began_at)

    def _send(self, name: str, parameters: Mapping[str, Any]) -> None:
        hot = prepared().get(name) if self._prepares else None
        if hot is None:
            self._cursor.execute(statements()[name], parameters)
            return
        if name not in self._known:
            # outlives the transaction, also when it is rolled back
            self._cursor.execute(hot.prepare)
            self._known.add(name)
        self._cursor.execute(hot.execute, parameters)


def json(value: Any) -> Any:
    """Wrap a mapping or list for a `jsonb` parameter. A text in it that PostgreSQL cannot hold fails the statement."""
    return extras.Json(value)


def records(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Wrap rows for a statement's `jsonb_to_recordset` parameter; texts from outside are made `storable`."""
    return extras.Json(list(rows), dumps=_dumps_storable)


def _dumps_storable(value: Any) -> str:
    dumped = dumps(value)
    # the escapes of what may be unstorable; rare, so that the common case costs one search
    return dumps(all_storable(value)) if "\\u0000" in dumped or "\\ud" in dumped else dumped


@dataclass(kw_only=True)
class _Use:
    """What is known of a connection in use: unhealthy until proved otherwise, since one in an unknown state is closed
    and never handed out.
    """

    is_committing: bool
    is_healthy: bool = False


class Pool:
    """Connections of one process, at most `limit`.

    Args:
        dsn: PostgreSQL address. limit: most connections at once. application_name: shown in `pg_stat_activity`, as
            kind/slot/incarnation.
        idle_s: an idle connection is closed after this long. connect_s: longest wait for a connection. statement_s:
            longest run of one statement in the server, which no caller waits for any more.
    Attributes:
        observer: gets how long statements and waits for a connection took.
    """

    def __init__(
        self,
        dsn: str,
        *,
        limit: int,
        application_name: str,
        idle_s: float,
        connect_s: float,
        statement_s: float = _STATEMENT_S,
        clock: Monotonic = monotonic,
    ) -> None:
        self._dsn, self._limit, self._application_name = dsn, limit, application_name
        self._idle_s, self._connect_s, self._statement_s, self._clock = idle_s, connect_s, statement_s, clock
        # false behind a pooler in transaction mode, where each transaction may meet another server process
        self._prepares = True
        # With the instant (monotonic) at which each came back; the oldest is on the left, where `prune` takes it.
        self._idle: deque[tuple[Any, float]] = deque()
        # Callers that wait for a place, the first one first.
        self._turns: deque[waiting.Turn] = deque()
        # Protects the counts, the idle connections and the turns. Never held while the server is waited for: one slow
        # connection would stop every thread.
        self._free = threading.Lock()
        self._in_use = self._opened = self._discarded = self._deadlines_passed = 0
        # how many connections the server has let us have when it refused one, and until when that counts (monotonic)
        self._granted, self._granted_until = 0, float("-inf")
        self._closed = False
        self.observer: StoreObserver = UNOBSERVED

    @property
    def stats(self) -> PoolStats:
        """Return the counts as they are now."""
        with self._free:
            return PoolStats(
                limit=self._limit,
                in_use=self._in_use,
                idle=len(self._idle),
                waiting=len(self._turns),
                opened=self._opened,
                discarded=self._discarded,
                deadlines_passed=self._deadlines_passed,
            )

    @contextmanager
    def transaction(self, by: float, *, company_id: str | None = None) -> Iterator[Transaction]:
        """Open a transaction that commits at the end of the block and rolls back when the block raises.

        Args:
            by: monotonic instant by which everything, waiting for a connection included, must have ended.
            company_id: the only company whose rows it sees and changes; None: all, as the runtimes do.
        Raises:
            StoreUnavailable: no connection, lost connection, deadline passed or schema missing; `may_be_done` is set
                when the commit was under way.
        """
        with self._work(by, company_id=company_id) as transaction:
            yield transaction

    @contextmanager
    def statements(self, by: float) -> Iterator[Transaction]:
        """Like `transaction`, but each statement is a transaction of its own: one round trip in place of three, and no
        block to roll back.

        Raises:
            StoreUnavailable: as there, but once a statement has begun it `may_be_done`, also after this returned: the
                server ends what it has read.
        """
        with self._work(by, each=True) as transaction:
            yield transaction

    @contextmanager
    def _work(self, by: float, *, each: bool = False, company_id: str | None = None) -> Iterator[Transaction]:
        connection = self._take(by)
        # A statement of its own commits by itself: once begun, it may be done whatever the client saw.
        use = _Use(is_committing=each)
        # given back last: until then the connection's socket is watched for this transaction
        try:
            with waiting.deadline(by), self._errors(connection, use):
                with connection.cursor(cursor_factory=roles.BeginningCursor) as cursor:
                    # Generic plans (see `_connect`) are made once and kept by the session; statistics that were taken
                    # since then count only for new ones. The statements stay prepared.
                    if connection.prepared and self._clock() >= connection.plans_by:
                        cursor.execute("DISCARD PLANS")
                        connection.plans_by = self._clock() + _PLANS_S
                    if not each:
                        cursor.begin_with_next(company_id)
                    yield Transaction(cursor, connection.prepared, prepares=self._prepares, observer=self.observer)
                    # From here on a lost connection leaves open whether the commit was done.
                    use.is_committing = True
                    roles.commit(connection)
                use.is_healthy = True
        finally:
            self._give_back(connection, use.is_healthy)

    @contextmanager
    def _errors(self, connection: Any, use: _Use) -> Iterator[None]:
        try:
            yield
        except extensions.TransactionRollbackError:
            # a deadlock or a lost race: the server rolled back and the connection is sound
            use.is_healthy = self._roll_back(connection)
            raise
        except psycopg2.Error as error:
            match trouble(error):
                case Trouble.ROW:
                    use.is_healthy = self._roll_back(connection)
                    raise
                case Trouble.SCHEMA:
                    # a process that comes up before the recorder has migrated waits, as for a database that is away
                    use.is_healthy = self._roll_back(connection)
                    raise _schema_missing(error) from error
                case Trouble.SESSION:
                    raise self._stale(error) from error
                case Trouble.DATABASE:
                    # the connection goes too: after a failover its server stays read-only for good
                    raise self._unavailable(error, may_be_done=use.is_committing) from error
        except DeadlinePassed as error:
            raise self._unavailable(error, may_be_done=use.is_committing) from error
        # A bug of the caller's function, or an interrupt: the connection is sound, and is kept once it is rolled back.
        except BaseException:
            use.is_healthy = self._roll_back(connection)
            raise

    def prune(self) -> None:
        """Close connections that have been idle for too long; called from the process's own housekeeping."""
        with self._free:
            # From the left: connections are taken and given back on the right, so that a quiet time shrinks the pool.
            while self._idle and self._clock() - self._idle[0][1] > self._idle_s:
                self._discard(self._idle.popleft()[0])

    def close(self) -> None:
        """Close every idle connection; those in use are closed as they come back."""
        with self._free:
            self._closed = True
            while self._idle:
                self._discard(self._idle.pop()[0])
            while self._turns:
                self._turns.popleft().give(None)

    def _take(self, by: float) -> Any:
        # A caller with a long deadline still learns early that there is no connection.
        by = min(by, self._clock() + self._connect_s)
        while (connection := self._take_place(by)) is None:
            try:
                # Outside of the lock: connecting takes a round trip, or the whole deadline. Not on the event loop,
                # which would wait for libpq while that resolves a host's name.
                return waiting.aside(lambda: self._open(by))
            # The place is given up again, or the limit would shrink by one with each failed connection.
            except BaseException as error:
                with self._free:
                    is_full = isinstance(error, StoreUnavailable) and error.outage == "full"
                    if not is_full or self._in_use == 1:
                        self._give_place(None)
                        raise
                    # The server has no more for us, and this process has some: one of those comes free. Not to the next
                    # waiting caller, which would be refused as well.
                    self._in_use -= 1
                    self._granted, self._granted_until = self._in_use, self._clock() + _GRANTED_S
        return connection

    def _take_place(self, by: float) -> Any | None:
        """Take one of `limit` places; returns its connection, None when one has to be opened."""
        with self._free:
            if self._closed:
                raise StoreUnavailable("the database pool is closed", outage="stopping")
            # Counted before the connection exists, so that no other caller opens one beyond the limit while this one
            # connects.
            granted = self._granted if self._clock() < self._granted_until else self._limit
            if self._in_use < granted:
                self._in_use += 1
                return self._idle_one()
            turn = waiting.Turn()
            self._turns.append(turn)
        began_at = monotonic()
        try:
            turn.wait(by)
        # An interrupt, or the end of the event loop: the place goes to the next one.
        except BaseException:
            with self._free:
                self._give_up(turn)
            raise
        finally:
            self.observer.waited(monotonic() - began_at)
        with self._free:
            if turn.is_given and not self._closed:
                return turn.gift
            self._give_up(turn)
            if self._closed:
                raise StoreUnavailable("the database pool is closed", outage="stopping")
        # The caller waits and tries again as for a database that is away: to it, that is the same.
        raise StoreUnavailable(
            f"all {self._limit} database connections are in use; none came free in time", outage="busy"
        )

    def _give_up(self, turn: waiting.Turn) -> None:
        if not turn.is_given:
            self._turns.remove(turn)
        elif not self._closed:
            self._give_place(turn.gift)
        elif turn.gift is not None:
            self._discard(turn.gift)

    def _idle_one(self) -> Any | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if self._alive(connection):
                return connection
            self._discard(connection)
        return None

    def _give_place(self, connection: Any | None) -> None:
        """Give a place to the caller that waits longest, with its connection if there is one."""
        if self._turns:
            self._turns.popleft().give(connection)
            return
        self._in_use -= 1
        if connection is not None:
            self._idle.append((connection, self._clock()))

    def _open(self, by: float) -> Any:
        connection = self._connect(by)
        connection.prepared, connection.plans_by = set(), self._clock() + _PLANS_S
        with self._free:
            self._opened += 1
        try:
            with waiting.deadline(by):
                self._enter_runtime(connection)
        except BaseException:
            with self._free:
                self._discard(connection)
            raise
        return connection

    def _connect(self, by: float) -> Any:
        try:
            # keepalives and tcp_user_timeout end connections whose peer is gone; the session's own limits end what a
            # lost client left behind
            return connected(
                self._dsn,
                by,
                connection_factory=_Connection,
                application_name=self._application_name,
                # Seconds: a silent peer is gone after 5 + 3 × 2 s, and unacknowledged data ends the connection after 5
                # s (`tcp_user_timeout`, milliseconds). Without them TCP waits for minutes, and the deadline alone would
                # have to find out for each transaction anew.
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=5000,
                # 30 s: longer than any transaction's deadline, so that it ends only those whose client is gone while
                # they hold locks. UTC: times do not depend on the server's place. Generic plans: by default PostgreSQL
                # plans the first executions of a prepared statement anew, and perhaps all, for their parameters, which
                # costs more than these statements themselves. No sequential scans where an index serves: such a plan,
                # made while a table was small, reads all of it for every row of a batch once it has grown. No compiled
                # plans: a scan that is switched off counts as so dear that PostgreSQL would compile the statement, for
                # seconds. They come after the address's own.
                options=f"{options_of(self._dsn)} -c idle_in_transaction_session_timeout=30s -c timezone=UTC"
                " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
                f" -c statement_timeout={round(self._statement_s * 1000)}ms",
            )[0]
        except (psycopg2.Error, DeadlinePassed) as error:
            # PgBouncer's own refusal of `options` has no SQLSTATE, so its text decides. Without the settings nothing
            # would end what a dead client left behind.
            if "unsupported startup parameter" in str(error):
                raise StoreUnavailable(
                    "PostgreSQL: the pooler in between refuses session settings: pool in session mode, or let PgBouncer"
                    " ignore them (ignore_startup_parameters = options)"
                ) from error
            raise self._unavailable(error, may_be_done=False) from error

    def _enter_runtime(self, connection: Any) -> None:
        try:
            roles.enter_runtime(connection)
        except (psycopg2.Error, DeadlinePassed) as error:
            if isinstance(error, psycopg2.Error) and trouble(error) is Trouble.SCHEMA:
                raise _schema_missing(error) from error
            raise self._unavailable(error, may_be_done=False) from error

    @staticmethod
    def _alive(connection: Any) -> bool:
        # the server sends nothing on an idle connection: a readable socket means that it closed it
        return not connection.closed and not waiting.is_readable(connection.fileno())

    @staticmethod
    def _roll_back(connection: Any) -> bool:
        try:
            roles.roll_back(connection)
        # The connection is lost: the server rolls back by itself, and the caller's own error is the one to report.
        except (psycopg2.Error, DeadlinePassed):
            return False
        return True

    def _give_back(self, connection: Any, healthy: bool) -> None:
        with self._free:
            if not (healthy and roles.is_idle(connection) and not connection.closed and not self._closed):
                self._discard(connection)
                connection = None
            self._give_place(connection)

    def _discard(self, connection: Any) -> None:
        self._discarded += 1
        try:
            connection.close()
        except psycopg2.Error:
            return  # closing a broken connection may fail; it is dropped either way

    def _stale(self, error: psycopg2.Error) -> StaleSession:
        """Drop every idle connection, since they were prepared as long ago; behind a pooler in transaction mode prepare
        nothing any more.
        """
        if self._prepares and error.pgcode in _POOLER_STATES:
            # For good: the pooler stays where it is, and each further attempt would fail one transaction.
            self._prepares = False
            log.warning("statements_not_prepared", reason=_sentence(error))
        with self._free:
            # They were opened under the same schema or the same server: the next caller would meet the same error.
            while self._idle:
                self._discard(self._idle.pop()[0])
        return StaleSession(f"PostgreSQL: {_sentence(error)}")

    def _unavailable(self, error: psycopg2.Error | DeadlinePassed, *, may_be_done: bool) -> StoreUnavailable:
        if isinstance(error, DeadlinePassed):
            with self._free:
                self._deadlines_passed += 1
            return StoreUnavailable("PostgreSQL did not answer in time", may_be_done=may_be_done, outage="slow")
        text = f"PostgreSQL: {str(error).strip() or type(error).__name__}"
        return StoreUnavailable(text, may_be_done=may_be_done, outage=outage(error))


def _schema_missing(error: psycopg2.Error) -> StoreUnavailable:
    return StoreUnavailable(f"PostgreSQL: the schema is not up to date: {_sentence(error)}", outage="schema")


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
