"""The recorder as a supervised process: small loops that each wait out a database that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp

from recorder import environment_seeds
from recorder.alerts import Alerts
from recorder.company_deletion import CompanyDeletion
from recorder.company_export import EXPORT, CompanyExport
from recorder.contact_import import ContactImport
from recorder.conversation_care import ConversationCare
from recorder.dead_hosts import DeadHosts
from recorder.environment_seeds import SeedOutcome
from recorder.figures import InstallationFigures
from recorder.files import OldFiles
from recorder.journal_follower import JournalFollower
from recorder.parked_changes import apply_parked
from recorder.reading_copies import ReadingCopies
from recorder.retention import RetentionTask
from shared.clock import monotonic
from shared.compose.contact_entries import IMPORT
from shared.delivery.reclaim import reclaim, reclaim_expired
from shared.errors import MigrationRefused, SettingsInvalid, StoreUnavailable
from shared.logs import logger
from shared.media.storage import open_storage
from shared.process import runtime, status_file
from shared.process.lease import BEATS
from shared.process.service import Child, Service, Severity
from shared.process.slot_lock import is_free, read_holder
from shared.process.tasks import TaskRunner
from shared.secrets import Vault
from shared.store import connections, erasure, migrate, processes, sealed
from shared.store.partitions import make_partitions
from shared.store.processes import HeartbeatRow, SilentLife

log = logger(__name__)

START_WAIT_S: Final = 15.0
"""Seconds for which `start` waits for the schema; after that the process is up but not ready, and goes on trying.
"""
_RETRY_S: Final = 0.5
"""Seconds between attempts to migrate while the database is away: it is what every other process waits for at a start.
"""
_JOURNAL_S: Final = 1.0
"""Longest wait, in seconds, for the orchestrator's journal; its notification usually ends it at once, but may be lost.
"""
_DESIRED_S: Final = 1.0
"""Seconds between checks which kinds are needed: a new connection's process starts that much later."""
_PROVED_S: Final = 1.0
"""Seconds between queries for rows that a dead incarnation's last claim took: their messages wait for as long."""
_HEARTBEAT_CHECK_S: Final = 5.0
"""Seconds between queries for silent lives of processes: what a dead host had in hand waits for as long."""
_REMOVED_S: Final = 5.0
"""Seconds between queries for messages of removed connections: they are rare, and no client waits for them."""
_PRUNE_S: Final = 600.0
"""Seconds between rounds of deleting the heartbeats of hosts that are gone."""
_BEATS_MISSED: Final = 2
"""Heartbeats that a life must miss before it is watched. On this host deaths are proved within a moment."""
_PARKED_S: Final = 2.0
"""Seconds between looks at edits and deletions whose message was not found; one is looked at first after as long."""
_ERASE_S: Final = 60.0
"""Seconds between rounds of removing deleted messages from raw events."""
_BATCH: Final = 100
"""Raw events of one transaction."""
_DELETION_S: Final = 1.0
"""Seconds between queries for companies that are being deleted."""
_RETENTION_S: Final = 3600.0
"""Seconds between rounds of deleting: ages are counted in days."""
_COPIES_S: Final = 1.0
"""Seconds between rounds of the copies that lists and figures are read from: searches and figures are that old."""
_FIGURES_S: Final = 5.0
"""Seconds between two reads of what waits in the installation: as often as figures are written to files."""
_ALERTS_S: Final = 5.0
"""Seconds between two evaluations of the alerts: figures do not change more often."""
_ECHOES_S: Final = 1.0
"""Seconds between looks at lines that may be echoes of ours: for as long the assistant may answer beside a human."""
_TIMEOUTS_S: Final = 10.0
"""Seconds between looks at conversations whose time has passed: they are counted in minutes."""
_BACKFILL_S: Final = 3600.0
"""Seconds between rounds of indexing older messages; the first one finishes it, unless the database is away."""
_IMPORTS: Final = 4
"""Imports of contacts at once: they wait for PostgreSQL and for a thread that reads most of the time."""
_PARTITIONS_S: Final = 3600.0
"""Seconds between rounds: often enough that a failed try is repeated many times before the first day without a
partition.
"""


