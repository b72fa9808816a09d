"""The suite's own promises: it waits with a deadline, starts clean, isolates databases, and lets no process stay
behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from shared.kinds import next_admin_offset
from shared.settings import Settings
from tests.support import environment, processes, selection
from tests.support.database import query
from tests.support.ports import free_port_block, ports_of
from tests.support.servers import Servers, beside, of_this_worker
from tests.support.waiting import NeverHappened, deadline_s, eventually, eventually_async, hold_to_time, never

LEAVES_AN_ORPHAN = """
import pathlib, subprocess, sys

def test_leaves_an_orphan(tmp_path):
    # The parent is gone at once; its child has its own session and would outlive everything.
    quiet = "stdout=s.DEVNULL, stderr=s.DEVNULL"
    child = "import subprocess as s; print(s.Popen(['sleep', '300'], start_new_session=True, " + quiet + ").pid)"
    pid = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    pathlib.Path({report!r}).write_text(pid)

def test_the_next_one_is_innocent():
    pass
"""


def pytest_over(test: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(environment.REPOSITORY / "setup.cfg"),
        str(test),
        *arguments,
    ]
    return subprocess.run(
        command,
        cwd=environment.REPOSITORY,
        env=environment.clean(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def test_a_test_that_leaves_a_process_fails_and_the_process_is_ended(tmp_path: Path) -> None:
    report = tmp_path / "pid"
    test = tmp_path / "test_orphan.py"
    test.write_text(LEAVES_AN_ORPHAN.format(report=str(report)))
    run = pytest_over(test)
    assert run.returncode == 1
    assert "left behind" in run.stdout
    assert "2 passed, 1 error" in run.stdout
    assert not processes.is_alive(int(report.read_text()))


def test_a_glance_sees_what_was_started_and_knows_when() -> None:
    before, began = processes.descendants_at_a_glance(), processes.now()
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        assert processes.descendants_at_a_glance() - before == {child.pid}
        assert processes.started_after(child.pid, began)
        assert not processes.started_after(os.getpid(), began)
        child.communicate()
    assert not processes.started_after(child.pid, began), "it is gone"


def test_a_developers_variables_reach_no_test(tmp_path: Path) -> None:
    test = tmp_path / "test_clean.py"
    test.write_text(
        "import os\n\ndef test_clean():\n    assert not {'API_PORT', 'DATABASE_URL', "
        "'PROCESS_NAME'} & os.environ.keys()\n"
    )
    run = pytest_over(test, api_port="1", database_url="postgresql://elsewhere", process_name="meta")
    assert run.returncode == 0, run.stdout


def test_a_missing_server_fails_and_does_not_skip(tmp_path: Path) -> None:
    test = tmp_path / "test_servers.py"
    test.write_text("def test_database(database_url):\n    pass\n\ndef test_redis(redis_url):\n    pass\n")
    run = pytest_over(
        test, test_database_url="postgresql://127.0.0.1:1/nowhere", test_redis_url="redis://127.0.0.1:1/0"
    )
    assert run.returncode == 1
    assert "2 errors" in run.stdout
    assert "skipped" not in run.stdout


def test_eventually_returns_the_first_true_value() -> None:
    answers = iter([0, "", 7])
    assert eventually(lambda: next(answers), 5) == 7


def test_eventually_fails_with_what_was_waited_for_and_seen() -> None:
    with pytest.raises(NeverHappened, match=r"not within 0.03 s: the moon is blue \(last seen: ''\)"):
        eventually(str, 0.03, "the moon is blue")


def test_eventually_takes_an_error_for_not_yet_only_when_asked_to() -> None:
    answers = iter([False])
    with pytest.raises(NeverHappened, match="StopIteration"):
        eventually(lambda: next(answers), 0.03, ignoring=(StopIteration,))
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 // 0, 5)


def test_a_condition_is_waited_for_longer_on_a_busy_machine_unless_the_test_is_held_to_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processors = os.cpu_count() or 1
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    for load, expected in ((0.5 * processors, 20.0), (7.0 * processors, 70.0)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert deadline_s(10.0) == expected
    hold_to_time(True)
    try:
        assert deadline_s(10.0) == 20.0
    finally:
        hold_to_time(False)


def test_never_watches_for_as_long_as_it_says() -> None:
    began = time.monotonic()
    never(lambda: False, 0.05, "nothing")
    assert time.monotonic() - began >= 0.05
    answers = iter([False, True])
    with pytest.raises(AssertionError, match="it came true"):
        never(lambda: next(answers), 5.0, "it came true")


def test_eventually_async_waits_without_blocking_the_loop() -> None:
    async def both() -> tuple[bool, int]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, event.set)

        async def is_set() -> bool:
            return event.is_set()

        async def never() -> int:
            return 0

        with pytest.raises(NeverHappened):
            await eventually_async(never, 0.03, "it never is")
        return await eventually_async(is_set, 5), 1

    assert asyncio.run(both()) == (True, 1)


def test_each_test_has_a_database_of_its_own(servers: Servers) -> None:
    (first_name, first), (second_name, second) = servers.new_database(), servers.new_database(migrated=False)
    with closing(psycopg2.connect(first)) as one, closing(psycopg2.connect(second)) as two:
        with one.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM messages")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == (first_name,)
        with two.cursor() as cursor, pytest.raises(psycopg2.errors.UndefinedTable):
            cursor.execute("SELECT count(*) FROM messages")
    for name in (first_name, second_name):
        servers.drop_database(name)
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(first)


def test_the_kept_connection_of_a_thread_is_as_new_each_time(database_url: str, empty_database_url: str) -> None:
    def session(url: str = database_url) -> tuple[object, ...]:
        (row,) = query(
            url,
            """SELECT pg_backend_pid() AS pid, current_setting('work_mem') AS work_mem, current_database() AS database,
            to_regclass('pg_temp.left_over') AS made, (SELECT count(*) FROM pg_prepared_statements) AS prepared,
            (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks""",
        )
        return tuple(row.values())

    first = session()
    query(
        database_url,
        """SET work_mem = '1MB'; CREATE TEMP TABLE left_over (id int); PREPARE one AS SELECT 1;
        SELECT pg_advisory_lock(1)""",
    )
    assert session() == first
    with pytest.raises(psycopg2.errors.DivisionByZero):
        query(database_url, "SELECT 1 / 0")
    with pytest.raises(psycopg2.errors.ActiveSqlTransaction):
        query(database_url, "BEGIN")
    second = session()
    assert second[0] != first[0], "after an error another one is opened"
    with ThreadPoolExecutor(1) as other:
        end = "SELECT pg_terminate_backend(%(pid)s, 5000) AS done"
        assert other.submit(query, database_url, end, pid=second[0]).result() == [{"done": True}]
    third = session()
    assert third[0] != second[0], "the server had ended it"
    assert second[1:] == third[1:] == first[1:]
    assert session(empty_database_url)[2] != first[2]
    left = "SELECT 1 FROM pg_stat_activity WHERE pid = %(pid)s"
    eventually(lambda: not query(empty_database_url, left, pid=third[0]), 10, "one address is kept")


def test_redis_is_empty_each_time(servers: Servers) -> None:
    with redis.Redis.from_url(servers.new_redis()) as client:
        client.set("left", "over")
    with redis.Redis.from_url(servers.new_redis()) as client:
        assert client.dbsize() == 0


def test_the_suites_database_waits_for_no_disk_and_a_durable_one_is_to_be_had(
    servers: Servers, prepared_home: Callable[[], Path]
) -> None:
    def durability(server_url: str) -> tuple[str, ...]:
        with closing(psycopg2.connect(server_url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
            (row,) = cursor.fetchall()
            return tuple(row)

    if "TEST_DATABASE_URL" not in os.environ:
        assert durability(servers.database_server_url) == ("off", "off")
        with closing(Servers(prepared_home, durable=True)) as durable:
            assert durability(durable.database_server_url) == ("on", "on")


def test_workers_of_a_parallel_run_share_no_port_and_no_redis_database(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    databases = []
    kept = []
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
        shares.append(ports_of(environment.worker()))
        databases.append(of_this_worker("redis://127.0.0.1:6379/4"))
        kept.append(beside(databases[-1]))
    assert all(len(share) > 20 * 104 for share in shares), "each has room for many installations"
    assert all(first.stop <= second.start for first, second in itertools.pairwise(shares))
    assert databases == [f"redis://127.0.0.1:6379/{number}" for number in (4, 5, 6)]
    assert kept == [f"redis://127.0.0.1:6379/{number}" for number in (7, 8, 9)]
    assert beside("unix:///run/redis.sock?db=0") == "unix:///run/redis.sock?db=1"


USES_A_SERVER = """
import pytest

@pytest.fixture
def hidden(request):
    return request.getfixturevalue("database_url")

@pytest.mark.fast
def test_by_name(database_url):
    pass

@pytest.mark.fast
def test_by_the_back_door(hidden):
    pass

def test_pure():
    pass
"""


def test_a_fast_test_gets_no_server(tmp_path: Path) -> None:
    test = tmp_path / "test_fast.py"
    test.write_text(USES_A_SERVER)
    run = pytest_over(test, "-m", "fast")
    assert run.returncode == 1
    assert "1 passed, 2 errors" in run.stdout
    assert "a fast test starts no server" in run.stdout


WRITES_ITS_WORKER = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(12))
def test_write(number):
    pathlib.Path({report!r}, os.environ["PYTEST_XDIST_WORKER"]).touch()
"""


def test_the_tests_of_a_file_share_a_worker(tmp_path: Path) -> None:
    report = tmp_path / "workers"
    report.mkdir()
    test = tmp_path / "test_group.py"
    test.write_text(WRITES_ITS_WORKER.format(report=str(report)))
    run = pytest_over(test, "-n", "2", "--dist", "loadfile")
    assert "12 passed" in run.stdout, run.stdout
    assert len(list(report.iterdir())) == 1


def test_a_run_of_serial_tests_imports_only_files_that_have_some() -> None:
    tests = environment.REPOSITORY / "tests"
    assert not selection.has_no_serial_test(tests / "supervision" / "test_hangs.py")
    assert selection.has_no_serial_test(tests / "unit" / "test_states.py")
    assert not selection.has_no_serial_test(tests / "conftest.py"), "fixtures are needed in any case"


def test_settings_of_two_copies_share_nothing(
    settings: Callable[..., Settings], free_ports: Callable[[int], list[int]]
) -> None:
    first, second = settings(send_attempts=5), settings()
    assert first.send_attempts == 5
    ports = [
        {
            copy.port("api"),
            copy.port("meta"),
            copy.port("webdriver"),
            copy.port("sandbox"),
            *range(copy.admin_port, copy.admin_port + next_admin_offset()),
        }
        for copy in (first, second)
    ]
    assert len(ports[0]) == 4 + next_admin_offset()
    assert ports[0].isdisjoint(ports[1])
    assert ports[0].isdisjoint(free_ports(3))
    assert first.api_key != second.api_key


def test_a_port_that_is_in_use_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        offers = iter([port, free_port_block(1)])
        monkeypatch.setattr("tests.support.ports._taken", set())
        monkeypatch.setattr("random.randint", lambda *_: next(offers))
        assert free_port_block(1) != port


def test_processes_of_a_home_are_found_by_environment_and_by_command_line(home: Path) -> None:
    waits = "import sys; print('up', flush=True); sys.stdin.read()"
    by_environment = subprocess.Popen(
        [sys.executable, "-c", waits],
        env=environment.clean(bulkhead_home=home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    by_command = subprocess.Popen(
        [sys.executable, "-c", waits, f"{home}/profile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with by_environment, by_command:
        for process in (by_environment, by_command):
            assert process.stdout is not None
            process.stdout.readline()
        assert set(processes.of_home(home)) == {by_environment.pid, by_command.pid}
        by_environment.communicate()
        by_command.communicate()
    assert processes.of_home(home) == {}
