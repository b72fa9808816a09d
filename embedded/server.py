"""The lifecycle of one embedded server: a small parent that starts it, probes it, stops it in order, and never leaves
it behind.

Liveness and readiness are distinct. WATCHDOG proves that this parent runs; whether the server answers is its
readiness. So a server that hangs for a minute (a stalled disk, a stopped process) is reported as unready and not
killed; it is ended here after `WrapperLimits.silent_probes` unanswered probes.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from shared.clock import left, monotonic
from shared.logs import logger
from shared.process.exit_codes import ExitCode
from shared.process.supervised import Command, Supervised
from shared.process.system_user import SystemUser, as_user

EXTENSION_S: Final = 10.0
"""Seconds by which a start may take longer, renewed at each probe that finds the server recovering. Far more than the
time between two probes, so that one late probe does not end a recovery."""

# Numbers of prctl(2), from linux/prctl.h; Python has no name for them.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)

log = logger(__name__)


class ProbeResult(Enum):
    """The result of a probe."""

    READY = "ready"
    NOT_YET = "not ready yet"
    SILENT = "not answering"


@dataclass(frozen=True, kw_only=True)
class Server:
    """How one server is run.

    Attributes:
        command: program and arguments; the program stays in the foreground. environ: its whole environment.
        account: system user to run it under; None: as this process.
        probe: sends the server a request, and returns within half a second.
        stop: signal for an orderly stop. now: signal for an immediate stop that loses nothing committed.
        orphaned: signal that the kernel sends it when this process dies.
        socket: its socket file; None: it has none. A server whose file was removed is restarted.
        ends_by_signal: it has no handler for `stop`, and its end by that signal is in order.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    account: SystemUser | None
    probe: Callable[[], ProbeResult]
    stop: signal.Signals
    now: signal.Signals
    orphaned: signal.Signals
    socket: Path | None = None
    ends_by_signal: bool = False


@dataclass(frozen=True, kw_only=True)
class WrapperLimits:
    """Times of one wrapper, in seconds.

    Attributes:
        drain_s: from the first request to stop to `Server.now`. hurry_s: from there to SIGKILL.
        probe_s: between two probes of a server that is up. start_probe_s: between the first two probes of a server that
            starts; doubles from there, since PostgreSQL logs each one that came too early.
        silent_probes: consecutive unanswered probes after which the server is ended. Counted, not timed: a pause of the
            whole machine costs one probe.
    """

    drain_s: float
    hurry_s: float = 5.0
    probe_s: float = 1.0
    start_probe_s: float = 0.01
    silent_probes: int = 120


