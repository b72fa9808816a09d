"""The installation under test: started in a home of its own, or found running in one. It is observed from outside,
through files, ports and /proc.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from chaos.calls import CallAnswer, Calls
from shared import settings as settings_table
from shared.clock import left, monotonic
from shared.errors import BulkheadError
from shared.kinds import admin_port
from shared.process import runtime
from shared.process.slot_lock import process_start, read_holder
from shared.settings import ChildEnvironment, Settings

PROGRAM: Final = Path(__file__).resolve().parents[1] / "orchestrator.py"
_LOOK_S: Final = 0.02
"""Polling interval for files and /proc in seconds: short against a restart, which takes some tenths of a second."""
_START_S: Final = 120.0
"""Longest wait in seconds for a first start, which creates the database's files and runs the migrations."""
_STOP_S: Final = 90.0
"""Longest wait in seconds for an orderly stop before everything is killed."""
_KILLED_S: Final = 10.0
"""Longest wait in seconds until killed processes are gone; writing back dirty pages may take seconds."""
_CALL_S: Final = 5.0
"""Longest wait in seconds for a call of the observer; the load has a limit of its own."""
_LOWEST_PORT: Final = 15_000
"""Common services of developers' machines use lower ports."""
_ESTABLISHED: Final = "01"
"""State of an open connection in /proc/net/tcp. Listening sockets are excluded: their queue counts connections, not
bytes.
"""
_PORTS: Final = 104
"""Ports of one installation: 100 for the loopback ports of the slots, from ADMIN_PORT on, then four public ones."""


class InstallationUnusable(BulkheadError):
    """Raised when the installation cannot be tested: it does not start, or runs without CHAOS=on."""


class NeverHappened(BulkheadError):
    """Raised when a condition did not become true in time."""


