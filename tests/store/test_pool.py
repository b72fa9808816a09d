"""The pool is bounded, never waits beyond a deadline, never hands out a dead connection, and recovers by itself."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
from psycopg2 import extensions, sql

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.settings import ChildEnvironment
from shared.store import waiting
from shared.store.pool import Pool, Transaction
from shared.store.store import Store, ping
from tests.delivery.env import run, soon
from tests.store.env import StoreEnv, away, backends, cut, open_store, side_by_side
from tests.support.database import query
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually, joined

SLACK_S = 1.5
"""What a busy machine may add to a deadline."""


def make_pool(url: str, **fields: Any) -> Pool:
    """Return a pool of two connections."""
    defaults: dict[str, Any] = {"limit": 2, "application_name": "pool-test", "idle_s": 30.0, "connect_s": 5.0}
    return Pool(url, **(defaults | fields))


def work(pool: Pool, within_s: float = 5.0) -> None:
    """Run one small transaction."""
    with pool.transaction(monotonic() + within_s) as transaction:
        ping(transaction)


def execute(transaction: Transaction, statement: str) -> None:
    """Run a statement that has no name in the product."""
    transaction._cursor.execute(statement)  # only tests run nameless SQL


@contextmanager
def lasting(within_s: float, slack_s: float = SLACK_S) -> Iterator[None]:
    """Fail unless the block takes this long, within the slack."""
    started = monotonic()
    yield
    took = monotonic() - started
    assert within_s - 0.05 <= took <= within_s + deadline_s(slack_s), f"took {took:.3f} s"


class Frozen:
    """The backends of some connections stopped, as a frozen server's would be."""

    def __init__(self, url: str, name: str) -> None:
        self._pids = backends(url, name)
        assert self._pids

    def __enter__(self) -> Self:
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Silent:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://nobody@127.0.0.1:{self._listener.getsockname()[1]}/none"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


