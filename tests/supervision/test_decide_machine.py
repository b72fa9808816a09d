"""The whole machine: random histories keep its invariants, and every declared transition is walked."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import IllegalTransition
from shared.process.journal import SupervisionEvent as Happened
from shared.states import SLOT_TRANSITIONS, SlotState, require_transition
from supervision.decisions.decide import decide, next_by
from supervision.decisions.model import (
    Configured,
    DrainRequested,
    Exit,
    Exited,
    FoundProcess,
    Freed,
    KillTree,
    Measured,
    Notified,
    RestartRequested,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    Stalled,
    State,
    StopRequested,
    Tick,
    Write,
)
from tests.supervision.decide_env import DecideEnv, kind
from tests.support.examples import examples

# The whole machine


def test_undeclared_transitions_are_refused() -> None:
    with pytest.raises(IllegalTransition, match="stopped -> ready"):
        require_transition(SLOT_TRANSITIONS, SlotState.STOPPED, SlotState.READY)


TO_A_PROCESS = ["ready", "unready", "die", "crash78", "exit0", "stopping", "silent", "beat", "stubborn", "meek"]
TO_THE_INSTALLATION = [
    "restart",
    "drain",
    "memory",
    "hardmemory",
    "unkillable",
    "killable",
    "wanted",
    "unwanted",
    "stall",
    "refuse",
    "allow",
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 40)),
        st.tuples(st.sampled_from(TO_A_PROCESS + TO_THE_INSTALLATION), st.integers(0, 4)),
    ),
    max_size=40,
)


# one line for each thing that can happen
def take(env: DecideEnv, step: str, slot: str, argument: float) -> None:  # noqa: PLR0912
    lives = slot in env.alive
    match step:
        case "wait":
            env.after(float(argument))
        case "ready" if lives:
            env.ready(slot)
        case "unready" if lives:
            env.says(slot, X_READY="0")
        case "stopping" if lives:
            env.says(slot, STOPPING="1")
        case "die" if lives:
            env.dies(slot, killed_by=signal.SIGKILL)
        case "crash78" if lives:
            env.dies(slot, code=78)
        case "exit0" if lives:
            env.dies(slot, code=0)
        case "silent":
            env.silent = env.silent | {slot}
        case "beat":
            env.silent = set()
        case "stubborn":
            env.stubborn = env.stubborn | {slot}
        case "meek":
            env.stubborn = set()
        case "restart":
            env.happens(RestartRequested((slot,)))
        case "drain":
            env.happens(DrainRequested((slot,)))
        case "memory":
            env.happens(Measured(slot, 150.0))
        case "hardmemory":
            env.happens(Measured(slot, 250.0))
        case "unkillable":
            env.unkillable = {slot}
        case "killable":
            env.unkillable = set()
        case "wanted" | "unwanted" if "recorder-0" in env.alive:
            env.says("recorder-0", X_DESIRED="meta" if step == "wanted" else "")
        case "stall":
            env.now += argument
            env.happens(Stalled(argument))
        case "refuse":
            env.refuse = SpawnFailed("", "no memory")
        case "allow":
            env.refuse = None


@settings(max_examples=examples(60))
@given(STEPS, st.booleans())
def test_whatever_happens_the_invariants_hold(steps: list[tuple[str, float]], adopt: bool) -> None:
    """No slot ever has two processes (the env asserts it), death is proved before the next life, and a stop always
    ends."""
    rows = (
        kind("db", drain_s=5.0),
        kind("recorder", after=("db",)),
        kind("api", after=("db", "recorder"), memory_soft_mb=100, memory_hard_mb=200, port=3000),
        kind("meta", after=("recorder",), needed="connections"),
    )
    env = DecideEnv(*rows, counts={"db": 1, "recorder": 1, "api": 2, "meta": 1}, start=False)
    if adopt:
        env.alive["api-1"] = "api-1.old"
        env.happens(FoundProcess("api-1", 77, "api-1.old", 5.0))
    env.happens(Configured(env.counts))
    names = list(env.system.slots)
    for step, argument in steps:
        take(env, step, names[int(argument) % len(names)], argument)
        env.happens(Tick())
        assert next_by(env.system, env.now) is None or next_by(env.system, env.now) > env.now  # type: ignore[operator]
    env.unkillable = set()
    env.happens(StopRequested())
    env.after(120.0)
    assert env.left
    assert not env.alive
    for name in names:
        story = [event for event in env.events(name) if event in ("started", "adopted", "exited", "slot_free")]
        assert all(
            story[index - 1] == "slot_free"
            for index, event in enumerate(story)
            if event in ("started", "adopted") and index
        )
        assert story.count("exited") == story.count("slot_free") == story.count("started") + story.count("adopted")


def test_every_declared_transition_is_walked() -> None:
    """Tables that promise what never happens mislead; each arrow of the diagram is taken by some history."""
    walked: set[tuple[SlotState, SlotState]] = set()

    def watched(state: State, *events: Any, now: float = 0.0) -> State:
        for event in events:
            before = {name: slot.state for name, slot in state.slots.items()}
            moves: list[tuple[SlotState, SlotState]] = []
            state, _ = decide(state, event, now, lambda low, high: high)
            moves = [(before.get(name, SlotState.STOPPED), slot.state) for name, slot in state.slots.items()]
            walked.update(move for move in moves if move[0] is not move[1])
        return state

    row = kind("api", intensity=2)
    counts = {"api": 1}
    born = watched(State(rows=(row,)), Configured(counts))
    lives = watched(born, Spawned("api-0", 1, "i"))
    ready = watched(lives, Notified("api-0", "i", {"READY": "1"}))
    unready = watched(ready, Notified("api-0", "i", {"X_READY": "0"}))
    watched(unready, Notified("api-0", "i", {"READY": "1"}))
    for state in (lives, ready, unready):
        draining = watched(state, DrainRequested(("api-0",)))
        killing = watched(state, Exited("api-0", "i", Exit(code=1)))
        watched(draining, Exited("api-0", "i", Exit(code=0)), Freed("api-0", "i"))
    watched(killing, Freed("api-0", "i"))
    watched(watched(ready, Exited("api-0", "i", Exit(code=78))), Freed("api-0", "i"), RestartRequested(("api-0",)))
    misconfigured = watched(watched(ready, Exited("api-0", "i", Exit(code=78))), Freed("api-0", "i"))
    watched(misconfigured, StopRequested())
    sick = ready
    for life in ("i", "j", "k"):
        sick = watched(sick, Exited("api-0", life, Exit(code=1)), Freed("api-0", life), now=1.0)
        if sick.slots["api-0"].state in (SlotState.BACKOFF, SlotState.QUARANTINED):
            watched(sick, StopRequested(), now=1.0)
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
    watched(watched(State(rows=(row,)), FoundProcess("api-0", 1, "i", 1.0)))
    declared = {(old, new) for old, follow in SLOT_TRANSITIONS.items() for new in follow}
    assert declared == walked


def test_actions_are_data() -> None:
    state, actions = decide(State(rows=(kind("api"),)), Configured({"api": 1}), 5.0)
    assert actions == (Spawn("api-0"),)
    state, actions = decide(state, Spawned("api-0", 7, "api-0.x"), 5.1)
    assert actions == (Write(Happened.STARTED, "api-0", "api-0.x", {"pid": 7, "attempt": 1, "probe": False}),)
    _, actions = decide(state, StopRequested(), 6.0)
    assert actions == (Send("api-0", signal.SIGTERM),)
    assert isinstance(KillTree("api-0"), KillTree)
