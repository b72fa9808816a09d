"""The embedded Redis: quick, private, forgetful on purpose, and never left behind."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis

from embedded import addresses
from shared.process.exit_codes import ExitCode
from shared.process.runtime import redis_socket
from shared.settings import Settings
from tests.support import environment, processes
from tests.support.entry import Entry
from tests.support.waiting import deadline_s


@pytest.fixture
def entry(home: Path) -> Iterator[Entry]:
    with Entry("redis", home) as opened:
        yield opened


@pytest.fixture
def client(home: Path) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(addresses.redis_url(Settings(bulkhead_home=home)))) as opened:
        yield opened


def test_answers_on_its_private_socket_and_nowhere_else(entry: Entry, client: redis.Redis, home: Path) -> None:
    entry.start().wait_ready()
    assert client.ping()
    assert stat.S_IMODE(redis_socket(home).stat().st_mode) == 0o600
    (server,) = psutil.Process(entry.process.pid).children()
    assert not server.net_connections(kind="inet")
    assert entry.stop() == ExitCode.OK
    assert not redis_socket(home).exists()


def test_hints_are_not_kept_and_nothing_is_written(entry: Entry, client: redis.Redis, home: Path) -> None:
    entry.start().wait_ready()
    client.set("hint", 1)
    entry.stop()
    assert list((home / "redis").iterdir()) == []
    entry.start().wait_ready()
    assert client.get("hint") is None
    entry.stop()


def test_full_is_an_error_and_not_a_silent_loss(entry: Entry, client: redis.Redis) -> None:
    entry.start().wait_ready()
    client.set("first", b"x" * 1000)
    client.config_set("maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        for number in range(100):
            client.set(f"more{number}", b"x" * 100_000)
    assert client.exists("first") == 1
    entry.stop()


def test_killed_wrapper_takes_the_server_with_it(entry: Entry, client: redis.Redis) -> None:
    entry.start().wait_ready()
    (server,) = entry.descendants()
    entry.process.kill()
    assert entry.wait_exit(within_s=5) == -signal.SIGKILL
    assert not processes.is_alive(server)
    # The dead server's socket file is in the way of no process.
    entry.start().wait_ready()
    assert client.ping()
    assert entry.stop() == ExitCode.OK


def test_killed_server_is_a_crash(entry: Entry) -> None:
    entry.start().wait_ready()
    (server,) = entry.descendants()
    psutil.Process(server).kill()
    assert entry.wait_exit() == ExitCode.CRASH


def test_a_frozen_server_is_reported_and_not_killed(entry: Entry, client: redis.Redis) -> None:
    entry.start().wait_ready()
    (pid,) = entry.descendants()
    server = psutil.Process(pid)
    server.suspend()
    entry.wait_said("X_READY", "0")
    entry.forget()
    entry.wait_said("WATCHDOG", "1")
    server.resume()
    entry.wait_said("READY", "1")
    assert client.ping()
    assert entry.stop() == ExitCode.OK


def test_a_second_copy_leaves(entry: Entry, home: Path, client: redis.Redis) -> None:
    entry.start().wait_ready()
    second = subprocess.run(
        [sys.executable, "proc_redis.py"],
        cwd=environment.REPOSITORY,
        env=environment.clean(bulkhead_home=home),
        check=False,
        timeout=30,
        capture_output=True,
    )
    assert second.returncode == ExitCode.SLOT_TAKEN
    assert client.ping()
    entry.stop()


def test_a_home_with_a_long_path_works_too(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    with Entry("redis", home) as entry:
        entry.start().wait_ready()
        with closing(redis.Redis.from_url(addresses.redis_url(Settings(bulkhead_home=home)))) as client:
            assert client.ping()
        assert entry.stop() == ExitCode.OK


def test_a_server_whose_socket_file_was_removed_is_restarted(entry: Entry, home: Path) -> None:
    entry.start().wait_ready()
    redis_socket(home).unlink()
    assert entry.process.wait(deadline_s(15)) == ExitCode.CRASH
    entry.start().wait_ready()
    assert redis_socket(home).exists()
    entry.stop()
