"""The orchestrator's datagram socket: sd_notify messages of children, with the sender's credentials from the kernel,
and commands to children.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.process import notify
from shared.process.socket_file import SocketFile

# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("iii")
_AT_ONCE: Final = 512
"""Datagrams read in one call, so that a flood from one child does not keep the loop from exits and signals."""
_DESCRIPTORS: Final = 8
"""Descriptors accepted with one datagram; a child has one listening socket."""
_BUFFER: Final = 1024 * 1024
"""Bytes of the receive buffer, for the beats of all children while the loop is late."""


@dataclass(frozen=True)
class Datagram:
    """One message. `descriptors` belong to the receiver, which closes them."""

    pid: int
    fields: dict[str, str]
    descriptors: list[int] = field(default_factory=list)


class NotifySocket:
    """Bound at a fixed path, so that children of an earlier orchestrator reach this one."""

    def __init__(self, path: Path) -> None:
        self._bind(path)

    def _bind(self, path: Path) -> None:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        fresh.setblocking(False)
        # The kernel adds the sender's pid and uid to each datagram: no unprivileged process can claim to be another.
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._file = SocketFile.bind(fresh, path)
        self._socket = fresh

    def is_reachable(self) -> bool:
        """Whether the path still leads here."""
        return self._file.is_there()

    def bind_again(self, path: Path) -> None:
        """Bind a new socket in place of one whose path was removed; `fileno` changes. Raises `OSError`."""
        lost = self._socket
        self._bind(path)
        lost.close()

    def fileno(self) -> int:
        """Descriptor to watch for reading; then call `receive`."""
        return self._socket.fileno()

    def receive(self) -> list[Datagram]:
        """Return what has arrived, without blocking and at most so much that the loop stays responsive."""
        received: list[Datagram] = []
        for _ in range(_AT_ONCE):
            try:
                datagram, ancillary, _flags, _address = self._socket.recvmsg(
                    notify.LONGEST_DATAGRAM, socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _DESCRIPTORS)
                )
            except BlockingIOError:
                break
            pid, uid, descriptors = 0, -1, array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
                elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    # A truncated control message may end in the middle of a descriptor.
                    descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            # Other users cannot open the socket file, but a descriptor of it may have been inherited.
            if uid not in (0, os.geteuid()):
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            received.append(Datagram(pid, notify.parse(datagram), list(descriptors)))
        return received

    def ask(self, child: Path, datagram: bytes) -> None:
        """Send `datagram` to a child's socket; a response arrives here. A child that is absent or too busy is asked
        again later."""
        with suppress(OSError):
            self._socket.sendto(datagram, str(child))

    def close(self) -> None:
        """Close the socket and remove its file."""
        self._socket.close()
        self._file.remove()
