"""How the state follows reports of processes and of the machine; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared.needs import need_of
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.states import SlotState
from supervision.decisions.model import (
    SERVING,
    Cause,
    Escalation,
    Exited,
    FoundProcess,
    Freed,
    KillTree,
    Measured,
    Notified,
    SaveDesiredKinds,
    Slot,
    Spawned,
    SpawnFailed,
    Stalled,
    Starved,
    Write,
)
from supervision.decisions.transition import Transition

# Below it, ordinary scheduling delays of a busy machine would fill the journal.
STALL_WORTH_SAYING_S: Final = 0.5
"""A delay of the supervisor below this moves deadlines silently."""


class ReportHandlers(Transition):
    """Handlers of reports, one for each event type."""

    def notified(self, event: Notified) -> None:
        """Handle a datagram: readiness, beats, declared sections and the set of required kinds."""
        slot = self.slot(event.slot)
        # A datagram of an earlier incarnation, read after its successor was started, must not count for that.
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone:
            return
        said = event.fields
        # The status first, so that the events below can show it; READY before STOPPING, since each datagram repeats
        # READY, also the one that announces the end.
        if "STATUS" in said:
            slot = self.put(replace(slot, status=said["STATUS"]))
        if "EXTEND_TIMEOUT_USEC" in said:
            slot = self._extend(slot, said["EXTEND_TIMEOUT_USEC"], said.get("X_DOING", ""))
        if said.get("READY") == "1":
            slot = self._became_ready(slot)
        # Only from READY: while it starts, a process is not ready anyway.
        if said.get("X_READY") == "0" and slot.state is SlotState.READY:
            slot = self.move(slot, SlotState.UNREADY)
            self.write(Happened.UNREADY, slot, status=slot.status)
        # Not while it starts: there the deadline is for readiness, and beats must not extend it.
        if said.get("WATCHDOG") == "1" and slot.state in (SlotState.READY, SlotState.UNREADY):
            slot = self.put(replace(slot, silent_by=self.beat_by(slot), starved_s=0.0))
        if said.get("STOPPING") == "1" and slot.state in SERVING:
            # A signal from elsewhere: the exit will not be one that we requested.
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
        # `ready_at` stays over phases without readiness: uptime counts from the first time.
        first = slot.ready_at is None
        slot = self.move(slot, SlotState.READY, ready_at=self.now if first else slot.ready_at)
        slot = self.put(replace(slot, silent_by=self.beat_by(slot), starved_s=0.0))
        # An adopted process was ready before; only its later changes are events.
        if not (first and slot.adopted):
            self.write(
                Happened.READY,
                slot,
                after_s=round(self.now - slot.started_at, 3) if first else None,
                status=slot.status,
            )
        return slot

    def _extend(self, slot: Slot, microseconds: str, doing: str) -> Slot:
        # Capped: a child with a wrong number must not exempt itself from the watchdog. What is no number ends the
        # section.
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
            # Never earlier than before: an extension only adds time.
            slot = self.put(replace(slot, silent_by=max(slot.silent_by, until)))
        return slot

    def _desired_kinds_received(self, text: str) -> None:
        conditional = {row.name for row in self.state.rows if need_of(row).reported}
        # The recorder may be older or newer than the registry: unknown names are dropped, and kinds that always run are
        # not its to decide.
        kinds = frozenset(text.split(",")) & conditional
        if kinds != self.state.desired:
            self.state = replace(self.state, desired=kinds)
            self.actions.append(SaveDesiredKinds(kinds))
            self.actions.append(Write(Happened.DESIRED_KINDS, details={"kinds": sorted(kinds)}))

    def exited(self, event: Exited) -> None:
        """Record the exit of a main process, and kill what is left of its tree before the slot is used again."""
        slot = self.slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or slot.main_gone or not slot.is_alive:
            return
        if slot.state is not SlotState.KILLING:
            slot = self.move(slot, SlotState.KILLING)
        slot = self.put(
            replace(
                slot,
                # The state stays KILLING until `Freed`: helpers of the process may live on.
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
        # A crash is no drain, and `in_time` compares with what was requested.
        if slot.cause.requested:
            in_time = slot.escalation is Escalation.TERM and event.exit.code == ExitCode.OK
            self.write(Happened.DRAINED, slot, in_time=in_time, code=event.exit.code, purpose=slot.cause.value)
        self.actions.append(KillTree(slot.name))

    def freed(self, event: Freed) -> None:
        """Restart, or stop, a slot whose last process is proved dead."""
        slot = self.slot(event.slot)
        if slot is None or slot.incarnation != event.incarnation or not slot.main_gone or not slot.is_alive:
            return
        # The recorder reclaims rows on this event: it precedes every further start of the slot in the journal.
        self.write(Happened.SLOT_FREE, slot)
        # From the first READY: becoming ready slowly is not held against a process.
        healthy_s = 0.0 if slot.ready_at is None else max(0.0, self.now - slot.ready_at)
        slot = self.put(
            replace(slot, pid=0, adopted=False, ready_at=None, step_by=None, status="", doing="", rss_mb=0.0)
        )
        cause = slot.cause
        # Checked first: a slot that is not wanted any more needs no decision on a restart.
        if not self.should_run(slot):
            self.move(slot, SlotState.STOPPED)
        # A restart would end with the same exit code: only a change of settings helps.
        elif not cause.requested and slot.last_exit is not None and slot.last_exit.code == ExitCode.CONFIGURATION:
            slot = self.move(slot, SlotState.MISCONFIGURED)
            self.write(Happened.MISCONFIGURED, slot, last_words=slot.last_exit.last_words if slot.last_exit else "")
        elif cause.under_restart_policy:
            self.apply_policy(slot, healthy_s)
        else:
            self.start(slot)

    def spawned(self, event: Spawned) -> None:
        """Record the process that was started."""
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

    def spawn_failed(self, event: SpawnFailed) -> None:
        """Apply the restart policy to a start that failed; a slot that another process holds is only retried."""
        slot = self.slot(event.slot)
        if slot is None or slot.state is not SlotState.STARTING or slot.pid:
            return
        self.write(Happened.START_FAILED, slot, error=event.error)
        slot = self.put(replace(slot, silent_by=None, status=event.error))
        if event.occupied:
            # No failure of this slot's program, so nothing is added to its history.
            self.move(slot, SlotState.BACKOFF, next_try_at=self.now + self.state.policy.occupied_s)
        else:
            self.apply_policy(slot, 0.0)

    def found(self, event: FoundProcess) -> None:
        """Adopt a process of an earlier orchestrator, with time to prove that it beats."""
        slot = self.slot(event.slot)
        if slot is None:
            # The survey comes before the first `Configured`: the slots do not exist yet, or fewer are configured now.
            kind, instance = event.slot.rsplit("-", 1)
            slot = self.put(Slot(kind=kind, instance=int(instance)))
        if slot.state is not SlotState.STOPPED:
            return
        row, policy = self.row(slot), self.state.policy
        # It may still be starting under the time that its first orchestrator gave it.
        patience_s = max(row.watchdog_s, row.startup_s - event.age_s) + policy.adoption_s
        # UNREADY, not READY: its next beat shows which of the two it is.
        slot = self.move(slot, SlotState.UNREADY, pid=event.pid, incarnation=event.incarnation, adopted=True)
        slot = self.put(replace(slot, started_at=self.now - event.age_s, silent_by=self.now + patience_s))
        self.release(slot.kind)
        self.write(Happened.ADOPTED, slot, pid=event.pid, age_s=round(event.age_s, 1))

    def measured(self, event: Measured) -> None:
        """Compare memory with the ceilings: above the soft one the slot is drained, above the hard one killed."""
        slot = self.slot(event.slot)
        if slot is None or slot.state not in SERVING:
            return
        slot = self.put(replace(slot, rss_mb=event.rss_mb))
        row = self.row(slot)
        if row.memory_hard_mb and event.rss_mb > row.memory_hard_mb:
            self.write(
                Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_hard_mb, ceiling="hard"
            )
            # No drain: above the hard ceiling the machine itself is at risk, and the process grows while it drains.
            self.kill(self.put(replace(slot, cause=Cause.MEMORY_HARD)))
        elif row.memory_soft_mb and event.rss_mb > row.memory_soft_mb and not self.awaits_replacement(slot.name):
            self.write(
                Happened.OVER_MEMORY, slot, rss_mb=round(event.rss_mb), limit_mb=row.memory_soft_mb, ceiling="soft"
            )
            # Queued, so that a kind with several slots replaces one at a time.
            self.enqueue(slot.name, Cause.MEMORY_SOFT)

    def stalled(self, event: Stalled) -> None:
        """Move every deadline by our own delay: children are not silent while we do not read."""
        for slot in self.state.slots.values():
            self.put(
                replace(
                    slot,
                    # `next_try_at` is not moved: a restart that is late need not be later still.
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

    def starved(self, event: Starved) -> None:
        """Extend the deadline of a silent process that waits for a CPU, up to the most that is excused."""
        slot = self.slot(event.slot)
        if (
            slot is None
            or slot.silent_by is None
            or slot.state not in SERVING
            # Without a bound, a process that spins in a state that looks like starvation would never be ended.
            or slot.starved_s + event.for_s > self.state.policy.starved_most_s
        ):
            return
        self.put(
            replace(slot, silent_by=max(slot.silent_by, self.now + event.for_s), starved_s=slot.starved_s + event.for_s)
        )
