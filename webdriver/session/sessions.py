"""All browser sessions of this process: what should be is read, made so, and written back; one that fails touches no other."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Final

from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.states import DesiredSession, SessionState
from webdriver.chromium import processes, profile
from webdriver.chromium.process import unreaped
from webdriver.chromium.processes import Sample
from webdriver.session.policy import SessionContext
from webdriver.session.ports import DesiredSessionRow, SessionStore
from webdriver.session.reports import Reports
from webdriver.session.session import NotNow, Session

log = logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
"""Runs work in the background; an error that leaves it is classified by the process."""

_EVERY_S: Final = 2.0
_MEASURE_EVERY_S: Final = 2.0
_SWEEP_S: Final = 10.0
_SETTLED_S: Final = 600.0
_GREEDY: Final = 2.0
"""A browser is replaced for the good of all only when it has run for so long and uses so many times what its neighbours use."""


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
        store: desired and observed state. context: what every session stands on. spawn: for their tasks.
    """

    def __init__(self, store: SessionStore, context: SessionContext, spawn: Spawn) -> None:
        self._store, self._context, self._spawn = store, context, spawn
        self._running: dict[int, _Running] = {}
        self._look = asyncio.Event()
        self._closing = False
        self._wiping: set[int] = set()

    def find(self, connection_id: int) -> Session | None:
        """Return the session of a connection, None when none runs here."""
        running = self._running.get(connection_id)
        return running.session if running else None

    async def linked_at(self, connection_id: int, link: str) -> datetime | None:
        """See `SessionStore`."""
        return await self._store.linked_at(connection_id, link)

    def poke(self) -> None:
        """Look at the desired state now."""
        self._look.set()

    async def sweep(self) -> int:
        """End every Chromium that an earlier life of this process left behind. Returns how many processes there were.

        Call it before `run`, while we hold the slot. A profile that cannot be read or cleaned is left to its own session, which then fails alone.
        """
        home = self._context.home
        try:
            profiles = await asyncio.to_thread(profile.kept, home)
            found = await asyncio.to_thread(profile.living, home)
        except OSError as error:
            log.error("profiles_unreadable", reason=str(error))
            return 0
        if found:
            survivors = await processes.end(lambda: profile.living(home), monotonic() + _SWEEP_S)
            log.warning("stray_browsers_ended", processes=len(found), survived=len(survivors))
            if survivors:
                return len(found)
        for kept in profiles:
            # also of sessions that are not wanted any more
            try:
                await asyncio.to_thread(profile.release, kept)
            except OSError as error:
                log.error("profile_not_released", connection_id=int(kept.name), reason=str(error))
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
                for session in self._sessions():
                    session.repeat_state()
            dead = processes.reap_orphans(unreaped(), dead)
            try:
                await asyncio.wait_for(self._look.wait(), _EVERY_S)
            except TimeoutError:
                continue

    async def measure(self, shown: Callable[[], None] = lambda: None) -> None:
        """Measure what the browsers use and hold them to their limits, for ever.

        Args:
            shown: called after each round.
        """
        while not self._closing:
            # /proc answers slowly about large processes: never on the event loop
            seen = await asyncio.to_thread(
                processes.sample, [session.pid for session in self._sessions() if session.pid]
            )
            for session in self._sessions():
                if session.pid in seen:
                    await self._weigh(session, seen[session.pid])
            self._relieve()
            shown()
            await asyncio.sleep(_MEASURE_EVERY_S)

    @staticmethod
    async def _weigh(session: Session, sample: Sample) -> None:
        due = session.sampled(sample)
        session.hold_to_limits(await asyncio.to_thread(session.measure_memory) if due else None)

    def _relieve(self) -> None:
        """Have the greediest browser replaced when all together use more than they may."""
        most = self._context.memory_all_mb
        used = {session: usage.memory.pss for session in self._sessions() if (usage := session.usage) and usage.memory}
        if not most or sum(used.values()) < most:
            return
        greediest = max(used, key=lambda session: used[session])
        usage = greediest.usage
        stands_out = used[greediest] >= _GREEDY * statistics.median(used.values()) or len(used) == 1
        if usage is not None and usage.age_s(monotonic()) >= _SETTLED_S and stands_out:
            greediest.replace(
                f"all browsers use {sum(used.values()):.0f} MB of {most:.0f}, and this one {used[greediest]:.0f}"
            )

    async def restart(self, connection_id: int, by: float) -> Session:
        """Have a session begin a new life now and return it. Raises `NotNow` when none runs, or it does not end by the monotonic instant `by`."""
        running = self._running.get(connection_id)
        if running is None:
            raise NotNow("no session runs for this connection; say that it should be linked")
        if running.life.done():
            # logged out for good, or its error was survived: the next look begins it anew if it is wanted
            del self._running[connection_id]
            running.reporting.cancel()
            self.poke()
        else:
            await running.session.restart(by)
        return running.session

    async def wipe(self, connection_id: int, by: float) -> None:
        """End a session, remove its profile, and begin it anew if it is wanted. Raises `NotNow` when its browser does not end by `by`."""
        # nobody may begin it anew on a profile that goes
        self._wiping.add(connection_id)
        try:
            running = self._running.get(connection_id)
            if running is None:
                await asyncio.to_thread(profile.wipe, profile.directory(self._context.home, connection_id))
                return
            running.life.cancel()
            await asyncio.wait({running.life}, timeout=left(by))
            if not running.life.done():
                raise NotNow("its browser did not end in time")
            await running.session.wipe()
            self._running.pop(connection_id, None)
            await running.session.reports.flush(by)
            running.reporting.cancel()
        finally:
            self._wiping.discard(connection_id)
            self.poke()

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

    def stats(self) -> list[dict[str, Any]]:
        """Return each session's stats for health pages."""
        return [session.stats() for session in self._sessions()]

    def all(self) -> list[Session]:
        """Return the sessions that run here."""
        return self._sessions()

    def restarts(self) -> int:
        """Return how often the sessions that run now were restarted."""
        return sum(session.restarts for session in self._sessions())

    def memory_mb(self) -> float:
        """Return the memory of all browsers as last measured: proportional set size, megabytes."""
        return sum(usage.memory.pss for session in self._sessions() if (usage := session.usage) and usage.memory)

    def _sessions(self) -> list[Session]:
        return [running.session for running in self._running.values()]

    def _make_so(self, wanted_sessions: Any) -> None:
        wanted: dict[int, DesiredSessionRow] = {row.connection_id: row for row in wanted_sessions}
        for connection_id, running in list(self._running.items()):
            row = wanted.get(connection_id)
            if row is None or row.desired is DesiredSession.PAUSED:
                del self._running[connection_id]
                log.info("session_stopped", connection_id=connection_id, wanted=row.desired if row else "nothing")
                self._spawn(running.stop(monotonic() + 10.0), f"stop-{connection_id}")
                continue
            running.session.want(row.desired)
            if connection_id in self._wiping:
                continue
            if running.life.done() and not (
                row.desired is DesiredSession.LOGGED_OUT and running.session.state is SessionState.LOGGED_OUT
            ):
                # its error was classified and survived, or it was logged out and is wanted again
                running.reporting.cancel()
                self._start(row)
        for connection_id, row in wanted.items():
            if connection_id in self._running or connection_id in self._wiping or row.desired is DesiredSession.PAUSED:
                continue
            if (
                row.desired is DesiredSession.LOGGED_OUT
                and not profile.directory(self._context.home, connection_id).exists()
            ):
                continue
            self._start(row)

    def _start(self, row: DesiredSessionRow) -> None:
        session = Session(row, self._context, lambda overflowed: Reports(self._store, row.connection_id, overflowed))
        self._running[row.connection_id] = _Running(session, self._spawn)
        log.info("session_wanted", connection_id=row.connection_id, desired=row.desired)
