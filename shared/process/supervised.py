"""A child's connection to the orchestrator.

Everything here works without an orchestrator too (started by hand, or its orchestrator was killed): sends are dropped,
the lock is taken and the port is bound by the child itself. What could not be delivered is kept and goes out with the
next datagram, so the next orchestrator receives it.
"""

from __future__ import annotations

import array
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError
from shared.logs import logger
from shared.process import notify, runtime
from shared.process.slot_lock import SlotLock, holder_of_this_process
from shared.process.socket_file import SocketFile
from shared.settings import ChildEnvironment

log = logger(__name__)

LISTEN_BACKLOG: Final = 4096
"""Connections that wait in the kernel while a process is replaced; the kernel's default for its maximum
(net.core.somaxconn)."""
_COMMANDS_AT_ONCE: Final = 64
"""Datagrams read in one call, so that a flood of them does not keep the event loop."""
_DESCRIPTORS: Final = "descriptors"
"""The request for our listening sockets: answered here, so no `Command`."""


class ListeningSocketInvalid(BulkheadError):
    """Raised when LISTEN_FD does not name a listening stream socket."""


class Command(StrEnum):
    """Commands to a child over its datagram socket."""

    DRAIN = "drain"
    """Same as SIGTERM."""
    NOTIFY = "notify"
    """There is new work (for the recorder: in the journal)."""
    PING = "ping"
    """Already answered; shows that the loop that calls `receive` runs."""


def new_incarnation(slot: str, host: str) -> str:
    """Return a fresh name for one life of `slot` on `host`."""
    return f"{slot}.{secrets.token_hex(8)}@{host}"


