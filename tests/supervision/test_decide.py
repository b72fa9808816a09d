"""Histories as data: what happened, when, and what the supervisor then decides. No process, no clock, no waiting."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import IllegalTransition
from shared.kinds import KINDS, ProcessKind
from shared.process.journal import SupervisionEvent as Happened
from shared.settings import Settings
from shared.states import SLOT_TRANSITIONS, SlotState, require_transition
from supervision.decide import decide, next_by
from supervision.law import Policy
from supervision.model import (
    CloseListener,
    Configured,
    DrainAsked,
    Exit,
    Exited,
    Fleet,
    Found,
    Freed,
    KeepWanted,
    KillTree,
    Leave,
    Measured,
    Notified,
    RestartAsked,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    Stalled,
    StopAsked,
    Tick,
    WantedKnown,
    Write,
)
from supervision.plan import KindUnknown, RegistryInvalid, check, followers, select, start_order, wanted_slots
from tests.supervision.world import World, kind


def one(**changes: Any) -> World:
    world = World(kind("api", **changes))
    world.ready("api-0")
    return world


# Start and order


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
    assert next_by(world.fleet) == pytest.approx(1005.0)
    world.after(0.25)
    assert world.state("api-0") == "starting"


def test_a_predecessor_that_dies_later_stops_nobody() -> None:
    world = World(kind("api", after=("db",)), kind("db"))
    world.ready("db-0", "api-0")
    world.dies("db-0", code=1)
    world.dies("api-0", code=1)
    assert world.states() == {"api-0": "starting", "db-0": "starting"}


def test_a_held_predecessor_is_not_waited_for() -> None:
    world = World(kind("api", after=("db",)), kind("db"), start=False)
    world.happens(Configured({"db": 1, "api": 0}))
    world.happens(DrainAsked(("db-0",)))
    world.happens(Configured({"db": 1, "api": 1}))
    assert world.state("api-0") == "starting"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ((kind("a"), kind("a")), "listed twice"),
        ((kind("a", after=("b",)),), "do not exist: b"),
        ((kind("a", after=("b",)), kind("b", after=("a",))), "wait for each other: a, b"),
    ],
)
def test_contradicting_rows_are_refused(rows: tuple[ProcessKind, ...], problem: str) -> None:
    with pytest.raises(RegistryInvalid, match=problem):
        check(rows)


def test_the_registry_is_sound_and_stops_in_the_reverse_order() -> None:
    check(KINDS)
    order = start_order(KINDS)
    assert all(order.index(before) < order.index(row.name) for row in KINDS for before in row.after)
    assert followers(KINDS, "postgres") == {"recorder", "api", "meta", "webdriver"}
    assert followers(KINDS, "api") == frozenset()


def test_what_runs_follows_from_the_settings() -> None:
    external = wanted_slots(KINDS, Settings(api_instances=3), embedded_postgres=False, embedded_redis=False, sandbox=False)
    assert external == {"api": 3, "webdriver": 1, "meta": 2, "recorder": 1, "sandbox": 0, "postgres": 0, "redis": 0}
    only = wanted_slots(KINDS, Settings(only="api"), embedded_postgres=True, embedded_redis=True, sandbox=True)
    assert only == {"api": 2, "webdriver": 0, "meta": 0, "recorder": 1, "sandbox": 0, "postgres": 1, "redis": 1}
    with pytest.raises(KindUnknown, match="apo"):
        wanted_slots(KINDS, Settings(only="apo"), embedded_postgres=True, embedded_redis=True, sandbox=True)


def test_targets_are_slots_kinds_or_everything() -> None:
    slots = ("api-0", "api-1", "meta-0")
    assert select(slots, "api", {}) == ("api-0", "api-1")
    assert select(slots, "api-1", {}) == ("api-1",)
    assert select(slots, "", {}) == slots
    with pytest.raises(KindUnknown, match="kinds: api; slots: api-0"):
        select(slots, "ap", {"api": 2})


# Desired state


def test_a_kind_of_connections_waits_for_the_recorder_and_then_follows_its_word() -> None:
    world = World(kind("recorder"), kind("meta", needed="connections", port="meta_port"), kind("webdriver", needed="connections"))
    assert world.states() == {"recorder-0": "starting", "meta-0": "stopped", "webdriver-0": "stopped"}
    world.says("recorder-0", X_WANTED="meta,recorder,nonsense")
    assert world.states() == {"recorder-0": "starting", "meta-0": "starting", "webdriver-0": "stopped"}
    assert KeepWanted(frozenset({"meta"})) in world.done
    world.ready("meta-0")
    world.says("recorder-0", X_WANTED="webdriver")
    assert world.states()["meta-0"] == "stopped"
    assert world.sent("meta-0") == ["SIGTERM", "tree"]
    assert CloseListener("meta") in world.done
    assert world.state("webdriver-0") == "starting"
    written = len(world.history)
    world.says("recorder-0", X_WANTED="webdriver")
    assert len(world.history) == written


def test_the_persisted_word_counts_until_a_new_one_comes() -> None:
    world = World(kind("meta", needed="connections"), start=False)
    world.happens(WantedKnown(frozenset({"meta"})))
    world.happens(Configured({"meta": 1}))
    assert world.state("meta-0") == "starting"


# The restart law, seen from outside


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
    world.happens(RestartAsked(("api-0",)))
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


def test_a_slot_that_somebody_else_holds_is_looked_at_again_without_a_strike() -> None:
    world = World(kind("api"), start=False)
    world.refuse = SpawnFailed("api-0", "held by process 7", occupied=True)
    world.happens(Configured(world.counts))
    world.after(100.0)
    assert world.state("api-0") == "backoff"
    assert world.fleet.slots["api-0"].law.strikes == 0
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
    assert world.details(Happened.HUNG) == {"what": "work loop", "silent_s": 3.0, "rung": "term"}
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
    assert (world.state("api-0"), world.fleet.slots["api-0"].status) == ("unready", "database away")
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
    before = world.fleet.slots["api-0"].silent_by
    world.happens(Stalled(0.2))
    assert before is not None and world.fleet.slots["api-0"].silent_by == before + 0.2
    assert "stall" not in world.events()


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


# Asked for by operators


def test_restart_is_expected_counts_nothing_and_starts_at_once() -> None:
    world = one()
    world.happens(RestartAsked(("api-0",)))
    assert world.events()[-4:] == ["exited", "drained", "slot_free", "started"]
    assert world.details(Happened.EXITED)["expected"] is True
    assert (world.fleet.slots["api-0"].restarts, world.fleet.slots["api-0"].law.strikes) == (0, 0)


def test_a_rolling_restart_never_takes_two_of_a_kind_at_once() -> None:
    world = World(kind("api"), kind("meta"), counts={"api": 3, "meta": 1})
    world.ready("api-0", "api-1", "api-2", "meta-0")
    world.happens(RestartAsked(("api-0", "api-1", "api-2", "meta-0")))
    assert world.states() == {"api-0": "starting", "api-1": "ready", "api-2": "ready", "meta-0": "starting"}
    world.ready("api-0")
    assert world.states() == {"api-0": "ready", "api-1": "starting", "api-2": "ready", "meta-0": "starting"}
    world.ready("api-1")
    world.ready("api-2")
    assert world.fleet.replacements and world.states()["api-2"] == "ready"
    world.ready("meta-0")
    assert world.fleet.replacements == ()


def test_a_bad_update_stops_at_its_first_victim() -> None:
    world = World(kind("api"), counts={"api": 2})
    world.ready("api-0", "api-1")
    world.happens(RestartAsked(("api-0", "api-1")))
    for _ in range(4):
        world.dies("api-0", code=1)
        world.after(4.0)
    assert world.states() == {"api-0": "quarantined", "api-1": "ready"}
    assert world.sent("api-1") == []


def test_drained_stays_down_until_restart() -> None:
    world = one()
    world.happens(DrainAsked(("api-0",)))
    world.after(100.0)
    assert world.state("api-0") == "stopped"
    world.happens(RestartAsked(("api-0",)))
    assert world.state("api-0") == "starting"


def test_draining_what_waits_stops_it() -> None:
    world = one()
    world.dies("api-0", code=1)
    world.dies("api-0", code=1)
    assert world.state("api-0") == "backoff"
    world.happens(DrainAsked(("api-0",)))
    assert world.state("api-0") == "stopped"


def test_a_drain_beyond_its_deadline_ends_on_the_ladder() -> None:
    world = one()
    world.stubborn = {"api-0"}
    world.happens(DrainAsked(("api-0",)))
    world.after(19.75)
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


# Stop


def test_stop_goes_in_reverse_order_and_ends() -> None:
    world = World(kind("api", after=("db", "recorder")), kind("recorder", after=("db",)), kind("db"))
    world.ready("db-0")
    world.ready("recorder-0")
    world.ready("api-0")
    world.stubborn = {"api-0", "recorder-0", "db-0"}
    world.happens(StopAsked())
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
    world.happens(StopAsked())
    assert world.left
    world.after(100.0)
    world.happens(RestartAsked(("api-0", "meta-0")))
    assert world.states() == {"api-0": "stopped", "meta-0": "stopped"}


def test_the_second_request_means_now_and_the_third_at_once() -> None:
    world = World(kind("api", after=("db",)), kind("db"))
    world.ready("db-0")
    world.ready("api-0")
    world.stubborn = {"api-0", "db-0"}
    world.happens(StopAsked())
    world.happens(StopAsked(now=True))
    assert world.sent("api-0") == ["SIGTERM", "SIGTERM"] and world.sent("db-0") == ["SIGTERM"]
    world.after(2.0)
    assert world.sent("api-0")[-1] == "SIGABRT"
    world.happens(StopAsked(at_once=True))
    assert world.sent("db-0")[-1] == "tree" and world.left


def test_a_crash_during_the_stop_is_not_restarted() -> None:
    world = World(kind("api"), kind("meta"))
    world.ready("api-0", "meta-0")
    world.stubborn = {"api-0", "meta-0"}
    world.happens(StopAsked())
    world.dies("api-0", killed_by=signal.SIGSEGV)
    world.dies("meta-0", code=0)
    assert world.left and world.details(Happened.DRAINED)["in_time"] is True


# The whole machine


def test_undeclared_transitions_are_refused() -> None:
    with pytest.raises(IllegalTransition, match="stopped -> ready"):
        require_transition(SLOT_TRANSITIONS, SlotState.STOPPED, SlotState.READY)


TO_A_PROCESS = ["ready", "unready", "die", "crash78", "exit0", "stopping", "silent", "beat", "stubborn", "meek"]
TO_THE_FLEET = ["restart", "drain", "memory", "hardmemory", "unkillable", "killable", "wanted", "unwanted", "stall", "refuse", "allow"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 40)),
        st.tuples(st.sampled_from(TO_A_PROCESS + TO_THE_FLEET), st.integers(0, 4)),
    ),
    max_size=40,
)


def take(world: World, step: str, slot: str, argument: float) -> None:  # noqa: PLR0912 - one line for each thing that can happen
    lives = slot in world.alive
    match step:
        case "wait":
            world.after(float(argument))
        case "ready" if lives:
            world.ready(slot)
        case "unready" if lives:
            world.says(slot, X_READY="0")
        case "stopping" if lives:
            world.says(slot, STOPPING="1")
        case "die" if lives:
            world.dies(slot, killed_by=signal.SIGKILL)
        case "crash78" if lives:
            world.dies(slot, code=78)
        case "exit0" if lives:
            world.dies(slot, code=0)
        case "silent":
            world.silent = world.silent | {slot}
        case "beat":
            world.silent = set()
        case "stubborn":
            world.stubborn = world.stubborn | {slot}
        case "meek":
            world.stubborn = set()
        case "restart":
            world.happens(RestartAsked((slot,)))
        case "drain":
            world.happens(DrainAsked((slot,)))
        case "memory":
            world.happens(Measured(slot, 150.0))
        case "hardmemory":
            world.happens(Measured(slot, 250.0))
        case "unkillable":
            world.unkillable = {slot}
        case "killable":
            world.unkillable = set()
        case "wanted" | "unwanted" if "recorder-0" in world.alive:
            world.says("recorder-0", X_WANTED="meta" if step == "wanted" else "")
        case "stall":
            world.now += argument
            world.happens(Stalled(argument))
        case "refuse":
            world.refuse = SpawnFailed("", "no memory")
        case "allow":
            world.refuse = None


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans())
def test_whatever_happens_the_invariants_hold(steps: list[tuple[str, float]], adopt: bool) -> None:
    """No slot ever has two processes (the world asserts it), death is proved before the next life, and a stop always ends."""
    rows = (
        kind("db", drain_s=5.0),
        kind("recorder", after=("db",)),
        kind("api", after=("db", "recorder"), memory_soft_mb=100, memory_hard_mb=200, port="api_port"),
        kind("meta", after=("recorder",), needed="connections"),
    )
    world = World(*rows, counts={"db": 1, "recorder": 1, "api": 2, "meta": 1}, start=False)
    if adopt:
        world.alive["api-1"] = "api-1.old"
        world.happens(Found("api-1", 77, "api-1.old", 5.0))
    world.happens(Configured(world.counts))
    names = list(world.fleet.slots)
    for step, argument in steps:
        take(world, step, names[int(argument) % len(names)], argument)
    world.unkillable = set()
    world.happens(StopAsked())
    world.after(120.0)
    assert world.left
    assert not world.alive
    for name in names:
        story = [event for event in world.events(name) if event in ("started", "adopted", "exited", "slot_free")]
        assert all(story[index - 1] == "slot_free" for index, event in enumerate(story) if event in ("started", "adopted") and index)
        assert story.count("exited") == story.count("slot_free") == story.count("started") + story.count("adopted")


def test_every_declared_transition_is_walked() -> None:
    """Tables that promise what never happens mislead; each arrow of the diagram is taken by some history."""
    walked: set[tuple[SlotState, SlotState]] = set()

    def watched(fleet: Fleet, *events: Any, now: float = 0.0) -> Fleet:
        for event in events:
            before = {name: slot.state for name, slot in fleet.slots.items()}
            moves: list[tuple[SlotState, SlotState]] = []
            fleet, _ = decide(fleet, event, now, lambda low, high: high)
            moves = [(before.get(name, SlotState.STOPPED), slot.state) for name, slot in fleet.slots.items()]
            walked.update(move for move in moves if move[0] is not move[1])
        return fleet

    row = kind("api", intensity=2)
    counts = {"api": 1}
    born = watched(Fleet(rows=(row,)), Configured(counts))
    lives = watched(born, Spawned("api-0", 1, "i"))
    ready = watched(lives, Notified("api-0", "i", {"READY": "1"}))
    unready = watched(ready, Notified("api-0", "i", {"X_READY": "0"}))
    watched(unready, Notified("api-0", "i", {"READY": "1"}))
    for fleet in (lives, ready, unready):
        draining = watched(fleet, DrainAsked(("api-0",)))
        killing = watched(fleet, Exited("api-0", "i", Exit(code=1)))
        watched(draining, Exited("api-0", "i", Exit(code=0)), Freed("api-0", "i"))
    watched(killing, Freed("api-0", "i"))
    watched(watched(ready, Exited("api-0", "i", Exit(code=78))), Freed("api-0", "i"), RestartAsked(("api-0",)))
    misconfigured = watched(watched(ready, Exited("api-0", "i", Exit(code=78))), Freed("api-0", "i"))
    watched(misconfigured, StopAsked())
    sick = ready
    for life in ("i", "j", "k"):
        sick = watched(sick, Exited("api-0", life, Exit(code=1)), Freed("api-0", life), now=1.0)
        if sick.slots["api-0"].state in (SlotState.BACKOFF, SlotState.QUARANTINED):
            watched(sick, StopAsked(), now=1.0)
            sick = watched(sick, Tick(), now=100.0)
        following = {"i": "j", "j": "k", "k": "l"}[life]
        sick = watched(sick, Spawned("api-0", 2, following), now=100.0)
    watched(born, SpawnFailed("api-0", "x", occupied=True))
    failing = born
    for _ in range(3):
        failing = watched(failing, SpawnFailed("api-0", "x"), now=1.0)
        if failing.slots["api-0"].state is SlotState.BACKOFF:
            failing = watched(failing, Tick(), now=1.5)
            failing = watched(failing, Tick(), now=5.0)
    watched(watched(Fleet(rows=(row,)), Found("api-0", 1, "i", 1.0)))
    declared = {(old, new) for old, follow in SLOT_TRANSITIONS.items() for new in follow}
    assert declared == walked


def test_actions_are_data() -> None:
    fleet, actions = decide(Fleet(rows=(kind("api"),)), Configured({"api": 1}), 5.0)
    assert actions == (Spawn("api-0"),)
    fleet, actions = decide(fleet, Spawned("api-0", 7, "api-0.x"), 5.1)
    assert actions == (Write(Happened.STARTED, "api-0", "api-0.x", {"pid": 7, "attempt": 1, "probe": False}),)
    _, actions = decide(fleet, StopAsked(), 6.0)
    assert actions == (Send("api-0", signal.SIGTERM),)
    assert isinstance(KillTree("api-0"), KillTree)
