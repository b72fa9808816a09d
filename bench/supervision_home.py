"""An installation for the supervision benchmarks, and the same program with a restart policy that does not
quarantine.

Run as a script it is that program: the restart policy is not meant for thousands of kills in an hour, and would slow
them down.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import psycopg2  # noqa: E402 - as below

from embedded import addresses  # noqa: E402 - the repository is made importable above
from shared.kinds import KINDS  # noqa: E402 - the repository is made importable above
from shared.process import control_client, runtime  # noqa: E402
from shared.process.journal import JournalEntry, JournalReader, SupervisionEvent  # noqa: E402
from shared.process.slot_lock import read_holder  # noqa: E402
from shared.settings import load  # noqa: E402


class SupervisedHome:
    """One running installation in a temporary home.

    Attributes:
        home: BULKHEAD_HOME. variables: its environment. process: the current orchestrator.
    """

    def __init__(self, ports: int, *, only: str = "", **variables: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="bench-supervision-"))
        names = ("API_PORT", "WEBDRIVER_PORT", "META_PORT", "SANDBOX_PORT")
        self.ports = {name: ports + 100 + offset for offset, name in enumerate(names)}
        # the first 100 are admin ports, one for each slot; the public ports follow
        self.admin = ports
        # idle connections stay open, so that any that ends was closed by an event
        self.variables = {
            "BULKHEAD_HOME": str(self.home),
            "ADMIN_PORT": str(ports),
            "ONLY": only,
            "DATABASE_IDLE_S": "86400",
        }
        self.variables |= {name: str(port) for name, port in self.ports.items()} | variables
        self._journal = JournalReader(self.home, "bench")
        self.begun_at = time.monotonic()
        self.entries: list[JournalEntry] = []
        self.process: subprocess.Popen[bytes]

    def start(self) -> SupervisedHome:
        """Start an orchestrator; another one may have run in this home before."""
        with (self.home / "output").open("ab") as output:
            command = [sys.executable, str(Path(__file__).resolve())]
            # as in an installation, compiled once and not at each start
            inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            self.process = subprocess.Popen(
                command, env=inherited | self.variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return self

    def events(self) -> list[JournalEntry]:
        """Every journal entry so far."""
        self.entries += self._journal.read(1_000_000)
        return self.entries

    def wait(self, event: SupervisionEvent, slot: str = "", *, after: int = 0, within_s: float = 90.0) -> JournalEntry:
        """Wait for an entry after sequence number `after`."""

        def found() -> JournalEntry | None:
            return next(
                (
                    entry
                    for entry in self.events()
                    if entry.seq > after and entry.event is event and slot in ("", entry.slot)
                ),
                None,
            )

        entry: JournalEntry = self.until(found, f"{event} {slot}", within_s)
        return entry

    def until(self, condition: Callable[[], Any], what: str, within_s: float = 90.0) -> Any:
        """Wait for a condition."""
        by = time.monotonic() + within_s
        while not (value := condition()):
            if time.monotonic() > by:
                raise TimeoutError(f"not within {within_s} s: {what}\n{(self.home / 'output').read_text()[-3000:]}")
            # 5 ms: far below the measured times, and rare enough not to use much CPU
            time.sleep(0.005)
        return value

    def slots(self) -> dict[str, Any]:
        """The orchestrator's snapshot of its slots."""
        # between the death of one orchestrator and the start of the next there is no answer
        with suppress(control_client.NoOrchestrator):
            return dict(control_client.ask(runtime.control_socket(self.home), {"command": "status"})["status"]["slots"])
        return {}

    def all_ready(self) -> list[str]:
        """Wait until the slots that should run are ready, and return their names."""
        # the text for the operator: slots may be ready before the orchestrator has checked them
        self.until(lambda: "Everything is up" in (self.home / "output").read_text(), "everything is up", 180.0)
        return [name for name, slot in self.slots().items() if slot["state"] == "ready"]

    def starts(self, kind: str) -> list[tuple[float, float]]:
        """Return for each start of a kind the seconds of interpreter and imports, and those until READY, as reported by
        its processes.
        """
        lines = [
            line
            for path in self.home.glob(f"logs/{kind}-*.out.log")
            for line in path.read_text().splitlines()
            if '"event": "process_ready"' in line
        ]
        return [(entry["imported_s"], entry["opened_s"]) for entry in map(json.loads, lines)]

    def backends(self, slots: Sequence[str]) -> dict[int, str]:
        """Return PostgreSQL's backend processes that serve one of `slots`, with their slots."""
        connection = psycopg2.connect(addresses.database_url(load(self.variables)), application_name="bench")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pid, split_part(application_name, '/', 2) FROM pg_stat_activity WHERE "
                    "application_name LIKE 'bulkhead/%/%'"
                )
                # every connection of a slot has the application name `bulkhead/<slot>/<incarnation>`
                return {pid: slot for pid, slot in cursor.fetchall() if slot in slots}
        finally:
            connection.close()

    def pid(self, slot: str) -> int:
        """The main process in a slot."""
        holder = read_holder(runtime.slot_lock_file(self.home, slot))
        # the lock is acquired before the pid is written
        if holder is None or holder.pid is None:
            raise LookupError(f"{slot} is just being started")
        return holder.pid

    def last(self) -> int:
        """Sequence number of the last entry."""
        return max((entry.seq for entry in self.events()), default=0)

    def close(self) -> None:
        """Stop it and remove its home."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(90)
            # the measurement is complete; an installation left behind would disturb the next run
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._journal.close()
        shutil.rmtree(self.home, ignore_errors=True)


def instant(entry: JournalEntry) -> float:
    """Wall clock of an entry in seconds."""
    return datetime.fromisoformat(entry.at).timestamp()


def spread(values: list[float], unit: str = "ms", factor: float = 1000.0) -> dict[str, Any]:
    """Median, 99th percentile and largest of `values` (seconds)."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        f"median_{unit}": round(statistics.median(ordered) * factor, 2),
        f"p99_{unit}": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * factor, 2),
        f"max_{unit}": round(ordered[-1] * factor, 2),
    }


def report(name: str, figures: Mapping[str, Any], as_json: Path | None) -> None:
    """Print the figures as a table, with the machine's load, and add them to a JSON file."""
    figures = dict(figures) | {"load average at the end (1, 5, 15 min)": [round(load, 1) for load in os.getloadavg()]}
    width = max(map(len, figures))
    print(f"\n{name}")
    for label, value in figures.items():
        print(f"  {label:<{width}}  {value}")
    if as_json is not None:
        known = json.loads(as_json.read_text()) if as_json.exists() else {}
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release, "python": sys.version.split()[0]}
        as_json.parent.mkdir(parents=True, exist_ok=True)
        as_json.write_text(json.dumps(known | {name: figures, "machine": machine}, indent=2) + "\n")


if __name__ == "__main__":
    from supervision.commands.context import Context
    from supervision.commands.entry import main
    from supervision.decisions.restart_policy import Policy

    tender = tuple(
        replace(row, intensity=10_000, restart_base_s=0.01, first_restart_s=0.0, min_uptime_s=0.0) for row in KINDS
    )
    sys.exit(
        main(
            sys.argv[1:],
            Context(environ=os.environ, rows=tender, entries=REPOSITORY, embedded=addresses, policy=Policy(cap_s=0.25)),
        )
    )
