"""What the entry files of the embedded servers run: settings, slot, preparation, then the wrapper's loop."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from embedded.failure import PreparationFailed, ServerUnusable
from embedded.server import Limits, Server, Wrapper
from shared import logs
from shared.errors import SettingsInvalid, SlotTaken
from shared.process.exit_codes import ExitCode
from shared.process.supervised import Supervised
from shared.settings import Settings, load, load_child

Prepare = Callable[[Settings, Mapping[str, str]], Server]
"""Makes everything ready that the server needs on disk. Gets the settings and the variables by which its processes are
known as this slot's."""

PREPARATION_S: Final = 120.0
"""How long preparing may take; the first time on a slow disk is the longest."""

log = logs.logger(__name__)


class _StopAsked(BaseException):
    """Raised by SIGTERM and SIGINT while the server is being prepared, so that what was begun is cleaned up."""


def _raise_stop_asked(*_: object) -> None:
    raise _StopAsked


def run_server(kind: str, prepare: Prepare) -> int:
    """Run the server of `kind` until it is told to stop or dies, and return the exit code for this process.

    Args:
        kind: its row in `shared/kinds.py`.
        prepare: raises `ServerUnusable` or `PreparationFailed` when the server cannot be started.
    """
    try:
        every, identity = load(), load_child()
    except SettingsInvalid as invalid:
        logs.configure(level="info", kind=kind)
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
    faulthandler.register(signal.SIGUSR1)
    try:
        line = Supervised.from_environment(identity, settings.bulkhead_home)
    except SlotTaken as taken:
        log.error("slot_taken", slot=identity.slot, reason=str(taken))
        return ExitCode.SLOT_TAKEN
    known_as = {
        "BULKHEAD_HOME": str(settings.bulkhead_home),
        "PROCESS_NAME": kind,
        "PROCESS_INSTANCE": str(identity.process_instance),
    }
    code, reason = ExitCode.CRASH, "uncaught error"
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _raise_stop_asked)
        with line.blocking(PREPARATION_S, "preparing the server"):
            server = prepare(settings, known_as | {"PROCESS_INCARNATION": line.incarnation})
        drain_s = row.drain_s
        code, reason = Wrapper(server, line, Limits(drain_s=drain_s * 2 / 3, hurry_s=drain_s / 6)).run(), ""
    except _StopAsked:
        code, reason = ExitCode.OK, ""
    except (ServerUnusable, PreparationFailed) as failure:
        code, reason = ExitCode.CONFIGURATION if isinstance(failure, ServerUnusable) else ExitCode.BOOT, str(failure)
        log.error("server_not_startable", problem=reason)
    finally:
        line.last_words(code, reason)
        line.close()
    return code
