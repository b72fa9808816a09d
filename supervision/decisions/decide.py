"""Every decision of the supervisor, as one pure function of state, event and time.

`decide` takes what happened and returns the new state and what is to be done; the shell in `supervisor` does it. Histories of events can
thus be replayed as data (tests/supervision/test_decide.py).
"""

from __future__ import annotations

import random
import signal
from dataclasses import replace
from typing import Final

from shared.needs import need_of
from shared.process.exit_codes import ExitCode
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
    Found,
    Freed,
    KillTree,
    Leave,
    Measured,
    Notified,
    Replacement,
    RestartRequested,
    SaveDesiredKinds,
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
from supervision.decisions.restart_policy import RestartHistory, Uniform, has_recovered
from supervision.decisions.transition import Transition

STALL_WORTH_SAYING_S: Final = 0.5
"""A delay of the supervisor below this moves deadlines silently."""


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
    turn.take(event)
    turn.settle()
    return turn.state, tuple(turn.actions)


def next_by(state: State, now: float) -> float | None:
    """Return the earliest instant after `now` at which a `Tick` may decide something, or None when only an event can."""
    instants = [
        at for slot in state.slots.values() for at in (slot.silent_by, slot.step_by, slot.next_try_at) if at is not None
    ]
    rows = {row.name: row for row in state.rows}
    if any(slot.state is SlotState.STOPPED and slot.kind not in state.released for slot in state.slots.values()):
        instants += [at + rows[kind].startup_s for kind, at in state.released.items()]
    instants += [
        slot.ready_at + rows[slot.kind].min_uptime_s
        for slot in state.slots.values()
        if slot.history.failed_probes and slot.ready_at is not None
    ]
    return min((at for at in instants if at > now), default=None)


