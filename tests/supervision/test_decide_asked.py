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
from tests.supervision.world import World, kind


def one(**changes: Any) -> World:
    world = World(kind("api", **changes))
    world.ready("api-0")
    return world


# Asked for by operators


def test_restart_is_expected_counts_nothing_and_starts_at_once() -> None:
    world = one()
    world.happens(RestartRequested(("api-0",)))
    assert world.events()[-4:] == ["exited", "drained", "slot_free", "started"]
    assert world.details(Happened.EXITED)["expected"] is True
    assert (world.system.slots["api-0"].restarts, world.system.slots["api-0"].history.failures) == (0, 0)


def test_a_rolling_restart_never_takes_two_of_a_kind_at_once() -> None:
    world = World(kind("api"), kind("meta"), counts={"api": 3, "meta": 1})
    world.ready("api-0", "api-1", "api-2", "meta-0")
    world.happens(RestartRequested(("api-0", "api-1", "api-2", "meta-0")))
    assert world.states() == {"api-0": "starting", "api-1": "ready", "api-2": "ready", "meta-0": "starting"}
    world.ready("api-0")
    assert world.states() == {"api-0": "ready", "api-1": "starting", "api-2": "ready", "meta-0": "starting"}
    world.ready("api-1")
    world.ready("api-2")
    assert world.system.replacements and world.states()["api-2"] == "ready"
    world.ready("meta-0")
    assert world.system.replacements == ()


def test_a_bad_update_stops_at_its_first_victim() -> None:
    world = World(kind("api"), counts={"api": 2})
    world.ready("api-0", "api-1")
    world.happens(RestartRequested(("api-0", "api-1")))
    for _ in range(4):
        world.dies("api-0", code=1)
        world.after(4.0)
    assert world.states() == {"api-0": "quarantined", "api-1": "ready"}
    assert world.sent("api-1") == []


def test_drained_stays_down_until_restart() -> None:
    world = one()
    world.happens(DrainRequested(("api-0",)))
    world.after(100.0)
    assert world.state("api-0") == "stopped"
    world.happens(RestartRequested(("api-0",)))
    assert world.state("api-0") == "starting"


def test_draining_what_waits_stops_it() -> None:
    world = one()
    world.dies("api-0", code=1)
    world.dies("api-0", code=1)
    assert world.state("api-0") == "backoff"
    world.happens(DrainRequested(("api-0",)))
    assert world.state("api-0") == "stopped"


def test_a_drain_beyond_its_deadline_ends_on_the_ladder() -> None:
    world = one()
    world.stubborn = {"api-0"}
    world.happens(DrainRequested(("api-0",)))
    world.after(20.0 + Policy().leave_s - 0.25)
    assert world.sent("api-0") == ["SIGTERM"]
    world.after(0.75)
    assert world.sent("api-0")[:3] == ["SIGTERM", "SIGABRT", "tree"]
    assert world.details(Happened.DRAINED)["in_time"] is False
    assert world.details(Happened.EXITED)["expected"] is True
    assert world.state("api-0") == "stopped"


def test_a_signal_from_elsewhere_is_unexpected_but_may_drain() -> None:
    world = one()
    world.says("api-0", STOPPING="1")
    world.after(5.0)
    assert (world.state("api-0"), world.sent("api-0")) == ("draining", [])
    world.dies("api-0", code=0)
    assert world.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_settings_change_what_they_change_and_nothing_else() -> None:
    world = World(kind("api"), kind("meta"), counts={"api": 2, "meta": 1})
    world.ready("api-0", "api-1", "meta-0")
    world.happens(Configured({"api": 1, "meta": 2}, changed=frozenset()))
    assert world.states() == {"api-0": "ready", "meta-0": "ready", "meta-1": "starting"}
    assert world.sent("meta-0") == world.sent("api-0") == []
    world.happens(Configured({"api": 1, "meta": 2}, changed=frozenset({"api"})))
    assert world.sent("api-0") == ["SIGTERM", "tree"] and world.sent("meta-0") == []


# Stop


def test_stop_goes_in_reverse_order_and_ends() -> None:
    world = World(kind("api", after=("db", "recorder")), kind("recorder", after=("db",)), kind("db"))
    world.ready("db-0")
    world.ready("recorder-0")
    world.ready("api-0")
    world.stubborn = {"api-0", "recorder-0", "db-0"}
    world.happens(StopRequested())
    assert world.states() == {"api-0": "draining", "recorder-0": "ready", "db-0": "ready"}
    world.dies("api-0", code=0)
    assert world.states() == {"api-0": "stopped", "recorder-0": "draining", "db-0": "ready"}
    world.dies("recorder-0", code=0)
    world.dies("db-0", code=0)
    assert world.left and world.events()[-1] == "stopped"
    assert world.done.count(Leave()) == 1


def test_stop_forgets_what_waits_and_lets_nothing_start() -> None:
    world = World(kind("api"), kind("meta", after=("api",)))
    world.dies("api-0", code=1)
    world.dies("api-0", code=1)
    assert world.state("api-0") == "backoff"
    world.happens(StopRequested())
    assert world.left
    world.after(100.0)
    world.happens(RestartRequested(("api-0", "meta-0")))
    assert world.states() == {"api-0": "stopped", "meta-0": "stopped"}


def test_the_second_request_means_now_and_the_third_at_once() -> None:
    world = World(kind("api", after=("db",)), kind("db"))
    world.ready("db-0")
    world.ready("api-0")
    world.stubborn = {"api-0", "db-0"}
    world.happens(StopRequested())
    world.happens(StopRequested(now=True))
    assert world.sent("api-0") == ["SIGTERM", "SIGTERM"] and world.sent("db-0") == ["SIGTERM"]
    world.after(2.0)
    assert world.sent("api-0")[-1] == "SIGABRT"
    world.happens(StopRequested(at_once=True))
    assert world.sent("db-0")[-1] == "tree" and world.left


def test_a_crash_during_the_stop_is_not_restarted() -> None:
    world = World(kind("api"), kind("meta"))
    world.ready("api-0", "meta-0")
    world.stubborn = {"api-0", "meta-0"}
    world.happens(StopRequested())
    world.dies("api-0", killed_by=signal.SIGSEGV)
    world.dies("meta-0", code=0)
    assert world.left and world.details(Happened.DRAINED)["in_time"] is True
