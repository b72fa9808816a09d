"""The listening sockets of kinds with a public port: held here, inherited by each instance, so that connections queue
while a process is replaced."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

from shared.errors import BulkheadError
from shared.kinds import ProcessKind, kind_settings
from shared.process.supervised import bind_listener
from shared.settings import Settings


class PortUnusable(BulkheadError):
    """Raised when a kind's public port cannot be bound; the text names the setting to change."""


class Listeners:
    """One listening socket for each kind that has a port and was started."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def open(self, row: ProcessKind, settings: Settings) -> socket.socket:
        """Return the kind's listening socket, bound now if it is not held yet. Raises `PortUnusable`."""
        held = self._sockets.get(row.name)
        if held is None:
            try:
                held = self._sockets[row.name] = bind_listener(settings.bind_address, row.port)
            except OSError as refusal:
                # errno is translated into the setting to change: an operator sees this text alone.
                raise PortUnusable(explain(setting_of(row), row.port, settings.bind_address, refusal)) from None
        return held

    def holds(self, kind: str) -> bool:
        """Whether the kind's socket is held."""
        return kind in self._sockets

    def take(self, kind: str, port: int, descriptors: Iterable[int]) -> bool:
        """Keep the one of `descriptors`, which a child of an earlier orchestrator sent, that listens on `port`; close
        the others.

        Returns whether the kind's socket is held now.
        """
        for descriptor in descriptors:
            if kind not in self._sockets and _listens_on(descriptor, port):
                self._sockets[kind] = socket.socket(fileno=descriptor)
            else:
                # Also of an equal one that arrives twice: each datagram brings its own descriptors.
                os.close(descriptor)
        return kind in self._sockets

    def close(self, kind: str) -> None:
        """Close the kind's port. Clients are refused once no child holds it either."""
        held = self._sockets.pop(kind, None)
        if held is not None:
            held.close()

    def close_all(self) -> None:
        """Close every port."""
        for kind in list(self._sockets):
            self.close(kind)


def _listens_on(descriptor: int, port: int) -> bool:
    # A duplicate, since closing the socket object would close the descriptor that may be kept.
    candidate = socket.socket(fileno=os.dup(descriptor))
    try:
        return (
            bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) and candidate.getsockname()[1] == port
        )
    except OSError:
        return False
    finally:
        candidate.close()


def setting_of(row: ProcessKind) -> str:
    """Return the setting of a kind's public port."""
    return next(name for setting, name in kind_settings(row) if setting.field == "port")


def explain(setting: str, port: int, address: str, refusal: OSError) -> str:
    """Return why a port cannot be bound, and what to do, as a sentence without its full stop."""
    if refusal.errno == errno.EADDRINUSE:
        return f"{setting}={port} is taken on {address} by another program; stop it or set {setting} to a free port"
    if refusal.errno == errno.EACCES:
        return f"{setting}={port} needs more rights; set {setting} to a port above 1023"
    if refusal.errno == errno.EADDRNOTAVAIL:
        return f"BIND_ADDRESS={address} is not an address of this machine"
    return f"{setting}={port} cannot be bound on {address}: {refusal.strerror or refusal}"