class RecorderService:
    """Migrations first; then journal, desired kinds, abandoned incarnations, the orchestrator's heartbeat and retention
    side by side.
    """

    app: ASGIApp | None = None

    def __init__(self, child: Child) -> None:
        self._child, self._settings, self._store = child, child.settings, child.store
        self._vault = Vault.from_settings(child.settings)
        self._journal = JournalFollower(child.store, child.settings.bulkhead_home, child.metrics)
        self._retention = RetentionTask.from_settings(child.store, child.metrics, child.settings)
        self._copies = ReadingCopies(child.store, child.metrics)
        self._figures = InstallationFigures(child.store, child.metrics, child.settings.bulkhead_home)
        self._conversations = ConversationCare(child.store)
        self._alerts = Alerts(
            child.store,
            child.metrics,
            child.settings.bulkhead_home,
            host=child.settings.host,
            factor=float(child.settings.own("ALERT_TIME_FACTOR")),
        )
        self._storage = open_storage(child.settings)
        self._old_files = OldFiles(child.store, self._storage, child.metrics, days=child.settings.media_retention_days)
        self._deletion = CompanyDeletion(child.store, self._storage)
        self._export = CompanyExport(child, self._storage)
        self._import = ContactImport(child)
        # one at a time: it reads as fast as the disk gives
        exports = TaskRunner(child, {EXPORT: self._export.export}, at_once=1, name="export-tasks")
        # one of each company, and a few companies side by side
        imports = TaskRunner(
            child, {IMPORT: self._import.take_in}, at_once=_IMPORTS, name="import-tasks", beside=exports
        )
        self._tasks = (exports, imports)
        self._notified = asyncio.Event()
        self._schema = asyncio.Event()
        # Apart from `_schema`: a refused migration must end the wait in `start` too.
        self._decided = asyncio.Event()
        """The schema is up to date, or never will be."""
        self._refusal: MigrationRefused | SettingsInvalid | None = None
        self._started = False
        self._problem = "not tried yet"
        self._desired_kinds: list[str] = []
        # Two heartbeats and 5 s: time for living processes to write again after an outage of the database. Three looks
        # without one are such an outage, or a pause of this process.
        self._dead_hosts = DeadHosts(
            for_s=_BEATS_MISSED * self._settings.heartbeat_s + 5.0, gap_s=3 * _HEARTBEAT_CHECK_S
        )
        child.on_notify.append(self._notified.set)

    async def start(self) -> None:
        """Bring the schema up to date; a database that is away does not stop the start. Raises `SettingsInvalid` when
        this database cannot be migrated.
        """
        self._child.spawn(self._migrate(), "migrations")
        try:
            await asyncio.wait_for(self._decided.wait(), START_WAIT_S)
        # Not ready is better than not started: health pages show the reason, and `_migrate` goes on.
        except TimeoutError:
            log.warning("schema_not_ready", reason=self._problem)
        if isinstance(self._refusal, SettingsInvalid):
            raise self._refusal
        if self._refusal is not None:
            raise SettingsInvalid([str(self._refusal)])
        # Set before the loops: from here on a refused migration is an error of a running process, see `_migrate`.
        self._started = True
        for tasks in self._tasks:
            tasks.start()
        for name, interval_s, work in (
            ("journal", _JOURNAL_S, self._journal.catch_up),
            ("desired", _DESIRED_S, self._report_desired),
            ("proved-dead", _PROVED_S, self._reclaim_proved_dead),
            ("silent", _HEARTBEAT_CHECK_S, self._reclaim_silent),
            ("orchestrator-heartbeat", self._settings.heartbeat_s, self._write_orchestrator),
            ("heartbeats", _PRUNE_S, self._prune_heartbeats),
            ("removed", _REMOVED_S, self._fail_leftovers),
            ("parked-changes", _PARKED_S, self._apply_parked),
            ("raw-events", _ERASE_S, self._erase_copies),
            ("partitions", _PARTITIONS_S, self._make_partitions),
            ("reading-copies", _COPIES_S, self._catch_up),
            ("installation-figures", _FIGURES_S, self._figures.read),
            ("alerts", _ALERTS_S, self._alerts.judge),
            ("reading-backfill", _BACKFILL_S, self._copies.backfill),
            ("conversation-echoes", _ECHOES_S, self._conversations.decide_echoes),
            ("conversation-timeouts", _TIMEOUTS_S, self._conversations.end_overdue),
            ("retention", _RETENTION_S, self._retention.prune),
            ("files", _RETENTION_S, self._old_files.prune),
            ("company-deletion", _DELETION_S, self._deletion.advance),
            ("exports", _RETENTION_S, self._export.prune),
            ("imports", _RETENTION_S, self._import.prune),
        ):
            self._child.spawn(
                self._repeat(interval_s, work, notified=self._notified if name == "journal" else None), name
            )

    async def drain(self, by: float) -> bool:
        """Store what is in the journal. An export is begun again by the next life; an import goes on."""
        for tasks in self._tasks:
            await tasks.drain(monotonic())
        if self._schema.is_set() and monotonic() < by:
            try:
                await self._journal.catch_up()
            # The last batch stays in the journal: the next recorder reads it from this one's position.
            except StoreUnavailable as error:
                log.warning("journal_not_finished", reason=str(error))
        return True

    async def close(self) -> None:
        """Close the journal and the storage."""
        for tasks in self._tasks:
            await tasks.close()
        self._journal.close()
        await self._storage.close()

    def readiness(self) -> Mapping[str, str]:
        """Ready when the schema is up to date."""
        return {} if self._schema.is_set() else {"schema": self._problem}

    def health(self) -> Mapping[str, Any]:
        """Return how far the journal is written and which kinds should run."""
        return {
            "schema": "up to date" if self._schema.is_set() else self._problem,
            "journalPosition": self._journal.position,
            "wantedKinds": self._desired_kinds,
        }

    def classify(self, error: BaseException) -> Severity:
        """A database that is away is survived; anything else is a bug."""
        return Severity.RECOVERABLE if isinstance(error, StoreUnavailable) else Severity.CRITICAL

    async def _migrate(self) -> None:
        while not self._schema.is_set():
            try:
                # In the default executor and not by the store: migrating opens connections of its own, and may take
                # minutes.
                applied = await asyncio.get_running_loop().run_in_executor(
                    None,
                    partial(
                        migrate.apply,
                        self._settings.database_url,
                        requires_row_security=self._settings.row_security == "required",
                    ),
                )
                # before anything is sealed: a wrong key would seal what no other process can open
                await self._store.call(sealed.admit_keys, self._vault)
                seeds = await self._store.call(environment_seeds.apply, self._settings, self._vault)
            except (MigrationRefused, SettingsInvalid) as error:
                self._refusal = error
                self._decided.set()
                if self._started:
                    # the next start finds it at once, and leaves with the exit code for a wrong configuration
                    raise
                return
            except StoreUnavailable as error:
                # Logged once for each reason, not twice a second.
                if self._problem != str(error):
                    log.warning("schema_delayed", reason=str(error))
                self._problem = str(error)
                await asyncio.sleep(_RETRY_S)
                continue
            log.info("schema_ready", applied=applied, first_connections=len(seeds))
            for index, outcome in seeds.items():
                if outcome not in (SeedOutcome.APPLIED, SeedOutcome.UNCHANGED):
                    log.warning("environment_seed_not_applied", phone_index=index, reason=str(outcome))
            self._schema.set()
            self._decided.set()

    async def _repeat(
        self, interval_s: float, work: Callable[[], Awaitable[None]], *, notified: asyncio.Event | None
    ) -> None:
        # No loop runs before the schema: each of its statements would fail for want of a table.
        await self._schema.wait()
        while True:
            try:
                await work()
            # Each loop waits for the database by itself and repeats its whole work: all of it may be done twice.
            except StoreUnavailable as error:
                log.warning("recording_delayed", work=getattr(work, "__name__", "?"), reason=str(error))
            if notified is None:
                await asyncio.sleep(interval_s)
            else:
                await _wait(notified, interval_s)

    async def _report_desired(self) -> None:
        self._desired_kinds = await self._store.call(connections.desired_kinds)
        # Reported each time, also unchanged: a new orchestrator has it within a second.
        self._child.supervised.desired(self._desired_kinds)

    async def _reclaim_proved_dead(self) -> None:
        """Reclaim rows whose claim by a dead incarnation was committed after its reclaim."""
        for incarnation in await self._store.call(processes.proved_dead, self._settings.host):
            await self._reclaim(incarnation, "slot_free")

    async def _reclaim_silent(self) -> None:
        silent_s = _BEATS_MISSED * self._settings.heartbeat_s
        for life in self._dead_hosts.judge(await self._store.call(processes.silent_lives, silent_s=silent_s)):
            # What holds its lock here lives, whatever it could not write.
            if self._lives_here(life):
                continue
            run_dir = runtime.run_dir(self._settings.bulkhead_home)
            if await self._store.call(reclaim_expired, run_dir, life):
                log.warning("life_fenced", dead=life.incarnation, host=life.host, silent_s=round(life.silent_s, 1))

    def _lives_here(self, life: SilentLife) -> bool:
        """Whether a life holds the lock of its slot in this home."""
        if life.host != self._settings.host or not life.slot:
            return False
        path = runtime.slot_lock_file(self._settings.bulkhead_home, life.slot)
        holder = read_holder(path)
        return holder is not None and holder.incarnation == life.incarnation and not is_free(path)

    async def _prune_heartbeats(self) -> None:
        """Delete the heartbeats of hosts that are gone."""
        await self._store.call(processes.prune)

    async def _reclaim(self, incarnation: str, why: str) -> None:
        await self._store.call(partial(reclaim, why=why), runtime.run_dir(self._settings.bulkhead_home), incarnation)

    async def _catch_up(self) -> None:
        """Bring the copies for reading up to date."""
        await self._copies.catch_up()
        self._figures.complete()

    async def _make_partitions(self) -> None:
        """Make tomorrow's partitions; what was written on a day without one moves into its own."""
        if made := await self._store.call(make_partitions):
            log.info("partitions_made", partitions=made)

    async def _apply_parked(self) -> None:
        """Apply edits and deletions again that had found no message."""
        await apply_parked(self._store)

    async def _erase_copies(self) -> None:
        """Remove deleted messages from raw events."""
        while await self._store.call(erasure.erase_copies, most=_BATCH) == _BATCH:
            pass

    async def _fail_leftovers(self) -> None:
        """Fail what came back to connections that were removed while it was being sent, or was accepted in that
        instant.
        """
        if failed := await self._store.call(connections.fail_leftovers):
            log.warning("messages_of_removed_failed", rows=failed)

    async def _write_orchestrator(self) -> None:
        """Write the orchestrator's heartbeat row from its snapshot: it has no database itself."""
        found = status_file.read(runtime.status_file(self._settings.bulkhead_home))
        # No row is better than an old one: the status of a silent orchestrator becomes `down` by its last heartbeat.
        if found is None or not found.is_fresh:
            return
        snapshot = found.values
        states = [slot["state"] for slot in snapshot["slots"].values()]
        await self._store.call(
            processes.write_heartbeat,
            HeartbeatRow(
                kind="orchestrator",
                instance=0,
                status=snapshot["state"],
                uptime_s=float(snapshot.get("uptime_s", 0.0)),
                memory_mb=float(snapshot.get("memory_mb", 0.0)),
                connections=0,
                pid=int(snapshot.get("pid", 0)),
                host=self._settings.host,
                incarnation=str(snapshot.get("boot", "")),
                lease_s=BEATS * self._settings.heartbeat_s,
                home_id=self._child.heartbeat.home_id,
                detail={"slots": len(states), "ready": states.count("ready")},
            ),
        )


async def _wait(event: asyncio.Event, interval_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), interval_s)
    except TimeoutError:
        return
    # After the wait only: a notification that comes during the work ends the next wait at once.
    event.clear()


async def open_service(child: Child) -> Service:
    """Return the recorder of this process. Raises `SettingsInvalid` when the encryption key is missing or wrong."""
    return RecorderService(child)
