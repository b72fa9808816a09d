"""An address with several hosts: the first that answers and takes writes is used, also while another one is silent."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from psycopg2.extensions import make_dsn
from pytest import MonkeyPatch

from embedded import addresses
from shared.errors import StoreUnavailable
from shared.media.reach import own_ports
from shared.settings import Settings
from shared.store import migrate
from shared.store.address import parts_of, servers_of
from shared.store.pool import Transaction
from shared.store.store import Store, ping
from tests.store.env import open_store
from tests.support import prepared, volatile_postgres
from tests.support.database import query
from tests.support.entry import Entry

A = "postgresql://u:p@a:1,b:2/d"


@pytest.mark.fast
class TestServers:
    """By libpq's rules (34.1.1.3 of PostgreSQL's manual)."""

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("postgresql://u@a/d", [{"host": "a"}]),
            (A, [{"host": "a", "port": "1", "password": "p"}, {"host": "b", "port": "2", "password": "p"}]),
            ("postgresql://a,b:7/d", [{"host": "a"}, {"host": "b", "port": "7"}]),
            ("postgresql:///d?host=a,b&port=7", [{"host": "a", "port": "7"}, {"host": "b", "port": "7"}]),
            ("postgresql:///d?host=/run/a,/run/b", [{"host": "/run/a"}, {"host": "/run/b"}]),
            (
                "postgresql://a,b/d?target_session_attrs=prefer-standby",
                [
                    {"host": host, "target_session_attrs": expected}
                    for expected in ("standby", "any")
                    for host in ("a", "b")
                ],
            ),
        ],
    )
    def test_each_is_an_address_of_its_own(self, given: str, expected: list[dict[str, str]]) -> None:
        found = [parts_of(one) for one in servers_of(given)]
        assert [{name: one.get(name) for name in part} for one, part in zip(found, expected, strict=True)] == expected

    def test_what_libpq_refuses_is_left_to_it(self) -> None:
        for given in ("postgresql://a,b,c/d?port=1,2", "postgresql://a/d?no_such=1"):
            assert servers_of(given) == [given]

    def test_a_random_order_is_one(self, monkeypatch: MonkeyPatch) -> None:
        monkeypatch.setattr(random, "shuffle", lambda order: order.reverse())
        found = servers_of("postgresql://a,b/d?load_balance_hosts=random")
        assert [parts_of(one)["host"] for one in found] == ["b", "a"]

    def test_the_ports_of_all_are_ours(self, tmp_path: Path) -> None:
        """A file is not fetched from a server of ours, whichever of its hosts."""
        for given in ("postgresql://u:p@a:7001,[::1]:7002/d", "postgresql:///d?host=a,b&port=7001,7002"):
            assert {7001, 7002} <= own_ports(Settings(bulkhead_home=tmp_path, database_url=given))


class Server:
    """A PostgreSQL of its own over copied data; all of them have the same users and passwords."""

    def __init__(self, prepared_home: Path) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="bh-"))
        prepared.copy(prepared_home, self._home)
        self.entry = Entry("postgres", self._home, module=volatile_postgres.__name__).start().wait_ready()
        self.url = addresses.database_url(Settings(bulkhead_home=self._home))

    def set_read_only(self, value: str) -> None:
        """Let new sessions be as on a standby, or as on a primary."""
        query(
            self.url,
            f"SET transaction_read_only = off; ALTER DATABASE {addresses.DATABASE} "
            f"SET default_transaction_read_only = {value}",
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It accepts connections (the kernel does) and says nothing."""
        (server,) = psutil.Process(self.entry.process.pid).children()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def pair(prepared_home: Callable[[], Path]) -> Iterator[tuple[Server, Server]]:
    """Two servers."""
    first, second = Server(prepared_home()), Server(prepared_home())
    with first.entry, second.entry:
        yield first, second


def both(first: Server, second: Server, **more: str) -> str:
    """Return the address that names both, the first one first."""
    parts = [parts_of(one.url) for one in (first, second)]
    hosts = ",".join(one["host"] for one in parts)
    return str(make_dsn(**{**parts[0], "host": hosts}, target_session_attrs="read-write", **more))


def place(store: Store) -> str:
    """Return the folder of the server that a store works with."""

    def read(transaction: Transaction) -> str:
        ping(transaction)
        return str(transaction._cursor.connection.info.host)

    return store.run(read)


def test_the_one_that_takes_writes_is_used_and_after_a_failover_the_other(pair: tuple[Server, Server]) -> None:
    first, second = pair
    folders = [parts_of(one.url)["host"] for one in pair]
    first.set_read_only("on")
    store = open_store(both(first, second))
    assert place(store) == folders[1]
    assert migrate.pending(both(first, second)) == []
    # the standby is promoted, and the primary comes back as a standby
    first.set_read_only("off")
    second.set_read_only("on")
    query(second.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'")
    assert place(store) == folders[0]
    store.close()
    second.set_read_only("off")


def test_behind_a_silent_one_the_next_is_tried_in_time(pair: tuple[Server, Server]) -> None:
    first, second = pair
    store = open_store(both(first, second), connect_s=2.0)
    with first.frozen():
        assert place(store) == parts_of(second.url)["host"]
    store.close()


def test_none_is_there(pair: tuple[Server, Server]) -> None:
    first, second = pair
    store = open_store(both(first, second), connect_s=1.0, query_s=1.0)
    with first.frozen(), second.frozen(), pytest.raises(StoreUnavailable, match="did not answer in time"):
        store.run(ping)
    store.close()