class TestLimit:
    def test_connections_are_used_again(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        for _ in range(20):
            work(pool)
        assert (pool.stats.opened, pool.stats.idle, pool.stats.in_use) == (1, 1, 0)
        pool.close()

    def test_exhausted_it_waits_and_then_says_so_by_the_deadline(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, limit=1)
        with pool.transaction(monotonic() + 30):
            with (
                lasting(0.3),
                pytest.raises(StoreUnavailable, match="all 1 database connections are in use") as refused,
                pool.transaction(monotonic() + 0.3),
            ):
                pass
            assert not refused.value.may_be_done
            assert pool.stats.waiting == 0
        work(pool)
        pool.close()

    def test_the_wait_for_a_connection_has_a_limit_of_its_own(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, limit=1, connect_s=0.2)
        with pool.transaction(monotonic() + 30):  # noqa: SIM117 - the outer one holds the only connection
            with lasting(0.2), pytest.raises(StoreUnavailable), pool.transaction(monotonic() + 30):
                pass
        pool.close()

    def test_a_waiting_caller_gets_the_next_free_connection(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, limit=1)
        done = threading.Event()

        def wait_for_it() -> None:
            work(pool, 10.0)
            done.set()

        with pool.transaction(monotonic() + 30):
            thread = threading.Thread(target=wait_for_it)
            thread.start()
            eventually(lambda: pool.stats.waiting == 1, 5)
            assert not done.is_set()
        assert done.wait(deadline_s(5))
        joined(thread, 5)
        assert pool.stats.opened == 1
        pool.close()

    def test_never_more_connections_than_the_limit(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, limit=3, application_name="limited")
        most: list[int] = []

        def hammer() -> None:
            for _ in range(30):
                work(pool, 20.0)
                # one look: between two of them a connection may go from one count to the other
                stats = pool.stats
                most.append(stats.in_use + stats.idle)

        side_by_side(*([hammer] * 8))
        assert max(most) <= 3
        assert pool.stats.opened <= 3
        assert len(backends(env.url, "limited")) <= 3
        pool.close()

    def test_a_thousand_failing_transactions_leak_nothing(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, application_name="leaky")
        faults: tuple[Callable[[Transaction], object], ...] = (
            lambda transaction: transaction.rows("no_such_statement"),
            lambda transaction: execute(transaction, "SELECT 1/0"),
            lambda transaction: execute(transaction, "nonsense"),
            lambda _: dict[str, int]()["an error of the caller's own"],
        )
        for number in range(1000):
            # any error must do
            with pytest.raises(Exception), pool.transaction(monotonic() + 5) as transaction:  # noqa: B017
                faults[number % 4](transaction)
        assert (pool.stats.in_use, pool.stats.idle, pool.stats.opened) == (0, 1, 1)
        assert len(backends(env.url, "leaky")) == 1
        work(pool)
        pool.close()

    def test_what_failed_left_nothing_behind(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with pytest.raises(ZeroDivisionError), pool.transaction(monotonic() + 5) as transaction:
            transaction.execute("ensure_company", id="half", name="")
            raise ZeroDivisionError
        with pool.transaction(monotonic() + 5) as transaction:
            assert transaction.row("company_exists", id="half") is None
        pool.close()


class TestBeginning:
    def test_the_first_statement_begins_the_transaction(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with pool.transaction(monotonic() + 5) as transaction:
            connection = transaction._cursor.connection
            assert connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
            execute(transaction, "SELECT 1")
            assert connection.get_transaction_status() == extensions.TRANSACTION_STATUS_INTRANS
        assert connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
        pool.close()

    def test_a_statement_that_did_not_arrive_leaves_the_next_one_to_begin(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with pytest.raises(ZeroDivisionError), pool.transaction(monotonic() + 5) as transaction:
            with suppress(ValueError):
                transaction.row("company_exists", id="\0")
            transaction.execute("ensure_company", id="half", name="")
            raise ZeroDivisionError
        assert not query(env.url, "SELECT 1 FROM companies WHERE id = 'half'")
        pool.close()

    def test_a_commit_that_rolls_back_is_an_error(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with (
            pytest.raises(RuntimeError, match="ROLLBACK"),
            pool.transaction(monotonic() + 5) as transaction,
            # not reached by the pool, as if the caller had a way of its own to go on
            suppress(psycopg2.Error),
        ):
            execute(transaction, "SELECT 1 / 0")
        pool.close()


class TestDeadConnections:
    def test_one_that_the_server_ended_is_never_handed_out_again(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, application_name="mortal")
        for _ in range(5):
            work(pool)
            assert cut(env.url, "mortal") == 1
            eventually(lambda: not backends(env.url, "mortal"), 5)
            work(pool)
        assert pool.stats.discarded == 5
        pool.close()

    def test_one_that_is_lost_in_use_is_said_and_thrown_away(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, application_name="mortal")
        with pytest.raises(StoreUnavailable) as lost, pool.transaction(monotonic() + 5) as transaction:
            ping(transaction)
            cut(env.url, "mortal")
            ping(transaction)
        assert not lost.value.may_be_done
        assert (pool.stats.in_use, pool.stats.idle, pool.stats.discarded) == (0, 0, 1)
        work(pool)
        pool.close()

    def test_also_in_a_process_with_very_many_open_files(self, env: StoreEnv) -> None:
        """`select` cannot look at descriptors from 1024 up, and an API process with many clients gets there."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        pool = make_pool(env.url)
        try:
            with ExitStack() as files:
                for _ in range(1100):
                    files.enter_context(Path(os.devnull).open("rb"))
                for _ in range(3):
                    work(pool)
                assert (pool.stats.opened, pool.stats.in_use) == (1, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            pool.close()

    def test_idle_ones_are_pruned(self, env: StoreEnv) -> None:
        now = [monotonic()]
        pool = make_pool(env.url, idle_s=10.0, clock=lambda: now[0])
        with pool.transaction(now[0] + 50):
            work(pool, 50)
        assert pool.stats.idle == 2
        now[0] += 9
        work(pool, 50)
        pool.prune()
        assert pool.stats.idle == 2
        now[0] += 2
        pool.prune()
        assert pool.stats.idle == 1, "the one that was used in between stays"
        now[0] += 10
        pool.prune()
        assert (pool.stats.idle, pool.stats.discarded) == (0, 2)
        pool.close()

    def test_it_recovers_when_the_server_is_back(self, env: StoreEnv, servers: Servers) -> None:
        pool = make_pool(env.url)
        work(pool)
        with away(servers.database_server_url, env.url):
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    work(pool)
        work(pool)
        assert pool.stats.in_use == 0
        pool.close()

    def test_a_server_that_is_not_there_is_said_at_once(self, free_ports: Callable[[int], list[int]]) -> None:
        pool = make_pool(f"postgresql://nobody@127.0.0.1:{free_ports(1)[0]}/none")
        with lasting(0), pytest.raises(StoreUnavailable, match="refused"):
            work(pool, 30)
        assert pool.stats.in_use == 0


class TestDeadlines:
    def test_a_statement_that_takes_too_long_is_given_up(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with (
            lasting(0.3),
            pytest.raises(StoreUnavailable, match="did not answer in time") as late,
            pool.transaction(monotonic() + 0.3) as transaction,
        ):
            execute(transaction, "SELECT pg_sleep(30)")
        assert not late.value.may_be_done
        assert (pool.stats.deadlines_passed, pool.stats.idle, pool.stats.in_use) == (1, 0, 0)
        work(pool)
        pool.close()

    def test_a_frozen_server_is_given_up(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, application_name="frozen")
        work(pool)
        with (
            Frozen(env.url, "frozen"),
            lasting(0.4),
            pytest.raises(StoreUnavailable, match="did not answer in time"),
        ):
            work(pool, 0.4)
        work(pool)
        pool.close()

    def test_a_server_that_does_not_greet_is_given_up(self) -> None:
        with Silent() as silent:
            pool = make_pool(silent.url, connect_s=0.3)
            with lasting(0.3), pytest.raises(StoreUnavailable, match="did not answer in time"):
                work(pool, 30)
            with lasting(0.2), pytest.raises(StoreUnavailable):
                work(pool, 0.2)
            assert (pool.stats.in_use, pool.stats.deadlines_passed) == (0, 2)

    def test_a_commit_that_gets_no_answer_may_be_done(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with env.slow_commits("queued") as slow:
            with slow:
                with (
                    lasting(0.4),
                    pytest.raises(StoreUnavailable) as unknown,
                    pool.transaction(monotonic() + 0.4) as transaction,
                ):
                    execute(
                        transaction,
                        "INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content) "
                        f"VALUES ('acme', {env.connection}, 'meta', 'a', 'text', '{{}}')",
                    )
                assert unknown.value.may_be_done
                assert query(env.url, "SELECT id FROM messages") == []
            eventually(lambda: query(env.url, "SELECT id FROM messages"), 5, "it was done after all")
        assert pool.stats.in_use == 0
        pool.close()

    def test_a_deadline_does_not_outlive_its_transaction(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with pytest.raises(StoreUnavailable), pool.transaction(monotonic() + 0.1) as transaction:
            execute(transaction, "SELECT pg_sleep(30)")
        assert query(env.url, "SELECT 1 AS one FROM pg_sleep(0.2)") == [{"one": 1}]
        pool.close()

    def test_closing_is_reported_to_waiting_callers_too(self, env: StoreEnv) -> None:
        pool = make_pool(env.url, limit=1)
        refused: list[StoreUnavailable] = []

        def wait_for_it() -> None:
            with pytest.raises(StoreUnavailable, match="closed") as error:
                work(pool, 20)
            refused.append(error.value)

        with pool.transaction(monotonic() + 30):
            thread = threading.Thread(target=wait_for_it)
            thread.start()
            eventually(lambda: pool.stats.waiting == 1, 5)
            pool.close()
            joined(thread, 5)
        assert len(refused) == 1
        assert (pool.stats.idle, pool.stats.in_use) == (0, 0)


class TestIdentity:
    def test_the_server_sees_whose_connection_it_is(self, env: StoreEnv, settings: Callable[..., Any]) -> None:
        identity = ChildEnvironment(process_name="meta", process_instance=1, process_incarnation="meta-1.abc")
        store = Store.open(settings(database_url=env.url), identity, limit=1)
        store.run(ping)
        assert len(backends(env.url, "bulkhead/meta-1/meta-1.abc")) == 1
        store.close()

    def test_the_session_ends_what_a_lost_client_left(self, env: StoreEnv) -> None:
        pool = make_pool(env.url)
        with pool.transaction(monotonic() + 5) as transaction:
            execute(transaction, "SHOW idle_in_transaction_session_timeout")
            assert transaction._cursor.fetchone() == ("30s",)
            execute(transaction, "SHOW timezone")
            assert transaction._cursor.fetchone() == ("UTC",)
        pool.close()

    def test_no_statement_is_compiled(self, env: StoreEnv) -> None:
        # Distributions build PostgreSQL with LLVM, where a plan with a scan that is switched off is dear enough to be
        # compiled: a claim then takes longer than its deadline. The embedded server itself compiles nothing: here a
        # database asks for it, as another server would.
        name = sql.Identifier(urlsplit(env.url).path.lstrip("/"))
        query(env.url, sql.SQL("ALTER DATABASE {} SET jit = on").format(name))
        pool = make_pool(env.url)
        try:
            with pool.transaction(monotonic() + 5) as transaction:
                execute(transaction, "SHOW jit")
                assert transaction._cursor.fetchone() == ("off",)
        finally:
            pool.close()
            query(env.url, sql.SQL("ALTER DATABASE {} RESET jit").format(name))


class TestStore:
    def test_a_deadlock_is_run_again(self, env: StoreEnv) -> None:
        one, two = env.accept("a", "b")
        store = open_store(env.url, query_s=20.0)
        barrier = threading.Barrier(2)
        tries: list[int] = []

        def lock(transaction: Transaction, first: int, second: int) -> None:
            tries.append(first)
            execute(transaction, f"SELECT FROM messages WHERE id = {first} FOR UPDATE")
            if len(tries) <= 2:
                # both hold their first lock after this; the one that is run again finds no process to wait for
                barrier.wait(deadline_s(5))
            execute(transaction, f"UPDATE messages SET deaths = deaths + 1 WHERE id IN ({first}, {second})")

        side_by_side(lambda: store.run(lock, one, two), lambda: store.run(lock, two, one))
        assert len(tries) == 3, "one of the two was run again, and found nobody in its way"
        assert [env.row(row_id)["deaths"] for row_id in (one, two)] == [2, 2]
        assert store.stats.in_use == 0
        store.close()

    def test_always_losing_ends_as_unavailable(self, env: StoreEnv) -> None:
        store = open_store(env.url)
        tries: list[int] = []

        def lose(transaction: Transaction) -> None:
            tries.append(1)
            execute(transaction, "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$")

        with pytest.raises(StoreUnavailable, match="races"):
            store.run(lose)
        assert len(tries) == 4
        assert (store.stats.in_use, store.stats.idle) == (0, 1)
        store.close()

    def test_a_missing_schema_is_a_database_that_is_not_there_yet(self, empty_database_url: str) -> None:
        """Processes start side by side with the migrations; that is no crash."""
        store = open_store(empty_database_url)
        with pytest.raises(StoreUnavailable, match="schema"):
            store.run(ping)
        with pytest.raises(StoreUnavailable, match="schema"):
            store.run(lambda transaction: transaction.rows("queue_depth"))
        assert (store.stats.in_use, store.stats.idle) == (0, 0)
        store.close()

    def test_from_the_event_loop_the_time_limit_counts_from_the_call(self, env: StoreEnv) -> None:
        async def scenario() -> None:
            store = open_store(env.url, limit=1, query_s=0.5)
            sleeping = store.call(lambda transaction: execute(transaction, "SELECT pg_sleep(30)"))
            waiting = store.call(ping)
            started = monotonic()
            results = await asyncio.gather(sleeping, waiting, return_exceptions=True)
            assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
            assert monotonic() - started < 0.5 + deadline_s(SLACK_S)
            await store.call_by(monotonic() + 5, ping)
            store.close()

        run(scenario())

    def test_closing_it_ends_calls_with_the_error_that_callers_expect(self, env: StoreEnv) -> None:
        async def scenario() -> None:
            store = open_store(env.url, limit=1, query_s=1.0)
            running = asyncio.create_task(store.call(lambda transaction: execute(transaction, "SELECT pg_sleep(0.3)")))
            await soon(lambda: store.stats.in_use == 1, "it runs")
            waiting = [asyncio.create_task(store.call(ping)) for _ in range(3)]
            await asyncio.sleep(0)
            store.close()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [StoreUnavailable] * 3
            await asyncio.gather(running, return_exceptions=True)
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.call(ping)
            with pytest.raises(StoreUnavailable, match="closed"):
                await store.call_by(monotonic() + 5, ping)

        run(scenario())


def test_a_password_does_not_stand_in_errors(env: StoreEnv) -> None:
    url = (
        env.url.replace("postgresql://bulkhead:", f"postgresql://nobody:{quote('s3cret')}", 1)
        if "bulkhead:" in env.url
        else env.url
    )
    pool = make_pool(url)
    with pytest.raises(StoreUnavailable) as refused:
        work(pool)
    assert "s3cret" not in str(refused.value)


def test_psycopg2_itself_is_asked_for_deadlines() -> None:
    """The wait callback is the only thing between a frozen server and a thread that waits for ever."""
    assert extensions.get_wait_callback() is waiting._wait
