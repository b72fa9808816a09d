"""What the kernel knows of a TCP connection of this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from tests.support.waiting import eventually

_TABLE: Final = Path("/proc/net/tcp")
_READ_S: Final = 5.0
_POLL_S: Final = 0.0005
"""Seconds between two looks: a server that waits for a packet reads it in less."""


def until_read(client: socket.socket) -> None:
    """Wait until the other end of a connection over IPv4 has read all that `client` sent, so that what is sent next
    comes to it as a piece of its own.
    """
    near, far = _spelled(client.getsockname()), _spelled(client.getpeername())

    def is_read() -> bool:
        # `tx_queue:rx_queue` in hexadecimal: what was not acknowledged here, and what was not read there
        queues = {tuple(row[1:3]): row[4].split(":") for row in map(str.split, _TABLE.read_text().splitlines()[1:])}
        return int(queues[near, far][0], 16) == 0 and int(queues[far, near][1], 16) == 0

    eventually(is_read, _READ_S, "the other end reads", poll_s=_POLL_S)


def _spelled(address: tuple[str, int]) -> str:
    host, port = address
    # the bytes of the address stand in the machine's order
    return f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