async def until(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Poll a condition until it is true. Raises `NeverHappened`."""
    by = monotonic() + within_s
    while not condition():
        if monotonic() >= by:
            raise NeverHappened(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(_LOOK_S)


class ChaosInstallation:
    """One installation.

    Args:
        home: its BULKHEAD_HOME. variables: settings of its orchestrator. environ: the rest of its environment. calls:
            HTTP client. enters: words before the command that starts its orchestrator.
    Attributes:
        settings: complete, as its children receive them; after `start` or `join`. variables: settings that its
            orchestrator was given. program: that its orchestrator is started from.
    """

    def __init__(
        self,
        home: Path,
        variables: Mapping[str, str],
        environ: Mapping[str, str],
        calls: Calls,
        enters: Sequence[str] = (),
    ) -> None:
        self.home, self._calls, self._enters = home, calls, enters
        # settings exported in the shell for another installation must not apply to this one
        ours = {*settings_table.variables(), *(row.name.upper() for row in fields(ChildEnvironment))}
        self._environ = (
            {name: value for name, value in environ.items() if name not in ours}
            | dict(variables)
            | {"BULKHEAD_HOME": str(home)}
        )
        self.variables = dict(variables)
        self._orchestrator: asyncio.subprocess.Process | None = None
        self.settings, self.program = Settings(), PROGRAM

    @property
    def is_ours(self) -> bool:
        """Whether we started its orchestrator, so that we may kill it and start it again."""
        return self._orchestrator is not None

    async def start(self) -> None:
        """Start it and wait until every slot is ready. Raises `InstallationUnusable`."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.start_orchestrator()
        await self._read_settings()
        try:
            await self.wait_ready(_START_S)
        except NeverHappened as problem:
            raise InstallationUnusable(
                f"the installation in {self.home} did not become ready: {problem}; its logs are in {self.home / 'logs'}"
            ) from None
        # read again: the start may have made the key of the API only after the first look
        await self._read_settings()

    async def join(self) -> None:
        """Use the installation that already runs in this home. Raises `InstallationUnusable` when it runs without
        CHAOS=on.
        """
        await self._read_settings()
        pids = self.pids()
        if not pids:
            raise InstallationUnusable(f"no installation runs in {self.home}")
        # the environment at its start counts, not the present settings
        if not all(_has_fail_points(pid) for pid in pids.values()):
            raise InstallationUnusable(f"the installation in {self.home} runs without CHAOS=on; it is left alone")

    async def start_orchestrator(self) -> None:
        """Start the orchestrator, also after a kill."""
        with (self.home / "orchestrator.log").open("ab") as log:
            self._orchestrator = await asyncio.create_subprocess_exec(
                *self._enters,
                sys.executable,
                str(self.program),
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _read_settings(self) -> None:
        shown = dict(line.partition("=")[::2] for line in (await self.operator("env")).splitlines())
        secrets = {
            name: (await self.operator("env", name)).strip() for name in ("API_KEY", "DATABASE_URL", "REDIS_URL")
        }
        known = {name for name, variable in settings_table.variables().items() if not variable.secret}
        self.settings = settings_table.load({name: value for name, value in shown.items() if name in known} | secrets)

    @property
    def redis_socket(self) -> Path:
        """The embedded Redis server's socket."""
        return runtime.redis_socket(self.home)

    async def value(self, name: str) -> str:
        """Return the value of one setting, also of a secret. Raises `InstallationUnusable`."""
        return (await self.operator("env", name)).strip()

    def snapshot(self) -> dict[str, Any]:
        """Return the orchestrator's snapshot; empty: it has written none yet."""
        try:
            found: dict[str, Any] = json.loads(runtime.status_file(self.home).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    async def operator(self, *words: str) -> str:
        """Run an operator's command and return what it printed. Raises `InstallationUnusable`."""
        asked = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.program),
            *words,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asked.communicate()
        if asked.returncode:
            raise InstallationUnusable(errors.decode(errors="replace").strip())
        return output.decode()

    def slots(self) -> list[str]:
        """Return the slots of this installation: every slot that a process holds or has held."""
        return sorted(path.stem for path in runtime.run_dir(self.home).glob("*-*.lock"))

    def pid(self, slot: str) -> int | None:
        """Return the living process in a slot, or the orchestrator's; None when there is none now."""
        holder = read_holder(
            runtime.orchestrator_lock_file(self.home)
            if slot == "orchestrator"
            else runtime.slot_lock_file(self.home, slot)
        )
        return holder.pid if holder is not None and holder.is_running() else None

    def pids(self) -> dict[str, int]:
        """Return the living process of each slot."""
        return {slot: pid for slot in self.slots() if (pid := self.pid(slot))}

    def server_pids(self, slot: str) -> list[int]:
        """Return the processes below a slot's own, parents first: the embedded server, which the slot's process
        supervises.
        """
        pid = self.pid(slot)
        return [] if pid is None else list(_descendants(pid))

    def unread_bytes(self, pid: int, kind: str) -> int:
        """Return the number of bytes that a process has not read yet on its kind's public port."""
        inodes = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                inodes.add(str(descriptor.readlink()))
        unread = 0
        for row in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            # columns: number, local and remote address, state, sizes of both queues, …, inode
            columns = row.split()
            local, state, queues, inode = columns[1], columns[3], columns[4], columns[9]
            is_ours = int(local.partition(":")[2], 16) == self.settings.port(kind) and f"socket:[{inode}]" in inodes
            if is_ours and state == _ESTABLISHED:
                unread += int(queues.partition(":")[2], 16)
        return unread

    async def is_ready(self, slot: str) -> bool:
        """Whether the slot reports that it is ready. The embedded servers have no endpoint; the readiness of their
        dependants implies theirs.
        """
        kind, _, number = slot.rpartition("-")
        answer = await self._calls.call(
            "GET",
            f"http://127.0.0.1:{admin_port(self.settings.admin_port, self.settings.kind(kind), int(number))}/readyz",
            within_s=2.0,
        )
        return answer is not None and answer.status == 200

    def desired(self) -> list[str]:
        """Return the slots with an endpoint of their own that should be ready by the settings."""
        only = {name for name in self.settings.only.split(",") if name}
        kinds = [
            self.settings.kind(name)
            for name in ("recorder", "api", "meta", "sandbox", "webdriver")
            if not only or name in only or name == "recorder"
        ]
        return [f"{kind.name}-{number}" for kind in kinds for number in range(kind.instances)]

    async def wait_ready(self, within_s: float) -> None:
        """Wait until every desired slot is ready. Raises `NeverHappened`."""
        by = monotonic() + within_s
        waiting = self.desired()
        while waiting := [slot for slot in waiting if not await self.is_ready(slot)]:
            if self._orchestrator is not None and self._orchestrator.returncode is not None:
                raise NeverHappened(f"the orchestrator left with {self._orchestrator.returncode}")
            if left(by) <= 0:
                raise NeverHappened(f"{', '.join(waiting)} ready")
            await asyncio.sleep(0.1)

    async def wait_orchestrator_gone(self) -> None:
        """Wait until our orchestrator has ended."""
        if self._orchestrator is not None:
            await self._orchestrator.wait()

    async def api(
        self, method: str, path: str, *, within_s: float = _CALL_S, body: Any = None, key: str = ""
    ) -> CallAnswer | None:
        """Call the API, with an idempotency key if given."""
        headers = {"Authorization": f"Bearer {self.settings.api_key}"} | ({"Idempotency-Key": key} if key else {})
        return await self._calls.call(
            method,
            f"http://127.0.0.1:{self.settings.port('api')}{path}",
            within_s=within_s,
            body=body,
            headers=headers,
        )

    async def sandbox(self, method: str, path: str, *, body: Any = None) -> CallAnswer | None:
        """Call the sandbox's control API."""
        return await self._calls.call(
            method, f"http://127.0.0.1:{self.settings.port('sandbox')}/control/{path}", within_s=_CALL_S, body=body
        )

    async def graph(self, method: str, path: str) -> CallAnswer | None:
        """Call the provider as another program of the same business would."""
        token = (self.home / "sandbox_access_token").read_text(encoding="ascii").strip()
        return await self._calls.call(
            method,
            f"http://127.0.0.1:{self.settings.port('sandbox')}/graph/v23.0/{path}",
            within_s=_CALL_S,
            headers={"Authorization": f"Bearer {token}"},
        )

    async def webhook(self, path: str, body: Any, headers: Mapping[str, str]) -> CallAnswer | None:
        """Post to the public port for webhooks, as any host on the network could."""
        return await self._calls.call(
            "POST", f"http://127.0.0.1:{self.settings.port('meta')}{path}", within_s=_CALL_S, body=body, headers=headers
        )

    def ledger(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the ledger's entries from the byte offset `since`; each has the offset of its end as `end`. An
        incomplete last line is left for the next call.
        """
        try:
            file = (self.home / "sandbox" / "ledger.jsonl").open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(since)
            for line in file:
                since += len(line)
                if line.endswith(b"\n"):
                    yield json.loads(line) | {"end": since}

    async def kill_everything(self) -> None:
        """Kill every process of our installation at once, and wait until they are gone."""
        trees = {pid for slot in self.pids() for pid in (self.pid(slot), *self.server_pids(slot)) if pid}
        # the orchestrator first: it would restart what dies before it
        for pid in [pid for pid in (self.pid("orchestrator"), *trees) if pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.wait_orchestrator_gone()
        await until(lambda: not any(map(process_start, trees)), _KILLED_S, "every process is gone")

    async def stop(self) -> None:
        """Stop our orchestrator, and kill what remains."""
        if self._orchestrator is None:
            return
        if self._orchestrator.returncode is None:
            self._orchestrator.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._orchestrator.wait(), _STOP_S)
        for pid in [pid for slot in self.pids() for pid in (*self.server_pids(slot), self.pid(slot)) if pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._orchestrator.returncode is None:
            self._orchestrator.kill()
            await self._orchestrator.wait()


def _has_fail_points(pid: int) -> bool:
    """Whether a process was started with CHAOS=on, or is gone already."""
    try:
        return b"CHAOS=on" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, (task / "children").read_text().split()):
                if process_start(child) is not None:
                    yield child
                    yield from _descendants(child)


def free_ports() -> dict[str, str]:
    """Return settings with free ports of 127.0.0.1, below the kernel's range for outgoing connections."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - _PORTS
    # installations that start at the same time search from different places
    start = _LOWEST_PORT + os.getpid() * _PORTS % (highest - _LOWEST_PORT)
    for first in (*range(start, highest, _PORTS), *range(_LOWEST_PORT, start, _PORTS)):
        if all(_is_free(port) for port in range(first, first + _PORTS)):
            public = {
                name: str(first + 100 + number)
                for number, name in enumerate(("API_PORT", "WEBDRIVER_PORT", "META_PORT", "SANDBOX_PORT"))
            }
            return {"ADMIN_PORT": str(first), **public}
    raise InstallationUnusable(f"no {_PORTS} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
