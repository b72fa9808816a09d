"""PostgreSQL away: stopped, frozen, or lost in the very moment of the commit. Never a half acceptance, and back as soon
as it is back.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from embedded import addresses
from shared.settings import Settings
from shared.store import migrate
from tests.api.api_env import ApiEnv, problem
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import eventually


@pytest.fixture
def postgres() -> Iterator[Entry]:
    """A PostgreSQL of our own, to be ill-treated."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    with Entry("postgres", home) as server:
        server.start().wait_ready()
        migrate.apply(addresses.database_url(Settings(bulkhead_home=home)))
        yield server
        server.stop()
    shutil.rmtree(home)


@pytest.fixture
def api_env(home: Path, postgres: Entry, servers: Servers) -> Iterator[ApiEnv]:
    """An API over it, with short time limits."""
    url = addresses.database_url(Settings(bulkhead_home=postgres.home))
    with ApiEnv(home, url, servers.new_redis(), database_query_s=2, database_connect_s=1) as made:
        yield made.seed().start()


@contextmanager
def autocommit(url: str) -> Iterator[Callable[[str], None]]:
    """A connection on which each statement is a transaction of its own."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor.execute


def server_processes(postgres: Entry) -> list[int]:
    """Return the server's processes without its wrapper."""
    return list(postgres.descendants())


def refused(api_env: ApiEnv) -> dict[str, object]:
    answer = api_env.send("into the void", chat="15550100300")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.elapsed.total_seconds() < 6
    return problem(answer)


def accepted(api_env: ApiEnv) -> bool:
    return bool(api_env.send("back again", chat="15550100301").status_code == 202)


def test_a_frozen_database_is_a_503_in_seconds_and_all_is_well_when_it_thaws(api_env: ApiEnv, postgres: Entry) -> None:
    assert accepted(api_env)
    frozen = server_processes(postgres)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(30) as pool:
            shown = list(pool.map(lambda _: refused(api_env), range(30)))
        assert {str(one["type"]) for one in shown} <= {"database_unavailable", "acceptance_unknown"}
        assert {one["reason"] for one in shown if "reason" in one} <= {"slow", "busy"}
        assert api_env.call("GET", "/livez", key=None).status_code == 200, "the process itself is well"
        everything = api_env.call("GET", "/health/all")
        assert everything.elapsed.total_seconds() < 4
        assert everything.json()["status"] == "down"
        assert everything.json()["database"]["reachable"] is False
        assert everything.json()["redis"]["reachable"] is True
        assert problem(api_env.call("GET", "/api/v2/queues"))["type"] == "database_unavailable"
        assert api_env.call("GET", "/api/v2/whoami").json()["companyId"] is None, "the first key still signs in"
        eventually(
            lambda: api_env.call("GET", "/readyz", key=None).status_code == 503, 10, "it says that it is not ready"
        )
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: accepted(api_env), 10, "messages are accepted again")
    eventually(lambda: api_env.call("GET", "/readyz", key=None).status_code == 200, 10, "it is ready again")
    surely_not = [one for one in shown if one["type"] == "database_unavailable"]
    rows = api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100300'")
    assert len(rows) <= len(shown) - len(surely_not), "what was surely not accepted is not there"


def test_a_killed_database_is_a_503_at_once_and_is_found_again(api_env: ApiEnv, postgres: Entry) -> None:
    assert accepted(api_env)
    for pid in server_processes(postgres):
        os.kill(pid, signal.SIGKILL)
    assert postgres.wait_exit() != 0
    for _ in range(3):
        shown = refused(api_env)
        assert (shown["type"], shown["reason"]) == ("database_unavailable", "away")
    assert api_env.call("GET", "/api/v2/connections/alpha").status_code == 503
    assert problem(api_env.call("GET", "/api/v2/messages/alpha/15550100300"))["type"] == "database_unavailable"
    health = api_env.call("GET", "/health/all").json()
    assert health["status"] == "down"
    assert "reason" in health["database"]
    postgres.start().wait_ready()
    eventually(lambda: accepted(api_env), 10, "messages are accepted again")
    assert api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100300'") == []


def test_a_database_that_became_read_only_is_called_so(api_env: ApiEnv) -> None:
    assert accepted(api_env)
    # as after a failover: sessions end, and new ones are read-only
    with autocommit(api_env.database_url) as execute:
        database = urlsplit(api_env.database_url).path.lstrip("/")
        execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = user AND pid <> pg_backend_pid()"
        )
    try:
        eventually(lambda: api_env.send("x", chat="15550100302").status_code == 503, 10, "writes are refused")
        shown = refused(api_env)
        assert (shown["type"], shown["reason"]) == ("database_unavailable", "read_only")
        assert shown["detail"] == "PostgreSQL is read-only; nothing was accepted."
        assert "read-only" in api_env.call("GET", "/health/all").json()["database"]["reason"]
    finally:
        with autocommit(api_env.database_url) as execute:
            execute("SET default_transaction_read_only = off")
            execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    eventually(lambda: accepted(api_env), 10, "messages are accepted again")
