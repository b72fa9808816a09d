"""All browser sessions of this process: starts and stops them as desired. A session that fails does not affect
others."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Set
from datetime import datetime
from typing import Any, Final

from shared.clock import left, monotonic
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.process.periodic import repeat
from shared.states import DesiredSession, SessionState
from webdriver.chromium import processes, profile
from webdriver.chromium.process import unreaped
from webdriver.chromium.processes import Sample
from webdriver.session.policy import SessionContext
from webdriver.session.ports import DesiredSessionRow, SessionStore
from webdriver.session.reports import SessionReports
from webdriver.session.session import NotNow, Session

log = logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
"""Runs work in the background; the process classifies errors that it raises."""

_EVERY_S: Final = 2.0
"""Between two reads of the desired states; a notification shortens it."""
_MEASURE_EVERY_S: Final = 2.0
"""Between two samples of all browsers: a leak of 100 MB/s is seen before the hard ceiling."""
_SWEEP_S: Final = 10.0
"""Longest wait for browsers of an earlier life to end."""
_DELETE_EVERY_S: Final = 10.0
"""Interval of the search for profiles of removed connections, which lists a directory and queries the database: a
company's deletion waits for it.
"""
_OTHERS_START_S: Final = 60.0
"""Seconds in which a host that has a profile takes its session, after a start of all hosts; then any one may."""
_STOP_S: Final = 10.0
"""Seconds for one session to end."""
_SETTLED_S: Final = 600.0
_GREEDY: Final = 2.0
"""Under memory pressure only browsers older than `_SETTLED_S` and above `_GREEDY` times the median are replaced."""


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
    """Keeps the desired sessions running.

    Args:
        store: desired and observed state. context: what all sessions share. spawn: for their tasks.
    """

    def __init__(self, store: SessionStore, context: SessionContext, spawn: Spawn) -> None:
        self._store, self._context, self._spawn = store, context, spawn
        self._running: dict[int, _Running] = {}
        self._wake, self._closed = asyncio.Event(), asyncio.Event()
        # orphans seen dead in the last round, see `reap_orphans`
        self._dead: set[int] = set()
        # connections whose profile is being removed: no session may start on them
        self._wiping: set[int] = set()
        self._delete_at = 0.0
        self._began_at = monotonic()
        # how many other hosts run sessions, as last seen; None: not seen yet
        self._others: int | None = None

    def find(self, connection_id: int) -> Session | None:
        """Return the session of a connection, None when none runs here."""
        running = self._running.get(connection_id)
        return running.session if running else None

    async def linked_at(self, connection_id: int, link: str) -> datetime | None:
        """See `SessionStore`."""
        return await self._store.linked_at(connection_id, link)

    def notify(self) -> None:
        """Read the desired state now."""
        self._wake.set()

    async def sweep(self) -> int:
        """End every Chromium that an earlier life of this process left behind. Returns how many processes there were.

        Call it before `run`, while we hold the slot. A profile that cannot be read or cleaned is left to its own
        session, which then fails alone.
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
            # their profiles stay locked: each session's own start reports it
            if survivors:
                return len(found)
        for kept in profiles:
            # also of sessions that are not desired any more
            try:
                await asyncio.to_thread(profile.release, kept)
            except OSError as error:
                log.error("profile_not_released", connection_id=int(kept.name), reason=str(error))
        return len(found)

    async def run(self, beat: LoopBeat | None = None) -> None:
        """Follow the desired state until `close`; a database that is away leaves every session as it is."""
        await repeat("sessions", self._follow, _EVERY_S, wake=self._wake, stop=self._closed, beat=beat)

    async def _follow(self) -> None:
        # without this the zombies of dead browsers' helpers would fill the process table
        self._dead = processes.reap_orphans(unreaped(), self._dead)
        await self._take()
        # raises when the database is away: nothing below runs then, and no session is stopped because its row was not
        # read
        desired = {row.connection_id: row for row in await self._store.desired()}
        self._apply(desired)
        for session in self.all():
            session.repeat_state()
        await self._delete_removed(desired.keys())

    async def _take(self) -> None:
        """Take sessions that run on no host. Raises `StoreUnavailable`."""
        try:
            kept = {int(path.name) for path in await asyncio.to_thread(profile.kept, self._context.home)}
        except OSError as error:
            # sessions whose profile cannot be read fail alone; without the list, linked sessions would seem to have
            # their profile elsewhere
            log.error("profiles_unreadable", reason=str(error))
            return
        # at first only sessions whose profile is here: the host that has the profile of another one may be starting too
        settled = monotonic() - self._began_at >= _OTHERS_START_S
        taken = await self._store.take(kept, any_linked=settled or self._others == 0)
        self._others = taken.others
        for connection_id, host in taken.moved.items():
            log.warning("session_moved", connection_id=connection_id, host=host, profile=connection_id in kept)

    def let_go(self) -> None:
        """End every session, because another host may run them by now; those that are still ours start again as soon as
        the database says so. Nothing happens while no other host runs sessions.
        """
        if not self._others or not self._running:
            return
        log.error("sessions_let_go", sessions=len(self._running))
        stopping, self._running = list(self._running.items()), {}
        for connection_id, running in stopping:
            self._spawn(running.stop(monotonic() + _STOP_S), f"stop-{connection_id}")

    async def measure(self, shown: Callable[[], None] = lambda: None) -> None:
        """Measure what the browsers use and hold them to their limits, until `close`.

        Args:
            shown: called after each round.
        """

        async def measure_once() -> None:
            # /proc answers slowly about large processes: never on the event loop
            samples = await asyncio.to_thread(processes.sample, [one.pid for one in self.all() if one.pid])
            for session in self.all():
                if session.pid in samples:
                    await self._hold(session, samples[session.pid])
            self._relieve()
            shown()

        await repeat("browser-usage", measure_once, _MEASURE_EVERY_S, stop=self._closed)

    @staticmethod
    async def _hold(session: Session, sample: Sample) -> None:
        resources = session.resources
        due = resources.sampled(sample, may_burn=session.may_burn)
        resources.hold_to_limits(await asyncio.to_thread(resources.measure_memory) if due else None)

    def _relieve(self) -> None:
        """Replace the browser that uses most when all together exceed their limit."""
        most = self._context.memory_all_mb
        used = {
            session: usage.memory.pss for session in self.all() if (usage := session.resources.usage) and usage.memory
        }
        if not most or sum(used.values()) < most:
            return
        greediest = max(used, key=lambda session: used[session])
        usage = greediest.resources.usage
        # where all are of similar size, replacing one gains nothing: it would soon be as large again
        stands_out = used[greediest] >= _GREEDY * statistics.median(used.values()) or len(used) == 1
        if usage is not None and usage.age_s(monotonic()) >= _SETTLED_S and stands_out:
            greediest.resources.replace(
                f"all browsers use {sum(used.values()):.0f} MB of {most:.0f}, and this one {used[greediest]:.0f}"
            )

    async def restart(self, connection_id: int, by: float) -> Session:
        """Have a session begin a new life now and return it.

        Raises `NotNow` when none runs, or it does not end by the monotonic instant `by`.
        """
        running = self._running.get(connection_id)
        if running is None:
            raise NotNow("no session runs for this connection; set its desired state to linked")
        if running.life.done():
            # logged out for good, or its error was survived: the next round starts it again if it is desired
            del self._running[connection_id]
            running.reporting.cancel()
            self.notify()
        else:
            await running.session.restart(by)
        return running.session

    async def wipe(self, connection_id: int, by: float) -> None:
        """End a session, remove its profile, and start it again if it is desired.

        Raises `NotNow` when its browser does not end by `by`.
        """
        # no round may start it again on a profile that is being removed
        self._wiping.add(connection_id)
        try:
            running = self._running.get(connection_id)
            if running is None:
                await asyncio.to_thread(profile.wipe, profile.directory(self._context.home, connection_id))
                return
            # by cancellation: `run` ends the browser on its way out
            running.life.cancel()
            await asyncio.wait({running.life}, timeout=left(by))
            if not running.life.done():
                raise NotNow("its browser did not end in time")
            # a part of the browser survived and may still write to the profile
            if running.session.has_browser:
                raise NotNow("its browser did not end")
            await running.session.wipe()
            self._running.pop(connection_id, None)
            # the event of the wipe is written before its task ends
            await running.session.reports.flush(by)
            running.reporting.cancel()
        finally:
            # also after a failure: the session is started again if it is desired
            self._wiping.discard(connection_id)
            self.notify()

    async def close(self, by: float) -> None:
        """End every session at the same time, until the monotonic instant `by`. Calling it again does nothing."""
        # before the sessions are taken: no round may start one anew
        self._closed.set()
        stopping, self._running = list(self._running.values()), {}
        if stopping:
            await asyncio.gather(*(running.stop(by) for running in stopping))

    def states(self) -> Mapping[str, int]:
        """Return how many sessions are in each state."""
        return Counter(str(session.state) for session in self.all())

    def count(self, state: SessionState) -> int:
        """Return how many sessions are in `state`."""
        return self.states().get(state, 0)

    def stats(self) -> list[dict[str, Any]]:
        """Return each session's stats for health pages."""
        return [session.stats() for session in self.all()]

    def all(self) -> list[Session]:
        """Return the sessions that run here."""
        return [running.session for running in self._running.values()]

    def restarts(self) -> int:
        """Return how often the sessions that run now were restarted."""
        return sum(session.restarts for session in self.all())

    def memory_mb(self) -> float:
        """Return the memory of all browsers as last measured: proportional set size, megabytes."""
        return sum(usage.memory.pss for session in self.all() if (usage := session.resources.usage) and usage.memory)

    def _apply(self, desired: Mapping[int, DesiredSessionRow]) -> None:
        for connection_id, running in list(self._running.items()):
            row = desired.get(connection_id)
            if row is None or row.desired is DesiredSession.PAUSED:
                del self._running[connection_id]
                log.info("session_stopped", connection_id=connection_id, desired=row.desired if row else "nothing")
                self._spawn(running.stop(monotonic() + _STOP_S), f"stop-{connection_id}")
                continue
            running.session.want(row.desired)
            if connection_id in self._wiping:
                continue
            if running.life.done() and not (
                row.desired is DesiredSession.LOGGED_OUT and running.session.state is SessionState.LOGGED_OUT
            ):
                # its error was classified and survived, or it was logged out and is desired again
                running.reporting.cancel()
                self._start(row)
        for connection_id, row in desired.items():
            if connection_id in self._running or connection_id in self._wiping or row.desired is DesiredSession.PAUSED:
                continue
            if row.desired is DesiredSession.LOGGED_OUT and not os.path.lexists(
                profile.directory(self._context.home, connection_id)
            ):
                continue
            self._start(row)

    async def _delete_removed(self, desired: Set[int]) -> None:
        """Delete the profiles of connections that were removed: they hold messages, and a link that could still send.

        Raises:
            StoreUnavailable: nothing was deleted.
        """
        if monotonic() < self._delete_at:
            return
        # before the work: a failure is tried again at the next interval, not in every round
        self._delete_at = monotonic() + _DELETE_EVERY_S
        try:
            kept = {int(path.name): path for path in await asyncio.to_thread(profile.kept, self._context.home)}
            # a missing row proves nothing, since the database may be another one or restored: only its own record of
            # the removal counts
            unused = sorted(kept.keys() - desired - self._running.keys())
            for connection_id in await self._store.removed(unused) if unused else ():
                path = kept[connection_id]
                if await asyncio.to_thread(processes.pids_of_record, profile.running(path), path):
                    # its browser is still being ended
                    continue
                await asyncio.to_thread(profile.wipe, path)
                del kept[connection_id]
                log.info("removed_profile_deleted", connection_id=connection_id)
            # what still runs here may write to its profile, and reports what it observes
            await self._store.confirm_deleted({*kept, *self._running})
        except OSError as error:
            log.error("removed_profile_not_deleted", reason=str(error))

    def _start(self, row: DesiredSessionRow) -> None:
        session = Session(
            row, self._context, lambda overflowed: SessionReports(self._store, row.connection_id, overflowed)
        )
        self._running[row.connection_id] = _Running(session, self._spawn)
        log.info("session_desired", connection_id=row.connection_id, desired=row.desired)
