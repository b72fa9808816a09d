"""One transition: the state while an event is handled, the actions so far, and the steps that decisions consist of.

Each change of state goes through `Transition.move`, which admits only those that `shared.states.SLOT_TRANSITIONS`
lists.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.kinds import ProcessKind
from shared.needs import runs
from shared.process.journal import SupervisionEvent as Happened
from shared.states import SLOT_TRANSITIONS, SlotState, require_transition
from supervision.decisions.model import (
    Action,
    Cause,
    CloseListener,
    Escalation,
    KillTree,
    Replacement,
    Send,
    Slot,
    Spawn,
    State,
    Write,
)
from supervision.decisions.restart_policy import Uniform, after_death


class Transition:
    """The state while one event is handled.

    Attributes:
        state: after the steps so far.
        actions: to run, in order.
        now: monotonic instant of the event.
    """

    def __init__(self, state: State, now: float, uniform: Uniform) -> None:
        self.state = state
        self.actions: list[Action] = []
        self.now = now
        self._uniform = uniform
        self._rows: Mapping[str, ProcessKind] = {row.name: row for row in state.rows}

    # steps

    def configure(self, rows: tuple[ProcessKind, ...]) -> None:
        """Use the rows with the operator's present values."""
        self.state = replace(self.state, rows=rows)
        self._rows = {row.name: row for row in rows}

    def drain(self, slot: Slot, cause: Cause) -> None:
        """Let the slot's process drain and exit, within its kind's time."""
        slot = self.move(
            slot,
            SlotState.DRAINING,
            cause=cause,
            escalation=Escalation.TERM,
            silent_by=None,
            # From here on time for the drain counts, not the watchdog: a process may be silent while it closes.
            step_by=self.now + self.drain_s(slot),
        )
        self.send(slot, signal.SIGTERM)

    def start(self, slot: Slot) -> None:
        """Start a process in the slot; of the one before only the exit is kept."""
        slot = self.move(
            slot,
            SlotState.STARTING,
            pid=0,
            incarnation="",
            adopted=False,
            started_at=self.now,
            # Everything that belonged to the process before is reset; `history` and `last_exit` belong to the slot.
            ready_at=None,
            silent_by=self.now + self.row(slot).startup_s,
            starved_s=0.0,
            extended_by=None,
            step_by=None,
            next_try_at=None,
            escalation=Escalation.NONE,
            cause=Cause.NONE,
            main_gone=False,
            status="",
            doing="",
        )
        self.release(slot.kind)
        self.actions.append(Spawn(slot.name))

    def apply_policy(self, slot: Slot, healthy_s: float) -> None:
        """Apply the restart policy after an unrequested death or a failed start."""
        decision = after_death(
            slot.history, self.row(slot), self.state.policy, now=self.now, healthy_s=healthy_s, uniform=self._uniform
        )
        # Before the history is replaced: it distinguishes a failed probe from the entry into quarantine.
        probed = slot.history.failed_probes > 0
        slot = self.put(replace(slot, history=decision.history, restarts=slot.restarts + 1))
        if decision.quarantined:
            slot = self.move(slot, SlotState.QUARANTINED, next_try_at=self.now + decision.delay_s)
            if probed:
                self.write(Happened.PROBED, slot, outcome="failed", next_probe_s=round(decision.delay_s, 3))
            else:
                self.write(
                    Happened.QUARANTINED,
                    slot,
                    restarts=len(decision.history.restarts),
                    next_probe_s=round(decision.delay_s, 3),
                )
            return
        self.write(
            Happened.RESTARTING, slot, delay_s=round(decision.delay_s, 3), failures=round(decision.history.failures, 2)
        )
        self.move(slot, SlotState.BACKOFF, next_try_at=self.now + decision.delay_s)

    def enqueue(self, name: str, cause: Cause) -> None:
        """Queue the slot for replacement."""
        self.state = replace(self.state, replacements=(*self.state.replacements, Replacement(slot=name, cause=cause)))

    def release(self, kind: str) -> None:
        """Record that the kind was started: from now on it waits for no predecessor."""
        # The first start counts: the older entry wins in the union.
        self.state = replace(self.state, released={kind: self.now} | dict(self.state.released))

    def send(self, slot: Slot, which: signal.Signals) -> None:
        """Send a signal to the slot's main process."""
        self.actions.append(Send(slot.name, which))

    def kill(self, slot: Slot) -> None:
        """Escalate to the last level: kill the tree."""
        if slot.state is not SlotState.KILLING:
            slot = self.move(slot, SlotState.KILLING)
        self.put(
            # The kill is repeated at each interval: a process that is just being forked may escape one round.
            replace(slot, escalation=Escalation.KILL, silent_by=None, step_by=self.now + self.state.policy.kill_again_s)
        )
        self.actions.append(KillTree(slot.name))

    # facts

    def should_run(self, slot: Slot) -> bool:
        """Whether a process should be in the slot."""
        return not self.state.stopping and not slot.held and slot.instance < self.desired(slot.kind)

    def desired(self, kind: str) -> int:
        """Return how many slots of the kind should run now."""
        return self.state.counts.get(kind, 0) if runs(self._rows[kind], self.state.desired) else 0

    def gate_is_open(self, kind: str) -> bool:
        """Whether predecessors are ready, or have used up their startup time, before a kind's first start; later starts
        never wait."""
        # Only a first start waits. A later restart of one kind must not depend on the health of another.
        if kind in self.state.released:
            return True
        for before in self._rows[kind].after:
            slots = [slot for slot in self.state.slots.values() if slot.kind == before and self.should_run(slot)]
            if all(slot.state is SlotState.READY for slot in slots):
                continue
            begun = self.state.released.get(before)
            # Not for ever: a predecessor that does not become ready must not keep the others from running.
            if begun is None or self.now < begun + self._rows[before].startup_s:
                return False
        return True

    def awaits_replacement(self, name: str) -> bool:
        """Whether the slot is already queued for replacement."""
        return any(item.slot == name for item in self.state.replacements)

    def beat_by(self, slot: Slot) -> float:
        """Return until when the slot may now be silent."""
        by = self.now + self.row(slot).watchdog_s
        # The longer of both: an ordinary beat within a declared section does not shorten it.
        return by if slot.extended_by is None else max(by, slot.extended_by)

    def row(self, slot: Slot) -> ProcessKind:
        """Return the slot's registry row."""
        return self._rows[slot.kind]

    def drain_s(self, slot: Slot) -> float:
        """Return the time limit from SIGTERM to exit, in seconds."""
        return self.row(slot).drain_s + self.state.policy.leave_s

    def slot(self, name: str) -> Slot | None:
        """Return the slot, or None when there is none of that name."""
        return self.state.slots.get(name)

    def put(self, slot: Slot) -> Slot:
        """Store the slot."""
        self.state = replace(self.state, slots={**self.state.slots, slot.name: slot})
        return slot

    def move(self, slot: Slot, state: SlotState, **changes: Any) -> Slot:
        """Change the slot's state if the transition is listed; the port of a kind whose last slot has stopped is
        closed."""
        # A transition that is not listed is a defect of ours; it ends the orchestrator, not the children.
        require_transition(SLOT_TRANSITIONS, slot.state, state)
        slot = self.put(replace(slot, state=state, since=self.now, **changes))
        siblings = (other for other in self.state.slots.values() if other.kind == slot.kind)
        # While one slot of the kind lives or will be restarted, connections wait in the socket's queue.
        if self.row(slot).port and all(other.state is SlotState.STOPPED for other in siblings):
            self.actions.append(CloseListener(slot.kind))
        return slot

    def write(self, event: Happened, slot: Slot, **details: Any) -> None:
        """Write an event about the slot."""
        self.actions.append(Write(event, slot.name, slot.incarnation, details))
