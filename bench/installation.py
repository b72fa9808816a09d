"""The installation under measurement: started with the real orchestrator in a temporary home, loaded by a generator,
and observed from outside.

Arrivals come from the sandbox's ledger, rows from PostgreSQL, costs from /proc.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil
import psycopg2

from bench.load import LoadResult, LoadSpec
from embedded import addresses
from shared.kinds import KINDS, admin_port
from shared.process import runtime
from shared.process.slot_lock import is_free, read_holder
from tests.support import environment, ports
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

WITHOUT_BROWSERS: Final = "api,meta,recorder,sandbox,postgres,redis"
"""Kinds of an installation whose browsers are not measured: Chromium would take memory and CPU from the others."""


class TenderBulkhead(Bulkhead):
    """The same program with a restart policy that never quarantines, for runs with many kills."""

    def start(self) -> Self:
        """Start the orchestrator of `bench/supervision_home.py`."""
        # appended: several orchestrators of one installation may use it one after the other
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "bench/supervision_home.py"],
                cwd=environment.REPOSITORY,
                env=environment.clean(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self


@dataclass(frozen=True, kw_only=True)
class LedgerArrival:
    """A message that the sandbox accepted: our row, the attempt, the instant in seconds since 1970."""

    row_id: int
    attempt: int
    at: float


class Installation:
    """A running installation, and queries about it."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.bulkhead = bulkhead
        self.url = addresses.database_url(bulkhead.settings)

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Query PostgreSQL, on a connection of our own."""
        # a new connection for each query, since a run may kill PostgreSQL
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query, arguments)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def turn(self, **knobs: Any) -> None:
        """Change the sandbox's settings."""
        answer = self.bulkhead.sandbox("POST", "/control/settings", json=knobs)
        answer.raise_for_status()

    def provider(self, *, latency_ms: float, statuses: str) -> None:
        """Set the provider's latency and the webhooks that follow ("": none)."""
        self.turn(latency_ms=latency_ms, statuses=[word for word in statuses.split(",") if word])

    def admin_ports(self, kind: str) -> list[int]:
        """Return the loopback ports of a kind's slots."""
        settings = self.bulkhead.settings
        return [
            admin_port(settings.admin_port, settings.kind(kind), instance)
            for instance in range(settings.kind(kind).instances)
        ]

    def spec(self, **given: Any) -> LoadSpec:
        """Return the specification of a load for this installation."""
        settings = self.bulkhead.settings
        return LoadSpec(
            api_port=settings.port("api"),
            api_key=settings.api_key,
            result=str(self.bulkhead.home / f"load-{time.time_ns()}.json"),
            **given,
        )

    @contextmanager
    def load(self, spec: LoadSpec) -> Iterator[subprocess.Popen[bytes]]:
        """Run the generator during the block; read the result with `load_result` after it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", json.dumps(asdict(spec))],
            cwd=environment.REPOSITORY,
            env=environment.clean(),
            stdin=subprocess.DEVNULL,
        )
        try:
            yield process
            # beyond the load: 30 s for outstanding responses, and the start of an interpreter on a busy machine
            code = process.wait(spec.seconds + 90)
            if code:
                raise RuntimeError(f"the load generator left with {code}")
        finally:
            # after a failure of the block the generator must not load the machine any longer
            if process.poll() is None:
                process.kill()
                process.wait()

    def load_result(self, spec: LoadSpec) -> LoadResult:
        """Return a generator's result."""
        return LoadResult(**json.loads(Path(spec.result).read_bytes()))

    def run_load(self, spec: LoadSpec) -> LoadResult:
        """Run the generator to its end."""
        with self.load(spec):
            pass
        return self.load_result(spec)

    def open_messages(self) -> int:
        """Return the number of rows that are queued, being sent, or in doubt without being held."""
        return int(
            self.rows(
                "SELECT count(*) FROM messages WHERE state IN ('queued', 'sending') OR (state = "
                "'in_doubt' AND held_at IS NULL)"
            )[0][0]
        )

    def wait_idle(self, within_s: float = 120.0) -> None:
        """Wait until no message is open."""
        eventually(
            lambda: self.open_messages() == 0,
            within_s,
            lambda: f"every message is sent; open: {self.open_messages()}",
            poll_s=0.1,
        )

    def arrived(self, since: float = 0.0, *, word: str = "bulkhead") -> list[LedgerArrival]:
        """Read the arrivals after an instant from the ledger's file, in its order; `word`: of whose callback data."""
        found = []
        with (self.bulkhead.home / "sandbox" / "ledger.jsonl").open("rb") as ledger:
            for line in ledger:
                # checked before the JSON is parsed: a long run has hundreds of thousands of lines, most of them about
                # other events
                if b'"event":"accepted"' not in line[:120]:
                    continue
                entry = json.loads(line)
                whose, _, row_id, attempt, _ = entry["callback"].split(":")
                # the sandbox may have other programs' callback data, and arrivals from before this load
                if entry["at"] >= since and whose == word:
                    found.append(LedgerArrival(row_id=int(row_id), attempt=int(attempt), at=entry["at"]))
        return found

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return the living processes of each kind, helpers included, and the orchestrator."""
        assert self.bulkhead.process is not None
        found: dict[str, list[psutil.Process]] = {"orchestrator": [psutil.Process(self.bulkhead.process.pid)]}
        for slot, pid in self.slot_pids().items():
            try:
                process = psutil.Process(pid)
                # Chromium and PostgreSQL's servers are children of the slot's process: their cost belongs to the kind
                found.setdefault(slot.rsplit("-", 1)[0], []).extend([process, *process.children(recursive=True)])
            # it ended after its lock was read
            except psutil.NoSuchProcess:
                continue
        return found

    def slot_pids(self) -> dict[str, int]:
        """Return the process in each slot that is held and whose process is known."""
        held = {}
        for row in KINDS:
            for instance in self.bulkhead.slots(row.name):
                path = runtime.slot_lock_file(self.bulkhead.home, f"{row.name}-{instance}")
                holder = read_holder(path)
                # the file outlives its process; only a held lock proves that the pid is still the slot's and was not
                # reused
                if holder is not None and holder.pid is not None and not is_free(path):
                    held[f"{row.name}-{instance}"] = holder.pid
        return held

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each kind so far, including ended helpers."""
        used: dict[str, float] = {}
        for kind, processes in self.processes().items():
            own = processes[:1] if kind == "orchestrator" else processes
            for process in own:
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                # the orchestrator's ended children belong to other kinds
                ended = 0.0 if kind == "orchestrator" else times.children_user + times.children_system
                used[kind] = used.get(kind, 0.0) + times.user + times.system + ended
        return used

    def pss_mb(self) -> dict[str, float]:
        """Return the memory (PSS) of each slot with its helpers, in MB: shared pages count proportionally."""
        sizes = (
            {"orchestrator": psutil.Process(self.bulkhead.process.pid).memory_full_info().pss / 1e6}
            if self.bulkhead.process
            else {}
        )
        for slot, pid in self.slot_pids().items():
            try:
                process = psutil.Process(pid)
                sizes[slot] = (
                    sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)]) / 1e6
                )
            except psutil.NoSuchProcess:
                continue
        return sizes


