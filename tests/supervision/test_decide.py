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
    FoundProcess,
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
from tests.supervision.decide_env import DecideEnv, kind


def one(**changes: Any) -> DecideEnv:
    env = DecideEnv(kind("api", **changes))
    env.ready("api-0")
    return env


def test_starts_in_order_of_readiness() -> None:
    env = DecideEnv(kind("api", after=("db",)), kind("db"), kind("meta", after=("api", "db")))
    assert env.states() == {"api-0": "stopped", "db-0": "starting", "meta-0": "stopped"}
    env.after(2.0)
    env.ready("db-0")
    assert env.states() == {"api-0": "starting", "db-0": "ready", "meta-0": "stopped"}
    env.ready("api-0")
    assert env.state("meta-0") == "starting"
    assert env.events() == ["started", "ready", "started", "ready", "started"]


def test_a_predecessor_that_does_not_come_up_blocks_no_kind_for_ever() -> None:
    env = DecideEnv(kind("api", after=("db",)), kind("db", startup_s=5.0))
    env.stubborn = {"db-0"}
    env.after(4.75)
    assert env.state("api-0") == "stopped"
    assert next_by(env.system, env.now) == pytest.approx(1005.0)
    env.after(0.25)
    assert env.state("api-0") == "starting"


def test_a_predecessor_that_dies_later_stops_no_other_kind() -> None:
    env = DecideEnv(kind("api", after=("db",)), kind("db"))
    env.ready("db-0", "api-0")
    env.dies("db-0", code=1)
    env.dies("api-0", code=1)
    assert env.states() == {"api-0": "starting", "db-0": "starting"}


def test_a_kind_that_is_not_needed_starts_no_other() -> None:
    env = DecideEnv(kind("meta", needed="connections", after=("db",)), kind("db", startup_s=5.0))
    env.ready("db-0")
    env.after(100.0)
    assert env.state("meta-0") == "stopped"
    assert next_by(env.system, env.now) == pytest.approx(env.now + 3.0)  # only db's silence


def test_a_held_predecessor_is_not_waited_for() -> None:
    env = DecideEnv(kind("api", after=("db",)), kind("db"), start=False)
    env.happens(Configured({"db": 1, "api": 0}))
    env.happens(DrainRequested(("db-0",)))
    env.happens(Configured({"db": 1, "api": 1}))
    assert env.state("api-0") == "starting"


# Desired state


def test_a_kind_of_connections_waits_for_the_recorder_and_then_follows_its_word() -> None:
    env = DecideEnv(
        kind("recorder"), kind("meta", needed="connections", port=3002), kind("webdriver", needed="connections")
    )
    assert env.states() == {"recorder-0": "starting", "meta-0": "stopped", "webdriver-0": "stopped"}
    env.says("recorder-0", X_DESIRED="meta,recorder,nonsense")
    assert env.states() == {"recorder-0": "starting", "meta-0": "starting", "webdriver-0": "stopped"}
    assert SaveDesiredKinds(frozenset({"meta"})) in env.done
    env.ready("meta-0")
    env.says("recorder-0", X_DESIRED="webdriver")
    assert env.states()["meta-0"] == "stopped"
    assert env.sent("meta-0") == ["SIGTERM", "tree"]
    assert CloseListener("meta") in env.done
    assert env.state("webdriver-0") == "starting"
    written = len(env.history)
    env.says("recorder-0", X_DESIRED="webdriver")
    assert len(env.history) == written


def test_the_persisted_word_counts_until_a_new_one_comes() -> None:
    env = DecideEnv(kind("meta", needed="connections"), start=False)
    env.happens(DesiredKindsKnown(frozenset({"meta"})))
    env.happens(Configured({"meta": 1}))
    assert env.state("meta-0") == "starting"


# The restart policy, seen from outside


