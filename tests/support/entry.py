"""One entry file run by itself, with the test at the orchestrator's end of its line."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.server import dies_with_this_process
from shared.process import notify, runtime
from shared.process.slot_lock import is_free
from shared.process.supervised import Command, ask_command
from tests.support import environment, processes
from tests.support.waiting import eventually


class Entry:
    """Runs `proc_<kind>.py`, or `module` in its place, and receives its datagrams.

    Attributes:
        received: every datagram so far, parsed. process: the running entry. log: file of its standard output and error.
    """

    def __init__(
        self, kind: str, home: Path, *, module: str = "", arguments: tuple[str, ...] = (), **variables: object
    ) -> None:
        self.kind, self.home = kind, home
        self._command = [sys.executable, *(["-m", module] if module else [f"proc_{kind}.py"]), *arguments]
        home.mkdir(mode=0o700, exist_ok=True)
        self.log = home / f"{kind}.log"
        self.notifications: list[dict[str, str]] = []
        self._variables = {"watchdog_usec": 3_000_000, "secret_encryption_key": environment.SEALING_KEY} | variables
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line_path = runtime.runtime_dir(home) / f"test-{kind}.sock"
        self._line_path.unlink(missing_ok=True)
        self._line.bind(str(self._line_path))
        self._line.setblocking(False)
        self.process: subprocess.Popen[bytes]

    def start(self) -> Self:
        """Start it, again if need be, and forget what was said before; `wait_ready` waits for it."""
        self.forget()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=environment.REPOSITORY,
                env=environment.clean(bulkhead_home=self.home, notify_socket=self._line_path, **self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a test run that is killed takes what it started with it
                # the suite has one thread when it starts processes
                preexec_fn=dies_with_this_process(signal.SIGTERM),  # noqa: PLW1509
            )
        return self

    def listen(self) -> list[dict[str, str]]:
        """Return all that was said so far."""
        while True:
            try:
                self.notifications.append(notify.parse(self._line.recv(notify.LONGEST_DATAGRAM)))
            except BlockingIOError:
                return self.notifications

    def forget(self) -> None:
        """Drop what was said so far."""
        self.listen()
        self.notifications.clear()

    def wait_said(self, name: str, value: str, within_s: float = 20.0) -> None:
        """Wait until it said `name=value`; fail at once when it died."""

        def said_or_dead() -> bool:
            died = self.process.poll() is not None
            said = any(fields.get(name) == value for fields in self.listen())
            assert said or not died, (
                f"{self.kind} left with {self.process.returncode} before it said "
                f"{name}={value}:\n{self.log.read_text()}"
            )
            return said

        eventually(
            said_or_dead,
            within_s,
            lambda: f"{self.kind} says {name}={value}; it said {self.notifications[-5:]}\n{self.log.read_text()}",
        )

    def wait_ready(self, within_s: float = 60.0) -> Self:
        """Wait for READY."""
        self.wait_said("READY", "1", within_s)
        return self

    def wait_exit(self, within_s: float = 30.0) -> int:
        """Wait until it has left and its slot is free, and return its exit code (negative: signal)."""
        eventually(
            lambda: self.process.poll() is not None, within_s, lambda: f"{self.kind} leaves\n{self.log.read_text()}"
        )
        eventually(
            self.slot_is_free,
            within_s,
            lambda: f"slot {self.kind}-0 becomes free; alive: {processes.of_home(self.home)}",
        )
        assert self.process.returncode is not None
        return self.process.returncode

    def slot_is_free(self) -> bool:
        """Whether the process and all its descendants are gone."""
        processes.reap_orphans()
        return is_free(runtime.slot_lock_file(self.home, f"{self.kind}-0"))

    def ask(self, command: str) -> None:
        """Send it a command over its own socket, as the orchestrator does."""
        self._line.sendto(ask_command(Command(command)), str(runtime.slot_socket(self.home, f"{self.kind}-0")))

    def stop(self) -> int:
        """Ask it to stop in order and return its exit code."""
        self.process.terminate()
        return self.wait_exit()

    def descendants(self) -> dict[int, str]:
        """Return pid and command line of what it started."""
        return processes.living_descendants(self.process.pid)

    def close(self) -> None:
        """Kill whatever is left of it and close the line."""
        if hasattr(self, "process"):
            leftovers = self.descendants()
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            processes.end(pid for pid in leftovers if processes.is_alive(pid))
        self._line.close()
        self._line_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
