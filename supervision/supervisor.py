"""The shell round `decide`: one selector loop, one thread. It sees, asks `decide`, does what that says, and tells.

Order within a turn: first everything that the selector shows is heard, then time is looked at. So a delay of our own never makes a child
look silent whose words are already in the socket.
"""

from __future__ import annotations

import faulthandler
import json
import os
import secrets
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import BulkheadError, SlotTaken
from shared.kinds import ProcessKind
from shared.logs import logger
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalWriter, SupervisionEvent
from shared.process.slot_lock import Holder, SlotLock, boot_id, holder_of_this_process, is_free, process_start, read_holder
from shared.process.supervised import Command, ask_command, ask_descriptors, new_incarnation
from shared.settings import ChildEnvironment, to_environ
from shared.states import SlotState
from supervision import plan, snapshot
from supervision.adoption import Survey, survey
from supervision.announce import Announcer
from supervision.control import ControlServer
from supervision.decide import decide, next_by
from supervision.environment import Told, admin_port, changed_for, child_environ
from supervision.keeper import Keeper
from supervision.law import Policy
from supervision.listeners import Listeners, PortUnusable
from supervision.log_files import LogFiles
from supervision.model import (
    Action,
    CloseListener,
    Configured,
    DrainAsked,
    Event,
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
from supervision.notify_socket import Datagram, NotifySocket
from supervision.processes import environment
from supervision.resources import Sampler, Usage, own_usage
from supervision.spawn import Started, spawn
from supervision.trees import Trees, become_subreaper

log = logger(__name__)

_LONGEST_WAIT_S: Final = 0.25
"""The loop turns at least this often: it is how our own lateness is seen."""
_LATE_S: Final = 0.05
"""A turn that comes later than it should by less than this is on time."""
_SAMPLE_EVERY_S: Final = 3.0
_SNAPSHOT_EVERY_S: Final = 1.0
_SNAPSHOT_AT_MOST_EACH_S: Final = 0.02
_ROTATE_EVERY_S: Final = 2.0
_ASK_LISTENERS_EVERY_S: Final = 0.5
_FREE_FIRST_S: Final = 0.002
_FREE_LATER_S: Final = 0.05
_OWN_LOG: Final = "orchestrator"


@dataclass
class _Dying:
    """A slot whose tree was killed and whose lock is looked at until it is free."""

    incarnation: str
    look_at: float
    pause_s: float


@dataclass
class _Job:
    """Something that is done again and again."""

    every_s: float
    do: Callable[[], None]
    due_at: float


class Supervisor:
    """Runs the kinds of one home until it is told to stop.

    Args:
        rows: the registry.
        told: what children are told.
        entries: directory of the entry files.
        reload: reads the settings again; raises `BulkheadError` when they are wrong.
        announcer: tells a person at a terminal.
        keeper: tells our own supervisor.
        policy: our durations.
        use_cgroups: whether the upper rung of killing may be used.
    """

    def __init__(
        self,
        rows: Sequence[ProcessKind],
        told: Told,
        *,
        entries: Path,
        reload: Callable[[], Told],
        announcer: Announcer,
        keeper: Keeper,
        policy: Policy | None = None,
        use_cgroups: bool = True,
    ) -> None:
        plan.check(rows)
        self._rows = {row.name: row for row in rows}
        self._told = told
        self._home = told.settings.bulkhead_home
        self._entries = entries
        self._reload = reload
        self._announcer = announcer
        self._keeper = keeper
        self._use_cgroups = use_cgroups
        self._fleet = Fleet(rows=tuple(rows), policy=policy or Policy())
        self._boot = f"orchestrator.{secrets.token_hex(6)}"
        self._started_at = time.time()
        self._events: deque[Event] = deque()
        self._processes: dict[str, Started] = {}
        self._by_pid: dict[int, str] = {}
        self._dying: dict[str, _Dying] = {}
        self._buried: dict[str, str] = {}
        self._usage: dict[str, Usage] = {}
        self._own_usage = own_usage()
        self._listeners = Listeners()
        self._logs = LogFiles(told.settings.path("logs"), int(told.settings.log_max_mb * 1024 * 1024), told.settings.log_keep)
        self._sampler = Sampler(lambda slot: self._trees.living(self._fleet.slots[slot].incarnation) if slot in self._fleet.slots else ())
        self._stop_requests = 0
        self._leaving = False
        self._journal_seq = 0
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
        self._lock = SlotLock.take(runtime.orchestrator_lock_file(self._home))
        self._lock.write(holder_of_this_process(self._boot))
        try:
            with self._sources():
                self._begin(only_stop=only_stop)
                self._turn_until_left()
        finally:
            self._lock.close()
        return ExitCode.OK

    @contextmanager
    def _sources(self) -> Iterator[None]:
        """Everything that the loop listens to, opened and closed."""
        become_subreaper()
        self._trees = Trees(self._home, use_cgroups=self._use_cgroups)
        self._journal = JournalWriter(self._home, self._boot)
        self._selector = selectors.DefaultSelector()
        self._notify = NotifySocket(runtime.notify_socket(self._home))
        self._selector.register(self._notify, selectors.EVENT_READ, self._hear)
        self._control = ControlServer(runtime.control_socket(self._home), self._selector, self._answer)
        restore = self._catch_signals()
        now = monotonic()
        self._periodic: list[_Job] = [
            _Job(_SNAPSHOT_EVERY_S, self._mark_dirty, now),
            _Job(_SAMPLE_EVERY_S, self._sample, now + _SAMPLE_EVERY_S),
            _Job(_ROTATE_EVERY_S, self._rotate, now + _ROTATE_EVERY_S),
            _Job(_ASK_LISTENERS_EVERY_S, self._ask_for_listeners, now),
            _Job(1.0, self._control.drop_silent, now),
        ]
        if self._keeper.interval_s:
            self._periodic.append(_Job(self._keeper.interval_s, self._keeper.alive, now))
        try:
            yield
        finally:
            restore()
            self._control.close()
            self._notify.close()
            self._selector.close()
            for started in self._processes.values():
                started.close()
            self._listeners.close_all()
            self._journal.close()
            self._keeper.close()
            if self._leaving:
                self._trees.close()
                self._sweep()

    def _begin(self, *, only_stop: bool) -> None:
        found = survey(self._home, self._trees, self._rows.keys())
        self._write(SupervisionEvent.ORCHESTRATOR_STARTED, details={"pid": os.getpid(), "rung": self._trees.rung})
        log.info("orchestrator_started", rung=self._trees.rung, home=str(self._home), adopted=len(found.living))
        for slot, incarnation in found.dead:
            self._buried[slot] = incarnation
            self._journal_slot(SupervisionEvent.SLOT_FREE, slot, incarnation, {})
        changed = self._adopt(found)
        if not only_stop:
            self._open_ports_needed_now(found)
        with suppress(FileNotFoundError, ValueError):
            self._take(WantedKnown(_read_wanted(runtime.wanted_file(self._home))))
        counts = dict.fromkeys(self._rows, 0) if only_stop else self._told.counts
        self._announcer.begin(self._told, counts)
        if only_stop:
            self._take(StopAsked())
        self._take(Configured(counts, changed))
        self._settle()
        self._ask_for_listeners()

    def _adopt(self, found: Survey) -> frozenset[str]:
        """Watch what lives, and return the kinds that were told something else than what is true now."""
        changed: frozenset[str] = frozenset()
        rows = tuple(self._rows.values())
        truth = to_environ(self._told.settings)
        for living in found.living:
            try:
                pidfd = os.pidfd_open(living.pid)
            except ProcessLookupError:
                continue  # gone since the survey; its lock is free or will be, and the slot starts like any other
            self._watch(living.slot, Started(living.pid, pidfd, is_child=False, err_from=self._logs.mark(living.slot, "err")))
            self._take(Found(living.slot, living.pid, living.incarnation, living.age_s))
            was_told = environment(living.pid)
            if "PROCESS_INCARNATION" in was_told:  # else somebody started it by hand, with settings of his own
                changed |= changed_for(rows, was_told, truth) & {living.slot.rsplit("-", 1)[0]}
        return changed

    def _open_ports_needed_now(self, found: Survey) -> None:
        """Bind the ports of kinds that will start at once: a port that is taken is told before anything runs."""
        adopted = {living.slot.rsplit("-", 1)[0] for living in found.living}
        for row in self._rows.values():
            if row.port and self._told.counts[row.name] and row.needed != "connections" and row.name not in adopted:
                self._listeners.open(row, self._told.settings)

    def _turn_until_left(self) -> None:
        turned_at = monotonic()
        suspended_at = _suspended()
        while not self._leaving:
            wait_s = self._wait_s(monotonic())
            ready = self._selector.select(wait_s)
            now = monotonic()
            late_s, suspended = now - turned_at - wait_s, _suspended()
            if late_s > _LATE_S:
                self._take(Stalled(late_s, suspended - suspended_at))
            turned_at, suspended_at = now, suspended
            for key, _ in ready:
                key.data()
            self._look_at_the_dying()
            self._take(Tick())
            self._do_what_is_due()
            self._settle()

    def _wait_s(self, now: float) -> float:
        if self._events or not self._sampler.is_idle:
            return 0.0
        instants = [dying.look_at for dying in self._dying.values()] + [job.due_at for job in self._periodic]
        decision = next_by(self._fleet)
        next_at: float = min(instants) if decision is None else min(*instants, decision)
        return min(_LONGEST_WAIT_S, max(0.0, next_at - now))

    def _do_what_is_due(self) -> None:
        now = monotonic()
        for job in self._periodic:
            if job.due_at <= now:
                job.due_at = now + job.every_s
                job.do()
        measured = self._sampler.step()
        if measured is not None:
            slot, usage = measured
            self._usage[slot] = usage
            self._take(Measured(slot, usage.memory_mb))

    def _settle(self) -> None:
        """After everything that a turn brought: tell those who read along."""
        if self._journal.seq != self._journal_seq:
            self._journal_seq = self._journal.seq
            self._poke_readers()
        if self._dirty:
            self._dirty = False
            self._publish()

    # deciding and doing

    def _take(self, event: Event) -> None:
        """Let `decide` answer an event, do what it says, and go on with what follows from that."""
        self._events.append(event)
        while self._events:
            before = self._fleet
            self._fleet, actions = decide(before, self._events.popleft(), monotonic())
            for action in actions:
                self._do(action)
            if self._fleet is not before:
                self._show_changes(before)

    def _do(self, action: Action) -> None:
        match action:
            case Spawn(slot):
                self._events.append(self._spawn(self._fleet.slots[slot]))
            case Send(slot, which):
                if slot in self._processes:
                    self._processes[slot].send(which)
            case KillTree(slot):
                self._kill_tree(self._fleet.slots[slot])
            case Write(event, slot, incarnation, details):
                self._write(event, slot, incarnation, details)
            case KeepWanted(kinds):
                _write_wanted(runtime.wanted_file(self._home), kinds)
            case CloseListener(kind):
                self._listeners.close(kind)
            case Leave():
                self._leaving = True

    def _spawn(self, slot: Slot) -> Event:
        row = self._rows[slot.kind]
        if row.port and not self._listeners.holds(row.name) and self._adopted_sibling_has_port(slot):
            return SpawnFailed(slot.name, "the kind's listening socket is still asked for from its other process", occupied=True)
        path = runtime.slot_lock_file(self._home, slot.name)
        try:
            listener = self._listeners.open(row, self._told.settings) if row.port else None
            lock = SlotLock.take(path)
        except PortUnusable as problem:
            return SpawnFailed(slot.name, str(problem))
        except SlotTaken as taken:
            return SpawnFailed(slot.name, str(taken), occupied=True)
        try:
            before = lock.read()
            if before is not None and before.incarnation != self._buried.get(slot.name):
                # somebody held it whom we never saw: the lock is proof enough of his death
                self._journal_slot(SupervisionEvent.SLOT_FREE, slot.name, before.incarnation, {})
            admin, public = self._ports(slot)
            incarnation = new_incarnation(slot.name)
            holder = Holder(pid=0, started=0, boot_id=boot_id(), incarnation=incarnation, admin_port=admin, public_port=public)
            lock.write(holder)
            identity = ChildEnvironment(
                process_name=slot.kind,
                process_instance=slot.instance,
                process_incarnation=incarnation,
                port=public,
                process_admin_port=admin,
                listen_fd=listener.fileno() if listener else -1,
                slot_lock_fd=lock.fd,
                notify_socket=str(runtime.notify_socket(self._home)),
                watchdog_usec=round(row.watchdog_s * 1e6),
            )
            with self._logs.opened(slot.name) as streams:
                started = spawn(
                    self._entries / row.entry,
                    child_environ(self._told, identity, os.environ),
                    streams=streams,
                    keep=[lock.fd, *([listener.fileno()] if listener else [])],
                    nice=row.nice,
                    oom_score_adj=row.oom_score_adj,
                    err_from=self._logs.mark(slot.name, "err"),
                )
            self._trees.watch(incarnation, started.pid)
            self._watch(slot.name, started)
            lock.write(Holder(**(vars(holder) | {"pid": started.pid, "started": process_start(started.pid) or 0})))
        except OSError as problem:
            return SpawnFailed(slot.name, f"{row.entry} could not be started: {problem}")
        finally:
            lock.close()
        return Spawned(slot.name, started.pid, incarnation)

    def _watch(self, slot: str, started: Started) -> None:
        self._processes[slot] = started
        self._by_pid[started.pid] = slot
        self._selector.register(started.pidfd, selectors.EVENT_READ, lambda: self._ended(slot, started))

    def _ended(self, slot: str, started: Started) -> None:
        if self._by_pid.get(started.pid) != slot:
            return  # heard already in this turn, by the other of pidfd and SIGCHLD
        how = self._exit_of(slot, started)
        if how is None:
            return
        with suppress(KeyError):
            self._selector.unregister(started.pidfd)
        self._by_pid.pop(started.pid, None)
        tail = self._logs.tail(slot, "err", since=started.err_from)
        self._take(Exited(slot, self._fleet.slots[slot].incarnation, how, tail))

    def _exit_of(self, slot: str, started: Started) -> Exit | None:
        holder = read_holder(runtime.slot_lock_file(self._home, slot))
        said = holder if holder is not None and holder.incarnation == self._fleet.slots[slot].incarnation else None
        words = said.exit_reason if said else ""
        if not started.is_child:
            return Exit(code=said.exit_code if said else None, last_words=words)
        status = os.waitid(os.P_PIDFD, started.pidfd, os.WEXITED | os.WNOHANG)
        if status is None:
            return None
        if status.si_code == os.CLD_EXITED:
            return Exit(code=status.si_status, last_words=words)
        return Exit(signal=status.si_status, last_words=words)

    def _kill_tree(self, slot: Slot) -> None:
        if not slot.incarnation:
            return
        self._trees.kill(slot.incarnation, lock=runtime.slot_lock_file(self._home, slot.name) if slot.main_gone else None)
        self._dying[slot.name] = _Dying(slot.incarnation, monotonic(), _FREE_FIRST_S)

    def _look_at_the_dying(self) -> None:
        now = monotonic()
        for name, dying in list(self._dying.items()):
            slot = self._fleet.slots.get(name)
            if slot is None or slot.incarnation != dying.incarnation:
                del self._dying[name]
            elif dying.look_at <= now and slot.main_gone:
                if is_free(runtime.slot_lock_file(self._home, name)) and not self._trees.living(dying.incarnation):
                    del self._dying[name]
                    self._bury(name, dying.incarnation)
                else:
                    dying.look_at, dying.pause_s = now + dying.pause_s, min(_FREE_LATER_S, dying.pause_s * 2)
            elif dying.look_at <= now:
                dying.look_at = now + _FREE_LATER_S

    def _bury(self, name: str, incarnation: str) -> None:
        self._buried[name] = incarnation
        self._trees.forget(incarnation)
        self._usage.pop(name, None)
        started = self._processes.pop(name, None)
        if started is not None:
            started.close()
        runtime.slot_socket(self._home, name).unlink(missing_ok=True)
        self._take(Freed(name, incarnation))

    # hearing

    def _hear(self) -> None:
        for datagram in self._notify.receive():
            name = self._by_pid.get(datagram.pid)
            slot = self._fleet.slots.get(name) if name else None
            if slot is None or datagram.fields.get("X_INCARNATION", slot.incarnation) != slot.incarnation:
                for descriptor in datagram.descriptors:
                    os.close(descriptor)
                if name is None:
                    log.debug("stranger_not_heard", pid=datagram.pid)
                continue
            if datagram.descriptors:
                self._listeners.take(slot.kind, self._ports(slot)[1], datagram.descriptors)
            self._notified(slot, datagram)

    def _notified(self, slot: Slot, datagram: Datagram) -> None:
        self._take(Notified(slot.name, slot.incarnation, datagram.fields))

    def _ask_for_listeners(self) -> None:
        for slot in self._fleet.slots.values():
            row = self._rows[slot.kind]
            if row.port and slot.adopted and slot.is_alive and not self._listeners.holds(row.name):
                self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_descriptors())

    def _adopted_sibling_has_port(self, slot: Slot) -> bool:
        """Whether another process of the kind, adopted and not yet asked successfully, listens on the port that we would bind."""
        port = self._ports(slot)[1]
        for other in self._fleet.slots.values():
            if other.kind == slot.kind and other.name != slot.name and other.adopted and other.is_alive:
                holder = read_holder(runtime.slot_lock_file(self._home, other.name))
                if holder is not None and holder.public_port == port:
                    return True
        return False

    def _poke_readers(self) -> None:
        for slot in self._fleet.slots.values():
            if self._rows[slot.kind].reads_journal and slot.state in (SlotState.READY, SlotState.UNREADY):
                self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_command(Command.POKE))

    def _catch_signals(self) -> Callable[[], None]:
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        handled = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)}
        handled[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        faulthandler.register(signal.SIGUSR1, file=self._own_err(), all_threads=True)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._signalled(woken))

        def restore() -> None:
            signal.set_wakeup_fd(before)
            for number, handler in handled.items():
                signal.signal(number, handler)
            faulthandler.unregister(signal.SIGUSR1)
            woken.close()
            wake.close()
            self._err_file.close()

        return restore

    def _own_err(self) -> Any:
        self._err_file = self._logs.path(_OWN_LOG, "err").open("a", encoding="utf-8")
        return self._err_file

    def _signalled(self, woken: socket.socket) -> None:
        with suppress(BlockingIOError):
            for number in woken.recv(4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop_requested(signal.Signals(number).name)
                elif number == signal.SIGHUP:
                    with suppress(BulkheadError):  # told already
                        self._reload_settings()
                elif number == signal.SIGCHLD:
                    self._reap()

    def _stop_requested(self, who: str) -> None:
        self._stop_requests += 1
        log.info("stop_requested", by=who, request=self._stop_requests)
        self._announcer.stopping(self._stop_requests)
        longest_s = sum(row.drain_s for row in self._rows.values())
        self._keeper.stopping(longest_s)
        self._take(StopAsked(now=self._stop_requests == 2, at_once=self._stop_requests > 2))

    def _reload_settings(self) -> frozenset[str]:
        """Read the settings again and change what they change. Wrong settings change nothing, and are told."""
        try:
            told = self._reload()
        except BulkheadError as problem:
            log.error("reload_refused", problem=str(problem))
            self._announcer.note(f"settings not reloaded: {problem}")
            raise
        changed = changed_for(tuple(self._rows.values()), to_environ(self._told.settings), to_environ(told.settings))
        moved = {row.name for row in self._rows.values() if row.port and getattr(told.settings, row.port) != getattr(self._told.settings, row.port)}
        if told.settings.bind_address != self._told.settings.bind_address:
            moved = set(self._rows)
        for kind in moved:
            self._listeners.close(kind)
        self._told = told
        log.info("settings_reloaded", changed=sorted(changed))
        self._take(Configured(told.counts, changed))
        return changed

    def _reap(self) -> None:
        """Take the status of every dead child: our slots' through their pidfd, and orphans that came to us as subreaper."""
        while True:
            try:
                status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if status is None:
                return
            name = self._by_pid.get(status.si_pid)
            if name is not None and name in self._processes:
                self._ended(name, self._processes[name])
            else:
                with suppress(ChildProcessError):
                    os.waitpid(status.si_pid, os.WNOHANG)

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
                self._take(RestartAsked(slots) if command == "restart" else DrainAsked(slots))
                return {"ok": True, "slots": before}
            case "stop":
                self._stop_requested("operator")
                return {"ok": True, "pid": os.getpid()}
            case "reload":
                return {"ok": True, "changed": sorted(self._reload_settings())}
        raise BulkheadError(f"unknown command {command!r}; known: status, restart, drain, stop, reload")

    # telling

    def _write(self, event: SupervisionEvent, slot: str = "", incarnation: str = "", details: Mapping[str, Any] | None = None) -> None:
        self._journal_slot(event, slot, incarnation, details or {})
        says = {name: value for name, value in (details or {}).items() if name != "log_tail" and value not in (None, "")}
        log.info("supervision_event_written", happened=event.value, **({"slot": slot} if slot else {}), **says)

    def _journal_slot(self, event: SupervisionEvent, slot: str, incarnation: str, details: Mapping[str, Any]) -> None:
        kind, _, instance = slot.rpartition("-")
        try:
            self._journal.write(event, slot=slot, kind=kind, instance=int(instance or 0), incarnation=incarnation, **details)
        except OSError as problem:
            # supervision goes on: the next orchestrator says slot_free again from the lock files, and the log has the rest
            log.error("journal_not_written", happened=event.value, slot=slot, problem=str(problem))

    def _show_changes(self, before: Fleet) -> None:
        self._dirty = True
        for name, slot in self._fleet.slots.items():
            old = before.slots.get(name)
            if old is None or old.state is not slot.state:
                self._announcer.slot_changed(slot, monotonic())
        if self._announcer.check_all_up(self._fleet):
            self._keeper.ready()
            self._keeper.status("everything needed is up")

    def _publish(self) -> None:
        try:
            snapshot.write(runtime.status_file(self._home), self._snapshot())
        except OSError as problem:
            log.warning("status_not_written", problem=str(problem))

    def _snapshot(self) -> dict[str, Any]:
        settings = self._told.settings
        return {
            "pid": os.getpid(),
            "boot": self._boot,
            "boot_id": boot_id(),
            "rung": self._trees.rung,
            "uptime_s": round(time.time() - self._started_at, 1),
            "memory_mb": round(self._own_usage.memory_mb, 1),
            "journal_seq": self._journal.seq,
            "dashboard": f"http://{settings.bind_address}:{settings.api_port}/dashboard",
            **snapshot.of_fleet(self._fleet, monotonic(), ports=self._ports, usage=self._usage),
        }

    def _ports(self, slot: Slot) -> tuple[int, int]:
        row = self._rows[slot.kind]
        admin = admin_port(tuple(self._rows.values()), self._told.settings.admin_port, slot.kind, slot.instance)
        return admin, int(getattr(self._told.settings, row.port)) if row.port else 0

    # jobs

    def _mark_dirty(self) -> None:
        self._dirty = True

    def _sample(self) -> None:
        self._own_usage = own_usage()
        self._sampler.begin([name for name, slot in self._fleet.slots.items() if slot.state in (SlotState.STARTING, SlotState.READY, SlotState.UNREADY)])

    def _rotate(self) -> None:
        try:
            rotated = self._logs.rotate_full()
        except OSError as problem:
            log.warning("log_not_rotated", problem=str(problem))
            return
        for path in rotated:
            log.info("log_rotated", file=path.name)

    def _sweep(self) -> None:
        """After a stop: remove sockets and the snapshot; what must survive (locks' last words, journal) stays."""
        runtime.status_file(self._home).unlink(missing_ok=True)
        for name in self._fleet.slots:
            runtime.slot_socket(self._home, name).unlink(missing_ok=True)
        directory = runtime.runtime_dir(self._home)
        if not directory.is_relative_to(self._home):
            with suppress(OSError):
                directory.rmdir()


def _suspended() -> float:
    """Seconds that the machine has been suspended since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def _read_wanted(path: Path) -> frozenset[str]:
    kinds = json.loads(path.read_text(encoding="utf-8"))
    return frozenset(kinds if isinstance(kinds, list) else ())


def _write_wanted(path: Path, kinds: frozenset[str]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(sorted(kinds)), encoding="utf-8")
    beside.replace(path)
