"""Signals as events of a selector: handlers only enqueue, the loop decides."""

from __future__ import annotations

import faulthandler
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# SIGINT and SIGTERM stop, SIGHUP reloads, SIGCHLD reaps.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class WakeUp:
    """Becomes readable when a signal has arrived."""

    def __init__(self) -> None:
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)

    def fileno(self) -> int:
        """Descriptor to watch for reading; then call `received`."""
        return self._woken.fileno()

    def received(self) -> list[signal.Signals]:
        """Return the signals since the last call, in order."""
        with suppress(BlockingIOError):
            return [signal.Signals(number) for number in self._woken.recv(4096)]
        return []

    @contextmanager
    def catching(self, stacks: Path) -> Iterator[None]:
        """Catch our signals for the length of a `with` block; SIGUSR1 writes the stacks of all threads to the file
        `stacks`."""
        # The C handler writes the number into a socket: Python code never runs in the middle of a decision. A full
        # buffer already wakes the loop, so no warning is needed.
        before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        # An operator's pipe that is closed must not end the orchestrator.
        handlers[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        with stacks.open("a", encoding="utf-8") as file:
            # The orchestrator has one thread, so its frames do not move while C code walks them.
            faulthandler.register(signal.SIGUSR1, file=file, all_threads=True)
            try:
                yield
            finally:
                faulthandler.unregister(signal.SIGUSR1)
                signal.set_wakeup_fd(before)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                self._woken.close()
                self._wake.close()
