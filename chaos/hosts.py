"""Further hosts beside the installation under test: homes of their own, which share its PostgreSQL, Redis and provider
over wires that can be cut.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from chaos.calls import Calls
from chaos.clocks import Clock, faketime
from chaos.installation import ChaosInstallation, InstallationUnusable, NeverHappened, free_ports
from chaos.namespaces import PLACES, Namespace
from chaos.pages import wait_session
from chaos.plans import FAULTS, SESSION_HOST, PlanStep
from chaos.wires import Wire
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.settings import ChildEnvironment
from shared.states import SlotState
from shared.store import processes, sessions
from shared.store.address import parts_of
from shared.store.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST_SETTINGS: Final[Mapping[str, str]] = {
    # a lease of 11 s, so that a run sees many of them end
    "HEARTBEAT_S": "1",
    "META_SEND_S": "5",
    "WEBDRIVER_SEND_S": "15",
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
_LOOK_S: Final = 0.25
"""Seconds between two looks at what a host that is away still holds, or where a session is."""
_HOLDS_S: Final = 20.0
"""Longest wait in seconds until a host that is to be lost has something in hand."""
_LATENCY_MS: Final = 1500.0
"""The provider's: slow, so that every host has some in hand at any time."""
_CLOCK_OFF_S: Final = 3600
"""How wrong a host's clock is set: an hour, as by a wrong time zone."""


class HostInstallation(ChaosInstallation):
    """A further host. It is looked at by its files alone: its ports may be in another network, its clock wrong."""

    async def is_ready(self, slot: str) -> bool:
        """Whether the orchestrator's snapshot says so."""
        slots = self.snapshot().get("slots", {})
        return slot in slots and slots[slot]["state"] == SlotState.READY

    def fenced(self) -> int:
        """Return how many of its lives were fenced and have noticed it."""
        logs = self.home.joinpath("logs").glob("*.log*")
        return sum(path.read_text(encoding="utf-8", errors="replace").count('"incarnation_fenced"') for path in logs)


