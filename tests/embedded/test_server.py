"""The wrapper's loop against bad servers: each one is a program that behaves as no server should."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.process.exit_codes import ExitCode
from tests.support import processes
from tests.support.entry import Entry
from tests.support.waiting import eventually

OBEYS = "import signal; signal.pause()"
LEAVES_IN_ORDER = """
import os, pathlib, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
pathlib.Path(os.environ["BULKHEAD_HOME"], "up").touch()
while True: signal.pause()
"""
IGNORES_STOP = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: signal.pause()"
IGNORES_ALL = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "signal.signal(signal.SIGQUIT, signal.SIG_IGN)\nwhile True: signal.pause()"
)
DIES_AT_ONCE = "raise SystemExit(3)"
# Its helper leaves the session and ignores every polite signal.
LEAVES_A_HELPER = """
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c",
  "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"], start_new_session=True)
signal.pause()
"""

Run = Callable[..., Entry]


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    """Start a program as a server under the wrapper, ready from the start."""
    with ExitStack() as opened:

        def start(program: str, *limits: str, ready: bool = True) -> Entry:
            if ready:
                (home / "ready").touch()
            entry = opened.enter_context(
                Entry("redis", home, module="tests.embedded.wrapped_server", arguments=(program, *limits))
            )
            return entry.start()

        yield start


def test_silent_too_long_is_ended_and_counts_as_a_crash(run: Run, home: Path) -> None:
    entry = run(OBEYS, "silent_probes=5", "probe_s=0.05").wait_ready()
    (home / "ready").unlink()
    assert entry.wait_exit() == ExitCode.CRASH
    assert '"server_unresponsive", "unanswered_probes": 5' in entry.log.read_text()


def test_a_frozen_server_that_is_given_up_is_gone_too(run: Run, home: Path) -> None:
    entry = run(IGNORES_ALL, "silent_probes=5", "probe_s=0.05", "hurry_s=0.2").wait_ready()
    (server,) = entry.descendants()
    os.kill(server, signal.SIGSTOP)
    (home / "ready").unlink()
    assert entry.wait_exit() == ExitCode.CRASH
    assert not processes.is_alive(server)


def test_one_answer_starts_the_count_anew(run: Run, home: Path) -> None:
    entry = run(OBEYS, "silent_probes=40", "probe_s=0.05").wait_ready()
    for _ in range(4):
        (home / "ready").unlink()
        entry.forget()
        entry.wait_said("STATUS", "not answering, 11 probes in a row")
        (home / "ready").touch()
        entry.wait_said("READY", "1")
    assert entry.process.poll() is None
    entry.process.terminate()
    entry.wait_exit()


def test_at_work_is_not_silent(run: Run, home: Path) -> None:
    entry = run(OBEYS, "silent_probes=3", "probe_s=0.05").wait_ready()
    (home / "not_yet").touch()
    (home / "ready").unlink()
    entry.wait_said("STATUS", "not ready yet")
    entry.forget()
    eventually(lambda: sum("STATUS" in said for said in entry.listen()) > 10, 10, "many probes more")
    assert entry.process.poll() is None
    entry.process.terminate()
    entry.wait_exit()


def test_a_long_recovery_asks_for_more_time(run: Run, home: Path) -> None:
    (home / "not_yet").touch()
    entry = run(OBEYS, ready=False)
    entry.wait_said("X_DOING", "the server is recovering")
    assert not any("READY" in said for said in entry.notifications)
    (home / "ready").touch()
    entry.wait_ready()
    assert any(said.get("EXTEND_TIMEOUT_USEC") == "0" for said in entry.listen())
    entry.process.terminate()
    entry.wait_exit()


def test_a_server_that_dies_before_it_answered_is_a_boot_failure(run: Run) -> None:
    assert run(DIES_AT_ONCE, ready=False).wait_exit() == ExitCode.BOOT


def test_stop_in_order(run: Run, home: Path) -> None:
    entry = run(LEAVES_IN_ORDER).wait_ready()
    eventually((home / "up").exists, 10, "the server has installed its handler")
    assert entry.stop() == ExitCode.OK


def test_not_stopped_by_the_deadline_gets_the_fast_signal(run: Run) -> None:
    entry = run(IGNORES_STOP, "drain_s=0.2").wait_ready()
    eventually(lambda: ignores(entry, signal.SIGINT), 10, "the server ignores the polite signal")
    assert entry.stop() == ExitCode.DRAIN_DEADLINE
    assert "server_stop_overdue" in entry.log.read_text()
    assert "server_killed" not in entry.log.read_text()


def test_not_stopped_by_the_fast_signal_is_killed(run: Run) -> None:
    entry = run(IGNORES_ALL, "drain_s=0.2", "hurry_s=0.2").wait_ready()
    eventually(lambda: ignores(entry, signal.SIGQUIT), 10, "the server ignores every polite signal")
    assert entry.stop() == ExitCode.DRAIN_DEADLINE
    assert "server_killed" in entry.log.read_text()


def test_signals_that_a_shell_ignores_in_the_background_reach_the_server(run: Run) -> None:
    found = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        entry = run(IGNORES_STOP, "drain_s=0.2")
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    entry.wait_ready()
    eventually(lambda: ignores(entry, signal.SIGINT), 10, "the server ignores the polite signal")
    assert not ignores(entry, signal.SIGQUIT)
    assert entry.stop() == ExitCode.DRAIN_DEADLINE
    assert "server_killed" not in entry.log.read_text()


def test_what_a_dead_server_started_is_swept(run: Run) -> None:
    entry = run(LEAVES_A_HELPER, "hurry_s=0.2").wait_ready()
    eventually(lambda: len(entry.descendants()) == 2, 10, "the helper runs")
    server, helper = sorted(entry.descendants())
    os.kill(server, signal.SIGKILL)
    assert entry.wait_exit() == ExitCode.CRASH
    assert not processes.is_alive(helper)


def test_drain_by_datagram_is_one_request_to_stop(run: Run, home: Path) -> None:
    entry = run(LEAVES_IN_ORDER).wait_ready()
    eventually((home / "up").exists, 10, "the server has installed its handler")
    entry.ask("drain")
    assert entry.wait_exit() == ExitCode.OK


def ignores(entry: Entry, number: signal.Signals) -> bool:
    (server,) = entry.descendants()
    lines = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{server}/status").read_text().splitlines() if ":\t" in line
    )
    return bool(int(lines["SigIgn"], 16) >> (number - 1) & 1)
