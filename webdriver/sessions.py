"""All browser sessions of this process: what should be is read, made so, and written back; one that fails touches no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.states import DesiredSession, SessionState
from webdriver import processes, profile
from webdriver.ports import SessionStore, WantedSession
from webdriver.reports import Reports
from webdriver.session import Ground, Session

log = logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
"""Runs work in the background; an error that leaves it is classified by the process."""

_EVERY_S: Final = 2.0
_MEMORY_EVERY_S: Final = 15.0
_SWEEP_S: Final = 10.0


class _Running:
    """A session with its two tasks."""

    def __init__(self, session: Session, spawn: Spawn) -> None:
        self.session = session
        self.reporting = spawn(session.reports.run(), f"reports-{session.connection_id}")
        self.life = spawn(session.run(), f"session-{session.connection_id}")

    async def stop(self, by: float) -> None:
        """End the session and hand over what it has reported, until the monotonic instant `by`."""
        self.life.cancel()
        await asyncio.wait({self.life}, timeout=left(by))
        if not await self.session.reports.flush(by):
            log.warning("session_reports_dropped", connection_id=self.session.connection_id)
        self.reporting.cancel()


class Sessions:
    """Makes the wanted sessions run.

    Args:
        store: desired and observed state. ground: what every session stands on. spawn: for their tasks.
    """

    def __init__(self, store: SessionStore, ground: Ground, spawn: Spawn) -> None:
        self._store, self._ground, self._spawn = store, ground, spawn
        self._running: dict[int, _Running] = {}
        self._look = asyncio.Event()
        self._closing = False
        self._memory: dict[int, dict[str, float]] = {}

    def find(self, connection_id: int) -> Session | None:
        """Return the session of a connection, None when none runs here."""
        running = self._running.get(connection_id)
        return running.session if running else None

    def poke(self) -> None:
        """Look at the desired state now."""
        self._look.set()

    async def sweep(self) -> int:
        """End every Chromium that an earlier life of this process left behind. Returns how many processes there were.

        Call it before `run`, while we hold the slot: then whatever carries our marker is a stray.
        """

        def strays() -> list[int]:
            return processes.pids_of_installation(self._ground.home, profile.root(self._ground.home))

        found = strays()
        if found:
            left_over = await processes.end(strays, monotonic() + _SWEEP_S)
            log.warning("stray_browsers_ended", processes=len(found), survived=len(left_over))
            if left_over:
                return len(found)
        for kept in profile.kept(self._ground.home):
            # also of sessions that nobody wants any more
            profile.release(kept)
        return len(found)

    async def run(self, beat: LoopBeat | None = None) -> None:
        """Follow the desired state for ever; a database that is away leaves every session as it is."""
        database_known = True
        dead: set[int] = set()
        while not self._closing:
            self._look.clear()
            if beat is not None:
                beat.beat()
            try:
                wanted = await self._store.wanted()
                database_known = True
            except StoreUnavailable as error:
                if database_known:
                    log.warning("wanted_sessions_unknown", reason=str(error))
                database_known = False
            else:
                self._make_so(wanted)
            dead = processes.reap_orphans([session.pid for session in self._sessions() if session.pid], dead)
            try:
                await asyncio.wait_for(self._look.wait(), _EVERY_S)
            except TimeoutError:
                continue

    async def measure(self) -> None:
        """Measure the browsers' memory for ever."""
        while not self._closing:
            for session in self._sessions():
                # /proc answers slowly about large processes: never on the event loop
                self._memory[session.connection_id] = await asyncio.to_thread(session.memory_mb)
            self._memory = {connection_id: figures for connection_id, figures in self._memory.items() if connection_id in self._running}
            await asyncio.sleep(_MEMORY_EVERY_S)

    async def close(self, by: float) -> None:
        """End every session at the same time, until the monotonic instant `by`. Calling it again does nothing."""
        self._closing = True
        self._look.set()
        stopping, self._running = list(self._running.values()), {}
        if stopping:
            await asyncio.gather(*(running.stop(by) for running in stopping))

    def states(self) -> Mapping[str, int]:
        """Return how many sessions are in each state."""
        return Counter(str(session.state) for session in self._sessions())

    def count(self, state: SessionState) -> int:
        """Return how many sessions are in `state`."""
        return self.states().get(state, 0)

    def figures(self) -> list[dict[str, Any]]:
        """Return each session's figures for health pages, with the memory as last measured (megabytes)."""
        return [session.figures() | {"memoryMb": self._memory.get(session.connection_id, {})} for session in self._sessions()]

    def restarts(self) -> int:
        """Return how often the sessions that run now were restarted."""
        return sum(session.restarts for session in self._sessions())

    def memory_mb(self) -> float:
        """Return the memory of all browsers as last measured: proportional set size, megabytes."""
        return sum(figures["pss"] for figures in self._memory.values())

    def _sessions(self) -> list[Session]:
        return [running.session for running in self._running.values()]

    def _make_so(self, wanted_sessions: Any) -> None:
        wanted: dict[int, WantedSession] = {row.connection_id: row for row in wanted_sessions}
        for connection_id, running in list(self._running.items()):
            row = wanted.get(connection_id)
            if row is None or row.desired is DesiredSession.PAUSED:
                del self._running[connection_id]
                log.info("session_stopped", connection_id=connection_id, wanted=row.desired if row else "nothing")
                self._spawn(running.stop(monotonic() + 10.0), f"stop-{connection_id}")
                continue
            running.session.want(row.desired)
            if running.life.done() and not (row.desired is DesiredSession.LOGGED_OUT and running.session.state is SessionState.LOGGED_OUT):
                # its error was classified and survived, or it was logged out and is wanted again
                running.reporting.cancel()
                self._start(row)
        for connection_id, row in wanted.items():
            if connection_id in self._running or row.desired is DesiredSession.PAUSED:
                continue
            if row.desired is DesiredSession.LOGGED_OUT and not profile.directory(self._ground.home, connection_id).exists():
                continue
            self._start(row)

    def _start(self, row: WantedSession) -> None:
        session = Session(row, self._ground, lambda overflowed: Reports(self._store, row.connection_id, overflowed))
        self._running[row.connection_id] = _Running(session, self._spawn)
        log.info("session_wanted", connection_id=row.connection_id, desired=row.desired)