class _Decision(Transition):
    """One call of `decide`: first the event, then what the state and the time require."""

    def take(self, event: Event) -> None:  # noqa: PLR0912 - one line for each event that there is
        match event:
            case Notified():
                self._notified(event)
            case Exited():
                self._exited(event)
            case Freed():
                self._freed(event)
            case Spawned():
                self._spawned(event)
            case SpawnFailed():
                self._spawn_failed(event)
            case Found():
                self._found(event)
            case Measured():
                self._measured(event)
            case Stalled():
                self._stalled(event)
            case Starved():
                self._starved(event)
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
                # only on a tick: while datagrams wait to be read, no child counts as silent
                for name in self.state.slots if self.state.configured else ():
                    self._escalate(name)

    def settle(self) -> None:
        """Do what state and time require, whatever the event was. Nothing before the first `Configured`."""
        if not self.state.configured:
            return
        for name in self.state.slots:
            self._end_quarantine(name)
        self._stop_what_should_not_run()
        self._advance_replacements()
        for name in self.state.slots:
            self._start_if_due(name)
        self._leave_if_done()

    # events

    def _notified(self, event: Notified) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone:
            return
        said = event.fields
        if "STATUS" in said:
            slot = self.put(replace(slot, status=said["STATUS"]))
        if "EXTEND_TIMEOUT_USEC" in said:
            slot = self._extend(slot, said["EXTEND_TIMEOUT_USEC"], said.get("X_DOING", ""))
        if said.get("READY") == "1":
            slot = self._became_ready(slot)
        if said.get("X_READY") == "0" and slot.state is SlotState.READY:
            slot = self.move(slot, SlotState.UNREADY)
            self.write(Happened.UNREADY, slot, status=slot.status)
        if said.get("WATCHDOG") == "1" and slot.state in (SlotState.READY, SlotState.UNREADY):
            slot = self.put(replace(slot, silent_by=self.beat_by(slot), starved_s=0.0))
        if said.get("STOPPING") == "1" and slot.state in SERVING:
            # a signal from elsewhere: the exit will not be one that we asked for
            self.move(
                slot,
                SlotState.DRAINING,
                escalation=Escalation.TERM,
                silent_by=None,
                step_by=self.now + self.drain_s(slot),
            )
        if "X_DESIRED" in said:
            self._desired_kinds_received(said["X_DESIRED"])

    def _became_ready(self, slot: Slot) -> Slot:
        if slot.state not in (SlotState.STARTING, SlotState.UNREADY):
            return slot
        first = slot.ready_at is None
        slot = self.move(slot, SlotState.READY, ready_at=self.now if first else slot.ready_at)
        slot = self.put(replace(slot, silent_by=self.beat_by(slot), starved_s=0.0))
        if not (first and slot.adopted):
            self.write(
                Happened.READY,
                slot,
                after_s=round(self.now - slot.started_at, 3) if first else None,
                status=slot.status,
            )
        return slot

    def _extend(self, slot: Slot, microseconds: str, doing: str) -> Slot:
        for_s = min(int(microseconds) / 1e6, self.state.policy.longest_section_s) if microseconds.isdecimal() else 0.0
        if for_s <= 0:
            slot = self.put(replace(slot, extended_by=None, doing=""))
            return (
                self.put(replace(slot, silent_by=self.beat_by(slot)))
                if slot.state in (SlotState.READY, SlotState.UNREADY)
                else slot
            )
        until = self.now + for_s
        slot = self.put(replace(slot, extended_by=until, doing=doing))
        if slot.state in SERVING and slot.silent_by is not None:
            slot = self.put(replace(slot, silent_by=max(slot.silent_by, until)))
        return slot

    def _desired_kinds_received(self, text: str) -> None:
        conditional = {row.name for row in self.state.rows if need_of(row).reported}
        kinds = frozenset(text.split(",")) & conditional
        if kinds != self.state.desired:
            self.state = replace(self.state, desired=kinds)
            self.actions.append(SaveDesiredKinds(kinds))
            self.actions.append(Write(Happened.DESIRED_KINDS, details={"kinds": sorted(kinds)}))

    def _exited(self, event: Exited) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone or not slot.is_alive:
            return
        if slot.state is not SlotState.KILLING:
            slot = self.move(slot, SlotState.KILLING)
        slot = self.put(
            replace(
                slot,
                main_gone=True,
                last_exit=event.exit,
                silent_by=None,
                extended_by=None,
                step_by=self.now + self.state.policy.kill_again_s,
            )
        )
        self.write(
            Happened.EXITED,
            slot,
            pid=slot.pid,
            code=event.exit.code,
            signal=event.exit.signal,
            expected=slot.cause.requested,
            reason=slot.cause.value,
            last_words=event.exit.last_words,
            uptime_s=round(self.now - slot.started_at, 3),
            log_tail=event.log_tail,
        )
        if slot.cause.requested:
            in_time = slot.escalation is Escalation.TERM and event.exit.code == ExitCode.OK
            self.write(Happened.DRAINED, slot, in_time=in_time, code=event.exit.code, purpose=slot.cause.value)
        self.actions.append(KillTree(slot.name))

    def _freed(self, event: Freed) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or not slot.main_gone or not slot.is_alive:
            return
        self.write(Happened.SLOT_FREE, slot)
        healthy_s = 0.0 if slot.ready_at is None else max(0.0, self.now - slot.ready_at)
        slot = self.put(
            replace(slot, pid=0, adopted=False, ready_at=None, step_by=None, status="", doing="", rss_mb=0.0)
        )
        cause = slot.cause
        if not self.should_run(slot):
            self.move(slot, SlotState.STOPPED)
        elif not cause.requested and slot.last_exit is not None and slot.last_exit.code == ExitCode.CONFIGURATION:
            slot = self.move(slot, SlotState.MISCONFIGURED)
            self.write(Happened.MISCONFIGURED, slot, last_words=slot.last_exit.last_words if slot.last_exit else "")
        elif cause.under_restart_policy:
            self.apply_policy(slot, healthy_s)
        else:
            self.start(slot)

    def _spawned(self, event: Spawned) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.state is not SlotState.STARTING or slot.pid:
            return
        slot = self.put(replace(slot, pid=event.pid, incarnation=event.incarnation, started_at=self.now))
        self.write(
            Happened.STARTED,
            slot,
            pid=event.pid,
            attempt=int(slot.history.failures) + 1,
            probe=slot.history.failed_probes > 0,
        )

    def _spawn_failed(self, event: SpawnFailed) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.state is not SlotState.STARTING or slot.pid:
            return
        self.write(Happened.START_FAILED, slot, error=event.error)
        slot = self.put(replace(slot, silent_by=None, status=event.error))
        if event.occupied:
            self.move(slot, SlotState.BACKOFF, next_try_at=self.now + self.state.policy.occupied_s)
        else:
            self.apply_policy(slot, 0.0)

    def _found(self, event: Found) -> None:
        slot = self.slot(event.slot)
        if slot is None:
            kind, instance = event.slot.rsplit("-", 1)
            slot = self.put(Slot(kind=kind, instance=int(instance)))
        if slot.state is not SlotState.STOPPED:
            return
        row, policy = self.row(slot), self.state.policy
        patience_s = max(row.watchdog_s, row.startup_s - event.age_s) + policy.adoption_s
        slot = self.move(slot, SlotState.UNREADY, pid=event.pid, incarnation=event.incarnation, adopted=True)
        slot = self.put(replace(slot, started_at=self.now - event.age_s, silent_by=self.now + patience_s))
        self.release(slot.kind)
        self.write(Happened.ADOPTED, slot, pid=event.pid, age_s=round(event.age_s, 1))

    def _measured(self, event: Measured) -> None:
        slot = self.slot(event.slot)
        if slot is None or slot.state not in SERVING:
            return
        slot = self.put(replace(slot, rss_mb=event.rss_mb))
        row = self.row(slot)
        if row.memory_hard_mb and event.rss_mb > row.memory_hard_mb:
            self.write(
                Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_hard_mb, ceiling="hard"
            )
            self.kill(self.put(replace(slot, cause=Cause.MEMORY_HARD)))
        elif row.memory_soft_mb and event.rss_mb > row.memory_soft_mb and not self.awaits_replacement(slot.name):
            self.write(
                Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_soft_mb, ceiling="soft"
            )
            self.enqueue(slot.name, Cause.MEMORY_SOFT)

    def _stalled(self, event: Stalled) -> None:
        """Move every deadline by our own delay: children are not silent while we do not read."""
        for slot in self.state.slots.values():
            self.put(
                replace(
                    slot,
                    silent_by=None if slot.silent_by is None else slot.silent_by + event.late_s,
                    extended_by=None if slot.extended_by is None else slot.extended_by + event.late_s,
                    step_by=None if slot.step_by is None else slot.step_by + event.late_s,
                )
            )
        self.state = replace(self.state, released={kind: at + event.late_s for kind, at in self.state.released.items()})
        if event.late_s >= STALL_WORTH_SAYING_S:
            self.actions.append(
                Write(
                    Happened.STALL,
                    details={"late_s": round(event.late_s, 3), "suspended_s": round(event.suspended_s, 3)},
                )
            )

    def _starved(self, event: Starved) -> None:
        slot = self.slot(event.slot)
        if (
            slot is None
            or slot.silent_by is None
            or slot.state not in SERVING
            or slot.starved_s + event.for_s > self.state.policy.starved_most_s
        ):
            return
        self.put(
            replace(slot, silent_by=max(slot.silent_by, self.now + event.for_s), starved_s=slot.starved_s + event.for_s)
        )

    def _restart(self, names: tuple[str, ...], cause: Cause) -> None:
        if self.state.stopping:
            return
        for name in names:
            slot = self.slot(name)
            if slot is None:
                continue
            slot = self.put(replace(slot, held=False, history=RestartHistory()))
            if slot.state in WAITING:
                slot = self.put(replace(slot, next_try_at=self.now))
            elif slot.state in SERVING and not self.awaits_replacement(name):
                self.enqueue(name, cause)

    def _hold(self, names: tuple[str, ...]) -> None:
        for name in names:
            slot = self.slot(name)
            if slot is None:
                continue
            slot = self.put(replace(slot, held=True))
            if slot.state in SERVING:
                self.drain(slot, Cause.HELD)

    def _configured(self, event: Configured) -> None:
        slots = dict(self.state.slots)
        for kind, count in event.counts.items():
            for instance in range(count):
                slot = Slot(kind=kind, instance=instance, since=self.now)
                slots.setdefault(slot.name, slot)
        slots = {
            name: slot
            for name, slot in slots.items()
            if slot.instance < event.counts.get(slot.kind, 0) or slot.is_alive
        }
        if event.rows:
            self.configure(event.rows)
        order = {row.name: index for index, row in enumerate(self.state.rows)}
        ordered = sorted(slots.items(), key=lambda pair: (order[pair[1].kind], pair[1].instance))
        self.state = replace(self.state, counts=dict(event.counts), slots=dict(ordered), configured=True)
        for name, slot in self.state.slots.items():
            if slot.kind in event.changed or slot.state is SlotState.MISCONFIGURED:
                self._restart((name,), Cause.RELOAD)

    def _stop(self, event: StopRequested) -> None:
        self.state = replace(self.state, stopping=True, replacements=())
        if not (event.now or event.at_once):
            return
        for slot in self.state.slots.values():
            if not slot.is_alive or slot.escalation is Escalation.KILL:
                continue
            if event.at_once:
                self.kill(slot)
            elif slot.state is SlotState.KILLING:
                continue  # already climbing faster than this
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
        if slot.main_gone or slot.escalation in (Escalation.ABORT, Escalation.KILL):
            self.kill(slot)
        else:
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
                if not self.state.stopping:
                    self.drain(slot, Cause.UNNEEDED)
                elif not alive & followers(self.state.rows, slot.kind):
                    self.drain(slot, Cause.SHUTDOWN)

    def _advance_replacements(self) -> None:
        queue: list[Replacement] = []
        busy: set[str] = set()
        for item in self.state.replacements:
            slot = self.slot(item.slot)
            if slot is None or slot.state is SlotState.STOPPED:
                continue
            if item.begun:
                # siblings keep serving until the new one is ready, however long that takes: a bad update stops at its first victim
                if slot.state not in (SlotState.READY, SlotState.UNREADY):
                    busy.add(slot.kind)
                    queue.append(item)
            elif slot.state in SERVING:
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
        if slot.state is SlotState.QUARANTINED and due:
            self.write(Happened.PROBED, slot, outcome="started")
        if (slot.state is SlotState.STOPPED and self.gate_is_open(slot.kind)) or (slot.state in WAITING and due):
            self.start(slot)

    def _leave_if_done(self) -> None:
        self._forget_surplus()
        if (
            self.state.stopping
            and not self.state.left
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
