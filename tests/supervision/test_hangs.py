"""Hangs are seen and ended with a traceback; what is slow, stopped together with everything, or declared, is left
alone."""

from __future__ import annotations

import os
import re
import signal
from datetime import UTC, datetime

import psutil
import pytest

from shared.process.journal import SupervisionEvent as Happened
from tests.supervision.env import SupervisionEnv
from tests.supervision.wall_clock import set_ahead
from tests.support import environment

pytestmark = pytest.mark.serial


def seconds_between(env: SupervisionEnv, first: Happened, second: Happened, slot: str) -> float:
    found = [env.happened(first, slot), env.happened(second, slot)]
    assert found[0] and found[1]
    return (datetime.fromisoformat(found[1].at) - datetime.fromisoformat(found[0].at)).total_seconds()


def test_a_loop_that_stands_still_is_ended_with_a_traceback(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "stops_its_loop", "watchdog_s": 0.5}, {"name": "api"}, abort_s=10.0).start()
    exited = env.wait(Happened.EXITED, "bad-0")
    hung = env.happened(Happened.HUNG, "bad-0")
    assert hung is not None and 0.5 <= hung.details["silent_s"] < 1.5
    assert seconds_between(env, Happened.READY, Happened.HUNG, "bad-0") >= 0.5
    # the loop stands still, so SIGTERM is not received; SIGABRT writes every thread's place
    assert exited.details["signal"] == signal.SIGABRT
    assert "stuck_in_the_work_loop" in exited.details["log_tail"] and "busy_elsewhere" in exited.details["log_tail"]
    env.wait(Happened.STARTED, "bad-0", after=exited.seq)
    assert env.ready("api-0").count(Happened.EXITED, "api-0") == 0


def test_a_stopped_process_dies_too(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "watchdog_s": 0.5}).start().ready("api-0")
    env.kill("api-0", signal.SIGSTOP)
    exited = env.wait(Happened.EXITED, "api-0")
    assert exited.details["signal"] == signal.SIGKILL and exited.details["reason"] == "hung"
    env.wait(Happened.READY, "api-0", after=exited.seq)


def test_a_closed_notify_socket_counts_as_a_hang(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "closes_its_line", "watchdog_s": 0.5}, term_s=10.0).start()
    exited = env.wait(Happened.EXITED, "bad-0")
    assert (exited.details["reason"], exited.details["code"]) == ("hung", 0)


def test_a_declared_section_is_no_hang(env: SupervisionEnv) -> None:
    env.rows({"name": "slow", "entry": "blocks_as_declared", "watchdog_s": 0.4}).start(FIXTURE_BLOCK_S="1.5")
    env.until(lambda: env.slot("slow-0").get("status") == "back", "the section is over")
    assert env.count(Happened.HUNG) == 0 and env.count(Happened.STARTED, "slow-0") == 1


def test_the_whole_tree_stopped_and_continued_is_nobodys_hang(env: SupervisionEnv) -> None:
    """A paused machine: orchestrator and children stand still together for longer than any threshold."""
    env.rows(
        {"name": "api", "watchdog_s": 0.5, "instances": 2, "instances_most": 10}, {"name": "meta", "watchdog_s": 0.5}
    ).start().ready("api-0", "api-1", "meta-0")
    slots = ("api-0", "api-1", "meta-0")
    pids = {slot: env.pid(slot) for slot in slots}
    everyone = [env.orchestrator.pid, *pids.values()]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    env.until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in everyone), "all stand still")
    env.never(lambda: False, 1.5, "three times the threshold")
    for pid in everyone:
        os.kill(pid, signal.SIGCONT)
    stall = env.wait(Happened.STALL)
    assert stall.details["late_s"] >= 1.2
    env.never(lambda: env.count(Happened.HUNG), 1.5, "a false kill")
    assert {slot: env.pid(slot) for slot in slots} == pids


def test_an_orchestrator_that_was_stopped_alone_kills_no_child(env: SupervisionEnv) -> None:
    """Its queue of words overran while it stood still; its own lateness is taken off all others' silence."""
    env.rows({"name": "api", "watchdog_s": 0.5, "instances": 2, "instances_most": 10}).start(API_INSTANCES="4").ready(
        "api-0", "api-1", "api-2", "api-3"
    )
    env.orchestrator.send_signal(signal.SIGSTOP)
    env.never(lambda: False, 1.5, "three times the threshold")
    env.orchestrator.send_signal(signal.SIGCONT)
    stall = env.wait(Happened.STALL)
    env.never(lambda: env.count(Happened.HUNG), 1.5, "a false kill")
    assert env.count(Happened.EXITED) == 0 and stall.details["late_s"] >= 1.2


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_does_no_harm(env: SupervisionEnv, ahead_s: float) -> None:
    """An hour ahead or back, for the orchestrator and for every child, while they run: no hang, no exit, and restarts
    as always."""
    shift = env.home / "shift"
    rows = (
        {"name": "api", "watchdog_s": 0.5, "instances": 2, "instances_most": 10},
        {"name": "meta", "watchdog_s": 0.5},
    )
    env.rows(*rows).start(FIXTURE_WALL_SHIFT=str(shift)).ready("api-0", "api-1", "meta-0")
    pids = {slot: env.pid(slot) for slot in ("api-0", "api-1", "meta-0")}
    set_ahead(shift, ahead_s)

    def reported_ahead_s() -> float:
        return (datetime.fromisoformat(env.status()["at"]) - datetime.now(UTC)).total_seconds()

    env.until(lambda: abs(reported_ahead_s() - ahead_s) < 60.0, "the orchestrator tells the time as it is now")
    env.never(lambda: env.count(Happened.HUNG) or env.count(Happened.EXITED), 1.5, "a false kill")
    assert {slot: env.pid(slot) for slot in pids} == pids and env.count(Happened.STALL) == 0
    env.kill("meta-0")
    exited = env.wait(Happened.EXITED, "meta-0")
    assert abs((datetime.fromisoformat(exited.at) - datetime.now(UTC)).total_seconds() - ahead_s) < 60.0, (
        "the clock was set for the journal too"
    )
    restarting = env.wait(Happened.RESTARTING, "meta-0")
    assert restarting.details["delay_s"] == 0
    env.wait(Happened.READY, "meta-0", after=exited.seq)
    env.kill("api-0", signal.SIGSTOP)
    env.wait(Happened.HUNG, "api-0")  # and who truly hangs is seen as always


def test_no_deadline_is_measured_on_the_wall_clock() -> None:
    """A clock set an hour ahead, or back, changes nothing: only what is shown, compared with a file's date, or asked
    for by an operator looks at it."""
    room = environment.REPOSITORY / "supervision"
    readers = {
        path.name for path in room.rglob("*.py") if re.search(r"utc_now|time\.time\(|datetime\.now", path.read_text())
    }
    assert readers == {"snapshot.py", "event_journal.py", "cgroups.py", "options.py", "doctor_runs.py"}


def test_sigusr1_dumps_stacks_and_disturbs_no_process(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    env.orchestrator.send_signal(signal.SIGUSR1)
    err = env.home / "logs" / "orchestrator.err.log"
    env.until(lambda: "_turn_until_left" in err.read_text(), "stacks in the log")
    assert env.slot("api-0")["state"] == "ready"