class OtherHost:
    """One further host: a recorder and senders in a home of their own.

    Attributes:
        installation: its processes. wires: to PostgreSQL (`database`), Redis (`redis`) and the provider (`provider`).
        namespace: its network; None: it is in ours. clock: its wall clock; None: it is ours.
    """

    def __init__(
        self,
        installation: HostInstallation,
        wires: Mapping[str, Wire],
        namespace: Namespace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.installation, self.wires, self.namespace, self.clock = installation, wires, namespace, clock

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process, the orchestrator first: it would take the others for hung."""
        slots = self.installation.pids()
        pids = [self.installation.pid("orchestrator"), *slots.values()]
        # browsers too
        pids += [pid for slot in slots for pid in self.installation.server_pids(slot)]
        for pid in pids if number is signal.SIGSTOP else reversed(pids):
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    async def cut(self, *names: str) -> None:
        """Cut it off from some servers; from all of them by its cable, where it has one."""
        for name in names:
            self.wires[name].cut()
        if self.namespace is not None and set(names) == set(PLACES):
            await self.namespace.unplug()

    async def mend(self) -> None:
        """Undo every cut, and set the clock right."""
        if self.namespace is not None:
            await self.namespace.plug_in()
        for wire in self.wires.values():
            wire.mend()
        if self.clock is not None:
            self.clock.shift(0)


class Hosts:
    """The further hosts of a run, and what is done to them.

    Args:
        first: the installation that they join. count: how many hosts there are with it. browser: whether browser
            sessions run on them. namespaces: each in a network of its own. wrong_clocks: their clocks can be set.
    Attributes:
        reclaimed_s: for each time that a host was away for longer than its lease, the seconds from the lease's end
            until nothing of it was in hand any more. held: messages that were, when it went. kept: times that
            something still was when it came back.
        moved_s: for each time that the host of the browser session was away, the seconds from then until the session
            was ready on another one.
    """

    def __init__(
        self,
        first: ChaosInstallation,
        count: int,
        environ: Mapping[str, str],
        calls: Calls,
        *,
        browser: bool = False,
        namespaces: bool = False,
        wrong_clocks: bool = False,
    ) -> None:
        self._first, self._environ, self._calls = first, environ, calls
        self._browser, self._namespaces, self._wrong_clocks = browser, namespaces, wrong_clocks
        self._hosts: dict[str, OtherHost] = {}
        self._names = [f"host-{number}" for number in range(2, count + 1)]
        self.reclaimed_s: list[float] = []
        self.moved_s: list[float] = []
        self.held = self.kept = 0

    @property
    def names(self) -> list[str]:
        """Their names, which are the targets of their faults."""
        return [*self._names, *(SESSION_HOST if self._browser else ())]

    @property
    def fenced(self) -> int:
        """How many of their lives were fenced and have noticed it."""
        return sum(host.installation.fenced() for host in self._hosts.values())

    async def start(self) -> None:
        """Start them and wait until they are ready. Raises `InstallationUnusable`."""
        secrets = {name: await self._first.value(name) for name in _SHARED_SECRETS}
        for number, name in enumerate(self._names, start=2):
            namespace = await Namespace(number).make() if self._namespaces else None
            wires = {place: await self._wire(place, namespace) for place in PLACES}
            home = self._first.home / name
            # browsers run as another user, whose way to the profiles leads through it
            home.mkdir(mode=0o711)
            # what hosts share by a mounted folder
            for folder in ("media", "sessions"):
                (self._first.home / folder).mkdir(mode=0o711, exist_ok=True)
                (home / folder).symlink_to(self._first.home / folder)
            clock = self._clock(name) if self._wrong_clocks else None
            variables = {
                **self._first.variables,
                **free_ports(),
                **secrets,
                "BULKHEAD_HOST": name,
                "ONLY": "recorder,meta,webdriver" if self._browser else "recorder,meta",
                "SANDBOX": "off",
                **self._addresses(wires),
                "CRASH_POINTS": "",
                **(clock.variables if clock else {}),
            }
            enters = namespace.enters if namespace else ()
            installation = HostInstallation(home, variables, self._environ, self._calls, enters)
            host = self._hosts[name] = OtherHost(installation, wires, namespace, clock)
            await host.installation.start()
        # so that a host that vanishes has messages in hand
        await self._first.sandbox("POST", "settings", body={"latency_ms": _LATENCY_MS})

    async def _wire(self, place: str, namespace: Namespace | None) -> Wire:
        settings = self._first.settings
        to: tuple[str, int] | str = {
            "database": f"{parts_of(settings.database_url)['host']}/.s.PGSQL.5432",
            "redis": str(self._first.redis_socket),
        }.get(place, "") or ("127.0.0.1", settings.port("sandbox"))
        return await (Wire(to, namespace.addresses[place]) if namespace else Wire(to)).open()

    def _addresses(self, wires: Mapping[str, Wire]) -> dict[str, str]:
        """Return the addresses of the servers, by the wires to them."""
        settings = self._first.settings
        database = parts_of(settings.database_url)
        login = f"{database['user']}:{quote(database['password'], safe='')}"
        own = f"127.0.0.1:{settings.port('sandbox')}"
        providers = ("sandbox_url", "graph_base_url", "d360_base_url", "instagram_base_url", "whatsapp_web_url")
        return {
            "DATABASE_URL": f"postgresql://{login}@{wires['database'].place}/{database['dbname']}",
            "REDIS_URL": f"redis://{wires['redis'].place}/0",
            **{name.upper(): getattr(settings, name).replace(own, wires["provider"].place) for name in providers},
            "META_APP_ID": settings.meta_app_id,
        }

    def _clock(self, name: str) -> Clock:
        library = faketime()
        if library is None:
            raise InstallationUnusable(
                "a clock is set wrong by libfaketime, which is not here: pip install libfaketime"
            )
        return Clock(self._first.home / f"{name}.clock", library)

    async def stop(self) -> None:
        """Stop them all."""
        for host in self._hosts.values():
            host.signal(signal.SIGCONT)
            await host.mend()
            await host.installation.stop()
            for wire in host.wires.values():
                await wire.close()
            if host.namespace is not None:
                await host.namespace.remove()

    async def thaw(self) -> None:
        """Undo what lasts: nothing stays stopped or cut."""
        for host in self._hosts.values():
            host.signal(signal.SIGCONT)
            await host.mend()

    async def do(self, step: PlanStep) -> None:
        """Carry out one fault. Raises `NeverHappened` when there is no such host."""
        is_sessions = step.target in SESSION_HOST
        name = await self._session_host() if is_sessions else step.target
        host = self._hosts.get(name)
        if host is None:
            raise NeverHappened(f"there is {name}")
        does, _, what = str(FAULTS[step.fault].details["does"]).partition(" ")
        # a host that reaches PostgreSQL keeps its lease, and what it has in hand
        is_away = does in ("kill", "freeze") or "database" in what
        if is_away:
            await self._until_it_holds(name)
        async with self._broken(host, does, what):
            # from now on: what was in hand before may still have ended well
            watching = [asyncio.create_task(self._watch(name))] if is_away and step.lasts_s > LEASE_S else []
            if is_sessions:
                watching.append(asyncio.create_task(self._watch_session(name)))
            try:
                await asyncio.sleep(step.lasts_s)
            finally:
                for task in watching:
                    task.cancel()
                ended = await asyncio.gather(*watching, return_exceptions=True)
        # cancelled is what had not come to its end; anything else is a bug of this program
        if failed := [error for error in ended if isinstance(error, Exception)]:
            raise failed[0]

    @asynccontextmanager
    async def _broken(self, host: OtherHost, does: str, what: str) -> AsyncIterator[None]:
        if does == "kill":
            await host.installation.kill_everything()
        elif does == "freeze":
            host.signal(signal.SIGSTOP)
        elif does == "clock":
            if host.clock is None:
                raise NeverHappened("its clock can be set")
            host.clock.shift(_CLOCK_OFF_S if what == "ahead" else -_CLOCK_OFF_S)
        else:
            await host.cut(*what.split(","))
        try:
            yield
        finally:
            if does == "kill":
                await host.installation.start_orchestrator()
            elif does == "freeze":
                host.signal(signal.SIGCONT)
            else:
                await host.mend()

    async def _until_it_holds(self, name: str) -> None:
        """Wait until a host has something in hand: a loss of one that holds nothing shows little. Not for ever: while
        there is no load, or a host does not work, none ever has.
        """
        store, by = self._store(), monotonic() + _HOLDS_S
        try:
            while monotonic() < by and not await self._held(store, name):
                await asyncio.sleep(_LOOK_S)
        finally:
            store.close()

    async def _watch(self, name: str) -> None:
        """Measure when nothing of a host that is away is in hand any more; a host that held nothing counts for none."""
        began, store = monotonic(), self._store()
        try:
            held_at_first = held = await self._held(store, name)
            while held:
                await asyncio.sleep(_LOOK_S)
                held = await self._held(store, name)
            if held_at_first:
                self.held += held_at_first
                self.reclaimed_s.append(max(0.0, monotonic() - began - LEASE_S))
        except asyncio.CancelledError:
            self.kept += 1
            raise
        finally:
            store.close()

    @staticmethod
    async def _held(store: Store, name: str) -> int:
        while True:
            try:
                return await store.call(processes.held_on, name)
            except StoreUnavailable:
                await asyncio.sleep(_LOOK_S)

    async def _watch_session(self, name: str) -> None:
        """Measure when the session is ready on another host than `name`."""
        began = monotonic()
        while await self._session_host() == name:
            await asyncio.sleep(_LOOK_S)
        await wait_session(self._first, "ready")
        self.moved_s.append(monotonic() - began)

    async def _session_host(self) -> str:
        """Return where the demo company's browser session runs; empty: nowhere, or it cannot be asked."""
        store = self._store()
        try:
            return await store.call(sessions.host_of_session, company_id=self._first.settings.company_id, phone_index=1)
        except StoreUnavailable:
            return ""
        finally:
            store.close()

    def _store(self) -> Store:
        identity = ChildEnvironment(process_name="chaos", process_incarnation="chaos")
        return Store.open(self._first.settings, identity, limit=1)
