"""Ports of 127.0.0.1 that nobody uses, below the range from which the kernel picks ports for outgoing connections."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 15000
_taken: set[int] = set()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port_block(count: int) -> int:
    """Return the first of `count` free ports in a row; within one test session none is given out twice before the others are used up."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - count
    for _ in range(2):
        for _ in range(1000):
            first = random.randint(LOWEST, highest)
            block = range(first, first + count)
            if _taken.isdisjoint(block) and all(_free(port) for port in block):
                _taken.update(block)
                return first
        # all were given out once: whoever had the earlier ones is gone, or its ports are not free
        _taken.clear()
    raise RuntimeError(f"no {count} free ports in a row between {LOWEST} and {highest}")


def free_ports(count: int) -> list[int]:
    """Return `count` free ports."""
    first = free_port_block(count)
    return list(range(first, first + count))