def warm(installation: Installation, seconds: float) -> None:
    """Load every process for a while, so that late imports and connections are done, and wait until it is idle."""
    installation.run_load(installation.spec(seconds=seconds, rate=100.0, chats=500, first_chat=15_550_000_000))
    installation.wait_idle()


def outcome(installation: Installation, result: LoadResult) -> dict[str, int]:
    """Compare accepted messages with arrivals in the ledger."""
    # by row id, not by text: each accepted message is a row, and each arrival has its id in the token
    counts = Counter(arrival.row_id for arrival in installation.arrived(result.began_at))
    accepted = set(result.ids)
    return {
        "accepted": len(accepted),
        "lost": sum(row_id not in counts for row_id in accepted),
        "duplicated": sum(counts[row_id] > 1 for row_id in accepted),
        "refused": sum(result.other.values()),
        "broken": result.broken,
    }


@contextmanager
def running(
    program: type[Bulkhead] = Bulkhead,
    *,
    only: str = WITHOUT_BROWSERS,
    parent: Path | None = None,
    **variables: object,
) -> Iterator[Installation]:
    """Start an installation with its own home, ports and keys, wait until it is ready, and stop it afterwards.

    Args:
        only: kinds; empty: all. parent: directory for its home; None: that for temporary files.
    """
    # a short prefix: a UNIX socket's path, which starts with the home, has at most 107 bytes (unix(7))
    home = Path(tempfile.mkdtemp(prefix="bhb-", dir=parent))
    # 100 admin ports, followed by the four public ones
    first = ports.free_port_block(104)
    names = ("API_PORT", "WEBDRIVER_PORT", "META_PORT", "SANDBOX_PORT")
    given = {
        "BULKHEAD_HOME": str(home),
        "ADMIN_PORT": str(first),
        **{name: str(first + 100 + offset) for offset, name in enumerate(names)},
        "API_KEY": "bench-" + os.urandom(8).hex(),
        "SECRET_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode(),
        # no limit: otherwise the provider's rate limit would be measured, not Bulkhead
        "META_MESSAGES_PER_SECOND": "0",
        "ONLY": only,
        **environment.as_environ(variables),
    }
    bulkhead = program(home, given)
    try:
        bulkhead.start()
        kinds = [kind for kind in only.split(",") if kind] or ["recorder", "api", "meta", "webdriver"]
        # the other kinds start only after the embedded servers (`after` in shared/kinds.py), hooks only with a
        # subscriber, ai only with an assistant, and index only with a document
        bulkhead.wait_ready(*[kind for kind in kinds if kind not in ("postgres", "redis", "hooks", "ai", "index")])
        yield Installation(bulkhead)
    finally:
        try:
            bulkhead.close()
        finally:
            shutil.rmtree(home, ignore_errors=True)
