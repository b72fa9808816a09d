"""The real orchestrator process over a registry of fixture children, driven by signals, its control socket, journal and
status."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from shared.process import control_client, runtime
from shared.process.journal import JournalEntry, JournalReader
from shared.process.journal import SupervisionEvent as Happened
from shared.process.slot_lock import read_holder
from supervision.processes.cgroups import Cgroups
from tests.support import environment, processes
from tests.support.waiting import eventually, never

PROGRAM = Path(__file__).with_name("orchestrator_under_test.py")
SOON_S = 20.0
DEFAULTS = {
    "watchdog_s": 2.0,
    "startup_s": 10.0,
    "drain_s": 5.0,
    "min_uptime_s": 2.0,
    "restart_base_s": 0.05,
    "intensity": 20,
}

T = TypeVar("T")


class SupervisionEnv:
    """One orchestrator under test and what it left in its home.

    Attributes:
        home: BULKHEAD_HOME.
        process: the orchestrator of this moment.
        variables: environment it is started with.
        earlier: orchestrators that were started before it.
    """

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        self.home = home
        servers = {
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "SANDBOX": "off",
        }
        self.variables = (
            dict(variables)
            | servers
            | {"PYTHONPATH": os.pathsep.join(filter(None, [str(environment.REPOSITORY), os.environ.get("PYTHONPATH")]))}
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.earlier: list[subprocess.Popen[bytes]] = []
        self.output = home / "output"
        self._journal = JournalReader(home, "test")
        self._entries: list[JournalEntry] = []

    def rows(self, *rows: Mapping[str, Any], **policy: float) -> SupervisionEnv:
        """Say which kinds it runs, as fields of `ProcessKind` (`entry` without `.py`), and its policy."""
        full = [
            DEFAULTS | {"admin_offset": 10 * place} | dict(row) | {"entry": f"{row.get('entry', 'good')}.py"}
            for place, row in enumerate(rows)
        ]
        self.variables["FIXTURE_ROWS"] = json.dumps(full)
        self.variables["FIXTURE_POLICY"] = json.dumps({"probe_first_s": 1.0, "leave_s": 0.2} | policy)
        return self

    def start(self, *words: str, **variables: str) -> SupervisionEnv:
        """Start an orchestrator."""
        self.variables |= variables
        if self.process is not None:
            self.earlier.append(self.process)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *words],
                env=environment.clean(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return self

    def command(self, *words: str, within_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run an operator's command and return the result."""
        return subprocess.run(
            [sys.executable, str(PROGRAM), *words],
            env=environment.clean(**self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )

    @property
    def orchestrator(self) -> subprocess.Popen[bytes]:
        """The orchestrator of this moment."""
        assert self.process is not None
        return self.process

    # what happened

    def events(self) -> list[JournalEntry]:
        """Every journal entry so far."""
        self._entries += self._journal.read(100_000)
        return self._entries

    @property
    def last(self) -> int:
        """Sequence number of the last entry so far."""
        return max((entry.seq for entry in self.events()), default=0)

    def happened(self, event: Happened, slot: str = "", *, after: int = 0, **details: Any) -> JournalEntry | None:
        """The first such entry after sequence number `after`."""
        for entry in self.events():
            fits = entry.event is event and entry.seq > after and (not slot or entry.slot == slot)
            if fits and all(entry.details.get(name) == value for name, value in details.items()):
                return entry
        return None

    def count(self, event: Happened, slot: str = "") -> int:
        """How often it happened."""
        return sum(entry.event is event and (not slot or entry.slot == slot) for entry in self.events())

    def story(self, slot: str) -> list[str]:
        """Names of all events of a slot."""
        return [entry.event.value for entry in self.events() if entry.slot == slot]

    def until(self, condition: Callable[[], T], what: str, within_s: float = SOON_S) -> T:
        """Wait for a condition; the failure reports the whole story, and an orchestrator that died ends the wait."""

        def alive_and_true() -> T:
            value = condition()
            assert value or self.process is None or self.process.poll() is None, (
                f"the orchestrator left before {what}\n{self.describe()}"
            )
            return value

        return eventually(alive_and_true, within_s, lambda: f"{what}\n{self.describe()}")

    def wait(
        self, event: Happened, slot: str = "", *, after: int = 0, within_s: float = SOON_S, **details: Any
    ) -> JournalEntry:
        """Wait until it happened, and return the entry."""
        found = self.until(
            lambda: self.happened(event, slot, after=after, **details), f"{event} {slot} {details or ''}", within_s
        )
        assert found is not None
        return found

    def never(self, condition: Callable[[], object], for_s: float, what: str) -> None:
        """Wait and see that a condition does not come true; the failure reports the whole story."""

        def came_true() -> object:
            value = condition()
            assert not value, f"{what}\n{self.describe()}"
            return value

        never(came_true, for_s, what)

    def _is_ready(self, slot: str, after: int) -> bool:
        return self.slot(slot).get("state") == "ready" and self.last >= after

    def ready(self, *slots: str, after: int = 0) -> SupervisionEnv:
        """Wait until each slot's present process is ready."""
        for slot in slots:
            self.until(partial(self._is_ready, slot, after), f"{slot} ready")
        return self

    def describe(self) -> str:
        """Everything that helps to understand a failure."""
        lines = [f"{entry.seq} {entry.at} {entry.event} {entry.slot} {entry.details}" for entry in self.events()[-40:]]
        logs = [self.output, *sorted(self.home.glob("logs/*.err.log"))]
        return "\n".join(
            lines
            + [
                f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}"
                for log in logs
                if log.exists() and log.stat().st_size
            ]
        )

    # what is

    def status(self) -> dict[str, Any]:
        """The orchestrator's snapshot, from its control socket."""
        return dict(control_client.ask(runtime.control_socket(self.home), {"command": "status"})["status"])

    def slot(self, name: str) -> dict[str, Any]:
        """One slot as this orchestrator has it now, everything that the journal reports included; empty when it does
        not answer."""
        try:
            status = self.status()
        except control_client.NoOrchestrator:
            return {}
        return dict(status["slots"].get(name, {})) if status["pid"] == self.orchestrator.pid else {}

    def pid(self, slot: str) -> int:
        """The main process that holds a slot."""
        holder = read_holder(runtime.slot_lock_file(self.home, slot))
        assert holder is not None and holder.pid is not None, f"{slot} is just being started"
        return holder.pid

    def kill(self, slot: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a slot's main process and return its pid."""
        pid = self.pid(slot)
        os.kill(pid, number)
        return pid

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the orchestrator for the block: nothing in its home changes by its hand meanwhile."""
        pid = self.orchestrator.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            _, status = os.waitpid(pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"the orchestrator left\n{self.describe()}"
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def kill_orchestrator(self) -> None:
        """Kill the orchestrator as the kernel would."""
        self.orchestrator.kill()
        self.orchestrator.wait()

    def alive(self) -> dict[int, str]:
        """Every living process of this home but the orchestrator."""
        return {
            pid: command
            for pid, command in processes.of_home(self.home).items()
            if self.process is None or pid != self.process.pid
        }

    def get(self, port: int) -> str:
        """Ask the process that serves `port` for its incarnation."""
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as line:
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return line.makefile("rb").read().split(b"\r\n\r\n", 1)[1].decode()

    # end

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 30.0) -> int:
        """Ask it to stop and return its exit code; nothing may be left behind."""
        process = self.orchestrator
        if process.poll() is None:
            process.send_signal(number)
        eventually(lambda: process.poll() is not None, within_s, lambda: f"the orchestrator leaves\n{self.describe()}")
        left = self.alive()
        processes.end(left)
        assert not left, f"left behind: {left}\n{self.describe()}"
        assert not [path.name for path in runtime.runtime_dir(self.home).glob("*.sock")]
        assert process.returncode is not None
        return process.returncode

    def close(self) -> None:
        """End whatever still runs."""
        for process in [*self.earlier, *([self.process] if self.process else [])]:
            if process.poll() is None:
                process.kill()
            process.wait()
        helpers = self.home / "helpers"
        daemons = [int(pid) for pid in helpers.read_text().split()] if helpers.exists() else []
        groups = Cgroups.probe(self.home)
        processes.end([*processes.of_home(self.home), *(pid for pid in daemons if processes.is_alive(pid))])
        if groups is not None:
            groups.leftovers(set())
            groups.close()
        self._journal.close()
