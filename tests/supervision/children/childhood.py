"""What the fixture children have in common: the line to the orchestrator, a loop, and a tiny server on the kind's
port."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from shared import settings
from shared.process.supervised import Command, Supervised
from tests.supervision import wall_clock


class Life:
    """One life of a fixture child.

    Attributes:
        line: its end of the line.
        terms: how often it was asked to stop.
    """

    def __init__(self) -> None:
        faulthandler.enable()
        wall_clock.follow()
        own_settings = settings.load()
        self.identity = settings.load_child()
        self.line = Supervised.from_environment(self.identity, own_settings.bulkhead_home, own_settings.bind_address)
        self.listeners = self.line.listening_sockets()
        self.terms = 0
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGTERM, self._term)
        sys.stdout.write(f"born {self.line.incarnation}\n")
        sys.stdout.flush()

    def _term(self, *_: object) -> None:
        self.terms += 1

    def run(self, until: Callable[[], bool] = lambda: False, *, beat: bool = True) -> None:
        """Serve, beat and listen until asked to stop or `until` is true."""
        beat_at = 0.0
        while not self.terms and not until():
            if beat and time.monotonic() >= beat_at:
                self.line.watchdog()
                beat_at = time.monotonic() + min(0.2, self.line.watchdog_interval_s)
            sources: list[int | Supervised | socket.socket] = [self._woken, self.line, *self.listeners]
            readable, _, _ = select.select(sources, [], [], 0.05)
            for listener in self.listeners:
                if listener in readable:
                    self._serve(listener)
            if self._woken in readable:
                os.read(self._woken, 100)
            if Command.DRAIN in self.line.receive():
                self.terms += 1

    def _serve(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return  # a sibling was faster
        with client:
            client.settimeout(1.0)
            client.recv(4096)
            body = self.line.incarnation.encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def leave(self, code: int = 0, reason: str = "") -> None:
        """Say goodbye and exit."""
        self.line.stopping()
        self.line.last_words(code, reason)
        self.line.close()
        sys.exit(code)


def ordinary() -> None:
    """The life of a good child."""
    life = Life()
    life.line.ready()
    life.run()
    life.leave()
