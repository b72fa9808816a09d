"""Imperative shell around `decide`: one selector loop, one thread. It collects events, lets `decide` choose actions,
and runs them.

Each iteration handles exits first, because a restart waits for them, then every other event of the selector, then
timers: a delay of ours never counts as silence of a child whose datagram is already in the socket.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from shared.clock import monotonic, suspended_s
from shared.errors import BulkheadError
from shared.logs import check_files, logger
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.exposition import render
from shared.process.journal import JournalWriter, SupervisionEvent
from shared.process.slot_lock import SlotLock, holder_of_this_process
from shared.process.slot_metrics import orchestrator_families
from shared.process.supervised import Command, ask_command
from shared.states import SlotState
from supervision import desired_kinds
from supervision.announce import Announcer
from supervision.configuration import Configuration
from supervision.decisions import model
from supervision.decisions.decide import decide, next_by
from supervision.decisions.model import SERVING, Slot, State
from supervision.decisions.restart_policy import Policy
from supervision.event_journal import EventJournal
from supervision.housekeeping import Housekeeping, Job, SocketUpkeep, rotate_logs
from supervision.ipc.control import ControlServer
from supervision.ipc.control_handler import ControlHandler
from supervision.ipc.listeners import PortUnusable
from supervision.ipc.metrics_endpoint import MetricsEndpoint
from supervision.ipc.notify_socket import NotifySocket
from supervision.ipc.public_ports import PortHeldByAdopted, PublicPorts
from supervision.ipc.sd_notify import SdNotify
from supervision.ipc.wake_up import WakeUp
from supervision.processes import measurements
from supervision.processes.adoption import Survey, survey
from supervision.processes.children import Children
from supervision.processes.doctor_runs import DoctorRuns
from supervision.processes.log_files import LogFiles
from supervision.processes.markers import environment
from supervision.processes.measurements import Measurements
from supervision.processes.spawn import claim_priority
from supervision.processes.starvation import PROBE_S, Starvation
from supervision.processes.trees import Trees, become_subreaper
from supervision.status_publisher import StatusPublisher

log = logger(__name__)

# Of the loop, in seconds.
_LONGEST_WAIT_S: Final = 0.25  # it turns at least this often, which shows its own lateness
_LATE_S: Final = 0.05  # a turn that is later than this is late: less is ordinary scheduling on a busy machine
# Between two runs of a job, in seconds.
_SNAPSHOT_EVERY_S: Final = 1.0  # without a change; readers take one of more than 5 s (`status_file.FRESH_S`) for old
_ROTATE_EVERY_S: Final = 2.0  # by what is written meanwhile a log file may exceed its limit
_ASK_LISTENERS_EVERY_S: Final = 0.5  # a busy child may answer late
_DROP_SILENT_EVERY_S: Final = 1.0  # well below the time that a client has for its request
_BIND_AGAIN_EVERY_S: Final = 0.2  # well below the shortest watchdog, since beats are lost meanwhile
_CATCH_UP_EVERY_S: Final = 1.0  # entries that a full disk refused


class Supervisor:
    """Turns what happens into decisions and decisions into actions, until it is stopped.

    What is decided is `decide`'s; what is in force is `Configuration`'s; what others see is `StatusPublisher`'s; what
    is repeated is `Housekeeping`'s.

    Args:
        configuration: of the children, with the registry.
        entries: directory of the entry files.
        announcer: progress for a terminal.
        sd_notify: client of the process that supervises us.
        policy: our durations.
        doctor: command line that checks this installation, and its environment.
        use_cgroups: whether process trees may be killed by cgroup.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        entries: Path,
        announcer: Announcer,
        sd_notify: SdNotify,
        doctor: tuple[Sequence[str], Mapping[str, str]],
        policy: Policy | None = None,
        use_cgroups: bool = True,
    ) -> None:
        self._configuration = configuration
        settings = configuration.settings
        self._home = settings.bulkhead_home
        self._entries = entries
        self._announcer = announcer
        self._sd_notify = sd_notify
        self._doctor_command = doctor
        self._use_cgroups = use_cgroups
        self._state = State(rows=configuration.rows, policy=policy or Policy())
        self._boot = f"orchestrator.{secrets.token_hex(6)}"
        self._events: deque[model.Event] = deque()
        self._logs = LogFiles(settings.path("logs"), int(settings.log_max_mb * 1024 * 1024), settings.log_keep)
        self._stop_requests = 0
        self._leaving = False

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    def run(self, *, only_stop: bool = False) -> ExitCode:
        """Supervise until stopped, and return the exit code.

        Args:
            only_stop: adopt what lives and stop it, start nothing.
        Raises:
            SlotTaken: another orchestrator runs over this home.
            PortUnusable: a port that is needed at once is taken, and nothing was started.
        """
        # Two orchestrators over one home would both adopt, kill and restart the same processes. Held until the end, and
        # freed by the kernel if we die.
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
        """Everything that the loop listens to, opened and closed. When we leave on purpose nothing of us stays; else
        our children do."""
        # Before the first child: its orphans must become ours and not init's, or they could not be found by parentage.
        become_subreaper()
        self._selector = selectors.DefaultSelector()
        self._trees = Trees(self._home, use_cgroups=self._use_cgroups)
        self._event_journal = EventJournal(JournalWriter(self._home, self._boot))
        self._children = Children(
            home=self._home,
            host=self._configuration.settings.host,
            entries=self._entries,
            trees=self._trees,
            logs=self._logs,
            selector=self._selector,
            niceness=claim_priority(),
            happened=self.take,
            found_dead=self._found_dead,
        )
        self._measurements = Measurements(self._children.tree)
        self._starvation = Starvation()
        self._status = StatusPublisher(
            runtime.status_file(self._home),
            {"boot": self._boot, "kill_method": self._trees.kill_method},
            configuration=self._configuration,
            journal=self._event_journal,
            measurements=self._measurements,
            announcer=self._announcer,
            sd_notify=self._sd_notify,
        )
        self._notify = NotifySocket(runtime.notify_socket(self._home))
        self._ports = PublicPorts(self._home, self._configuration, self._notify, serves=self._children.serves)
        self._selector.register(self._notify, selectors.EVENT_READ, self._receive)
        self._doctor = DoctorRuns(*self._doctor_command, self._selector)
        self._control = ControlServer(
            runtime.control_socket(self._home),
            self._selector,
            ControlHandler(self, lambda: self._status.snapshot(self._state), self._doctor).answer,
        )
        self._metrics = MetricsEndpoint(
            self._configuration.admin_port,
            self._selector,
            lambda: render(orchestrator_families(self._status.snapshot(self._state))),
        )
        wake_up = WakeUp()
        self._selector.register(wake_up, selectors.EVENT_READ, lambda: self._signalled(wake_up))
        sockets = SocketUpkeep(
            self._home,
            self._selector,
            self._notify,
            self._control,
            on_notify=self._receive,
            unreachable=lambda for_s: self.take(model.Stalled(for_s)),
        )
        self._housekeeping = Housekeeping(
            [
                Job(_SNAPSHOT_EVERY_S, self._status.mark_changed),
                Job(_BIND_AGAIN_EVERY_S, sockets.check),
                Job(_BIND_AGAIN_EVERY_S, check_files),
                Job(measurements.EVERY_S, lambda: self._measurements.begin(self._state.slots)),
                Job(_ROTATE_EVERY_S, partial(rotate_logs, self._logs)),
                Job(_CATCH_UP_EVERY_S, self._event_journal.catch_up),
                Job(_ASK_LISTENERS_EVERY_S, lambda: self._ports.ask_adopted(self._state.slots.values())),
                Job(_DROP_SILENT_EVERY_S, self._control.drop_silent),
                Job(_DROP_SILENT_EVERY_S, self._metrics.upkeep),
                Job(_DROP_SILENT_EVERY_S, self._doctor.expire),
                *([Job(self._sd_notify.interval_s, self._sd_notify.alive)] if self._sd_notify.interval_s else []),
            ]
        )
        try:
            with wake_up.catching(self._logs.path("orchestrator", "err")):  # last: all that a signal leads to exists
                yield
        finally:
            self._control.close()
            self._metrics.close()
            self._notify.close()
            self._children.close()
            self._doctor.close()
            self._selector.close()
            self._ports.close_all()
            self._event_journal.close()
            self._sd_notify.close()
            # After a crash of ours the children go on, and the next orchestrator needs their cgroups and sockets.
            if self._leaving:
                self._trees.close()
                runtime.sweep(self._home)

    def _begin(self, *, only_stop: bool) -> None:
        # Before anything is started, so that no slot gets a second process.
        found = survey(self._home, self._trees, {row.name for row in self._configuration.rows})
        self._event_journal.write(
            SupervisionEvent.ORCHESTRATOR_STARTED, details={"pid": os.getpid(), "kill_method": self._trees.kill_method}
        )
        log.info(
            "orchestrator_started", kill_method=self._trees.kill_method, home=str(self._home), adopted=len(found.living)
        )
        for slot, incarnation in found.dead:
            # Died while no orchestrator ran: the recorder reclaims their rows. A second report is harmless.
            self._children.report_dead(slot, incarnation)
        # Before the ports: an adopted process listens on its port, and its socket is requested from it instead.
        changed = self._adopt(found)
        if not only_stop:
            self._ports.open_needed_now({_kind_of(living.slot) for living in found.living})
        kept = desired_kinds.read(runtime.desired_kinds_file(self._home))
        # Before `Configured`, so that an outage of the database at a restart of the orchestrator stops no kind.
        if kept is not None:
            self.take(model.DesiredKindsKnown(kept))
        counts = dict.fromkeys(self._configuration.counts, 0) if only_stop else self._configuration.counts
        self._announcer.begin(self._configuration.child_config, counts)
        if only_stop:
            self.take(model.StopRequested())  # also before `Configured`: nothing starts in between
        self.take(model.Configured(counts, changed))
        # at once, then periodically until each child has answered
        self._ports.ask_adopted(self._state.slots.values())
        self._end_iteration()
        # Ready means that we supervise: an unavailable database must not make the service manager end us.
        self._sd_notify.ready()

    def _adopt(self, found: Survey) -> frozenset[str]:
        """Watch what lives, and return the kinds whose processes have outdated settings."""
        outdated = set()
        for living in found.living:
            if not self._children.adopt(living):
                continue  # exited since the survey: its slot starts like any other
            self.take(model.FoundProcess(living.slot, living.pid, living.incarnation, living.age_s))
            if self._configuration.is_outdated(_kind_of(living.slot), environment(living.pid)):
                outdated.add(_kind_of(living.slot))
        return frozenset(outdated)

    def _turn_until_left(self) -> None:
        turned_at, suspended_before = monotonic(), suspended_s()
        while not self._leaving:
            wait_s = self._wait_s()  # what select exceeds it by is our own lateness
            ready = self._selector.select(wait_s)
            now, suspended = monotonic(), suspended_s()
            late_s = now - turned_at - wait_s
            # Deadlines are moved before any of them is judged: our lateness is no silence of a child.
            if late_s > _LATE_S:
                self.take(model.Stalled(late_s, suspended - suspended_before))
            turned_at, suspended_before = now, suspended
            # Exits first: a death is detected and answered before anything else that may take time.
            for key, _ in sorted(ready, key=lambda shown: not self._children.watches(shown[0].fd)):
                key.data()
            self._children.poll()
            self._allow_for_starvation()
            self.take(model.Tick())  # after all that was readable: only now may silence be judged
            self._housekeeping.run_due()
            if (measured := self._measurements.step()) is not None:
                self.take(measured)
            self._end_iteration()

    def _allow_for_starvation(self) -> None:
        """Extend the deadline of CPU-starved children; re-read the notify socket before judging the rest."""
        now = monotonic()
        silent = [
            slot
            for slot in self._state.slots.values()
            if slot.silent_by is not None and slot.silent_by <= now and slot.state in SERVING and slot.pid
        ]
        for slot in silent:
            if self._starvation.is_starved(slot.pid):
                log.debug("child_starved", slot=slot.name)
                self.take(model.Starved(slot.name, PROBE_S))
        if silent:  # their beats may have arrived while the samples were taken
            self._receive()

    def _wait_s(self) -> float:
        times = (self._housekeeping.next_at(), self._children.poll_at(), next_by(self._state, monotonic()))
        # While a round of measuring runs, one more process is measured at each short pause.
        longest_s = self._measurements.pause_s or _LONGEST_WAIT_S
        return min(longest_s, max(0.0, min(at for at in times if at is not None) - monotonic()))

    def take(self, event: model.Event) -> None:
        """Handle an event: run the actions that `decide` returns, and the events that follow from them."""
        self._events.append(event)
        # Actions produce events while `decide`'s result is being applied: nested calls would decide on half a state.
        if len(self._events) > 1:
            return  # called from within the loop below, which will handle it
        try:
            while self._events:
                before = self._state
                self._state, actions = decide(before, self._events[0], monotonic())
                for action in actions:
                    self._do(action)
                if self._state is not before:
                    self._status.changed(before, self._state)
                self._events.popleft()
        except BulkheadError as defect:
            # A decision that contradicts its own tables is a defect and no answer to an operator; the children go on.
            raise RuntimeError(f"cannot go on after {self._events[0]}: {defect}") from defect

    def _do(self, action: model.Action) -> None:
        match action:
            case model.Spawn(slot):
                self.take(self._spawn(self._state.slots[slot]))
            case model.Send(slot, which):
                self._children.send(slot, which)
            case model.KillTree(slot):
                self._children.kill(slot)
            case model.Write(event, slot, incarnation, details):
                self._event_journal.write(event, slot, incarnation, details)
            case model.SaveDesiredKinds(kinds):
                try:
                    desired_kinds.write(runtime.desired_kinds_file(self._home), kinds)
                except OSError as problem:
                    # The recorder reports them again to the next orchestrator.
                    log.warning("desired_kinds_not_saved", problem=str(problem))
            case model.CloseListener(kind):
                self._ports.close([kind])
            case model.Leave():
                self._leaving = True

    def _spawn(self, slot: Slot) -> model.Event:
        try:
            listen_fd = self._ports.descriptor_for(slot, self._state.slots.values())
        except PortHeldByAdopted as reason:
            return model.SpawnFailed(slot.name, str(reason), occupied=True)
        except PortUnusable as problem:
            return model.SpawnFailed(slot.name, str(problem))
        configuration = self._configuration
        return self._children.start(
            slot.name,
            configuration.row(slot.kind),
            listen_fd,
            configuration.identity(slot),
            configuration.environ,
        )

    def _receive(self) -> None:
        for datagram in self._notify.receive():
            name = self._children.slot_of(datagram.pid)
            slot = self._state.slots.get(name) if name else None
            # Helpers of a child inherit NOTIFY_SOCKET too: only the main process may report.
            if slot is None or datagram.fields.get("X_INCARNATION", slot.incarnation) != slot.incarnation:
                log.debug("notify_sender_rejected", pid=datagram.pid)
                for descriptor in datagram.descriptors:
                    os.close(descriptor)
                continue
            if datagram.descriptors:
                self._ports.receive(slot, datagram.descriptors)
            self.take(model.Notified(slot.name, slot.incarnation, datagram.fields))

    def _signalled(self, wake_up: WakeUp) -> None:
        for number in wake_up.received():
            if number in (signal.SIGTERM, signal.SIGINT):
                self.request_stop(number.name)
            elif number is signal.SIGHUP:  # invalid settings leave those of before in force
                with suppress(BulkheadError):  # reported already
                    self.reload_settings()
            elif number is signal.SIGCHLD:
                self._children.reap()

    def request_stop(self, by: str) -> None:
        """Drain and stop everything; the second request is urgent, the third immediate."""
        self._stop_requests += 1
        log.info("stop_requested", by=by, request=self._stop_requests)
        self._announcer.stopping(self._stop_requests)
        # The longest that the stop may take, kind after kind: systemd must not kill us before.
        self._sd_notify.stopping(sum(row.drain_s + self._state.policy.leave_s for row in self._configuration.rows))
        self.take(model.StopRequested(now=self._stop_requests == 2, at_once=self._stop_requests > 2))

    def reload_settings(self) -> frozenset[str]:
        """Reload the settings and apply what changed. Invalid settings change nothing; they are reported and raised."""
        try:
            reloaded = self._configuration.reload()
        except BulkheadError as problem:
            self._announcer.note(f"settings not reloaded: {problem}")
            raise
        # Bound anew at the kind's next start, which its changed settings cause.
        self._ports.close(reloaded.moved)
        configuration = self._configuration
        self.take(model.Configured(configuration.counts, reloaded.changed, configuration.rows))
        return reloaded.changed

    def _end_iteration(self) -> None:
        """Notify readers of the journal of new entries, and publish the state if it changed."""
        if self._event_journal.has_new_entries():
            # Only a hint: the recorder also looks by itself, so a lost datagram delays it and loses nothing.
            for slot in self._state.slots.values():
                reads = self._configuration.row(slot.kind).reads_journal
                if reads and slot.state in (SlotState.READY, SlotState.UNREADY):
                    self._notify.ask(runtime.slot_socket(self._home, slot.name), ask_command(Command.NOTIFY))
        self._status.publish(self._state)

    def _found_dead(self, slot: str, incarnation: str) -> None:
        self._event_journal.write(SupervisionEvent.SLOT_FREE, slot, incarnation)


def _kind_of(slot: str) -> str:
    return slot.rsplit("-", 1)[0]
