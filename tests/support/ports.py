"""Free ports of 127.0.0.1, below the range from which the kernel picks ports for outgoing connections.

The workers of a parallel run share that range out: a port that one of them has chosen and not yet bound looks free to
the others.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from tests.support import environment

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


def ports_of(worker: environment.Worker) -> range:
    """Return the ports that only this worker uses."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    share = (highest - LOWEST) // worker.workers
    return range(LOWEST + worker.number * share, LOWEST + (worker.number + 1) * share)


def free_port_block(count: int) -> int:
    """Return the first of `count` free ports in a row; within one test session each is returned once before any is
    returned again."""
    ours = ports_of(environment.worker())
    for _ in range(2):
        for _ in range(1000):
            first = random.randint(ours.start, ours.stop - count)
            block = range(first, first + count)
            if _taken.isdisjoint(block) and all(_free(port) for port in block):
                _taken.update(block)
                return first
        # all were returned once: the processes that had the earlier ones have ended, or their ports are not free
        _taken.clear()
    raise RuntimeError(f"no {count} free ports in a row between {ours.start} and {ours.stop}")


def free_ports(count: int) -> list[int]:
    """Return `count` free ports."""
    first = free_port_block(count)
    return list(range(first, first + count))
