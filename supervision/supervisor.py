"""The shell round `decide`: one selector loop, one thread. It sees, asks `decide`, does what that says, and tells.

Order within a turn: first deaths, since somebody waits for what follows; then everything else that the selector shows is heard; then time is looked
at. So a delay of our own never makes a child look silent whose words are already in the socket.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import BulkheadError
from shared.kinds import admin_port
from shared.logs import logger
from shared.needs import need_of
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalWriter, SupervisionEvent
from shared.process.slot_lock import SlotLock, boot_id, holder_of_this_process
from shared.process.supervised import Command, ask_command, ask_descriptors
from shared.settings import ChildEnvironment, to_environ
from shared.states import SlotState
from supervision import desired_kinds, model, plan, snapshot
from supervision.adoption import Survey, survey
from supervision.announce import Announcer
from supervision.children import Children
from supervision.chronicle import Chronicle
from supervision.control import ControlServer
from supervision.decide import decide, next_by
from supervision.environment import Told, changed_for, child_environ
from supervision.keeper import Keeper
from supervision.listeners import Listeners, PortUnusable
from supervision.log_files import LogFiles
from supervision.model import SERVING, Fleet, Slot
from supervision.notify_socket import NotifySocket
from supervision.processes import environment
from supervision.resources import Sampler, Usage, own_usage
from supervision.restart_policy import Policy
from supervision.spawn import claim_priority
from supervision.starvation import PROBE_S, Starvation
from supervision.trees import Trees, become_subreaper
from supervision.wake_up import WakeUp

log = logger(__name__)

_LONGEST_WAIT_S: Final = 0.25
"""The loop turns at least this often: it is how our own lateness is seen."""
_LATE_S: Final = 0.05
"""A turn that comes later than it should by less than this is on time."""
_SNAPSHOT_EVERY_S: Final = 1.0
_SAMPLE_EVERY_S: Final = 3.0
_SAMPLE_APART_S: Final = 0.005
"""Pause between two processes that are measured: whoever must run meanwhile can."""
_ROTATE_EVERY_S: Final = 2.0
_ASK_LISTENERS_EVERY_S: Final = 0.5
_DROP_SILENT_EVERY_S: Final = 1.0
_LONGEST_BEAT_S: Final = 1.0
"""Longest interval at which a child beats, see `Supervised.watchdog_interval_s`."""
_BIND_AGAIN_EVERY_S: Final = 0.2
"""Interval of looking whether our sockets can still be reached: well below the shortest watchdog."""
_CATCH_UP_EVERY_S: Final = 1.0


@dataclass
class _Job:
    """Something that is done again and again."""

    every_s: float
    do: Callable[[], None]
    due_at: float = 0.0


class Supervisor:
    """Runs the kinds of one home until it is told to stop.

    Args:
        told: what children are told, with the registry.
        entries: directory of the entry files.
        inherited: the process environment; what is not a setting is handed on to children.
        reload: reads the settings again; raises `BulkheadError` when they are wrong.
        announcer: tells a person at a terminal.
        keeper: tells our own supervisor.
        policy: our durations.
        use_cgroups: whether the upper rung of killing may be used.
    """

    def __init__(
        self,
        told: Told,
        *,
        entries: Path,
        inherited: Mapping[str, str],
        reload: Callable[[], Told],
        announcer: Announcer,
        keeper: Keeper,
        policy: Policy | None = None,
        use_cgroups: bool = True,
    ) -> None:
        rows = told.settings.kinds
        plan.check(rows)
        self._rows = {row.name: row for row in rows}
        self._told = told
        self._home = told.settings.bulkhead_home
        self._entries = entries
        self._inherited = inherited
        self._reload = reload
        self._announcer = announcer
        self._keeper = keeper
        self._use_cgroups = use_cgroups
        self._fleet = Fleet(rows=rows, policy=policy or Policy())
        self._boot = f"orchestrator.{secrets.token_hex(6)}"
        self._began_at = monotonic()
        self._events: deque[model.Event] = deque()
        self._usage: dict[str, Usage] = {}
        self._own_usage = own_usage()
        self._listeners = Listeners()
        self._logs = LogFiles(
            told.settings.path("logs"), int(told.settings.log_max_mb * 1024 * 1024), told.settings.log_keep
        )
        self._stop_requests = 0
        self._leaving = False
        self._told_seq = 0
        self._dirty = True

    # life

    def run(self, *, only_stop: bool = False) -> ExitCode:
        """Supervise until told to stop, and return the exit code.

        Args:
            only_stop: adopt what lives and stop it, start nothing.
        Raises:
            SlotTaken: another orchestrator runs over this home.
            PortUnusable: a port that is needed at once is taken, and nothing was started.
        """
        lock = SlotLock.take(runtime.orchestrator_lock_file(self._home))
        lock.write(holder_of_this_process(self._boot))
        try:
            with self._sources():
                self._begin(only_stop=only_stop)
                self._turn_until_left()
        finally:
            lock.close()
        return ExitCode.OK

    @contextmanager
    def _sources(self) -> Iterator[None]:
        """Everything that the loop listens to, opened and closed. When we leave on purpose nothing of us stays; else our children do."""
        become_subreaper()
        self._selector = selectors.DefaultSelector()
        self._trees = Trees(self._home, use_cgroups=self._use_cgroups)
        self._chronicle = Chronicle(JournalWriter(self._home, self._boot))
        self._children = Children(
            home=self._home,
            entries=self._entries,
            trees=self._trees,
            logs=self._logs,
            selector=self._selector,
            niceness=claim_priority(),
            happened=self._take,
            died_unseen=self._died_unseen,
        )
        self._sampler = Sampler(self._children.tree)
        self._starvation = Starvation()
        self._notify = NotifySocket(runtime.notify_socket(self._home))
        self._reachable_at = monotonic()
        self._selector.register(self._notify, selectors.EVENT_READ, self._hear)
        self._control = ControlServer(runtime.control_socket(self._home), self._selector, self._answer)
        wake_up = WakeUp()
        self._selector.register(wake_up, selectors.EVENT_READ, lambda: self._signalled(wake_up))
        self._jobs = [
            _Job(_SNAPSHOT_EVERY_S, self._mark_dirty),
            _Job(_BIND_AGAIN_EVERY_S, self._bind_again),
            _Job(_SAMPLE_EVERY_S, self._sample),
            _Job(_ROTATE_EVERY_S, self._rotate),
            _Job(_CATCH_UP_EVERY_S, self._chronicle.catch_up),
            _Job(_ASK_LISTENERS_EVERY_S, self._ask_for_listeners),
            _Job(_DROP_SILENT_EVERY_S, self._control.drop_silent),
            *([_Job(self._keeper.interval_s, self._keeper.alive)] if self._keeper.interval_s else []),
        ]
        try:
            with wake_up.catching(self._logs.path("orchestrator", "err")):
                yield
        finally:
            self._control.close()
            self._notify.close()
            self._children.close()
            self._selector.close()
            self._listeners.close_all()
            self._chronicle.close()
            self._keeper.close()
            if self._leaving:
                self._trees.close()
                runtime.sweep(self._home)

    def _begin(self, *, only_stop: bool) -> None:
        found = survey(self._home, self._trees, self._rows.keys())
        self._chronicle.write(
            SupervisionEvent.ORCHESTRATOR_STARTED, details={"pid": os.getpid(), "rung": self._trees.rung}
        )
        log.info("orchestrator_started", rung=self._trees.rung, home=str(self._home), adopted=len(found.living))
        for slot, incarnation in found.dead:
            self._children.know_dead(slot, incarnation)
        changed = self._adopt(found)
        if not only_stop:
            self._open_ports_needed_now(found)
        kept = desired_kinds.read(runtime.desired_kinds_file(self._home))
        if kept is not None:
            self._take(model.DesiredKindsKnown(kept))
        counts = dict.fromkeys(self._rows, 0) if only_stop else self._told.counts
        self._announcer.begin(self._told, counts)
        if only_stop:
            self._take(model.StopAsked())
        self._take(model.Configured(counts, changed))
        self._ask_for_listeners()
        self._tell()
        # that we supervise; a database that is away must not make our keeper end us
        self._keeper.ready()

    def _adopt(self, found: Survey) -> frozenset[str]:
        """Watch what lives, and return the kinds that were told something else than what is true now."""
        changed: frozenset[str] = frozenset()
        for living in found.living:
            if not self._children.adopt(living):
                continue  # gone since the survey: its slot starts like any other
            self._take(model.Found(living.slot, living.pid, living.incarnation, living.age_s))
            was_told = environment(living.pid)
            if "PROCESS_INCARNATION" in was_told:  # else somebody started it by hand, with settings of his own
                changed |= changed_for(self._told.settings, was_told) & {living.slot.rsplit("-", 1)[0]}
        return changed

    def _open_ports_needed_now(self, found: Survey) -> None:
        """Bind the ports of kinds that will start at once: a port that is taken is told before anything runs."""
        adopted = {living.slot.rsplit("-", 1)[0] for living in found.living}
        for row in self._rows.values():
            if row.port and self._told.counts[row.name] and not need_of(row).reported and row.name not in adopted:
                self._listeners.open(row, self._told.settings)

    def _turn_until_left(self) -> None:
        turned_at, suspended_before = monotonic(), _suspended_s()
        while not self._leaving:
            wait_s = self._wait_s()
            ready = self._selector.select(wait_s)
            now, suspended = monotonic(), _suspended_s()
            late_s = now - turned_at - wait_s
            if late_s > _LATE_S:
                self._take(model.Stalled(late_s, suspended - suspended_before))
            turned_at, suspended_before = now, suspended
            for key, _ in sorted(ready, key=lambda shown: not self._children.watches(shown[0].fd)):
                key.data()
            self._children.look()
            self._allow_for_starvation()
            self._take(model.Tick())
            self._do_what_is_due()
            self._tell()

    def _allow_for_starvation(self) -> None:
        """Give more time to those who are about to be called hung, and only wait for a CPU; hear once more what the others have said meanwhile."""
        now = monotonic()
        silent = [
            slot
            for slot in self._fleet.slots.values()
            if slot.silent_by is not None and slot.silent_by <= now and slot.state in SERVING and slot.pid
        ]
        for slot in silent:
            if self._starvation.is_starved(slot.pid):
                log.debug("child_starved", slot=slot.name)
                self._take(model.Starved(slot.name, PROBE_S))
        if silent:
            self._hear()

    def _wait_s(self) -> float:
        instants = [job.due_at for job in self._jobs] + [
            at for at in (self._children.look_at(), next_by(self._fleet, monotonic())) if at is not None
        ]
        longest_s = _LONGEST_WAIT_S if self._sampler.is_idle else _SAMPLE_APART_S
        return min(longest_s, max(0.0, min(instants) - monotonic()))

    def _do_what_is_due(self) -> None:
        now = monotonic()
        for job in self._jobs:
            if job.due_at <= now:
                job.due_at = now + job.every_s
                job.do()
        measured = self._sampler.step()
        if measured is not None:
            slot, usage = measured
            self._usage[slot] = usage
            self._take(model.Measured(slot, usage.memory_mb))

    # deciding and doing

    def _take(self, event: model.Event) -> None:
        """Let `decide` answer an event, do what it says, and go on with what follows from that."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # we are called from within the loop below, which will come to it
        try:
            while self._events:
                before = self._fleet
                self._fleet, actions = decide(before, self._events[0], monotonic())
                for action in actions:
                    self._do(action)
                if self._fleet is not before:
                    self._show_changes(before)
                self._events.popleft()
        except BulkheadError as defect:
            # a decision that contradicts its own tables is a defect of ours and no answer to an operator: end, the children go on
            raise RuntimeError(f"cannot go on after {self._events[0]}: {defect}") from defect

    def _do(self, action: model.Action) -> None:
        match action:
            case model.Spawn(slot):
                self._take(self._spawn(self._fleet.slots[slot]))
            case model.Send(slot, which):
                self._children.send(slot, which)
            case model.KillTree(slot):
                self._children.kill(slot)
            case model.Write(event, slot, incarnation, details):
                self._chronicle.write(event, slot, incarnation, details)
            case model.SaveDesiredKinds(kinds):
                try:
                    desired_kinds.write(runtime.desired_kinds_file(self._home), kinds)
                except OSError as problem:
                    # the recorder says it again to the next orchestrator
                    log.warning("desired_kinds_not_saved", problem=str(problem))
            case model.CloseListener(kind):
                self._listeners.close(kind)
            case model.Leave():
                self._leaving = True

    def _spawn(self, slot: Slot) -> model.Event:
        row = self._rows[slot.kind]
        admin, public = self._ports(slot)
        try:
            if not row.port:
                listen_fd = -1
            elif not self._listeners.holds(row.name) and self._adopted_sibling_serves(slot, public):
                return model.SpawnFailed(
                    slot.name, "the kind's listening socket is still asked for from its other process", occupied=True
                )
            else:
                listen_fd = self._listeners.open(row, self._told.settings).fileno()
        except PortUnusable as problem:
            return model.SpawnFailed(slot.name, str(problem))
        identity = ChildEnvironment(
            process_name=slot.kind,
            process_instance=slot.instance,
            port=public,
            process_admin_port=admin,
            notify_socket=str(runtime.notify_socket(self._home)),
            watchdog_usec=round(row.watchdog_s * 1e6),
        )
        return self._children.start(
            slot.name,
            row,
            listen_fd,
            identity,
            lambda complete: child_environ(self._told, row, complete, self._inherited),
        )

    # hearing

    def _hear(self) -> None:
        for datagram in self._notify.receive():
            name = self._children.slot_of(datagram.pid)
            slot = self._fleet.slots.get(name) if name else None
            if slot is None or datagram.fields.get("X_INCARNATION", slot.incarnation) != slot.incarnation:
                log.debug("stranger_not_heard", pid=datagram.pid)
                for descriptor in datagram.descriptors:
                    os.close(descriptor)
                continue
            if datagram.descriptors:
                self._listeners.take(slot.kind, self._ports(slot)[1], datagram.descriptors)
            self._take(model.Notified(slot.name, slot.incarnation, datagram.fields))

    def _signalled(self, wake_up: WakeUp) -> None:
        for number in wake_up.heard():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop_requested(number.name)
            elif number is signal.SIGHUP:
                with suppress(BulkheadError):  # told already
                    self._reload_settings()
            elif number is signal.SIGCHLD:
                self._children.reap()

    def _stop_requested(self, who: str) -> None:
        self._stop_requests += 1
        log.info("stop_requested", by=who, request=self._stop_requests)
        self._announcer.stopping(self._stop_requests)
        self._keeper.stopping(sum(row.drain_s + self._fleet.policy.leave_s for row in self._rows.values()))
        self._take(model.StopAsked(now=self._stop_requests == 2, at_once=self._stop_requests > 2))

    def _reload_settings(self) -> frozenset[str]:
        """Read the settings again and change what they change. Wrong settings change nothing, are told and raised."""
        try:
            told = self._reload()
        except BulkheadError as problem:
            log.error("reload_refused", problem=str(problem))
            self._announcer.note(f"settings not reloaded: {problem}")
            raise
        before, self._told = self._told.settings, told
        changed = changed_for(told.settings, to_environ(before))
        for row in told.settings.kinds:
            if (row.port, told.settings.bind_address) != (self._rows[row.name].port, before.bind_address):
                self._listeners.close(row.name)
        self._rows = {row.name: row for row in told.settings.kinds}
        log.info("settings_reloaded", changed=sorted(changed))
        self._take(model.Configured(told.counts, changed, told.settings.kinds))
        return changed

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer one request on the control socket."""
        command, target = str(request.get("command", "")), str(request.get("target", ""))
        match command:
            case "status":
                return {"ok": True, "status": self._snapshot()}
            case "restart" | "drain":
                slots = plan.select(self._fleet.slots, target, self._fleet.counts)
                log.info("operator_asked", command=command, slots=list(slots))
                before = {name: self._fleet.slots[name].incarnation for name in slots}
                self._take(model.RestartAsked(slots) if command == "restart" else model.DrainAsked(slots))
                return {"ok": True, "slots": before}
            case "stop":
                self._stop_requested("operator")
                return {"ok": True, "pid": os.getpid()}
            case "reload":
                return {"ok": True, "changed": sorted(self._reload_settings())}
        raise BulkheadError(f"unknown command {command!r}; known: status, restart, drain, stop, reload")

    # asking

    def _ask_for_listeners(self) -> None:
        """Ask adopted children for the listening sockets that the orchestrator before us handed down."""
        for slot in self._fleet.slots.values():
            if self._rows[slot.kind].port and slot.adopted and slot.is_alive and not self._listeners.holds(slot.kind):
                self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_descriptors())

    def _adopted_sibling_serves(self, slot: Slot, port: int) -> bool:
        """Whether another process of the kind, adopted and not yet asked successfully, listens on the port that we would bind."""
        siblings = (
            other for other in self._fleet.slots.values() if other.kind == slot.kind and other.name != slot.name
        )
        return any(other.adopted and other.is_alive and self._children.serves(other.name, port) for other in siblings)

    # telling

    def _tell(self) -> None:
        """At the end of a turn: wake those who read the journal, and publish what has changed."""
        if self._chronicle.seq != self._told_seq:
            self._told_seq = self._chronicle.seq
            for slot in self._fleet.slots.values():
                if self._rows[slot.kind].reads_journal and slot.state in (SlotState.READY, SlotState.UNREADY):
                    self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_command(Command.NOTIFY))
        if self._dirty:
            self._dirty = False
            try:
                snapshot.write(runtime.status_file(self._home), self._snapshot())
            except OSError as problem:
                log.warning("status_not_written", problem=str(problem))

    def _show_changes(self, before: Fleet) -> None:
        for name, slot in self._fleet.slots.items():
            old = before.slots.get(name)
            if old is None or old.state is not slot.state:
                self._dirty = True
                self._announcer.slot_changed(slot, monotonic())
        if self._announcer.check_all_up(self._fleet):
            self._keeper.status("everything needed is up")

    def _died_unseen(self, slot: str, incarnation: str) -> None:
        self._chronicle.write(SupervisionEvent.SLOT_FREE, slot, incarnation)

    def _snapshot(self) -> dict[str, Any]:
        settings = self._told.settings
        return {
            "pid": os.getpid(),
            "boot": self._boot,
            "boot_id": boot_id(),
            "rung": self._trees.rung,
            "uptime_s": round(monotonic() - self._began_at, 1),
            "memory_mb": round(self._own_usage.memory_mb, 1),
            "journal_seq": self._chronicle.seq,
            "dashboard": f"http://{settings.bind_address}:{settings.port('api')}/dashboard",
            **snapshot.of_fleet(self._fleet, monotonic(), ports=self._ports, usage=self._usage),
        }

    def _ports(self, slot: Slot) -> tuple[int, int]:
        """The slot's admin port, and its kind's public port or 0."""
        row = self._rows[slot.kind]
        return admin_port(self._told.settings.admin_port, row, slot.instance), row.port

    # jobs

    def _mark_dirty(self) -> None:
        self._dirty = True

    def _bind_again(self) -> None:
        """Bind our sockets again when something removed their files, and call nobody hung who could not reach us meanwhile."""
        now = monotonic()
        lost = [one for one in (self._notify, self._control) if not one.is_reachable()]
        try:
            if self._notify in lost:
                self._selector.unregister(self._notify)
                try:
                    self._notify.bind_again(runtime.notify_socket(self._home))
                finally:
                    self._selector.register(self._notify, selectors.EVENT_READ, self._hear)
                # children beat at least once in each of these intervals
                unreachable_s = now - self._reachable_at + _LONGEST_BEAT_S
                self._take(model.Stalled(unreachable_s))
            if self._control in lost:
                self._control.bind_again(runtime.control_socket(self._home))
        except (OSError, runtime.RuntimeDirectoryUnsafe) as problem:
            log.error("sockets_not_bound_again", problem=str(problem))
            return
        self._reachable_at = now
        if lost:
            log.warning("sockets_bound_again", count=len(lost), directory=str(runtime.runtime_dir(self._home)))

    def _sample(self) -> None:
        self._own_usage = own_usage()
        self._usage = {name: usage for name, usage in self._usage.items() if name in self._fleet.slots}
        self._sampler.begin([name for name, slot in self._fleet.slots.items() if slot.state in SERVING])

    def _rotate(self) -> None:
        try:
            for path in self._logs.rotate_full():
                log.info("log_rotated", file=path.name)
        except OSError as problem:
            log.warning("log_not_rotated", problem=str(problem))


def _suspended_s() -> float:
    """Seconds that the machine has been suspended since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - monotonic()
