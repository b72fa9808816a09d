"""Histories of what operators ask for, from restart to stop, and how the supervisor answers; as in test_decide."""

from __future__ import annotations

import signal
from typing import Any

from shared.process.journal import SupervisionEvent as Happened
from supervision.decisions.model import (
    Configured,
    DrainRequested,
    Leave,
    RestartRequested,
    StopRequested,
)
from supervision.decisions.restart_policy import Policy
from tests.supervision.decide_env import DecideEnv, kind


def one(**changes: Any) -> DecideEnv:
    env = DecideEnv(kind("api", **changes))
    env.ready("api-0")
    return env


# Asked for by operators


def test_restart_is_expected_counts_nothing_and_starts_at_once() -> None:
    env = one()
    env.happens(RestartRequested(("api-0",)))
    assert env.events()[-4:] == ["exited", "drained", "slot_free", "started"]
    assert env.details(Happened.EXITED)["expected"] is True
    assert (env.system.slots["api-0"].restarts, env.system.slots["api-0"].history.failures) == (0, 0)


def test_a_rolling_restart_never_takes_two_of_a_kind_at_once() -> None:
    env = DecideEnv(kind("api"), kind("meta"), counts={"api": 3, "meta": 1})
    env.ready("api-0", "api-1", "api-2", "meta-0")
    env.happens(RestartRequested(("api-0", "api-1", "api-2", "meta-0")))
    assert env.states() == {"api-0": "starting", "api-1": "ready", "api-2": "ready", "meta-0": "starting"}
    env.ready("api-0")
    assert env.states() == {"api-0": "ready", "api-1": "starting", "api-2": "ready", "meta-0": "starting"}
    env.ready("api-1")
    env.ready("api-2")
    assert env.system.replacements and env.states()["api-2"] == "ready"
    env.ready("meta-0")
    assert env.system.replacements == ()


def test_a_bad_update_stops_at_its_first_victim() -> None:
    env = DecideEnv(kind("api"), counts={"api": 2})
    env.ready("api-0", "api-1")
    env.happens(RestartRequested(("api-0", "api-1")))
    for _ in range(4):
        env.dies("api-0", code=1)
        env.after(4.0)
    assert env.states() == {"api-0": "quarantined", "api-1": "ready"}
    assert env.sent("api-1") == []


def test_drained_stays_down_until_restart() -> None:
    env = one()
    env.happens(DrainRequested(("api-0",)))
    env.after(100.0)
    assert env.state("api-0") == "stopped"
    env.happens(RestartRequested(("api-0",)))
    assert env.state("api-0") == "starting"


def test_draining_what_waits_stops_it() -> None:
    env = one()
    env.dies("api-0", code=1)
    env.dies("api-0", code=1)
    assert env.state("api-0") == "backoff"
    env.happens(DrainRequested(("api-0",)))
    assert env.state("api-0") == "stopped"


def test_a_drain_beyond_its_deadline_is_escalated() -> None:
    env = one()
    env.stubborn = {"api-0"}
    env.happens(DrainRequested(("api-0",)))
    env.after(20.0 + Policy().leave_s - 0.25)
    assert env.sent("api-0") == ["SIGTERM"]
    env.after(0.75)
    assert env.sent("api-0")[:3] == ["SIGTERM", "SIGABRT", "tree"]
    assert env.details(Happened.DRAINED)["in_time"] is False
    assert env.details(Happened.EXITED)["expected"] is True
    assert env.state("api-0") == "stopped"


def test_a_signal_from_elsewhere_is_unexpected_but_may_drain() -> None:
    env = one()
    env.says("api-0", STOPPING="1")
    env.after(5.0)
    assert (env.state("api-0"), env.sent("api-0")) == ("draining", [])
    env.dies("api-0", code=0)
    assert env.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_settings_change_what_they_change_and_nothing_else() -> None:
    env = DecideEnv(kind("api"), kind("meta"), counts={"api": 2, "meta": 1})
    env.ready("api-0", "api-1", "meta-0")
    env.happens(Configured({"api": 1, "meta": 2}, changed=frozenset()))
    assert env.states() == {"api-0": "ready", "meta-0": "ready", "meta-1": "starting"}
    assert env.sent("meta-0") == env.sent("api-0") == []
    env.happens(Configured({"api": 1, "meta": 2}, changed=frozenset({"api"})))
    assert env.sent("api-0") == ["SIGTERM", "tree"] and env.sent("meta-0") == []


# Stop


def test_stop_goes_in_reverse_order_and_ends() -> None:
    env = DecideEnv(kind("api", after=("db", "recorder")), kind("recorder", after=("db",)), kind("db"))
    env.ready("db-0")
    env.ready("recorder-0")
    env.ready("api-0")
    env.stubborn = {"api-0", "recorder-0", "db-0"}
    env.happens(StopRequested())
    assert env.states() == {"api-0": "draining", "recorder-0": "ready", "db-0": "ready"}
    env.dies("api-0", code=0)
    assert env.states() == {"api-0": "stopped", "recorder-0": "draining", "db-0": "ready"}
    env.dies("recorder-0", code=0)
    env.dies("db-0", code=0)
    assert env.left and env.events()[-1] == "stopped"
    assert env.done.count(Leave()) == 1


def test_stop_forgets_what_waits_and_lets_nothing_start() -> None:
    env = DecideEnv(kind("api"), kind("meta", after=("api",)))
    env.dies("api-0", code=1)
    env.dies("api-0", code=1)
    assert env.state("api-0") == "backoff"
    env.happens(StopRequested())
    assert env.left
    env.after(100.0)
    env.happens(RestartRequested(("api-0", "meta-0")))
    assert env.states() == {"api-0": "stopped", "meta-0": "stopped"}


def test_the_second_request_means_now_and_the_third_at_once() -> None:
    env = DecideEnv(kind("api", after=("db",)), kind("db"))
    env.ready("db-0")
    env.ready("api-0")
    env.stubborn = {"api-0", "db-0"}
    env.happens(StopRequested())
    env.happens(StopRequested(now=True))
    assert env.sent("api-0") == ["SIGTERM", "SIGTERM"] and env.sent("db-0") == ["SIGTERM"]
    env.after(2.0)
    assert env.sent("api-0")[-1] == "SIGABRT"
    env.happens(StopRequested(at_once=True))
    assert env.sent("db-0")[-1] == "tree" and env.left


def test_a_crash_during_the_stop_is_not_restarted() -> None:
    env = DecideEnv(kind("api"), kind("meta"))
    env.ready("api-0", "meta-0")
    env.stubborn = {"api-0", "meta-0"}
    env.happens(StopRequested())
    env.dies("api-0", killed_by=signal.SIGSEGV)
    env.dies("meta-0", code=0)
    assert env.left and env.details(Happened.DRAINED)["in_time"] is True
