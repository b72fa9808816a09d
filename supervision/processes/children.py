"""Starts, adopts, signals, kills and reaps the processes in the slots; emits events, decides nothing.

A slot is reaped, and `Freed` emitted, only when its main process has exited, its tree is empty and its lock is free.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from shared.clock import monotonic
from shared.errors import SlotTaken
from shared.fail_points import hit
from shared.kinds import ProcessKind
from shared.process import runtime
from shared.process.slot_lock import Holder, SlotLock, boot_id, is_free, process_start, read_holder
from shared.process.supervised import new_incarnation
from shared.settings import ChildEnvironment
from supervision.decisions.model import Event, Exit, Exited, Freed, Spawned, SpawnFailed
from supervision.processes.adoption import Living
from supervision.processes.log_files import LogFiles
from supervision.processes.spawn import Started, spawn
from supervision.processes.trees import Trees

_LOOK_FIRST_S: Final = 0.002
"""Seconds before the first look whether a killed tree is gone: the kernel usually needs about as long."""
_LOOK_LATER_S: Final = 0.05
"""Longest pause between two looks, in seconds; each one may scan /proc."""


@dataclass
class _Child:
    """One process in a slot, from its start or adoption until it is reaped.

    Attributes:
        gone: its main process has exited, and that was reported.
        killed: its tree was killed once already since then.
        poll_at: when to look again whether its tree is gone; None while it was neither killed nor has exited.
        pause_s: time between two looks; grows.
    """

    slot: str
    incarnation: str
    process: Started
    public_port: int
    gone: bool = False
    killed: bool = False
    poll_at: float | None = None
    pause_s: float = _LOOK_FIRST_S


class Children:
    """The processes of one home.

    Args:
        home: BULKHEAD_HOME.
        host: name of this host, which is part of each incarnation.
        entries: directory of the entry files.
        trees: knows and kills their trees.
        logs: their log files.
        selector: watches their descriptors.
        niceness: theirs, but for what their row adds.
        happened: called with each event.
        found_dead: called with (slot, incarnation) when a previous holder is proved dead.
    """

    def __init__(
        self,
        *,
        home: Path,
        host: str,
        entries: Path,
        trees: Trees,
        logs: LogFiles,
        selector: selectors.BaseSelector,
        niceness: int,
        happened: Callable[[Event], None],
        found_dead: Callable[[str, str], None],
    ) -> None:
        self._home = home
        self._host = host
        self._entries = entries
        self._trees = trees
        self._logs = logs
        self._selector = selector
        self._niceness = niceness
        self._happened = happened
        self._found_dead = found_dead
        self._here: dict[str, _Child] = {}
        self._by_pid: dict[int, _Child] = {}
        # The incarnation that was last proved dead, by slot: it must be reported once, also if we never watched it.
        self._reaped: dict[str, str] = {}

    def start(
        self,
        slot: str,
        row: ProcessKind,
        listen_fd: int,
        identity: ChildEnvironment,
        environ_of: Callable[[ChildEnvironment], Mapping[str, str]],
    ) -> Event:
        """Start a process in `slot` and return the outcome.

        Args:
            slot: its name.
            row: its kind.
            listen_fd: the kind's listening socket; -1: none.
            identity: of the child, without incarnation and lock.
            environ_of: makes its whole environment.
        """
        path = runtime.slot_lock_file(self._home, slot)
        try:
            # Taken here and inherited by the child: no instant exists in which the child runs without it.
            lock = SlotLock.take(path)
        except SlotTaken as taken:
            return SpawnFailed(slot, str(taken), occupied=True)
        try:
            before = lock.read()
            # The lock is free, so its last holder is dead. It was started by hand, or died unnoticed: its rows are
            # reclaimed before the slot has a new one.
            if before is not None and before.incarnation != self._reaped.get(slot):
                self.report_dead(slot, before.incarnation)
            incarnation = new_incarnation(slot, self._host)
            holder = Holder(
                # The pid is not known before the fork. If we die in between, the next orchestrator finds the process by
                # its marker.
                pid=None,
                started=0,
                boot_id=boot_id(),
                incarnation=incarnation,
                admin_port=identity.process_admin_port,
                public_port=identity.port,
            )
            lock.write(holder)
            hit("spawn.begun")
            environ = environ_of(
                replace(identity, process_incarnation=incarnation, slot_lock_fd=lock.fd, listen_fd=listen_fd)
            )
            with self._logs.opened(slot) as streams:
                process = spawn(
                    self._entries / row.entry,
                    environ,
                    streams=streams,
                    keep=[lock.fd, listen_fd] if listen_fd >= 0 else [lock.fd],
                    niceness=self._niceness + row.nice,
                    oom_score_adj=row.oom_score_adj,
                    err_from=self._logs.mark(slot, "err"),
                )
            hit("spawn.started")
            # Right after the fork: what the child forks before it is in its group would escape a kill by cgroup.
            self._trees.watch(incarnation, process.pid)
            self._watch(_Child(slot, incarnation, process, identity.port))
            with suppress(
                OSError
            ):  # a full disk: the record says pid 0, and an orchestrator that adopts finds the process by its marker
                lock.write(replace(holder, pid=process.pid, started=process_start(process.pid) or 0))
        except OSError as problem:
            # Fork or exec refused, or no disk for the logs: the restart policy decides when to try again.
            return SpawnFailed(slot, f"{row.entry} could not be started: {problem}")
        finally:
            # Our descriptor only: the child's keeps the lock.
            lock.close()
        return Spawned(slot, process.pid, incarnation)

    def adopt(self, living: Living) -> bool:
        """Watch a process of an earlier orchestrator. Returns whether it was still there."""
        try:
            pidfd = os.pidfd_open(living.pid)
        except ProcessLookupError:
            return False
        process = Started(living.pid, pidfd, is_child=False, err_from=self._logs.mark(living.slot, "err"))
        self._watch(_Child(living.slot, living.incarnation, process, living.public_port))
        return True

    def report_dead(self, slot: str, incarnation: str) -> None:
        """Report an incarnation, which we never watched, as proved dead."""
        self._reaped[slot] = incarnation
        self._found_dead(slot, incarnation)

    def send(self, slot: str, which: signal.Signals) -> None:
        """Send a signal to the slot's main process, if there is one."""
        child = self._here.get(slot)
        if child is not None and not child.gone:
            child.process.send(which)

    def kill(self, slot: str) -> None:
        """Kill the slot's whole tree, and poll until it has exited."""
        child = self._here.get(slot)
        if child is not None:
            # Scanning every descriptor of the machine is slow: only from the second kill after the main process's end
            # on.
            self._trees.kill(child.incarnation, lock=runtime.slot_lock_file(self._home, slot) if child.killed else None)
            child.killed = child.gone
            child.poll_at, child.pause_s = monotonic(), _LOOK_FIRST_S

    def poll(self) -> None:
        """Reap the slots that are due and of which no process is left."""
        now = monotonic()
        for child in list(self._here.values()):
            if child.poll_at is None or child.poll_at > now:
                continue
            # The cheap proof first: the walk over /proc is only made when the lock is free.
            if (
                child.gone
                and is_free(runtime.slot_lock_file(self._home, child.slot))
                and not self._trees.living(child.incarnation)
            ):
                self._reap_slot(child)
            else:
                child.poll_at, child.pause_s = now + child.pause_s, min(_LOOK_LATER_S, child.pause_s * 2)

    def poll_at(self) -> float | None:
        """Return when `poll` has something to do, or None."""
        return min((child.poll_at for child in self._here.values() if child.poll_at is not None), default=None)

    def slot_of(self, pid: int) -> str | None:
        """Return the slot whose main process has this pid."""
        child = self._by_pid.get(pid)
        return child.slot if child is not None else None

    def watches(self, descriptor: int) -> bool:
        """Whether the descriptor reports the exit of one of these processes."""
        return any(child.process.pidfd == descriptor for child in self._here.values())

    def serves(self, slot: str, port: int) -> bool:
        """Whether the process in `slot` was started to serve this public port."""
        child = self._here.get(slot)
        return child is not None and child.public_port == port

    def tree(self, slot: str) -> set[int]:
        """Return the pids of the slot's whole tree."""
        child = self._here.get(slot)
        return self._trees.living(child.incarnation) if child is not None else set()

    def reap(self) -> None:
        """Reap every dead child: those of slots through their pidfd, and orphans that came to us as subreaper."""
        while True:
            try:
                # WNOWAIT: only looks. The status of a slot's process is taken through its pidfd, which cannot meet
                # another's pid.
                status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if status is None:
                return
            child = self._by_pid.get(status.si_pid)
            if child is not None:
                self._ended(child)
            else:
                with suppress(ChildProcessError):
                    # An orphan that came to us as subreaper: unreaped zombies would keep pids and cgroups occupied.
                    os.waitpid(status.si_pid, os.WNOHANG)

    def close(self) -> None:
        """Close every descriptor; the processes go on."""
        for child in self._here.values():
            child.process.close()

    def _watch(self, child: _Child) -> None:
        self._here[child.slot] = child
        self._by_pid[child.process.pid] = child
        self._selector.register(child.process.pidfd, selectors.EVENT_READ, lambda: self._ended(child))

    def _ended(self, child: _Child) -> None:
        if child.gone:
            return  # handled already in this iteration, by the other of pidfd and SIGCHLD
        how = self._exit_of(child)
        if how is None:
            return
        child.gone = True
        self._selector.unregister(child.process.pidfd)
        del self._by_pid[child.process.pid]
        self._happened(
            Exited(child.slot, child.incarnation, how, self._logs.tail(child.slot, "err", since=child.process.err_from))
        )

    def _exit_of(self, child: _Child) -> Exit | None:
        holder = read_holder(runtime.slot_lock_file(self._home, child.slot))
        # A record of another incarnation shows nothing about the exit of this one.
        said = holder if holder is not None and holder.incarnation == child.incarnation else None
        words = said.exit_reason if said else ""
        # Only a parent can wait for a status: for an adopted process there is only what it recorded itself.
        if not child.process.is_child:
            return Exit(code=said.exit_code if said else None, last_words=words)
        status = os.waitid(os.P_PIDFD, child.process.pidfd, os.WEXITED | os.WNOHANG)
        if status is None:
            return None
        if status.si_code == os.CLD_EXITED:
            return Exit(code=status.si_status, last_words=words)
        return Exit(signal=status.si_status, last_words=words)

    def _reap_slot(self, child: _Child) -> None:
        # A fail point for tests: death between the proof and its report.
        hit("death.proved")
        del self._here[child.slot]
        self._reaped[child.slot] = child.incarnation
        self._trees.forget(child.incarnation)
        child.process.close()
        # A killed process leaves its socket file. The slot is free, so it belongs to nothing alive.
        runtime.slot_socket(self._home, child.slot).unlink(missing_ok=True)
        self._happened(Freed(child.slot, child.incarnation))