def dies_with_this_process(death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before exec so that the kernel sends it `death_signal` when this process dies, for any
    reason.

    `subprocess` runs it after the change of user, which would clear the setting (prctl(2)).
    """
    parent = os.getpid()

    def ask_kernel() -> None:
        if _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        # The parent may have died between fork and prctl; then no signal would ever come.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_kernel


def _children() -> list[int]:
    """Return the pids of our children. After the server's death they include the processes that it had started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # Processes come and go meanwhile. The name may hold any byte; the fields after the last bracket are plain
        # (proc(5)): the second is the parent's pid.
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


class Wrapper:
    """Runs one `Server` from start to exit. Single-threaded: PDEATHSIG counts from the thread that forks."""

    def __init__(self, server: Server, line: Supervised, limits: WrapperLimits) -> None:
        self._server = server
        self._line = line
        self._limits = limits
        self._was_ready = False
        self._is_ready = False
        self._socket_lost = False
        self._silent = 0
        self._stop_asked = 0
        self._hurried = False
        self._next_step_by = float("inf")
        """When stopping escalates by one step, on the monotonic clock."""
        self._process: subprocess.Popen[bytes]

    def run(self) -> ExitCode:
        """Start the server; return this process's exit code when the server and all that it started are gone."""
        # A dead postmaster's backends become our children, not init's: so it can be waited for that none is left.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # A signal becomes a byte in a socket (set_wakeup_fd): select sees it at once, and no handler runs in between.
        wake, signalled = socket.socketpair()
        wake.setblocking(False)
        signalled.setblocking(False)
        signal.set_wakeup_fd(signalled.fileno())
        # SIGCHLD is left alone: the server's own exit is seen by its pidfd, orphans are reaped at the end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._started_at = monotonic()
        self._process = subprocess.Popen(
            list(self._server.command),
            env=dict(self._server.environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            # The server holds the slot's lock as well: the slot is free only when every process of it is gone.
            pass_fds=(self._line.lock_fd,),
            # one thread only, and exec would be too late
            preexec_fn=self._prepare_child(),  # noqa: PLW1509
            **as_user(self._server.account),
        )
        # A pidfd names this process and no later one with its pid, and the selector reports its end at once.
        pidfd = os.pidfd_open(self._process.pid)
        with selectors.DefaultSelector() as selector, wake, signalled:
            for readable in (pidfd, wake, self._line):
                selector.register(readable, selectors.EVENT_READ)
            self._watch(selector, pidfd, wake)
            signal.set_wakeup_fd(-1)
        os.close(pidfd)
        self._sweep()
        return self._exit_code(self._process.wait())

    def _prepare_child(self) -> Callable[[], None]:
        """Return what the server runs between fork and exec."""
        bind_to_parent = dies_with_this_process(self._server.orphaned)
        # what SIGKILL does cannot be changed
        signals = {self._server.stop, self._server.now} - {signal.SIGKILL}

        def prepare() -> None:
            bind_to_parent()
            # A shell without job control starts what it runs in the background with SIGINT and SIGQUIT ignored, and
            # that is inherited over exec: the steps of a stop would have no effect.
            for number in signals:
                signal.signal(number, signal.SIG_DFL)

        return prepare

    def _watch(self, selector: selectors.BaseSelector, pidfd: int, wake: socket.socket) -> None:
        # One loop for probes, WATCHDOG and the steps of a stop: a thread of its own for WATCHDOG would prove nothing
        # about this loop.
        probe_at = beat_at = monotonic()
        pause_s = self._limits.start_probe_s
        while True:
            now = monotonic()
            if now >= beat_at:
                self._line.watchdog()
                beat_at = now + self._line.watchdog_interval_s
                self._bind_again(selector)
            if now >= self._next_step_by:
                self._go_further()
            if now >= probe_at and not self._stop_asked:
                self._probe()
                probe_at = monotonic() + (self._limits.probe_s if self._was_ready else pause_s)
                # Never slower than half of the ordinary pace, so that a server that comes up late is still seen within
                # half a second.
                pause_s = min(pause_s * 2, self._limits.probe_s / 2)
            due = min(beat_at, self._next_step_by, float("inf") if self._stop_asked else probe_at)
            ready = {key.fileobj for key, _ in selector.select(left(due))}
            if pidfd in ready:
                return
            if wake in ready:
                # One byte per signal: two that arrive together count as two requests, and the second one means now.
                for _ in wake.recv(64):
                    self._ask_to_stop()
            if self._line in ready and Command.DRAIN in self._line.receive() and not self._stop_asked:
                self._ask_to_stop()

    def _bind_again(self, selector: selectors.BaseSelector) -> None:
        """Become reachable again, for the orchestrator and the server's clients, after socket files were removed."""
        if not self._line.is_reachable():
            # The descriptor changes with the new socket; a selector must forget the old one before it is closed.
            selector.unregister(self._line)
            try:
                self._line.bind_again()
                log.warning("socket_bound_again")
            # It is tried again with the next beat; the server itself is not affected.
            except OSError as problem:
                log.error("socket_not_bound_again", problem=str(problem))
            finally:
                selector.register(self._line, selectors.EVENT_READ)
        file = self._server.socket
        if file is not None and self._was_ready and not (self._stop_asked or self._socket_lost or file.exists()):
            # The server cannot bind its socket again while it runs. It is stopped in order, and its next incarnation
            # binds it.
            log.error("server_socket_removed", file=str(file))
            self._socket_lost = True
            self._process.send_signal(self._server.stop)
            self._next_step_by = monotonic() + self._limits.drain_s

    def _probe(self) -> None:
        answer = self._server.probe()
        if answer is ProbeResult.READY:
            if not self._is_ready:
                self._line.ready("answering")
                if not self._was_ready:
                    # Ends the extension for recovery: from now on the ordinary limits apply.
                    self._line.extend(0.0, "")
                    log.info("server_ready", took_s=round(monotonic() - self._started_at, 3), pid=self._process.pid)
                else:
                    log.info("server_responsive", unanswered_probes=self._silent)
            self._was_ready = self._is_ready = True
            self._silent = 0
            return
        # Silence before the first answer is not counted: the orchestrator's limit for starts (`startup_s`) covers it.
        if not self._was_ready:
            # It answers that it recovers: after a crash it replays its log, which takes as long as the log is.
            if answer is ProbeResult.NOT_YET:
                self._line.extend(EXTENSION_S, "the server is recovering")
            return
        if self._is_ready:
            self._is_ready = False
            log.warning("server_silent", answer=answer.value)
        # An answer that it is not ready yet proves that the server runs: it starts the count anew.
        self._silent = self._silent + 1 if answer is ProbeResult.SILENT else 0
        self._line.unready(f"{answer.value}, {self._silent} probes in a row" if self._silent else answer.value)
        if self._silent == self._limits.silent_probes:
            log.error("server_unresponsive", unanswered_probes=self._silent)
            self._hurry()

    def _ask_to_stop(self) -> None:
        """First time: finish in order. Second time: now."""
        self._stop_asked += 1
        if self._stop_asked == 1:
            self._line.stopping("stopping")
            self._process.send_signal(self._server.stop)
            self._next_step_by = monotonic() + self._limits.drain_s
        # Later requests change nothing: the deadline for SIGKILL runs already.
        elif self._stop_asked == 2:
            self._hurry()

    def _hurry(self) -> None:
        self._hurried = True
        self._process.send_signal(self._server.now)
        # A stopped process does not see a signal before it is continued.
        self._process.send_signal(signal.SIGCONT)
        self._next_step_by = monotonic() + self._limits.hurry_s

    def _go_further(self) -> None:
        if not self._hurried:
            log.warning("server_stop_overdue", after_s=self._limits.drain_s)
            self._hurry()
        else:
            log.error("server_killed", after_s=self._limits.hurry_s)
            self._process.kill()
            # Nothing is stronger than SIGKILL; what remains is to wait for the exit.
            self._next_step_by = float("inf")

    def _sweep(self) -> None:
        """Wait for the processes that the dead server had started, now our children; kill those that do not exit."""
        # PostgreSQL's backends exit by themselves when their postmaster is dead, after the statement that they run.
        by = monotonic() + self._limits.hurry_s
        while orphans := [pid for pid in _children() if pid != self._process.pid]:
            watched = os.pidfd_open(orphans[0])
            with selectors.DefaultSelector() as selector:
                selector.register(watched, selectors.EVENT_READ)
                gone = selector.select(left(by))
            os.close(watched)
            if not gone:
                log.warning("server_orphans_killed", count=len(orphans))
                for pid in orphans:
                    os.kill(pid, signal.SIGKILL)
            # Reaped one after the other: the next round reads the list anew, since a dying orphan may leave children of
            # its own.
            os.waitpid(orphans[0], 0)

    def _exit_code(self, code: int) -> ExitCode:
        if self._stop_asked:
            log.info("server_stopped", code=code, hurried=self._hurried)
            # 75 shows operators that the server was not stopped in order and will recover at its next start.
            in_order = code == 0 or (self._server.ends_by_signal and code == -self._server.stop)
            return ExitCode.OK if in_order and not self._hurried else ExitCode.DRAIN_DEADLINE
        log.error("server_exited", code=code, was_ready=self._was_ready)
        return ExitCode.CRASH if self._was_ready else ExitCode.BOOT
