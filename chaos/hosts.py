"""Further hosts beside the installation under test: homes of their own, which share its PostgreSQL, Redis and provider
over wires that can be cut.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from chaos.calls import Calls
from chaos.installation import ChaosInstallation, NeverHappened, free_ports
from chaos.plans import FAULTS, PlanStep
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.settings import ChildEnvironment
from shared.store import processes
from shared.store.address import parts_of
from shared.store.store import Store

HOST_SETTINGS: Final[Mapping[str, str]] = {
    # a lease of 11 s, so that a run sees many of them end
    "HEARTBEAT_S": "1",
    "META_SEND_S": "5",
}
"""Settings of all hosts of a run."""
LEASE_S: Final = 11.0
"""The lease of a sender with these settings: three heartbeats, the longest send, and 3 s."""
_SHARED_SECRETS: Final = (
    "API_KEY",
    "SECRET_ENCRYPTION_KEY",
    "META_APP_SECRET",
    "META_VERIFY_TOKEN",
    "SANDBOX_ACCESS_TOKEN",
    "SANDBOX_D360_API_KEY",
    "SANDBOX_D360_WEBHOOK_SECRET",
)
_CHUNK: Final = 65_536
_LOOK_S: Final = 0.25
"""Seconds between two looks at what a host that is away still holds."""


class Wire:
    """Forwards connections to one server until it is cut; then nothing passes and nothing is refused, as without a
    cable.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self, to: tuple[str, int] | str) -> None:
        self._to, self._passes = to, asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> Wire:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """Let nothing pass any more."""
        self._passes.clear()

    def mend(self) -> None:
        """Let new connections pass; those of before the cut are broken."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._passes.set()

    async def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.close()
        self._passes.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._passes.wait()
            if isinstance(self._to, str):
                there_reader, there_writer = await asyncio.open_unix_connection(self._to)
            else:
                there_reader, there_writer = await asyncio.open_connection(*self._to)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(there_writer)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # a connection that breaks is what the two ends must cope with
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._passes.wait()
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()


class OtherHost:
    """One further host: a recorder and senders in a home of their own.

    Attributes:
        installation: its processes. wires: to PostgreSQL (`database`), Redis (`redis`) and the provider (`provider`).
    """

    def __init__(self, installation: ChaosInstallation, wires: Mapping[str, Wire]) -> None:
        self.installation, self.wires = installation, wires

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process, the orchestrator first: it would take the others for hung."""
        pids = [self.installation.pid("orchestrator"), *self.installation.pids().values()]
        for pid in pids if number is signal.SIGSTOP else reversed(pids):
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)


class Hosts:
    """The further hosts of a run, and what is done to them.

    Args:
        first: the installation that they join. count: how many hosts there are with it.
    Attributes:
        reclaimed_s: for each time that a host was away for longer than its lease, the seconds from the lease's end
            until nothing of it was in hand any more. kept: times that something still was when it came back.
    """

    def __init__(self, first: ChaosInstallation, count: int, environ: Mapping[str, str], calls: Calls) -> None:
        self._first, self._environ, self._calls = first, environ, calls
        self._hosts: dict[str, OtherHost] = {}
        self._names = [f"host-{number}" for number in range(2, count + 1)]
        self.reclaimed_s: list[float] = []
        self.kept = 0

    @property
    def names(self) -> list[str]:
        """Their names, which are the targets of their faults."""
        return self._names

    async def start(self) -> None:
        """Start them and wait until they are ready. Raises `InstallationUnusable`."""
        secrets = {name: await self._first.value(name) for name in _SHARED_SECRETS}
        database = parts_of(self._first.settings.database_url)
        for name in self._names:
            wires = {
                "database": await Wire(f"{database['host']}/.s.PGSQL.5432").open(),
                "redis": await Wire(str(self._first.redis_socket)).open(),
                "provider": await Wire(("127.0.0.1", self._first.settings.port("sandbox"))).open(),
            }
            home = self._first.home / name
            home.mkdir(mode=0o700)
            (home / "media").symlink_to(self._first.home / "media")
            login = f"{database['user']}:{quote(database['password'], safe='')}"
            variables = {
                **self._first.variables,
                **free_ports(),
                **secrets,
                "BULKHEAD_HOST": name,
                "ONLY": "recorder,meta",
                "SANDBOX": "off",
                **self._providers(wires["provider"].port),
                "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{wires['database'].port}/{database['dbname']}",
                "REDIS_URL": f"redis://127.0.0.1:{wires['redis'].port}/0",
                "CRASH_POINTS": "",
            }
            host = OtherHost(ChaosInstallation(home, variables, self._environ, self._calls), wires)
            self._hosts[name] = host
            await host.installation.start()

    def _providers(self, port: int) -> dict[str, str]:
        """Return the addresses of the sandbox, by the wire that listens on `port`."""
        settings, own = self._first.settings, f":{self._first.settings.port('sandbox')}"
        addresses = ("sandbox_url", "graph_base_url", "d360_base_url", "instagram_base_url", "whatsapp_web_url")
        return {name.upper(): getattr(settings, name).replace(own, f":{port}") for name in addresses} | {
            "META_APP_ID": settings.meta_app_id
        }

    async def stop(self) -> None:
        """Stop them all."""
        for host in self._hosts.values():
            host.signal(signal.SIGCONT)
            for wire in host.wires.values():
                wire.mend()
            await host.installation.stop()
            for wire in host.wires.values():
                await wire.close()

    def thaw(self) -> None:
        """Undo what lasts: nothing stays stopped or cut."""
        for host in self._hosts.values():
            host.signal(signal.SIGCONT)
            for wire in host.wires.values():
                wire.mend()

    async def do(self, step: PlanStep) -> None:
        """Carry out one fault. Raises `NeverHappened` when there is no such host."""
        host = self._hosts.get(step.target)
        if host is None:
            raise NeverHappened(f"there is {step.target}")
        does: str = FAULTS[step.fault].details["does"]
        watching = asyncio.create_task(self._watch(step.target, step.lasts_s))
        try:
            if does == "kill":
                await host.installation.kill_everything()
                await asyncio.sleep(step.lasts_s)
            elif does == "freeze":
                host.signal(signal.SIGSTOP)
                await asyncio.sleep(step.lasts_s)
            else:
                for name in does.split(","):
                    host.wires[name].cut()
                await asyncio.sleep(step.lasts_s)
        finally:
            watching.cancel()
            if does == "kill":
                await host.installation.start_orchestrator()
            elif does == "freeze":
                host.signal(signal.SIGCONT)
            else:
                for name in does.split(","):
                    host.wires[name].mend()
        await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, name: str, lasts_s: float) -> None:
        """Measure when nothing of a host that is away is in hand any more."""
        if lasts_s <= LEASE_S:
            return
        began, store = monotonic(), self._store()
        try:
            while True:
                try:
                    held = await store.call(processes.held_on, name)
                except StoreUnavailable:
                    held = 1
                if not held:
                    break
                await asyncio.sleep(_LOOK_S)
            self.reclaimed_s.append(max(0.0, monotonic() - began - LEASE_S))
        except asyncio.CancelledError:
            self.kept += 1
            raise
        finally:
            store.close()

    def _store(self) -> Store:
        identity = ChildEnvironment(process_name="chaos", process_incarnation="chaos")
        return Store.open(self._first.settings, identity, limit=1)
