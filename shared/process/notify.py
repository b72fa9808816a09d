"""The sd_notify wire format: `NAME=value` lines in one datagram. Children speak it to the orchestrator, the
orchestrator to systemd.

This file imports only the standard library.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Final

LONGEST_DATAGRAM: Final = 4096
"""Bytes; what systemd's own receiver reads of a message at most."""
# No socket, a socket without a process, a full queue, or one of another user: the receiver is away, and the next beat
# carries the content again. Every other error is ours.
_NO_LISTENER: Final = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.EACCES, errno.ENOTCONN}
)


def open_sender() -> socket.socket:
    """Return a datagram socket whose sends never block."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    return sender


def encode(fields: Mapping[str, str]) -> bytes:
    """Return `fields` as one datagram; line breaks inside values become spaces, and what is too long is cut."""
    # A line break inside a value would begin a field of its own.
    lines = (f"{name}={' '.join(value.splitlines())}" for name, value in fields.items())
    return "\n".join(lines).encode()[:LONGEST_DATAGRAM]


def parse(datagram: bytes) -> dict[str, str]:
    """Return the fields of `datagram`; lines without a name are left out, as sd_notify's own receivers do."""
    pairs = (line.split("=", 1) for line in datagram.decode(errors="replace").splitlines() if "=" in line)
    return {name: value for name, value in pairs if name}


def send(sender: socket.socket, address: str, fields: Mapping[str, str]) -> bool:
    """Send `fields` to the socket at `address` (`@name` is Linux's abstract namespace) and return whether a process
    took them.

    Never blocks. A missing, dead or overrun receiver is an ordinary answer, `False`; only a defect of ours raises
    `OSError`.
    """
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        sender.sendto(encode(fields), target)
    except OSError as refusal:
        if refusal.errno in _NO_LISTENER:
            return False
        raise
    return True
