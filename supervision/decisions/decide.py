"""Every decision of the supervisor, as one pure function of state, event and time.

`decide` takes what happened and returns the new state and what is to be done; the shell in `supervisor` does it.
Histories of events can thus be replayed as data (tests/supervision/test_decide.py).
"""

from __future__ import annotations

import random
import signal
from dataclasses import replace

from shared.process.journal import SupervisionEvent as Happened
from shared.states import SlotState
from supervision.decisions.model import (
    SERVING,
    WAITING,
    Action,
    Cause,
    Configured,
    DesiredKindsKnown,
    DrainRequested,
    Escalation,
    Event,
    Exited,
    FoundProcess,
    Freed,
    Leave,
    Measured,
    Notified,
    Replacement,
    RestartRequested,
    Slot,
    Spawned,
    SpawnFailed,
    Stalled,
    Starved,
    State,
    StopRequested,
    Tick,
    Write,
)
from supervision.decisions.plan import followers
from supervision.decisions.reports import ReportHandlers
from supervision.decisions.restart_policy import RestartHistory, Uniform, has_recovered


def decide(
    state: State, event: Event, now: float, uniform: Uniform = random.uniform
) -> tuple[State, tuple[Action, ...]]:
    """Return the state after `event` and the actions to run, in order.

    Args:
        state: what is known.
        event: what happened.
        now: monotonic instant of it.
        uniform: source of jitter.
    """
    turn = _Decision(state, now, uniform)
    # In this order: the event changes the state, and what follows from a state is decided in one place, whatever led to
    # it.
    turn.take(event)
    turn.settle()
    return turn.state, tuple(turn.actions)


def next_by(state: State, now: float) -> float | None:
    """Return the earliest instant after `now` at which a `Tick` may decide something, or None when only an event
    can."""
    instants = [
        at for slot in state.slots.values() for at in (slot.silent_by, slot.step_by, slot.next_try_at) if at is not None
    ]
    # A kind that waits for its predecessors starts when their startup time is used up, which no event reports.
    rows = {row.name: row for row in state.rows}
    if any(slot.state is SlotState.STOPPED and slot.kind not in state.released for slot in state.slots.values()):
        instants += [at + rows[kind].startup_s for kind, at in state.released.items()]
    instants += [
        # The end of a quarantine is a matter of uptime alone.
        slot.ready_at + rows[slot.kind].min_uptime_s
        for slot in state.slots.values()
        if slot.history.failed_probes and slot.ready_at is not None
    ]
    # Instants that have passed were decided already; counting them would make the loop spin.
    return min((at for at in instants if at > now), default=None)