def test_first_restart_at_once_then_ever_slower_then_quarantine_with_probes() -> None:
    env = one()
    delays = []
    for _ in range(3):
        env.dies("api-0", killed_by=signal.SIGKILL)
        delays.append(env.details(Happened.RESTARTING)["delay_s"])
        env.after(delays[-1])
        assert env.state("api-0") == "starting"
        env.ready("api-0")
    assert delays == [0.0, 1.0, 2.0]
    env.dies("api-0", killed_by=signal.SIGKILL)
    assert env.state("api-0") == "quarantined"
    env.after(29.75)
    assert env.state("api-0") == "quarantined"
    env.after(0.25)
    assert (env.state("api-0"), env.details(Happened.PROBED)["outcome"]) == ("starting", "started")
    env.dies("api-0", code=1)
    assert env.details(Happened.PROBED) == {"outcome": "failed", "next_probe_s": 60.0}
    env.after(60.0)
    env.ready("api-0")
    env.after(9.75)
    assert env.details(Happened.PROBED)["outcome"] == "started"
    env.after(0.25)
    assert env.details(Happened.PROBED)["outcome"] == "recovered"
    env.dies("api-0", code=1)
    assert env.state("api-0") == "starting"


def test_one_kind_in_quarantine_is_no_other_kinds_business() -> None:
    env = DecideEnv(kind("api"), kind("meta"))
    env.ready("api-0", "meta-0")
    for _ in range(4):
        env.dies("meta-0", code=1)
        env.after(10.0)
    assert env.states() == {"api-0": "ready", "meta-0": "quarantined"}
    assert env.sent("api-0") == []


def test_exit_code_zero_unasked_is_a_crash() -> None:
    env = one()
    env.dies("api-0", code=0)
    assert env.details(Happened.EXITED)["expected"] is False
    assert env.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_a_configuration_error_is_not_a_loop() -> None:
    env = DecideEnv(kind("api"))
    env.dies("api-0", code=78, last_words="API_KEY is too short")
    env.after(1000.0)
    assert env.state("api-0") == "misconfigured"
    assert env.details(Happened.MISCONFIGURED) == {"last_words": "API_KEY is too short"}
    env.happens(Configured(env.counts))
    assert env.state("api-0") == "starting"
    env.dies("api-0", code=78)
    env.happens(RestartRequested(("api-0",)))
    assert env.state("api-0") == "starting"


def test_proof_of_death_comes_before_the_next_life() -> None:
    env = one()
    env.unkillable = {"api-0"}
    env.dies("api-0", code=1)
    env.after(5.0)
    assert (env.state("api-0"), env.events()[-1]) == ("killing", "exited")
    assert env.sent("api-0") == ["tree"] * 11
    env.unkillable = set()
    env.after(0.5)
    assert env.events()[-4:] == ["exited", "slot_free", "restarting", "started"]


def test_a_slot_with_another_holder_is_checked_again_without_a_failure() -> None:
    env = DecideEnv(kind("api"), start=False)
    env.refuse = SpawnFailed("api-0", "held by process 7", occupied=True)
    env.happens(Configured(env.counts))
    env.after(100.0)
    assert env.state("api-0") == "backoff"
    assert env.system.slots["api-0"].history.failures == 0
    env.refuse = None
    env.after(1.0)
    assert env.state("api-0") == "starting"


def test_a_port_that_is_taken_follows_the_restart_policy() -> None:
    env = DecideEnv(kind("api"), start=False)
    env.refuse = SpawnFailed("api-0", "API_PORT=3000 is taken")
    env.happens(Configured(env.counts))
    env.after(200.0)
    assert env.state("api-0") == "quarantined"
    assert env.details(Happened.START_FAILED) == {"error": "API_PORT=3000 is taken"}


# Hangs


def test_a_silent_loop_is_escalated_to_the_last_level() -> None:
    env = one()
    env.silent, env.stubborn = {"api-0"}, {"api-0"}
    env.after(2.75)
    assert env.sent("api-0") == []
    env.after(0.25)
    assert env.sent("api-0") == ["SIGTERM"]
    assert env.details(Happened.HUNG) == {"what": "work loop", "silent_s": 3.0, "escalation": "term"}
    env.after(0.5)
    assert env.sent("api-0") == ["SIGTERM", "SIGABRT"]
    env.after(0.5)
    assert env.sent("api-0") == ["SIGTERM", "SIGABRT", "tree", "tree"]
    assert env.events()[-5:] == ["hung", "exited", "slot_free", "restarting", "started"]
    assert env.details(Happened.EXITED)["reason"] == "hung"


