"""A child's lifecycle: start, serve, drain, stop; the same for every kind. Entry files call `run_child` and nothing
else."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import uvloop
from starlette.routing import BaseRoute

from shared import fail_points, logs
from shared.clock import left, monotonic
from shared.errors import Fenced, SettingsInvalid, SlotTaken
from shared.kinds import ProcessKind, admin_port
from shared.process import metrics_files, runtime
from shared.process.beats import Beats
from shared.process.endpoints import process_routes
from shared.process.exit_codes import ExitCode
from shared.process.exposition import render
from shared.process.heartbeat import Heartbeat
from shared.process.metrics import Metrics
from shared.process.packages import missing_package
from shared.process.readiness import Readiness
from shared.process.servers import Servers
from shared.process.service import Child, OpenService, Service, Severity
from shared.process.slot_lock import kill_holder, own_age_s
from shared.process.start_checks import StartChecks, require_servers
from shared.process.store_metrics import StoreMetrics
from shared.process.supervised import Command, Supervised
from shared.process.tracing import open_tracer
from shared.process.tree_memory import resident_mb
from shared.settings import ChildEnvironment, Settings, load, load_child
from shared.store.store import Store

log = logs.logger(__name__)

_CLOSE_S: Final = 3.0
"""Seconds for closing the service. Less than the 4 s that the orchestrator allows after a drain (`Policy.leave_s`)."""
_TRACES_S: Final = 1.0
"""Seconds for sending the last spans, beside which a stop must not become a hang."""
_DATABASE_WAIT_S: Final = 10.0
"""Seconds of a startup extension, renewed at each watchdog interval while a start waits for PostgreSQL, so that it
lasts over a few renewals that come late."""
_SWITCH_S: Final = 0.0005
"""How long one thread may keep the others from running. With Python's 5 ms each of a database call's waits costs as
much beside a busy event loop."""
_GARBAGE_AT: Final = 20_000
"""New objects between two garbage collections; Python's default of 700 spends a tenth of a busy process's time on
collecting.
"""


def run_child(kind_name: str, open_service: OpenService) -> int:
    """Run one process of a kind until it is stopped, and exit with its exit code (`ExitCode`).

    Args:
        kind_name: row in `shared.kinds`. open_service: makes the kind's service; raises `SettingsInvalid` for what only
            the kind can check.
    Returns:
        The exit code, if nothing was started; otherwise the process ends in here.
    """
    imported_s = own_age_s()
    try:
        every = load()
        kind = every.kind(kind_name)
        # A kind gets only the settings and secrets that its row lists, also when it was started by hand with all of
        # them.
        settings = every.seen_by(kind)
        identity = _complete(load_child(), kind, settings)
        require_servers(kind, settings)
        fail_points.arm(
            settings.crash_points,
            kind_name,
            runtime.run_dir(settings.bulkhead_home),
            partial(kill_holder, settings.bulkhead_home),
        )
    except SettingsInvalid as error:
        # The log level is itself a setting, and the settings are wrong.
        logs.configure(level="info", kind=kind_name)
        return _misconfigured(error)
    sys.setswitchinterval(_SWITCH_S)
    # SIGABRT from the orchestrator (a hang) and crashes in C code leave a traceback in the error log.
    faulthandler.enable()
    # Not faulthandler.register: that walks other threads' frames without the interpreter's lock, while they run, and
    # once ended the process.
    signal.signal(signal.SIGUSR1, lambda *_: faulthandler.dump_traceback(all_threads=True))
    logs.configure(
        level=settings.log_level,
        kind=kind_name,
        instance=identity.process_instance,
        incarnation=identity.process_incarnation,
    )
    try:
        supervised = Supervised.from_environment(
            identity, settings.bulkhead_home, settings.bind_address, host=settings.host
        )
    # Before anything that other processes can see was done: the holder of the slot is not disturbed.
    except SlotTaken as error:
        log.error("slot_taken", slot=identity.slot, reason=str(error))
        return ExitCode.SLOT_TAKEN
    # A process that was started by hand got its incarnation only now.
    identity = replace(identity, process_incarnation=supervised.incarnation)
    logs.configure(
        level=settings.log_level,
        kind=kind_name,
        instance=identity.process_instance,
        incarnation=identity.process_incarnation,
    )
    life = _Life(kind, settings, identity, supervised, imported_s=imported_s)
    # The runner is never closed: that would wait for threads, and they for a server that may be frozen.
    code = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(life.run(open_service))
    supervised.last_words(code, life.reason)
    supervised.close()
    return _leave(code)


def open_from(module: str) -> OpenService:
    """Return a function that imports `module` and calls its `open_service`: for kinds whose packages are an extra.

    An entry file that imports such a room itself ends with a traceback when the extra is not installed: before the
    settings are read, the log is configured and the slot is taken.
    """

    async def open_service(child: Child) -> Service:
        service: Service = await importlib.import_module(module).open_service(child)
        return service

    return open_service


def _leave(code: ExitCode) -> NoReturn:
    """Exit now, whatever threads wait for."""
    # _exit flushes nothing. It is needed since an ordinary exit joins threads, which may wait for a frozen server.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _complete(identity: ChildEnvironment, kind: ProcessKind, settings: Settings) -> ChildEnvironment:
    """Fill in the defaults of a process that was started by hand."""
    name = identity.process_name or kind.name
    if name != kind.name:
        raise SettingsInvalid(
            [f"PROCESS_NAME={name} but this is the entry of kind {kind.name}; start the entry file of that kind"]
        )
    return replace(
        identity,
        process_name=name,
        port=identity.port or kind.port,
        process_admin_port=identity.process_admin_port
        or admin_port(settings.admin_port, kind, identity.process_instance),
    )


def _all_figures(home: Path) -> bytes:
    return render(metrics_files.gather(home))


def _misconfigured(error: SettingsInvalid) -> ExitCode:
    for problem in error.problems:
        log.error("setting_invalid", problem=problem)
    return ExitCode.CONFIGURATION


class _Life:
    """One run of `run_child`."""

    def __init__(
        self,
        kind: ProcessKind,
        settings: Settings,
        identity: ChildEnvironment,
        supervised: Supervised,
        *,
        imported_s: float,
    ) -> None:
        self._kind, self._settings, self._identity, self._supervised = kind, settings, identity, supervised
        self._imported_s, self._began_at = imported_s, monotonic()
        self._signals = 0
        self._now = asyncio.Event()
        self.reason = ""

    async def run(self, open_service: OpenService) -> ExitCode:
        loop = asyncio.get_running_loop()
        metrics, beats = (
            Metrics({"host": self._settings.host, "kind": self._kind.name, "slot": self._identity.slot}),
            Beats(),
        )
        # A kind without a database gets a store without an address: it may not know where the database is.
        store = Store.open(
            self._settings if self._kind.pool_size else Settings(), self._identity, limit=self._kind.pool_size or 1
        )
        heartbeat = Heartbeat(
            store,
            self._identity,
            metrics,
            host=self._settings.host,
            interval_s=self._settings.heartbeat_s,
            send_s=self._kind.send_s,
            status=self._state,
        )
        self._child = child = Child(
            kind=self._kind,
            settings=self._settings,
            identity=self._identity,
            supervision=self._supervised,
            store=store,
            metrics=metrics,
            beats=beats,
            stopping=asyncio.Event(),
            heartbeat=heartbeat,
            uncaught=self._uncaught,
        )
        self._readiness = Readiness(child)
        self._servers = Servers(self._process_routes)
        self._install_handlers(loop)
        self._describe_process(metrics)
        # Before the start: beats are due from READY on, and a removed socket is noticed during the start as well.
        child.spawn(self._vouch(), "watchdog")
        starting = asyncio.ensure_future(self._start(open_service))
        stop_requested = asyncio.ensure_future(child.stopping.wait())
        try:
            # A stop request need not wait for the end of a start, which may wait for the database for hours.
            await asyncio.wait({starting, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                self.reason = "stopped before it was ready"
                starting.cancel()
                # The start gets a moment to release what it holds. Its result no longer matters.
                await asyncio.wait({starting}, timeout=_CLOSE_S)
                return ExitCode.OK
            if (code := starting.result()) is not ExitCode.OK:
                return code
            await stop_requested
            return await self._drain()
        finally:
            await self._close(store)

    async def _start(self, open_service: OpenService) -> ExitCode:
        child = self._child
        waiting = child.spawn(self._take_time_for_the_database(), "start")
        try:
            # First, so that `/health` shows a start that takes long.
            await self._servers.serve_admin(self._settings.admin_address, self._identity.process_admin_port)
            child.tracer = open_tracer(
                self._kind, slot=self._identity.slot, incarnation=self._identity.process_incarnation
            )
            service = self._readiness.service = await open_service(child)
            await StartChecks(child, self._refuse).run()
            await service.start()
            # Last: connections wait in the kernel's queue until the service can answer them.
            await self._servers.serve_public(self._supervised.listening_sockets(), service.app)
        except SettingsInvalid as error:
            self.reason = str(error)
            return _misconfigured(error)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (missing := missing_package(error, self._kind)):
                self.reason = str(missing)
                return _misconfigured(missing)
            # Whatever prevents the start is logged with its traceback and has its own exit code, which the restart
            # policy handles.
            self.reason = f"{type(error).__name__}: {logs.scrub(str(error))}"
            log.error("boot_failed", exc_info=error, reason=self.reason)
            return ExitCode.BOOT
        finally:
            waiting.cancel()
        self._readiness.started = True
        # Loaded modules stay: the garbage collector need not examine them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_AT)
        self._supervised.ready()
        log.info(
            "process_ready",
            admin_port=self._identity.process_admin_port,
            port=self._identity.port,
            imported_s=round(self._imported_s, 3),
            opened_s=round(monotonic() - self._began_at, 3),
        )
        # Both query the database, and both outlive an outage of it.
        if self._kind.pool_size:
            child.spawn(self._readiness.watch(), "readiness")
            child.spawn(self._beat(), "heartbeat")
        child.spawn(self._write_figures(), "figures")
        return ExitCode.OK

    async def _beat(self) -> None:
        """Write heartbeats until another host has reclaimed what this life had in hand."""
        try:
            await self._child.heartbeat.run()
        except Fenced as error:
            log.error("incarnation_fenced", reason=str(error))
            self._supervised.last_words(ExitCode.CRASH, str(error))
            # Nothing of this life counts any more; the next one starts afresh.
            _leave(ExitCode.CRASH)

    def _refuse(self, error: SettingsInvalid) -> None:
        """Leave because of settings that a check after the start found wrong."""
        self._supervised.last_words(_misconfigured(error), str(error))
        # it may have taken work by now, which is reclaimed as after any death
        _leave(ExitCode.CONFIGURATION)

    async def _write_figures(self) -> None:
        """Write this process's figures for those who show all of them."""
        home, slot = self._settings.bulkhead_home, self._identity.slot
        refused = False
        while True:
            try:
                # a disk that hangs must not stop the event loop
                await asyncio.to_thread(metrics_files.write, home, slot, self._child.metrics)
                refused = False
            # Nothing depends on it but figures, which then end; it is tried again.
            except (OSError, runtime.RuntimeDirectoryUnsafe) as problem:
                if not refused:
                    log.warning("figures_not_written", problem=str(problem))
                refused = True
            await asyncio.sleep(metrics_files.WRITTEN_S)

    def _install_handlers(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not `add_signal_handler`: after another signal, uvloop finds one in its pipe and in its set, and calls
            # twice for it, which means to stop at once.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop_requested))
        loop.add_reader(self._supervised.fileno(), self._commanded)
        # Errors of callbacks and of tasks that no code awaits reach the same decision as those of `spawn`.
        loop.set_exception_handler(
            lambda _, context: self._uncaught(
                context.get("exception") or RuntimeError(context["message"]), "event loop"
            )
        )
        # Classified in the event loop's thread, since `classify` and the state that it reads belong to that.
        threading.excepthook = lambda hook: loop.call_soon_threadsafe(
            self._uncaught, hook.exc_value or SystemExit(), f"thread {hook.thread.name if hook.thread else '?'}"
        )

    def _stop_requested(self) -> None:
        self._signals += 1
        self._child.stopping.set()
        # The orchestrator sends the second one when an operator wants the stop at once.
        if self._signals > 1:
            self._now.set()

    def _commanded(self) -> None:
        for command in self._supervised.receive():
            if command is Command.DRAIN:
                self._child.stopping.set()
            elif command is Command.NOTIFY:
                for notify in self._child.on_notify:
                    notify()

    def _uncaught(self, error: BaseException, where: str) -> None:
        """Classify an unhandled error: go on, or exit at once with code 1."""
        service = self._readiness.service
        # Without a service nothing knows what the error left behind: the process ends.
        severity = service.classify(error) if service is not None else Severity.CRITICAL
        self._child.heartbeat.count_error(error)
        if severity is Severity.RECOVERABLE:
            log.warning("error_survived", exc_info=error, where=where)
            return
        log.error("crashed", exc_info=error, where=where)
        self._supervised.last_words(ExitCode.CRASH, f"{type(error).__name__} in {where}")
        # The state is undefined: nothing more runs here. The orchestrator ends our helpers, and the recorder reclaims
        # what was in hand.
        _leave(ExitCode.CRASH)

    async def _vouch(self) -> None:
        """Report to the orchestrator, from the event loop itself, that every work loop makes progress."""
        while True:
            stale = self._child.beats.stale()
            if stale:
                # Silence is the report: after `watchdog_s` without a beat the orchestrator ends this process.
                log.warning("work_loop_stalled", loops=stale)
            else:
                self._supervised.watchdog()
            if not self._supervised.is_reachable():
                self._bind_again()
            logs.check_files()
            await asyncio.sleep(self._supervised.watchdog_interval_s)

    def _bind_again(self) -> None:
        """Let the orchestrator reach us again after the file of our socket was removed."""
        loop = asyncio.get_running_loop()
        # The descriptor changes with the new socket, and the event loop must forget the old one before it is closed.
        loop.remove_reader(self._supervised.fileno())
        try:
            self._supervised.bind_again()
            log.warning("socket_bound_again")
        # It is tried again with the next beat; until then signals still reach us.
        except (OSError, runtime.RuntimeDirectoryUnsafe) as problem:
            log.error("socket_not_bound_again", problem=str(problem))
        finally:
            loop.add_reader(self._supervised.fileno(), self._commanded)

    async def _take_time_for_the_database(self) -> None:
        """Extend the startup deadline while the start waits for PostgreSQL: waiting for a frozen database is not a
        hang, however long the settings allow a query to take.
        """
        said = False
        try:
            while True:
                await asyncio.sleep(self._supervised.watchdog_interval_s)
                # A connection in use means that the start waits for an answer of the database (or works with it).
                if self._child.store.stats.in_use:
                    said = True
                    self._supervised.extend(_DATABASE_WAIT_S, "start: waits for PostgreSQL")
        finally:
            # An extension that was never declared need not be ended; one that was must not outlast the start.
            if said:
                self._supervised.extend(0.0, "")

    def _state(self) -> str:
        return self._readiness.state()

    def _describe_process(self, metrics: Metrics) -> None:
        store, heartbeat = self._child.store, self._child.heartbeat
        metrics.gauge("process_uptime_seconds", "Seconds since the process started.", read=lambda: heartbeat.uptime_s)
        metrics.gauge(
            "process_resident_memory_bytes", "Resident memory of the process itself.", read=lambda: resident_mb() * 1e6
        )
        metrics.gauge(
            "process_tree_memory_bytes",
            "Memory of the process and what it started, at its last heartbeat.",
            read=lambda: (heartbeat.memory_mb or resident_mb()) * 1e6,
        )
        if self._kind.pool_size:
            StoreMetrics(metrics, store, is_up=lambda: self._readiness.is_database_up)

    def _process_routes(self, *, public: bool) -> list[BaseRoute]:
        child, readiness = self._child, self._readiness
        # Any instance may answer on the public port, so all of them answer the same: the figures of all processes.
        shown = partial(_all_figures, self._settings.bulkhead_home) if public else child.metrics.exposition
        return [*process_routes(beats=child.beats, missing=readiness.missing, health=readiness.health, figures=shown)]

    async def _drain(self) -> ExitCode:
        by = monotonic() + self._kind.drain_s
        self._supervised.stopping("draining")
        log.info("drain_started", limit_s=self._kind.drain_s)
        finishing = asyncio.ensure_future(self._finish(by))
        impatient = asyncio.ensure_future(self._now.wait())
        # The drain ends by itself, by its deadline, or by a second request to stop.
        await asyncio.wait({finishing, impatient}, timeout=left(by), return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        # A drain that fails has left something in hand: the error is classified like any other.
        if finishing.done() and (error := finishing.exception()) is not None:
            self._uncaught(error, "drain")
        elif finishing.done() and finishing.result():
            self.reason = "drained"
            log.info("drain_finished")
            return ExitCode.OK
        finishing.cancel()
        self.reason = (
            "stopped at once on request"
            if self._now.is_set()
            else "something was left in hand"
            if finishing.done()
            else "drain deadline passed"
        )
        log.warning("drain_incomplete", reason=self.reason)
        return ExitCode.DRAIN_DEADLINE

    async def _finish(self, by: float) -> bool:
        """Take nothing new and finish what is in hand: requests under way and the service's work side by side, so that
        neither uses up the other's time."""
        service = self._readiness.service
        ends = [self._servers.drain(by), *([service.drain(by)] if service is not None else [])]
        return all(await asyncio.gather(*ends))

    async def _close(self, store: Store) -> None:
        if (service := self._readiness.service) is not None:
            try:
                await asyncio.wait_for(service.close(), _CLOSE_S)
            except Exception as error:  # how this process ends is decided already; what was not given back ends with it
                log.error("close_failed", exc_info=error)
        # After the service, which may still use its tasks to close; before the store, which they use.
        await self._child.cancel_tasks()
        await self._servers.close()
        if self._child.tracer.is_on:
            # the thread may wait longer, for a collector that hangs; the process does not
            sending = asyncio.ensure_future(asyncio.to_thread(self._child.tracer.close, _TRACES_S))
            await asyncio.wait({sending}, timeout=_TRACES_S)
        store.close()
