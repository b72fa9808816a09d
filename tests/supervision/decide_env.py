"""An env for replaying histories against `decide`: a fake clock and processes that live and die as the history says,
no real process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from shared.kinds import ProcessKind
from shared.process.journal import SupervisionEvent as Happened
from shared.states import SlotState
from supervision.decisions.decide import decide
from supervision.decisions.model import (
    Action,
    Configured,
    Event,
    Exit,
    Exited,
    Freed,
    KillTree,
    Leave,
    Notified,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    State,
    Tick,
    Write,
)
from supervision.decisions.restart_policy import Policy


def kind(name: str, **changes: Any) -> ProcessKind:
    """A row with short round numbers."""
    numbers: dict[str, Any] = {"restart_base_s": 1.0, "intensity": 3, "period_s": 60.0, "min_uptime_s": 10.0}
    numbers |= {"startup_s": 30.0, "watchdog_s": 3.0, "drain_s": 20.0}
    return ProcessKind(name=name, entry=f"proc_{name}.py", **(numbers | changes))


class DecideEnv:
    """Replays events, answers `Spawn` and `KillTree` as the operating system would, and remembers everything that was
    done.

    Attributes:
        now: the clock.
        done: every action so far.
        history: every journal event so far, as (event, slot, details).
        alive: incarnation of each slot's living process.
        silent: slots whose processes do not beat.
        stubborn: slots whose processes ignore SIGTERM and SIGABRT.
        unkillable: slots whose tree survives KillTree.
        refuse: error with which Spawn fails.
    """

    def __init__(
        self, *rows: ProcessKind, counts: dict[str, int] | None = None, policy: Policy | None = None, start: bool = True
    ) -> None:
        self.now = 1000.0
        self.system = State(rows=rows, policy=policy or Policy())
        self.done: list[Action] = []
        self.history: list[tuple[Happened, str, dict[str, Any]]] = []
        self.alive: dict[str, str] = {}
        self.stubborn: set[str] = set()
        self.unkillable: set[str] = set()
        self.refuse: SpawnFailed | None = None
        self.left = False
        self.uniform: Callable[[float, float], float] = lambda low, high: high
        self.silent: set[str] = set()
        self._lives = 0
        self.counts = counts or {row.name: 1 for row in rows}
        if start:
            self.happens(Configured(self.counts))

    def happens(self, event: Event) -> None:
        """Let `event` happen now, and everything that follows at once from what is then done."""
        queue = [event]
        while queue:
            self.system, actions = decide(self.system, queue.pop(0), self.now, self.uniform)
            for action in actions:
                queue += self._carry_out(action)

    def after(self, seconds: float, event: Event | None = None) -> None:
        """Let time pass in ticks, with every ready process beating, and then let `event` happen."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.25)
            for slot, incarnation in list(self.alive.items()):
                if self.state(slot) in (SlotState.READY, SlotState.UNREADY) and slot not in self.silent:
                    self.happens(Notified(slot, incarnation, {"WATCHDOG": "1"}))
            self.happens(Tick())
        if event is not None:
            self.happens(event)

    def says(self, slot: str, **fields: str) -> None:
        """Let the slot's process say something."""
        self.happens(Notified(slot, self.alive[slot], fields))

    def ready(self, *slots: str) -> None:
        """Let these processes become ready."""
        for slot in slots:
            self.says(slot, READY="1")

    def dies(
        self, slot: str, *, code: int | None = None, killed_by: signal.Signals | None = None, last_words: str = ""
    ) -> None:
        """Let the slot's main process die."""
        incarnation = self.alive.pop(slot)
        self.happens(Exited(slot, incarnation, Exit(code=code, signal=killed_by, last_words=last_words)))

    def state(self, slot: str) -> SlotState:
        """State of a slot."""
        return self.system.slots[slot].state

    def states(self) -> dict[str, str]:
        """State of every slot."""
        return {name: slot.state.value for name, slot in self.system.slots.items()}

    def events(self, slot: str = "") -> list[str]:
        """Names of what was written about a slot (or all)."""
        return [event.value for event, about, _ in self.history if not slot or about == slot]

    def details(self, event: Happened) -> dict[str, Any]:
        """Details of the last such event."""
        return next(details for happened, _, details in reversed(self.history) if happened is event)

    def sent(self, slot: str) -> list[str]:
        """Signals and kills that were sent to a slot, in order."""
        names = []
        for action in self.done:
            if isinstance(action, Send) and action.slot == slot:
                names.append(action.signal.name)
            elif isinstance(action, KillTree) and action.slot == slot:
                names.append("tree")
        return names

    def _carry_out(self, action: Action) -> list[Event]:
        self.done.append(action)
        match action:
            case Spawn(slot):
                assert slot not in self.alive, f"two processes in {slot}"
                if self.refuse:
                    return [SpawnFailed(slot, self.refuse.error, self.refuse.occupied)]
                self._lives += 1
                self.alive[slot] = f"{slot}.{self._lives}"
                return [Spawned(slot, 100 + self._lives, self.alive[slot])]
            case Send(slot, _) if slot in self.alive and slot not in self.stubborn:
                incarnation = self.alive.pop(slot)
                asked = action.signal is signal.SIGTERM
                return [Exited(slot, incarnation, Exit(code=0) if asked else Exit(signal=int(action.signal)))]
            case KillTree(slot) if slot not in self.unkillable:
                incarnation = self.system.slots[slot].incarnation
                was_there = self.alive.pop(slot, None)
                gone: list[Event] = [Exited(slot, incarnation, Exit(signal=int(signal.SIGKILL)))] if was_there else []
                return [*gone, Freed(slot, incarnation)]
            case Write(event, slot, _, details):
                self.history.append((event, slot, dict(details)))
            case Leave():
                self.left = True
        return []
