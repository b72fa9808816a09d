"""Errors about a row or a statement are ours; everything else that PostgreSQL reports means that it cannot serve
now.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from psycopg2 import errors, sql

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.settings import ChildEnvironment
from shared.store import messages
from shared.store.pool import Pool, Transaction
from shared.store.sqlstates import Trouble, trouble
from shared.store.store import Store, ping
from tests.store.env import StoreEnv, open_store, side_by_side
from tests.support.database import query
from tests.support.waiting import eventually, joined


def _alter(url: str, statement: str) -> None:
    query(url, sql.SQL(statement).format(database=sql.Identifier(urlsplit(url).path.lstrip("/"))))


def _settle(transaction: Transaction) -> set[int]:
    return messages.settle(transaction, incarnation="x", settlements=[])


def _raise(transaction: Transaction, state: str) -> None:
    transaction._cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'provoked' USING ERRCODE = '{state}'; END $$")


@contextmanager
def _greeting(answer: bytes) -> Iterator[str]:
    """A server that answers every start of a connection with `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                clients.append(client)
                with closing(client):
                    # the request for TLS is declined, so that the startup packet follows
                    if client.recv(8)[4:] == b"\x04\xd2\x16\x2f":
                        client.sendall(b"N")
                        client.recv(4096)
                    client.sendall(answer)
                    client.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"postgresql://nobody@127.0.0.1:{listener.getsockname()[1]}/none"
        listener.shutdown(socket.SHUT_RDWR)
        for client in clients:
            # the other end may keep its connection
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
    joined(thread, 5)


@pytest.mark.parametrize("state", ["22P02", "23505", "23503", "42601", "42804", "21000", "54001", "P0001", "25P02"])
def test_what_speaks_of_a_row_or_a_statement_is_raised_as_it_is(env: StoreEnv, state: str) -> None:
    store = open_store(env.url)
    with pytest.raises(psycopg2.Error) as raised:
        store.run(_raise, state)
    assert raised.value.pgcode == state
    assert (store.stats.idle, store.stats.discarded) == (1, 0), "the connection is sound"
    store.close()


@pytest.mark.parametrize(
    ("state", "outage"),
    [
        ("25006", "read_only"),
        ("28000", "privilege"),
        ("42501", "privilege"),
        ("53100", "full"),
        ("53200", "full"),
        ("53300", "full"),
        ("55P03", "busy"),
        ("57014", "slow"),
        ("08006", "away"),
        ("55006", "away"),
        ("57P01", "away"),
        ("58030", "away"),
        ("XX000", "away"),
        ("F0000", "away"),
        ("72000", "away"),
    ],
)
def test_what_speaks_of_the_database_means_that_it_cannot_serve_now(env: StoreEnv, state: str, outage: str) -> None:
    store = open_store(env.url)
    with pytest.raises(StoreUnavailable, match="provoked") as raised:
        store.run(_raise, state)
    assert raised.value.outage == outage
    assert (store.stats.idle, store.stats.in_use) == (0, 0), "after a failover its server stays read-only for good"
    store.run(ping)
    store.close()


@pytest.mark.parametrize("error", [psycopg2.ProgrammingError("can't adapt"), psycopg2.DataError("no such type")])
def test_a_wrong_call_that_never_reached_the_server_is_ours(error: psycopg2.Error) -> None:
    assert trouble(error) is Trouble.ROW


@pytest.mark.parametrize("error", [psycopg2.OperationalError(), psycopg2.InterfaceError(), psycopg2.DatabaseError()])
def test_a_connection_that_broke_is_the_databases(error: psycopg2.Error) -> None:
    assert trouble(error) is Trouble.DATABASE


def test_a_database_that_became_read_only_is_away_until_it_is_writable_again(own_env: StoreEnv) -> None:
    store = open_store(own_env.url)
    own_env.accept("a")
    _alter(own_env.url, "ALTER DATABASE {database} SET default_transaction_read_only = on")
    store.close()
    store = open_store(own_env.url)
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.run(lambda transaction: transaction.execute("ensure_company", id="new", name=""))
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.run(ping)
    with closing(psycopg2.connect(own_env.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET transaction_read_only = off")
        cursor.execute(
            sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(
                sql.Identifier(urlsplit(own_env.url).path.lstrip("/"))
            )
        )
        connection.commit()
    store.run(lambda transaction: transaction.execute("ensure_company", id="new", name=""))
    store.close()


def test_at_the_servers_limit_callers_wait_for_connections_of_their_own(own_env: StoreEnv) -> None:
    """Another host may have taken what is missing; to fail would be to fail while connections come free."""
    _alter(own_env.url, "ALTER DATABASE {database} CONNECTION LIMIT 3")
    store = open_store(own_env.url, limit=8)

    def hold(transaction: Transaction) -> int:
        transaction._cursor.execute("SELECT pg_sleep(0.1)")
        return 1

    assert side_by_side(*[lambda: store.run(hold)] * 12) == [1] * 12
    assert store.stats.in_use == 0
    assert store.stats.opened <= 3
    store.close()


def test_where_there_is_none_at_all_a_caller_does_not_wait(own_env: StoreEnv) -> None:
    _alter(own_env.url, "ALTER DATABASE {database} CONNECTION LIMIT 0")
    store = open_store(own_env.url)
    with pytest.raises(StoreUnavailable, match="too many connections") as refused:
        store.run(ping)
    assert (refused.value.outage, store.stats.in_use) == ("full", 0)
    store.close()


def test_a_privilege_that_was_revoked_is_the_databases_trouble(own_env: StoreEnv) -> None:
    query(own_env.url, "REVOKE INSERT, UPDATE ON companies FROM bulkhead_runtime")
    store = open_store(own_env.url)
    with pytest.raises(StoreUnavailable, match="permission denied"):
        store.run(lambda transaction: transaction.execute("ensure_company", id="new", name=""))
    query(own_env.url, "GRANT INSERT, UPDATE ON companies TO bulkhead_runtime")
    store.run(lambda transaction: transaction.execute("ensure_company", id="new", name=""))
    store.close()


def test_an_altered_table_under_a_prepared_statement_causes_no_error(own_env: StoreEnv) -> None:
    """PostgreSQL answers "cached plan must not change result type", once for each connection that had prepared it."""
    store = open_store(own_env.url, limit=3)
    own_env.accept("a")

    def claim(transaction: Transaction) -> None:
        messages.claim(transaction, kind="meta", incarnation="i", ids=[1], most=1, token_at_claim=True)

    def claim_on_two_connections(outer: Transaction) -> None:
        claim(outer)
        store.run(claim)

    store.run(claim_on_two_connections)
    # a column that the claim returns and no view reads: PostgreSQL alters none that a view depends on
    query(own_env.url, "ALTER TABLE messages ALTER COLUMN token TYPE varchar(500)")
    store.run(claim)
    assert store.stats.discarded == 2, "the other connection had prepared it as well"
    store.close()


@pytest.mark.parametrize("prepared", [True, False])
def test_statements_that_a_pooler_lost_are_run_unprepared(env: StoreEnv, prepared: bool) -> None:
    """In transaction mode each transaction may meet another server process: one without the statement, or one that has
    it from another client.
    """
    store = Store(Pool(env.url, limit=1, application_name="pooled", idle_s=30.0, connect_s=5.0), query_s=5.0)

    def run(transaction: Transaction, statement: str) -> None:
        transaction._cursor.execute(statement)

    if prepared:
        store.run(_settle)
        store.run(run, "DEALLOCATE ALL")
    else:
        store.run(run, "PREPARE settle_messages AS SELECT 1")
    assert store.run(_settle) == set()
    store.run(run, "DEALLOCATE ALL")
    assert store.run(_settle) == set(), "nothing is prepared any more"
    assert store.stats.opened == 2
    store.close()


def test_a_pooler_that_refuses_session_settings_is_named_in_one_sentence() -> None:
    fields = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    with _greeting(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields) as url:
        store = open_store(url)
        with pytest.raises(StoreUnavailable, match="ignore_startup_parameters = options") as refused:
            store.run(ping)
        assert "\n" not in str(refused.value)
        store.close()


def test_an_abandoned_statement_ends_in_the_server(env: StoreEnv) -> None:
    pool = Pool(env.url, limit=1, application_name="abandons", idle_s=30.0, connect_s=5.0, statement_s=1.0)
    with pytest.raises(StoreUnavailable), pool.transaction(monotonic() + 0.2) as transaction:
        transaction._cursor.execute("SELECT pg_sleep(600)")
    running = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'abandons' AND state = 'active'"
    eventually(lambda: not query(env.url, running), 5, "the server has ended it")
    pool.close()


def test_every_store_limits_its_statements(env: StoreEnv, settings: Any) -> None:
    identity = ChildEnvironment(process_name="meta", process_instance=1, process_incarnation="meta-1.abc")
    for query_s, shown in ((5.0, "20s"), (30.0, "1min")):
        store = Store.open(settings(database_url=env.url, database_query_s=query_s), identity, limit=1)

        def limit(transaction: Transaction) -> object:
            transaction._cursor.execute("SHOW statement_timeout")
            return transaction._cursor.fetchone()

        assert store.run(limit) == (shown,)
        store.close()


def test_the_classes_are_those_of_psycopg2(env: StoreEnv) -> None:
    """An error that psycopg2 built from the server's answer carries its code."""
    with pytest.raises(errors.DivisionByZero) as raised:
        query(env.url, "SELECT 1/0")
    assert trouble(raised.value) is Trouble.ROW