def test_a_declared_section_may_be_silent_until_its_own_end() -> None:
    env = one()
    env.silent = {"api-0"}
    env.says("api-0", EXTEND_TIMEOUT_USEC="60000000", X_DOING="loading profiles")
    env.says("api-0", WATCHDOG="1")
    env.after(59.75)
    assert env.state("api-0") == "ready"
    env.after(0.25)
    assert env.details(Happened.HUNG)["what"] == "loading profiles"


def test_the_end_of_a_section_brings_the_ordinary_threshold_back() -> None:
    env = one()
    env.silent = {"api-0"}
    env.says("api-0", EXTEND_TIMEOUT_USEC="60000000", X_DOING="x")
    env.says("api-0", EXTEND_TIMEOUT_USEC="0")
    env.after(3.0)
    assert "hung" in env.events()


@pytest.mark.parametrize("nonsense", ["-1", "abc", "", "9" * 40, "1e9", "²"])
def test_nonsense_extends_by_nothing_or_by_the_longest_section(nonsense: str) -> None:
    env = one()
    env.silent = {"api-0"}
    env.says("api-0", EXTEND_TIMEOUT_USEC=nonsense)
    env.after(Policy().longest_section_s)
    assert "hung" in env.events()


def test_a_start_has_its_time_and_may_ask_for_more() -> None:
    env = DecideEnv(kind("api"))
    env.says("api-0", EXTEND_TIMEOUT_USEC="40000000", X_DOING="waiting for PostgreSQL")
    env.after(39.75)
    assert env.state("api-0") == "starting"
    env.after(0.25)
    assert env.details(Happened.HUNG)["what"] == "start"


def test_being_unready_is_no_reason_to_die() -> None:
    env = one()
    env.says("api-0", X_READY="0", STATUS="database away")
    env.after(600.0)
    assert (env.state("api-0"), env.system.slots["api-0"].status) == ("unready", "database away")
    env.ready("api-0")
    assert env.events() == ["started", "ready", "unready", "ready"]


def test_the_supervisors_own_stall_kills_no_child() -> None:
    env = one()
    env.now += 3600.0
    env.happens(Stalled(3600.0, suspended_s=12.0))
    env.happens(Tick())
    assert env.state("api-0") == "ready"
    assert env.details(Happened.STALL) == {"late_s": 3600.0, "suspended_s": 12.0}
    env.silent = {"api-0"}
    env.after(3.0)
    assert "hung" in env.events()


def test_a_small_stall_moves_deadlines_without_a_word() -> None:
    env = one()
    before = env.system.slots["api-0"].silent_by
    env.happens(Stalled(0.2))
    assert before is not None and env.system.slots["api-0"].silent_by == before + 0.2
    assert "stall" not in env.events()


def test_a_process_that_waits_for_a_cpu_may_be_silent_for_longer_but_not_for_ever() -> None:
    env = one()
    env.silent = {"api-0"}
    env.now += 3.0
    for _ in range(40):
        env.happens(Starved("api-0", 0.25))
        env.happens(Tick())
        env.now += 0.25
    assert env.state("api-0") == "ready"
    env.says("api-0", WATCHDOG="1")
    assert env.system.slots["api-0"].starved_s == 0
    env.now += 3.0
    for _ in range(1000):
        if "hung" in env.events():
            break
        env.now += 0.25
        env.happens(Starved("api-0", 0.25))
        env.happens(Tick())
    silent_s = env.details(Happened.HUNG)["silent_s"]
    assert 3.0 + env.system.policy.starved_most_s <= silent_s <= 3.5 + env.system.policy.starved_most_s


def test_a_hang_with_cpu_to_spare_is_not_excused_afterwards() -> None:
    env = one()
    env.silent = env.stubborn = {"api-0"}
    env.after(3.0)
    assert "hung" in env.events()
    env.happens(Starved("api-0", 0.25))
    assert env.state("api-0") == "killing"


