"""Every decision of the supervisor, as one pure function of state, event and time.

`decide` takes what happened and returns the new state and what is to be done; the shell in `supervisor` does it. Histories of events can
thus be replayed as data (tests/supervision/test_decide.py). Each change of state goes through `_Turn.move`, which admits only those that
`shared.states.SLOT_TRANSITIONS` lists.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from shared.kinds import ProcessKind
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.states import SLOT_TRANSITIONS, SlotState, require_transition
from supervision.law import Record, Uniform, after_death, has_recovered
from supervision.model import (
    SERVING,
    WAITING,
    Action,
    Cause,
    CloseListener,
    Configured,
    DrainAsked,
    Event,
    Exited,
    Fleet,
    Found,
    Freed,
    KeepWanted,
    KillTree,
    Leave,
    Measured,
    Notified,
    Replacement,
    RestartAsked,
    Rung,
    Send,
    Slot,
    Spawn,
    Spawned,
    SpawnFailed,
    Stalled,
    StopAsked,
    Tick,
    WantedKnown,
    Write,
)
from supervision.plan import followers

STALL_WORTH_SAYING_S: Final = 0.5
"""A delay of the supervisor below this moves deadlines silently."""


def decide(fleet: Fleet, event: Event, now: float, uniform: Uniform = random.uniform) -> tuple[Fleet, tuple[Action, ...]]:
    """Return the fleet after `event` and what is to be done, in order.

    Args:
        fleet: what is known.
        event: what happened.
        now: monotonic instant of it.
        uniform: source of jitter.
    """
    turn = _Turn(fleet, now, uniform)
    turn.take(event)
    turn.settle()
    return turn.fleet, tuple(turn.actions)


def next_by(fleet: Fleet) -> float | None:
    """Return the earliest instant at which a `Tick` may decide something, or None when only an event can."""
    instants = [at for slot in fleet.slots.values() for at in (slot.silent_by, slot.step_by, slot.next_try_at) if at is not None]
    rows = {row.name: row for row in fleet.rows}
    if any(slot.state is SlotState.STOPPED and slot.kind not in fleet.released for slot in fleet.slots.values()):
        instants += [at + rows[kind].startup_s for kind, at in fleet.released.items()]
    instants += [slot.ready_at + rows[slot.kind].min_uptime_s for slot in fleet.slots.values() if slot.law.failed_probes and slot.ready_at is not None]
    return min(instants, default=None)


class _Turn:
    """One call of `decide`: the fleet as it becomes, and the actions so far."""

    def __init__(self, fleet: Fleet, now: float, uniform: Uniform) -> None:
        self.fleet = fleet
        self.actions: list[Action] = []
        self._now = now
        self._uniform = uniform
        self._rows: Mapping[str, ProcessKind] = {row.name: row for row in fleet.rows}

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
            case RestartAsked():
                self._restart(event.slots, Cause.RESTART)
            case DrainAsked():
                self._hold(event.slots)
            case Configured():
                self._configured(event)
            case WantedKnown():
                self.fleet = replace(self.fleet, wanted=event.kinds)
            case StopAsked():
                self._stop(event)
            case Tick():
                pass

    def settle(self) -> None:
        """Do what the present state and time ask for, whatever happened. Before the first `Configured` nobody knows what that is."""
        if not self.fleet.configured:
            return
        for name in self.fleet.slots:
            self._climb(name)
            self._end_quarantine(name)
        self._stop_what_should_not_run()
        self._advance_replacements()
        for name in self.fleet.slots:
            self._start_if_due(name)
        self._leave_if_done()

    # events

    def _notified(self, event: Notified) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone:
            return
        said = event.fields
        if "STATUS" in said:
            slot = self._put(replace(slot, status=said["STATUS"]))
        if "EXTEND_TIMEOUT_USEC" in said:
            slot = self._extend(slot, said["EXTEND_TIMEOUT_USEC"], said.get("X_DOING", ""))
        if said.get("READY") == "1":
            slot = self._became_ready(slot)
        if said.get("X_READY") == "0" and slot.state is SlotState.READY:
            slot = self._move(slot, SlotState.UNREADY)
            self._write(Happened.UNREADY, slot, status=slot.status)
        if said.get("WATCHDOG") == "1" and slot.state in (SlotState.READY, SlotState.UNREADY):
            slot = self._put(replace(slot, silent_by=self._beat_by(slot)))
        if said.get("STOPPING") == "1" and slot.state in SERVING:
            # a signal from elsewhere: the exit will not be one that we asked for
            self._move(slot, SlotState.DRAINING, rung=Rung.TERM, silent_by=None, step_by=self._now + self._row(slot).drain_s)
        if "X_WANTED" in said:
            self._heard_wanted(said["X_WANTED"])

    def _became_ready(self, slot: Slot) -> Slot:
        if slot.state not in (SlotState.STARTING, SlotState.UNREADY):
            return slot
        first = slot.ready_at is None
        slot = self._move(slot, SlotState.READY, ready_at=self._now if first else slot.ready_at)
        slot = self._put(replace(slot, silent_by=self._beat_by(slot)))
        if not (first and slot.adopted):
            self._write(Happened.READY, slot, after_s=round(self._now - slot.started_at, 3) if first else None, status=slot.status)
        return slot

    def _extend(self, slot: Slot, microseconds: str, doing: str) -> Slot:
        for_s = min(int(microseconds) / 1e6, self.fleet.policy.longest_section_s) if microseconds.isdecimal() else 0.0
        if for_s <= 0:
            slot = self._put(replace(slot, extended_by=None, doing=""))
            return self._put(replace(slot, silent_by=self._beat_by(slot))) if slot.state in (SlotState.READY, SlotState.UNREADY) else slot
        until = self._now + for_s
        slot = self._put(replace(slot, extended_by=until, doing=doing))
        if slot.state in SERVING and slot.silent_by is not None:
            slot = self._put(replace(slot, silent_by=max(slot.silent_by, until)))
        return slot

    def _heard_wanted(self, text: str) -> None:
        conditional = {row.name for row in self.fleet.rows if row.needed == "connections"}
        kinds = frozenset(text.split(",")) & conditional
        if kinds != self.fleet.wanted:
            self.fleet = replace(self.fleet, wanted=kinds)
            self.actions.append(KeepWanted(kinds))
            self.actions.append(Write(Happened.WANTED, details={"kinds": sorted(kinds)}))

    def _exited(self, event: Exited) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone or not slot.is_alive:
            return
        if slot.state is not SlotState.KILLING:
            slot = self._move(slot, SlotState.KILLING)
        slot = self._put(
            replace(slot, main_gone=True, last_exit=event.exit, silent_by=None, extended_by=None, step_by=self._now + self.fleet.policy.kill_again_s)
        )
        self._write(
            Happened.EXITED,
            slot,
            pid=slot.pid,
            code=event.exit.code,
            signal=event.exit.signal,
            expected=slot.cause.asked,
            reason=slot.cause.value,
            last_words=event.exit.last_words,
            uptime_s=round(self._now - slot.started_at, 3),
            log_tail=event.log_tail,
        )
        if slot.cause.asked:
            in_time = slot.rung is Rung.TERM and event.exit.code == ExitCode.OK
            self._write(Happened.DRAINED, slot, in_time=in_time, code=event.exit.code, purpose=slot.cause.value)
        self.actions.append(KillTree(slot.name))

    def _freed(self, event: Freed) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or not slot.main_gone or not slot.is_alive:
            return
        self._write(Happened.SLOT_FREE, slot)
        healthy_s = 0.0 if slot.ready_at is None else max(0.0, self._now - slot.ready_at)
        slot = self._put(replace(slot, pid=0, adopted=False, ready_at=None, step_by=None, status="", doing="", rss_mb=0.0))
        cause = slot.cause
        if not self._should_run(slot):
            self._move(slot, SlotState.STOPPED)
        elif not cause.asked and slot.last_exit is not None and slot.last_exit.code == ExitCode.CONFIGURATION:
            slot = self._move(slot, SlotState.MISCONFIGURED)
            self._write(Happened.MISCONFIGURED, slot, last_words=slot.last_exit.last_words if slot.last_exit else "")
        elif cause.under_the_law:
            self._apply_law(slot, healthy_s)
        else:
            self._start(slot)

    def _spawned(self, event: Spawned) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.state is not SlotState.STARTING or slot.pid:
            return
        slot = self._put(replace(slot, pid=event.pid, incarnation=event.incarnation, started_at=self._now))
        self._write(Happened.STARTED, slot, pid=event.pid, attempt=int(slot.law.strikes) + 1, probe=slot.law.failed_probes > 0)

    def _spawn_failed(self, event: SpawnFailed) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.state is not SlotState.STARTING or slot.pid:
            return
        self._write(Happened.START_FAILED, slot, error=event.error)
        slot = self._put(replace(slot, silent_by=None, status=event.error))
        if event.occupied:
            self._move(slot, SlotState.BACKOFF, next_try_at=self._now + self.fleet.policy.occupied_s)
        else:
            self._apply_law(slot, 0.0)

    def _found(self, event: Found) -> None:
        slot = self._slot(event.slot)
        if slot is None:
            kind, instance = event.slot.rsplit("-", 1)
            slot = self._put(Slot(kind=kind, instance=int(instance)))
        if slot.state is not SlotState.STOPPED:
            return
        row, policy = self._row(slot), self.fleet.policy
        patience_s = max(row.watchdog_s, row.startup_s - event.age_s) + policy.adoption_s
        slot = self._move(slot, SlotState.UNREADY, pid=event.pid, incarnation=event.incarnation, adopted=True)
        slot = self._put(replace(slot, started_at=self._now - event.age_s, silent_by=self._now + patience_s))
        self._release(slot.kind)
        self._write(Happened.ADOPTED, slot, pid=event.pid, age_s=round(event.age_s, 1))

    def _measured(self, event: Measured) -> None:
        slot = self._slot(event.slot)
        if slot is None or slot.state not in SERVING:
            return
        slot = self._put(replace(slot, rss_mb=event.rss_mb))
        row = self._row(slot)
        if row.memory_hard_mb and event.rss_mb > row.memory_hard_mb:
            self._write(Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_hard_mb, ceiling="hard")
            self._kill(self._put(replace(slot, cause=Cause.MEMORY_HARD)))
        elif row.memory_soft_mb and event.rss_mb > row.memory_soft_mb and not self._awaits_replacement(slot.name):
            self._write(Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_soft_mb, ceiling="soft")
            self._enqueue(slot.name, Cause.MEMORY_SOFT)

    def _stalled(self, event: Stalled) -> None:
        """Our own lateness is nobody's silence: every deadline moves by it."""
        for slot in self.fleet.slots.values():
            self._put(
                replace(
                    slot,
                    silent_by=None if slot.silent_by is None else slot.silent_by + event.late_s,
                    extended_by=None if slot.extended_by is None else slot.extended_by + event.late_s,
                    step_by=None if slot.step_by is None else slot.step_by + event.late_s,
                )
            )
        self.fleet = replace(self.fleet, released={kind: at + event.late_s for kind, at in self.fleet.released.items()})
        if event.late_s >= STALL_WORTH_SAYING_S:
            self.actions.append(Write(Happened.STALL, details={"late_s": round(event.late_s, 3), "suspended_s": round(event.suspended_s, 3)}))

    def _restart(self, names: tuple[str, ...], cause: Cause) -> None:
        if self.fleet.stopping:
            return
        for name in names:
            slot = self._slot(name)
            if slot is None:
                continue
            slot = self._put(replace(slot, held=False, law=Record()))
            if slot.state in WAITING:
                slot = self._put(replace(slot, next_try_at=self._now))
            elif slot.state in SERVING and not self._awaits_replacement(name):
                self._enqueue(name, cause)

    def _hold(self, names: tuple[str, ...]) -> None:
        for name in names:
            slot = self._slot(name)
            if slot is None:
                continue
            slot = self._put(replace(slot, held=True))
            if slot.state in SERVING:
                self._drain(slot, Cause.HELD)

    def _configured(self, event: Configured) -> None:
        slots = dict(self.fleet.slots)
        for kind, count in event.counts.items():
            for instance in range(count):
                slot = Slot(kind=kind, instance=instance, since=self._now)
                slots.setdefault(slot.name, slot)
        slots = {name: slot for name, slot in slots.items() if slot.instance < event.counts.get(slot.kind, 0) or slot.is_alive}
        order = {row.name: index for index, row in enumerate(self.fleet.rows)}
        ordered = sorted(slots.items(), key=lambda pair: (order[pair[1].kind], pair[1].instance))
        self.fleet = replace(self.fleet, counts=dict(event.counts), slots=dict(ordered), configured=True)
        for name, slot in self.fleet.slots.items():
            if slot.kind in event.changed or slot.state is SlotState.MISCONFIGURED:
                self._restart((name,), Cause.RELOAD)

    def _stop(self, event: StopAsked) -> None:
        self.fleet = replace(self.fleet, stopping=True, replacements=())
        if not (event.now or event.at_once):
            return
        for slot in self.fleet.slots.values():
            if not slot.is_alive or slot.rung is Rung.KILL:
                continue
            if event.at_once:
                self._kill(slot)
            elif slot.state is SlotState.KILLING:
                continue  # already climbing faster than this
            else:
                moved = slot if slot.state is SlotState.DRAINING else self._move(slot, SlotState.DRAINING, cause=Cause.SHUTDOWN)
                self._put(replace(moved, rung=Rung.TERM, silent_by=None, step_by=self._now + self.fleet.policy.stop_now_s))
                self._signal(moved, signal.SIGTERM)

    # what time asks for

    def _climb(self, name: str) -> None:
        slot = self.fleet.slots[name]
        policy = self.fleet.policy
        if slot.silent_by is not None and slot.silent_by <= self._now and slot.state in SERVING:
            what = "start" if slot.state is SlotState.STARTING else slot.doing or "work loop"
            silent_s = self._now - (slot.silent_by - self._row(slot).watchdog_s) if slot.state is not SlotState.STARTING else self._now - slot.started_at
            self._write(Happened.HUNG, slot, what=what, silent_s=round(silent_s, 3), rung=Rung.TERM.name.lower())
            slot = self._move(slot, SlotState.KILLING, cause=Cause.HUNG, rung=Rung.TERM, silent_by=None, step_by=self._now + policy.term_s)
            self._signal(slot, signal.SIGTERM)
            return
        if slot.step_by is None or slot.step_by > self._now or not slot.is_alive:
            return
        if slot.main_gone or slot.rung in (Rung.ABORT, Rung.KILL):
            self._kill(slot)
        else:
            if slot.state is SlotState.DRAINING:
                self._write(Happened.HUNG, slot, what="drain", silent_s=round(self._now - slot.since, 3), rung=Rung.ABORT.name.lower())
                slot = self._move(slot, SlotState.KILLING)
            self._put(replace(slot, rung=Rung.ABORT, step_by=self._now + policy.abort_s))
            self._signal(slot, signal.SIGABRT)

    def _kill(self, slot: Slot) -> None:
        if slot.state is not SlotState.KILLING:
            slot = self._move(slot, SlotState.KILLING)
        self._put(replace(slot, rung=Rung.KILL, silent_by=None, step_by=self._now + self.fleet.policy.kill_again_s))
        self.actions.append(KillTree(slot.name))

    def _end_quarantine(self, name: str) -> None:
        slot = self.fleet.slots[name]
        if slot.ready_at is not None and slot.state in SERVING and has_recovered(slot.law, self._row(slot), healthy_s=self._now - slot.ready_at):
            slot = self._put(replace(slot, law=Record()))
            self._write(Happened.PROBED, slot, outcome="recovered")

    def _stop_what_should_not_run(self) -> None:
        alive = {slot.kind for slot in self.fleet.slots.values() if slot.is_alive}
        for slot in self.fleet.slots.values():
            if self._should_run(slot):
                continue
            if slot.state in WAITING:
                self._move(slot, SlotState.STOPPED, next_try_at=None)
            elif slot.state in SERVING:
                if not self.fleet.stopping:
                    self._drain(slot, Cause.UNNEEDED)
                elif not alive & followers(self.fleet.rows, slot.kind):
                    self._drain(slot, Cause.SHUTDOWN)

    def _advance_replacements(self) -> None:
        queue: list[Replacement] = []
        busy: set[str] = set()
        for item in self.fleet.replacements:
            slot = self._slot(item.slot)
            if slot is None or slot.state is SlotState.STOPPED:
                continue
            if item.begun:
                # until the new one is ready its siblings keep serving, however long that takes: a bad update stops at its first victim
                if slot.state not in (SlotState.READY, SlotState.UNREADY):
                    busy.add(slot.kind)
                    queue.append(item)
            elif slot.state in SERVING:
                begins = slot.kind not in busy
                busy.add(slot.kind)
                if begins:
                    self._drain(slot, item.cause)
                queue.append(replace(item, begun=begins))
        self.fleet = replace(self.fleet, replacements=tuple(queue))

    def _start_if_due(self, name: str) -> None:
        slot = self.fleet.slots[name]
        if not self._should_run(slot):
            return
        due = slot.next_try_at is not None and slot.next_try_at <= self._now
        if slot.state is SlotState.QUARANTINED and due:
            self._write(Happened.PROBED, slot, outcome="started")
        if (slot.state is SlotState.STOPPED and self._gate_is_open(slot.kind)) or (slot.state in WAITING and due):
            self._start(slot)

    def _leave_if_done(self) -> None:
        self._forget_surplus()
        if self.fleet.stopping and not self.fleet.left and all(slot.state is SlotState.STOPPED for slot in self.fleet.slots.values()):
            self.fleet = replace(self.fleet, left=True)
            self.actions.append(Write(Happened.STOPPED))
            self.actions.append(Leave())

    def _forget_surplus(self) -> None:
        kept = {
            name: slot for name, slot in self.fleet.slots.items() if slot.state is not SlotState.STOPPED or slot.instance < self.fleet.counts.get(slot.kind, 0)
        }
        if len(kept) < len(self.fleet.slots):
            self.fleet = replace(self.fleet, slots=kept)

    # steps

    def _drain(self, slot: Slot, cause: Cause) -> None:
        slot = self._move(slot, SlotState.DRAINING, cause=cause, rung=Rung.TERM, silent_by=None, step_by=self._now + self._row(slot).drain_s)
        self._signal(slot, signal.SIGTERM)

    def _start(self, slot: Slot) -> None:
        slot = self._move(
            slot,
            SlotState.STARTING,
            pid=0,
            incarnation="",
            adopted=False,
            started_at=self._now,
            ready_at=None,
            silent_by=self._now + self._row(slot).startup_s,
            extended_by=None,
            step_by=None,
            next_try_at=None,
            rung=Rung.NONE,
            cause=Cause.NONE,
            main_gone=False,
            status="",
            doing="",
        )
        self._release(slot.kind)
        self.actions.append(Spawn(slot.name))

    def _apply_law(self, slot: Slot, healthy_s: float) -> None:
        verdict = after_death(slot.law, self._row(slot), self.fleet.policy, now=self._now, healthy_s=healthy_s, uniform=self._uniform)
        probed = slot.law.failed_probes > 0
        slot = self._put(replace(slot, law=verdict.record, restarts=slot.restarts + 1))
        if verdict.quarantined:
            slot = self._move(slot, SlotState.QUARANTINED, next_try_at=self._now + verdict.delay_s)
            if probed:
                self._write(Happened.PROBED, slot, outcome="failed", next_probe_s=round(verdict.delay_s, 3))
            else:
                self._write(Happened.QUARANTINED, slot, restarts=len(verdict.record.restarts), next_probe_s=round(verdict.delay_s, 3))
            return
        self._write(Happened.RESTARTING, slot, delay_s=round(verdict.delay_s, 3), strikes=round(verdict.record.strikes, 2))
        self._move(slot, SlotState.BACKOFF, next_try_at=self._now + verdict.delay_s)

    def _enqueue(self, name: str, cause: Cause) -> None:
        self.fleet = replace(self.fleet, replacements=(*self.fleet.replacements, Replacement(slot=name, cause=cause)))

    def _release(self, kind: str) -> None:
        self.fleet = replace(self.fleet, released={kind: self._now} | dict(self.fleet.released))

    def _signal(self, slot: Slot, which: signal.Signals) -> None:
        self.actions.append(Send(slot.name, which))

    # facts

    def _should_run(self, slot: Slot) -> bool:
        return not self.fleet.stopping and not slot.held and slot.instance < self._desired(slot.kind)

    def _desired(self, kind: str) -> int:
        count = self.fleet.counts.get(kind, 0)
        if self._rows[kind].needed == "connections":
            return count if self.fleet.wanted is not None and kind in self.fleet.wanted else 0
        return count

    def _gate_is_open(self, kind: str) -> bool:
        """Predecessors get their time to become ready before a kind's first start; later nobody waits for anybody."""
        if kind in self.fleet.released:
            return True
        for before in self._rows[kind].after:
            slots = [slot for slot in self.fleet.slots.values() if slot.kind == before and self._should_run(slot)]
            if all(slot.state is SlotState.READY for slot in slots):
                continue
            begun = self.fleet.released.get(before)
            if begun is None or self._now < begun + self._rows[before].startup_s:
                return False
        return True

    def _awaits_replacement(self, name: str) -> bool:
        return any(item.slot == name for item in self.fleet.replacements)

    def _beat_by(self, slot: Slot) -> float:
        by = self._now + self._row(slot).watchdog_s
        return by if slot.extended_by is None else max(by, slot.extended_by)

    def _row(self, slot: Slot) -> ProcessKind:
        return self._rows[slot.kind]

    def _slot(self, name: str) -> Slot | None:
        return self.fleet.slots.get(name)

    def _put(self, slot: Slot) -> Slot:
        self.fleet = replace(self.fleet, slots={**self.fleet.slots, slot.name: slot})
        return slot

    def _move(self, slot: Slot, state: SlotState, **changes: Any) -> Slot:
        require_transition(SLOT_TRANSITIONS, slot.state, state)
        slot = self._put(replace(slot, state=state, since=self._now, **changes))
        siblings = (other for other in self.fleet.slots.values() if other.kind == slot.kind)
        if self._row(slot).port and all(other.state is SlotState.STOPPED for other in siblings):
            self.actions.append(CloseListener(slot.kind))
        return slot

    def _write(self, event: Happened, slot: Slot, **details: Any) -> None:
        self.actions.append(Write(event, slot.name, slot.incarnation, details))