def bind_listener(address: str, port: int) -> socket.socket:
    """Return a listening stream socket on `address` and `port`. Raises `OSError` when the port is taken or the address
    is not ours.

    It does not block, and no process may make it block: that is a property of the one socket that all instances of a
    kind share, and an instance that takes several connections in a row would stand still in `accept` as soon as there
    is none.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=LISTEN_BACKLOG)
    listener.setblocking(False)
    return listener


class Supervised:
    """Connection of one child to its orchestrator. Made once, in the main thread, before anything that other processes
    can see.

    Attributes:
        identity: of this process, from the orchestrator.
        incarnation: name of this life of the slot; goes into every claim.
        watchdog_interval_s: how often `watchdog` should be called while the work loop makes progress, in seconds.
    """

    def __init__(
        self, identity: ChildEnvironment, home: Path, lock: SlotLock, incarnation: str, bind_address: str
    ) -> None:
        self.identity = identity
        self.incarnation = incarnation
        self.watchdog_interval_s = (
            # A quarter of the threshold, so that three lost or late beats do not look like a hang; at most one a
            # second, and not so often that beating is work of its own.
            max(0.05, min(1.0, identity.watchdog_usec / 1e6 / 4)) if identity.watchdog_usec else 1.0
        )
        self._lock = lock
        self._bind_address = bind_address
        self._is_ready = False
        self._unsent: dict[str, str] = {}
        self._listeners: list[socket.socket] = []
        self._sender = notify.open_sender()
        self._home = home
        self._bind()

    def _bind(self) -> None:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # The event loop reads it; a read that waits would stop every work loop.
        fresh.setblocking(False)
        self._file = SocketFile.bind(fresh, runtime.slot_socket(self._home, self.identity.slot))
        self._inbox = fresh

    def is_reachable(self) -> bool:
        """Whether the orchestrator can still send us commands: the file of our socket was not removed."""
        return self._file.is_there()

    def bind_again(self) -> None:
        """Bind a new socket in place of one whose file was removed; `fileno` changes. Raises `OSError`."""
        lost = self._inbox
        self._bind()
        lost.close()

    @classmethod
    def from_environment(
        cls, identity: ChildEnvironment, home: Path, bind_address: str = "127.0.0.1", *, host: str = ""
    ) -> Supervised:
        """Take the slot and open the line.

        Args:
            identity: from `shared.settings.load_child`; `process_name` must be set.
            home: BULKHEAD_HOME, absolute.
            bind_address: where `listening_sockets` binds when no socket was inherited.
            host: this host's name, for the incarnation of a process that was started by hand.
        Raises:
            SlotTaken: another process holds the slot; leave with `ExitCode.SLOT_TAKEN`.
        """
        path = runtime.slot_lock_file(home, identity.slot)
        lock = SlotLock.inherited(identity.slot_lock_fd, path) if identity.slot_lock_fd >= 0 else SlotLock.take(path)
        incarnation = identity.process_incarnation or new_incarnation(identity.slot, host)
        # At once: if the orchestrator dies now, its successor can identify this process.
        lock.write(
            holder_of_this_process(incarnation, admin_port=identity.process_admin_port, public_port=identity.port)
        )
        return cls(identity, home, lock, incarnation, bind_address)

    @property
    def lock_fd(self) -> int:
        """Descriptor of the slot lock, for `pass_fds` of helper processes: the slot then counts as taken until they are
        gone too."""
        return self._lock.fd

    def ready(self, status: str = "") -> None:
        """Report that this process may take work. Call again after `unready`."""
        self._is_ready = True
        # An undelivered report of the opposite must not follow this one.
        self._unsent.pop("X_READY", None)
        self._notify({"READY": "1"} | _status(status))

    def unready(self, status: str = "") -> None:
        """Report that this process lives but may not take work (its database is unavailable). Never a reason to be
        killed.
        """
        self._is_ready = False
        self._unsent.pop("READY", None)
        self._notify({"X_READY": "0"} | _status(status))

    def watchdog(self) -> None:
        """Report progress of the work loop. Call it from the work loop itself, each `watchdog_interval_s`."""
        self._notify({"WATCHDOG": "1"})

    def stopping(self, status: str = "") -> None:
        """Report that this process drains and will exit. A port that we bound ourselves is closed, so that clients are
        refused and do not wait in vain.
        """
        # An inherited socket belongs to the orchestrator, and its queue serves the next process.
        if self.identity.listen_fd < 0:
            self._close_listeners()
        self._notify({"STOPPING": "1"} | _status(status))

    def status(self, text: str) -> None:
        """Report the state in a few words, for operators."""
        self._notify(_status(text))

    def extend(self, for_s: float, doing: str) -> None:
        """Declare that the work loop will be silent for up to `for_s` seconds while `doing` something, or that start
        takes that much longer.

        Zero ends the section. Silence beyond it is a hang.
        """
        self._notify({"EXTEND_TIMEOUT_USEC": str(round(for_s * 1e6)), "X_DOING": doing})

    @contextmanager
    def blocking(self, for_s: float, doing: str) -> Iterator[None]:
        """Declare a blocking section, see `extend`, for the length of a `with` block."""
        self.extend(for_s, doing)
        try:
            yield
        finally:
            self.extend(0.0, "")

    def desired(self, kinds: Iterable[str]) -> None:
        """Report which kinds some connection needs; all others of `needed="connections"` are then drained and stopped.
        For the recorder.
        """
        self._notify({"X_DESIRED": ",".join(sorted(kinds))})

    def fileno(self) -> int:
        """Descriptor to watch for reading; then call `receive`."""
        return self._inbox.fileno()

    def receive(self) -> list[Command]:
        """Return the commands that have arrived, without blocking; requests for our listening descriptors are answered
        here."""
        commands: list[Command] = []
        for _ in range(_COMMANDS_AT_ONCE):
            try:
                datagram, sender = self._inbox.recvfrom(notify.LONGEST_DATAGRAM)
            except BlockingIOError:
                break
            word = _word(datagram)
            if word == _DESCRIPTORS:
                self._hand_over_listeners(sender)
            elif word in Command.__members__.values():
                command = Command(word)
                if command is Command.PING and sender:
                    notify.send(self._sender, sender, {"X_PONG": self.incarnation})
                commands.append(command)
            else:
                log.warning("unknown_command_received", length=len(datagram))
        return commands

    def listening_sockets(self) -> list[socket.socket]:
        """Return the listening sockets of the kind's public port: the inherited one, else one bound now; none when the
        kind has no port.

        Raises:
            ListeningSocketInvalid: LISTEN_FD is not a listening socket.
            OSError: the port is taken.
        """
        if self.identity.listen_fd >= 0:
            listener = _inherited_listener(self.identity.listen_fd)
        elif self.identity.port:
            listener = bind_listener(self._bind_address, self.identity.port)
        else:
            return []
        # The server may close its socket when it drains; this one is for handing over. Not `listener.dup()`, which
        # makes the shared socket block again.
        self._listeners.append(socket.socket(fileno=os.dup(listener.fileno())))
        return [listener]

    def last_words(self, code: int, reason: str) -> None:
        """Leave the exit code and the reason in the slot file, for an orchestrator that is not our parent and cannot
        wait for us."""
        try:
            # Read and replaced: pid, start time and ports stay, so that the record still identifies this incarnation.
            holder = self._lock.read()
            if holder is not None:
                self._lock.write(replace(holder, exit_code=int(code), exit_reason=" ".join(reason.split())))
        # A full disk: the exit code stays unknown to an orchestrator that adopted us, and the restart policy applies.
        except OSError as problem:
            log.warning("exit_record_not_written", problem=str(problem))

    def close(self) -> None:
        """Close the line and remove its socket. The slot stays taken until the process and its helpers are gone.
        Closing twice does nothing."""
        if self._inbox.fileno() < 0:
            return
        self._close_listeners()
        self._inbox.close()
        self._sender.close()
        self._file.remove()

    def _notify(self, fields: dict[str, str]) -> None:
        if not self.identity.notify_socket or self._sender.fileno() < 0:
            return
        # Readiness is repeated each time: an orchestrator that has just adopted us receives it with the next beat.
        readiness = {"READY": "1"} if self._is_ready else {}
        message = {"X_INCARNATION": self.incarnation} | readiness | self._unsent | fields
        if notify.send(self._sender, self.identity.notify_socket, message):
            self._unsent.clear()
        else:
            # A late WATCHDOG would prove progress that is over; everything else is state, of which the newest value
            # counts.
            self._unsent |= {name: value for name, value in fields.items() if name != "WATCHDOG"}

    def _hand_over_listeners(self, asker: str | None) -> None:
        if not asker:
            return
        descriptors = array.array("i", [listener.fileno() for listener in self._listeners])
        message = notify.encode({"X_INCARNATION": self.incarnation, "X_LISTENERS": str(len(descriptors))})
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
        # The sender has exited, or its queue is full: an orchestrator asks again.
        with suppress(OSError):
            self._sender.sendmsg([message], ancillary, 0, asker)

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()


def ask_command(command: Command) -> bytes:
    """Return the datagram that asks a child for `command`."""
    return json.dumps({"command": command}).encode()


def ask_descriptors() -> bytes:
    """Return the datagram that asks a child for its listening descriptors; they come back to the sender's address with
    `X_LISTENERS`."""
    return json.dumps({"command": _DESCRIPTORS}).encode()


def _word(datagram: bytes) -> str:
    try:
        # Any process of this user can send here: what is no command is ignored.
        request = json.loads(datagram)
    except ValueError:
        return ""
    word = request.get("command", "") if isinstance(request, dict) else ""
    return word if isinstance(word, str) else ""


def _status(text: str) -> dict[str, str]:
    return {"STATUS": text} if text else {}


def _inherited_listener(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as problem:
        raise ListeningSocketInvalid(f"LISTEN_FD={fd}: {problem}") from None
    if not accepts:
        # The descriptor is not ours to close: it may be anything.
        listener.detach()
        raise ListeningSocketInvalid(f"LISTEN_FD={fd} is a socket, but it does not listen")
    # Helpers must not hold the port open after this process and the orchestrator have closed it.
    listener.set_inheritable(False)
    return listener
