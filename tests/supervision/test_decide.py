"""Histories as data: what happened, when, and what the supervisor then decides. No process, no clock, no waiting."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from shared.process.journal import SupervisionEvent as Happened
from shared.states import SlotState
from supervision.decisions.decide import next_by
from supervision.decisions.model import (
    CloseListener,
    Configured,
    DesiredKindsKnown,
    DrainRequested,
    Exit,
    Exited,
    Found,
    Freed,
    Measured,
    Notified,
    RestartRequested,
    SaveDesiredKinds,
    SpawnFailed,
    Stalled,
    Starved,
    Tick,
)
from supervision.decisions.restart_policy import Policy
from tests.supervision.world import World, kind


def one(**changes: Any) -> World:
    world = World(kind("api", **changes))
    world.ready("api-0")
    return world


def test_starts_in_order_of_readiness() -> None:
    world = World(kind("api", after=("db",)), kind("db"), kind("meta", after=("api", "db")))
    assert world.states() == {"api-0": "stopped", "db-0": "starting", "meta-0": "stopped"}
    world.after(2.0)
    world.ready("db-0")
    assert world.states() == {"api-0": "starting", "db-0": "ready", "meta-0": "stopped"}
    world.ready("api-0")
    assert world.state("meta-0") == "starting"
    assert world.events() == ["started", "ready", "started", "ready", "started"]


def test_a_predecessor_that_does_not_come_up_holds_nobody_back_for_ever() -> None:
    world = World(kind("api", after=("db",)), kind("db", startup_s=5.0))
    world.stubborn = {"db-0"}
    world.after(4.75)
    assert world.state("api-0") == "stopped"
    assert next_by(world.system, world.now) == pytest.approx(1005.0)
    world.after(0.25)
    assert world.state("api-0") == "starting"


def test_a_predecessor_that_dies_later_stops_nobody() -> None:
    world = World(kind("api", after=("db",)), kind("db"))
    world.ready("db-0", "api-0")
    world.dies("db-0", code=1)
    world.dies("api-0", code=1)
    assert world.states() == {"api-0": "starting", "db-0": "starting"}


def test_a_kind_that_is_not_needed_wakes_nobody_up() -> None:
    world = World(kind("meta", needed="connections", after=("db",)), kind("db", startup_s=5.0))
    world.ready("db-0")
    world.after(100.0)
    assert world.state("meta-0") == "stopped"
    assert next_by(world.system, world.now) == pytest.approx(world.now + 3.0)  # only db's silence


def test_a_held_predecessor_is_not_waited_for() -> None:
    world = World(kind("api", after=("db",)), kind("db"), start=False)
    world.happens(Configured({"db": 1, "api": 0}))
    world.happens(DrainRequested(("db-0",)))
    world.happens(Configured({"db": 1, "api": 1}))
    assert world.state("api-0") == "starting"


# Desired state


def test_a_kind_of_connections_waits_for_the_recorder_and_then_follows_its_word() -> None:
    world = World(
        kind("recorder"), kind("meta", needed="connections", port=3002), kind("webdriver", needed="connections")
    )
    assert world.states() == {"recorder-0": "starting", "meta-0": "stopped", "webdriver-0": "stopped"}
    world.says("recorder-0", X_DESIRED="meta,recorder,nonsense")
    assert world.states() == {"recorder-0": "starting", "meta-0": "starting", "webdriver-0": "stopped"}
    assert SaveDesiredKinds(frozenset({"meta"})) in world.done
    world.ready("meta-0")
    world.says("recorder-0", X_DESIRED="webdriver")
    assert world.states()["meta-0"] == "stopped"
    assert world.sent("meta-0") == ["SIGTERM", "tree"]
    assert CloseListener("meta") in world.done
    assert world.state("webdriver-0") == "starting"
    written = len(world.history)
    world.says("recorder-0", X_DESIRED="webdriver")
    assert len(world.history) == written


def test_the_persisted_word_counts_until_a_new_one_comes() -> None:
    world = World(kind("meta", needed="connections"), start=False)
    world.happens(DesiredKindsKnown(frozenset({"meta"})))
    world.happens(Configured({"meta": 1}))
    assert world.state("meta-0") == "starting"


# The restart policy, seen from outside


def test_first_restart_at_once_then_ever_slower_then_quarantine_with_probes() -> None:
    world = one()
    delays = []
    for _ in range(3):
        world.dies("api-0", killed_by=signal.SIGKILL)
        delays.append(world.details(Happened.RESTARTING)["delay_s"])
        world.after(delays[-1])
        assert world.state("api-0") == "starting"
        world.ready("api-0")
    assert delays == [0.0, 1.0, 2.0]
    world.dies("api-0", killed_by=signal.SIGKILL)
    assert world.state("api-0") == "quarantined"
    world.after(29.75)
    assert world.state("api-0") == "quarantined"
    world.after(0.25)
    assert (world.state("api-0"), world.details(Happened.PROBED)["outcome"]) == ("starting", "started")
    world.dies("api-0", code=1)
    assert world.details(Happened.PROBED) == {"outcome": "failed", "next_probe_s": 60.0}
    world.after(60.0)
    world.ready("api-0")
    world.after(9.75)
    assert world.details(Happened.PROBED)["outcome"] == "started"
    world.after(0.25)
    assert world.details(Happened.PROBED)["outcome"] == "recovered"
    world.dies("api-0", code=1)
    assert world.state("api-0") == "starting"


def test_one_kind_in_quarantine_is_no_other_kinds_business() -> None:
    world = World(kind("api"), kind("meta"))
    world.ready("api-0", "meta-0")
    for _ in range(4):
        world.dies("meta-0", code=1)
        world.after(10.0)
    assert world.states() == {"api-0": "ready", "meta-0": "quarantined"}
    assert world.sent("api-0") == []


def test_exit_code_zero_unasked_is_a_crash() -> None:
    world = one()
    world.dies("api-0", code=0)
    assert world.details(Happened.EXITED)["expected"] is False
    assert world.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_a_configuration_error_is_not_a_loop() -> None:
    world = World(kind("api"))
    world.dies("api-0", code=78, last_words="API_KEY is too short")
    world.after(1000.0)
    assert world.state("api-0") == "misconfigured"
    assert world.details(Happened.MISCONFIGURED) == {"last_words": "API_KEY is too short"}
    world.happens(Configured(world.counts))
    assert world.state("api-0") == "starting"
    world.dies("api-0", code=78)
    world.happens(RestartRequested(("api-0",)))
    assert world.state("api-0") == "starting"


def test_proof_of_death_comes_before_the_next_life() -> None:
    world = one()
    world.unkillable = {"api-0"}
    world.dies("api-0", code=1)
    world.after(5.0)
    assert (world.state("api-0"), world.events()[-1]) == ("killing", "exited")
    assert world.sent("api-0") == ["tree"] * 11
    world.unkillable = set()
    world.after(0.5)
    assert world.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_a_slot_that_somebody_else_holds_is_looked_at_again_without_a_failure() -> None:
    world = World(kind("api"), start=False)
    world.refuse = SpawnFailed("api-0", "held by process 7", occupied=True)
    world.happens(Configured(world.counts))
    world.after(100.0)
    assert world.state("api-0") == "backoff"
    assert world.system.slots["api-0"].history.failures == 0
    world.refuse = None
    world.after(1.0)
    assert world.state("api-0") == "starting"


def test_a_port_that_is_taken_follows_the_law() -> None:
    world = World(kind("api"), start=False)
    world.refuse = SpawnFailed("api-0", "API_PORT=3000 is taken")
    world.happens(Configured(world.counts))
    world.after(200.0)
    assert world.state("api-0") == "quarantined"
    assert world.details(Happened.START_FAILED) == {"error": "API_PORT=3000 is taken"}


# Hangs


def test_a_silent_loop_climbs_the_ladder_to_the_end() -> None:
    world = one()
    world.silent, world.stubborn = {"api-0"}, {"api-0"}
    world.after(2.75)
    assert world.sent("api-0") == []
    world.after(0.25)
    assert world.sent("api-0") == ["SIGTERM"]
    assert world.details(Happened.HUNG) == {"what": "work loop", "silent_s": 3.0, "escalation": "term"}
    world.after(0.5)
    assert world.sent("api-0") == ["SIGTERM", "SIGABRT"]
    world.after(0.5)
    assert world.sent("api-0") == ["SIGTERM", "SIGABRT", "tree", "tree"]
    assert world.events()[-5:] == ["hung", "exited", "slot_free", "restarting", "started"]
    assert world.details(Happened.EXITED)["reason"] == "hung"


def test_a_declared_section_may_be_silent_until_its_own_end() -> None:
    world = one()
    world.silent = {"api-0"}
    world.says("api-0", EXTEND_TIMEOUT_USEC="60000000", X_DOING="loading profiles")
    world.says("api-0", WATCHDOG="1")
    world.after(59.75)
    assert world.state("api-0") == "ready"
    world.after(0.25)
    assert world.details(Happened.HUNG)["what"] == "loading profiles"


def test_the_end_of_a_section_brings_the_ordinary_threshold_back() -> None:
    world = one()
    world.silent = {"api-0"}
    world.says("api-0", EXTEND_TIMEOUT_USEC="60000000", X_DOING="x")
    world.says("api-0", EXTEND_TIMEOUT_USEC="0")
    world.after(3.0)
    assert "hung" in world.events()


@pytest.mark.parametrize("nonsense", ["-1", "abc", "", "9" * 40, "1e9", "²"])
def test_nonsense_extends_by_nothing_or_by_the_longest_section(nonsense: str) -> None:
    world = one()
    world.silent = {"api-0"}
    world.says("api-0", EXTEND_TIMEOUT_USEC=nonsense)
    world.after(Policy().longest_section_s)
    assert "hung" in world.events()


def test_a_start_has_its_time_and_may_ask_for_more() -> None:
    world = World(kind("api"))
    world.says("api-0", EXTEND_TIMEOUT_USEC="40000000", X_DOING="waiting for PostgreSQL")
    world.after(39.75)
    assert world.state("api-0") == "starting"
    world.after(0.25)
    assert world.details(Happened.HUNG)["what"] == "start"


def test_being_unready_is_no_reason_to_die() -> None:
    world = one()
    world.says("api-0", X_READY="0", STATUS="database away")
    world.after(600.0)
    assert (world.state("api-0"), world.system.slots["api-0"].status) == ("unready", "database away")
    world.ready("api-0")
    assert world.events() == ["started", "ready", "unready", "ready"]


def test_the_supervisors_own_stall_kills_nobody() -> None:
    world = one()
    world.now += 3600.0
    world.happens(Stalled(3600.0, suspended_s=12.0))
    world.happens(Tick())
    assert world.state("api-0") == "ready"
    assert world.details(Happened.STALL) == {"late_s": 3600.0, "suspended_s": 12.0}
    world.silent = {"api-0"}
    world.after(3.0)
    assert "hung" in world.events()


def test_a_small_stall_moves_deadlines_without_a_word() -> None:
    world = one()
    before = world.system.slots["api-0"].silent_by
    world.happens(Stalled(0.2))
    assert before is not None and world.system.slots["api-0"].silent_by == before + 0.2
    assert "stall" not in world.events()


def test_who_waits_for_a_cpu_may_be_silent_for_longer_but_not_for_ever() -> None:
    world = one()
    world.silent = {"api-0"}
    world.now += 3.0
    for _ in range(40):
        world.happens(Starved("api-0", 0.25))
        world.happens(Tick())
        world.now += 0.25
    assert world.state("api-0") == "ready"
    world.says("api-0", WATCHDOG="1")
    assert world.system.slots["api-0"].starved_s == 0
    world.now += 3.0
    for _ in range(1000):
        if "hung" in world.events():
            break
        world.now += 0.25
        world.happens(Starved("api-0", 0.25))
        world.happens(Tick())
    silent_s = world.details(Happened.HUNG)["silent_s"]
    assert 3.0 + world.system.policy.starved_most_s <= silent_s <= 3.5 + world.system.policy.starved_most_s


def test_who_hangs_in_plenty_is_not_allowed_for_after_the_fact() -> None:
    world = one()
    world.silent = world.stubborn = {"api-0"}
    world.after(3.0)
    assert "hung" in world.events()
    world.happens(Starved("api-0", 0.25))
    assert world.state("api-0") == "killing"


def test_nobody_is_called_silent_while_others_are_heard() -> None:
    """Only time calls a process silent, when everything that waits in the socket was received: its own word may stand
    behind that of another."""
    world = World(kind("api"), kind("meta"))
    world.ready("api-0", "meta-0")
    world.now += 3.1
    world.says("meta-0", WATCHDOG="1")
    assert world.state("api-0") == "ready"
    world.says("api-0", WATCHDOG="1")
    world.happens(Tick())
    assert world.states() == {"api-0": "ready", "meta-0": "ready"}


def test_words_of_another_life_are_not_heard() -> None:
    world = one()
    old = world.alive["api-0"]
    world.dies("api-0", code=1)
    world.happens(Notified("api-0", old, {"READY": "1"}))
    world.happens(Exited("api-0", old, Exit(code=1)))
    world.happens(Freed("api-0", old))
    world.happens(Notified("nobody-7", old, {"READY": "1"}))
    assert world.state("api-0") == "starting"
    assert world.events().count("exited") == 1


# Memory


def test_soft_ceiling_drains_one_at_a_time_and_hard_ceiling_kills() -> None:
    world = World(kind("api", memory_soft_mb=100, memory_hard_mb=200), counts={"api": 2})
    world.ready("api-0", "api-1")
    world.happens(Measured("api-0", 150.0))
    world.happens(Measured("api-1", 150.0))
    assert world.states() == {"api-0": "starting", "api-1": "ready"}
    world.happens(Measured("api-1", 160.0))
    assert world.events("api-1").count("over_memory") == 1
    world.happens(Measured("api-1", 250.0))
    assert world.sent("api-1")[0] == "tree"
    assert world.details(Happened.OVER_MEMORY) == {"rss_mb": 250, "limit_mb": 200, "ceiling": "hard"}
    assert world.details(Happened.EXITED)["expected"] is False


def test_a_leak_that_needs_replacement_all_the_time_is_slowed_down() -> None:
    world = one(memory_soft_mb=100)
    for _ in range(4):
        world.happens(Measured("api-0", 150.0))
        world.after(3.0)
        if world.state("api-0") is SlotState.STARTING:
            world.ready("api-0")
    assert world.state("api-0") == "quarantined"


# Adoption


def test_adopted_processes_go_on_and_are_watched() -> None:
    world = World(kind("api"), kind("meta"), start=False)
    world.alive["api-0"] = "api-0.old"
    world.happens(Found("api-0", 77, "api-0.old", 500.0))
    world.happens(Configured(world.counts))
    assert world.states() == {"api-0": "unready", "meta-0": "starting"}
    world.ready("api-0")
    assert (world.state("api-0"), world.events("api-0")) == ("ready", ["adopted"])
    world.silent = {"api-0"}
    world.after(3.0)
    assert "hung" in world.events("api-0")


def test_an_adopted_process_may_have_been_silent_while_nobody_listened() -> None:
    world = World(kind("api"), start=False)
    world.alive["api-0"] = "api-0.old"
    world.silent = {"api-0"}
    world.happens(Found("api-0", 77, "api-0.old", 500.0))
    world.happens(Configured(world.counts))
    world.after(4.75)
    assert world.state("api-0") == "unready"
    world.after(0.25)
    assert "hung" in world.events()


def test_an_adopted_process_that_still_starts_has_the_rest_of_its_time() -> None:
    world = World(kind("api"), start=False)
    world.alive["api-0"] = "api-0.old"
    world.silent = {"api-0"}
    world.happens(Found("api-0", 77, "api-0.old", 1.0))
    world.happens(Configured(world.counts))
    world.after(30.0)
    assert world.state("api-0") == "unready"


def test_an_adopted_slot_beyond_the_count_is_drained() -> None:
    world = World(kind("api"), start=False)
    world.alive["api-7"] = "api-7.old"
    world.happens(Found("api-7", 77, "api-7.old", 100.0))
    world.happens(Configured({"api": 1}))
    assert world.states() == {"api-0": "starting"}
    assert world.sent("api-7") == ["SIGTERM", "tree"]