class _Decision(ReportHandlers):
    """One call of `decide`: first the event, then what the state and the time require."""

    def take(self, event: Event) -> None:  # noqa: PLR0912 - one line for each event that there is
        match event:
            case Notified():
                self.notified(event)
            case Exited():
                self.exited(event)
            case Freed():
                self.freed(event)
            case Spawned():
                self.spawned(event)
            case SpawnFailed():
                self.spawn_failed(event)
            case FoundProcess():
                self.found(event)
            case Measured():
                self.measured(event)
            case Stalled():
                self.stalled(event)
            case Starved():
                self.starved(event)
            case RestartRequested():
                self._restart(event.slots, Cause.RESTART)
            case DrainRequested():
                self._hold(event.slots)
            case Configured():
                self._configured(event)
            case DesiredKindsKnown():
                self.state = replace(self.state, desired=event.kinds)
            case StopRequested():
                self._stop(event)
            case Tick():
                # Only on a tick: while datagrams wait to be read, no child counts as silent.
                for name in self.state.slots if self.state.configured else ():
                    self._escalate(name)

    def settle(self) -> None:
        """Do what state and time require, whatever the event was. Nothing before the first `Configured`."""
        # Before the first `Configured` the survey's events arrive: nothing may start before all that lives is known.
        if not self.state.configured:
            return
        for name in self.state.slots:
            self._end_quarantine(name)
        # What should not run is decided first: replacements and starts below then see that state.
        self._stop_what_should_not_run()
        self._advance_replacements()
        for name in self.state.slots:
            self._start_if_due(name)
        self._leave_if_done()

    # events

    def _restart(self, names: tuple[str, ...], cause: Cause) -> None:
        if self.state.stopping:
            return
        for name in names:
            slot = self.slot(name)
            if slot is None:
                continue
            # An operator's restart is a new beginning: it ends a drain and a quarantine, and earlier deaths do not
            # count.
            slot = self.put(replace(slot, held=False, history=RestartHistory()))
            if slot.state in WAITING:
                # Through the ordinary start in `settle`, which also checks that the slot should run.
                slot = self.put(replace(slot, next_try_at=self.now))
            elif slot.state in SERVING and not self.awaits_replacement(name):
                self.enqueue(name, cause)

    def _hold(self, names: tuple[str, ...]) -> None:
        for name in names:
            slot = self.slot(name)
            if slot is None:
                continue
            # Also of a slot that is starting again or waits: it then stops instead of starting.
            slot = self.put(replace(slot, held=True))
            if slot.state in SERVING:
                self.drain(slot, Cause.HELD)

    def _configured(self, event: Configured) -> None:
        slots = dict(self.state.slots)
        for kind, count in event.counts.items():
            for instance in range(count):
                slot = Slot(kind=kind, instance=instance, since=self.now)
                # Slots that exist keep their state: a reload must not forget a process.
                slots.setdefault(slot.name, slot)
        slots = {
            name: slot
            for name, slot in slots.items()
            # A surplus slot with a process stays until that is proved dead.
            if slot.instance < event.counts.get(slot.kind, 0) or slot.is_alive
        }
        if event.rows:
            self.configure(event.rows)
        # In the registry's order, so that starts and the status list follow it.
        order = {row.name: index for index, row in enumerate(self.state.rows)}
        ordered = sorted(slots.items(), key=lambda pair: (order[pair[1].kind], pair[1].instance))
        self.state = replace(self.state, counts=dict(event.counts), slots=dict(ordered), configured=True)
        for name, slot in self.state.slots.items():
            # Any reload may have repaired a wrong environment, also through a setting of another kind.
            if slot.kind in event.changed or slot.state is SlotState.MISCONFIGURED:
                self._restart((name,), Cause.RELOAD)

    def _stop(self, event: StopRequested) -> None:
        # Replacements that wait would start processes again.
        self.state = replace(self.state, stopping=True, replacements=())
        if not (event.now or event.at_once):
            return
        for slot in self.state.slots.values():
            if not slot.is_alive or slot.escalation is Escalation.KILL:
                continue
            if event.at_once:
                self.kill(slot)
            elif slot.state is SlotState.KILLING:
                continue  # already escalating faster than this
            else:
                moved = (
                    slot
                    if slot.state is SlotState.DRAINING
                    else self.move(slot, SlotState.DRAINING, cause=Cause.SHUTDOWN)
                )
                self.put(
                    replace(
                        moved,
                        escalation=Escalation.TERM,
                        silent_by=None,
                        step_by=self.now + self.state.policy.stop_now_s,
                    )
                )
                self.send(moved, signal.SIGTERM)

    # what time asks for

    def _escalate(self, name: str) -> None:
        slot = self.state.slots[name]
        policy = self.state.policy
        if slot.silent_by is not None and slot.silent_by <= self.now and slot.state in SERVING:
            what = "start" if slot.state is SlotState.STARTING else slot.doing or "work loop"
            # The last beat is not stored: it follows from the deadline, without the part that was excused.
            began_at = (
                slot.started_at
                if slot.state is SlotState.STARTING
                else slot.silent_by - slot.starved_s - self.row(slot).watchdog_s
            )
            silent_s = self.now - began_at
            self.write(
                Happened.HUNG, slot, what=what, silent_s=round(silent_s, 3), escalation=Escalation.TERM.name.lower()
            )
            slot = self.move(
                slot,
                SlotState.KILLING,
                cause=Cause.HUNG,
                escalation=Escalation.TERM,
                silent_by=None,
                step_by=self.now + policy.term_s,
            )
            self.send(slot, signal.SIGTERM)
            return
        if slot.step_by is None or slot.step_by > self.now or not slot.is_alive:
            return
        # After the main process's end, or after SIGABRT, only the tree is left to kill, again at each interval.
        if slot.main_gone or slot.escalation in (Escalation.ABORT, Escalation.KILL):
            self.kill(slot)
        else:
            # A drain that exceeds its time: SIGABRT shows where it stands before SIGKILL.
            if slot.state is SlotState.DRAINING:
                self.write(
                    Happened.HUNG,
                    slot,
                    what="drain",
                    silent_s=round(self.now - slot.since, 3),
                    escalation=Escalation.ABORT.name.lower(),
                )
                slot = self.move(slot, SlotState.KILLING)
            self.put(replace(slot, escalation=Escalation.ABORT, step_by=self.now + policy.abort_s))
            self.send(slot, signal.SIGABRT)

    def _end_quarantine(self, name: str) -> None:
        slot = self.state.slots[name]
        if (
            slot.ready_at is not None
            and slot.state in SERVING
            and has_recovered(slot.history, self.row(slot), healthy_s=self.now - slot.ready_at)
        ):
            slot = self.put(replace(slot, history=RestartHistory()))
            self.write(Happened.PROBED, slot, outcome="recovered")

    def _stop_what_should_not_run(self) -> None:
        alive = {slot.kind for slot in self.state.slots.values() if slot.is_alive}
        for slot in self.state.slots.values():
            if self.should_run(slot):
                continue
            if slot.state in WAITING:
                self.move(slot, SlotState.STOPPED, next_try_at=None)
            elif slot.state in SERVING:
                # A kind that is not needed any more stops at once; in a stop of everything it has its place in the
                # order.
                if not self.state.stopping:
                    self.drain(slot, Cause.UNNEEDED)
                # In reverse order of start: PostgreSQL stops after all that use it.
                elif not alive & followers(self.state.rows, slot.kind):
                    self.drain(slot, Cause.SHUTDOWN)

    def _advance_replacements(self) -> None:
        queue: list[Replacement] = []
        busy: set[str] = set()
        for item in self.state.replacements:
            slot = self.slot(item.slot)
            # Gone or stopped meanwhile: there is nothing left to replace.
            if slot is None or slot.state is SlotState.STOPPED:
                continue
            if item.begun:
                # The other slots of the kind keep serving until the new process is ready, however long that takes: a
                # bad update stops at its first process. UNREADY also ends the wait, since an outage of the database is
                # no defect of the update.
                if slot.state not in (SlotState.READY, SlotState.UNREADY):
                    busy.add(slot.kind)
                    queue.append(item)
            elif slot.state in SERVING:
                # One at a time for each kind; different kinds are replaced side by side.
                begins = slot.kind not in busy
                busy.add(slot.kind)
                if begins:
                    self.drain(slot, item.cause)
                queue.append(replace(item, begun=begins))
        self.state = replace(self.state, replacements=tuple(queue))

    def _start_if_due(self, name: str) -> None:
        slot = self.state.slots[name]
        if not self.should_run(slot):
            return
        due = slot.next_try_at is not None and slot.next_try_at <= self.now
        # Written before the start, so that the journal shows which start was a probe.
        if slot.state is SlotState.QUARANTINED and due:
            self.write(Happened.PROBED, slot, outcome="started")
        if (slot.state is SlotState.STOPPED and self.gate_is_open(slot.kind)) or (slot.state in WAITING and due):
            self.start(slot)

    def _leave_if_done(self) -> None:
        self._forget_surplus()
        if (
            self.state.stopping
            and not self.state.left
            # STOPPED is reached only by proof of death, so nothing of any slot lives when we leave.
            and all(slot.state is SlotState.STOPPED for slot in self.state.slots.values())
        ):
            self.state = replace(self.state, left=True)
            self.actions.append(Write(Happened.STOPPED))
            self.actions.append(Leave())

    def _forget_surplus(self) -> None:
        kept = {
            name: slot
            for name, slot in self.state.slots.items()
            if slot.state is not SlotState.STOPPED or slot.instance < self.state.counts.get(slot.kind, 0)
        }
        if len(kept) < len(self.state.slots):
            self.state = replace(self.state, slots=kept)
