"""What the entry files of the embedded servers run: settings, slot, preparation, then the wrapper's loop."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from embedded.failure import PreparationFailed, ServerUnusable
from embedded.server import Server, Wrapper, WrapperLimits
from shared import logs
from shared.errors import SettingsInvalid, SlotTaken
from shared.process.exit_codes import ExitCode
from shared.process.supervised import Supervised
from shared.settings import Settings, load, load_child

Prepare = Callable[[Settings, Mapping[str, str]], Server]
"""Prepares what the server needs on disk. Gets the settings, and the environment variables that mark the server's
processes as this slot's."""

PREPARATION_S: Final = 120.0
"""Seconds that preparing may take; initdb at the first start on a slow disk takes longest."""

log = logs.logger(__name__)


class _StopAsked(BaseException):
    """Raised by SIGTERM and SIGINT while the server is being prepared, so that `finally` and `with` blocks run.

    A `BaseException`, so that no `except Exception` on the way catches it.
    """


class _StopHandler:
    """The signal handler during the preparation.

    Raising is not enough: where the interpreter ignores exceptions (hooks at a fork, finalizers), the request would be
    lost. So it is kept, and checked when the preparation has ended.
    """

    def __init__(self) -> None:
        self._was_asked = False

    def __call__(self, *_: object) -> None:
        self._was_asked = True
        raise _StopAsked

    def check(self) -> None:
        """Raise `_StopAsked` if a signal came."""
        if self._was_asked:
            raise _StopAsked


def run_server(kind: str, prepare: Prepare) -> int:
    """Run the server of `kind` until it is stopped or dies, and return the exit code for this process.

    Args:
        kind: its row in `shared/kinds.py`.
        prepare: raises `ServerUnusable` or `PreparationFailed` when the server cannot be started.
    """
    try:
        every, identity = load(), load_child()
    except SettingsInvalid as invalid:
        logs.configure(level="info", kind=kind)
        # Exit code 78: the orchestrator starts nothing again before the settings change.
        for problem in invalid.problems:
            log.error("setting_invalid", problem=problem)
        return ExitCode.CONFIGURATION
    row = every.kind(kind)
    settings, identity = every.seen_by(row), replace(identity, process_name=kind)
    logs.configure(
        level=settings.log_level,
        kind=kind,
        instance=identity.process_instance,
        incarnation=identity.process_incarnation,
    )
    faulthandler.enable()
    # SIGUSR1 shows where a wrapper stands. This process has one thread, so walking the frames from C is safe here.
    faulthandler.register(signal.SIGUSR1)
    try:
        line = Supervised.from_environment(identity, settings.bulkhead_home, host=settings.host)
    # An earlier wrapper, or a process of its server, still lives: two servers must not work on one data directory.
    except SlotTaken as taken:
        log.error("slot_taken", slot=identity.slot, reason=str(taken))
        return ExitCode.SLOT_TAKEN
    # The orchestrator finds processes that outlived their parent by these variables in /proc/PID/environ.
    known_as = {
        "BULKHEAD_HOME": str(settings.bulkhead_home),
        "PROCESS_NAME": kind,
        "PROCESS_INSTANCE": str(identity.process_instance),
    }
    # The exit record if an error that is not expected below leaves this function.
    code, reason = ExitCode.CRASH, "uncaught error"
    try:
        # Until the wrapper installs its own handlers, a signal interrupts the preparation.
        stop = _StopHandler()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        # initdb sends no WATCHDOG: without this declaration, a first start on a slow disk would be killed as a hang.
        with line.blocking(PREPARATION_S, "preparing the server"):
            server = prepare(settings, known_as | {"PROCESS_INCARNATION": line.incarnation})
        stop.check()
        # Of the row's drain time two thirds are for the orderly stop and a sixth for the immediate one. The rest is
        # left to reap orphans, so that SIGKILL comes from here and not from the orchestrator.
        drain_s = row.drain_s
        code, reason = Wrapper(server, line, WrapperLimits(drain_s=drain_s * 2 / 3, hurry_s=drain_s / 6)).run(), ""
    # Nothing was started: a data directory that is not complete has a name of its own and is made again.
    except _StopAsked:
        code, reason = ExitCode.OK, ""
    except (ServerUnusable, PreparationFailed) as failure:
        # 78 waits for a change of settings; 70 is retried by the restart policy, since a full disk may have space
        # later.
        code, reason = ExitCode.CONFIGURATION if isinstance(failure, ServerUnusable) else ExitCode.BOOT, str(failure)
        log.error("server_not_startable", problem=reason)
    finally:
        # In the slot file for an orchestrator that adopted us: only a parent can wait for the exit code.
        line.last_words(code, reason)
        line.close()
    return code