def test_no_child_is_called_silent_before_waiting_datagrams_are_read() -> None:
    """Only time calls a process silent, when everything that waits in the socket was received: its own word may stand
    behind that of another."""
    env = DecideEnv(kind("api"), kind("meta"))
    env.ready("api-0", "meta-0")
    env.now += 3.1
    env.says("meta-0", WATCHDOG="1")
    assert env.state("api-0") == "ready"
    env.says("api-0", WATCHDOG="1")
    env.happens(Tick())
    assert env.states() == {"api-0": "ready", "meta-0": "ready"}


def test_notifications_of_another_life_are_ignored() -> None:
    env = one()
    old = env.alive["api-0"]
    env.dies("api-0", code=1)
    env.happens(Notified("api-0", old, {"READY": "1"}))
    env.happens(Exited("api-0", old, Exit(code=1)))
    env.happens(Freed("api-0", old))
    env.happens(Notified("nobody-7", old, {"READY": "1"}))
    assert env.state("api-0") == "starting"
    assert env.events().count("exited") == 1


# Memory


def test_soft_ceiling_drains_one_at_a_time_and_hard_ceiling_kills() -> None:
    env = DecideEnv(kind("api", memory_soft_mb=100, memory_hard_mb=200), counts={"api": 2})
    env.ready("api-0", "api-1")
    env.happens(Measured("api-0", 150.0))
    env.happens(Measured("api-1", 150.0))
    assert env.states() == {"api-0": "starting", "api-1": "ready"}
    env.happens(Measured("api-1", 160.0))
    assert env.events("api-1").count("over_memory") == 1
    env.happens(Measured("api-1", 250.0))
    assert env.sent("api-1")[0] == "tree"
    assert env.details(Happened.OVER_MEMORY) == {"rss_mb": 250, "limit_mb": 200, "ceiling": "hard"}
    assert env.details(Happened.EXITED)["expected"] is False


def test_a_leak_that_needs_replacement_all_the_time_is_slowed_down() -> None:
    env = one(memory_soft_mb=100)
    for _ in range(4):
        env.happens(Measured("api-0", 150.0))
        env.after(3.0)
        if env.state("api-0") is SlotState.STARTING:
            env.ready("api-0")
    assert env.state("api-0") == "quarantined"


# Adoption


def test_adopted_processes_go_on_and_are_watched() -> None:
    env = DecideEnv(kind("api"), kind("meta"), start=False)
    env.alive["api-0"] = "api-0.old"
    env.happens(FoundProcess("api-0", 77, "api-0.old", 500.0))
    env.happens(Configured(env.counts))
    assert env.states() == {"api-0": "unready", "meta-0": "starting"}
    env.ready("api-0")
    assert (env.state("api-0"), env.events("api-0")) == ("ready", ["adopted"])
    env.silent = {"api-0"}
    env.after(3.0)
    assert "hung" in env.events("api-0")


def test_an_adopted_process_may_have_been_silent_without_an_orchestrator() -> None:
    env = DecideEnv(kind("api"), start=False)
    env.alive["api-0"] = "api-0.old"
    env.silent = {"api-0"}
    env.happens(FoundProcess("api-0", 77, "api-0.old", 500.0))
    env.happens(Configured(env.counts))
    env.after(4.75)
    assert env.state("api-0") == "unready"
    env.after(0.25)
    assert "hung" in env.events()


def test_an_adopted_process_that_still_starts_has_the_rest_of_its_time() -> None:
    env = DecideEnv(kind("api"), start=False)
    env.alive["api-0"] = "api-0.old"
    env.silent = {"api-0"}
    env.happens(FoundProcess("api-0", 77, "api-0.old", 1.0))
    env.happens(Configured(env.counts))
    env.after(30.0)
    assert env.state("api-0") == "unready"


def test_an_adopted_slot_beyond_the_count_is_drained() -> None:
    env = DecideEnv(kind("api"), start=False)
    env.alive["api-7"] = "api-7.old"
    env.happens(FoundProcess("api-7", 77, "api-7.old", 100.0))
    env.happens(Configured({"api": 1}))
    assert env.states() == {"api-0": "starting"}
    assert env.sent("api-7") == ["SIGTERM", "tree"]
