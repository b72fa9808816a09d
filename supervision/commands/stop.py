"""`stop`: drain and stop everything in reverse order of start, also after the orchestrator has died."""

from __future__ import annotations

import os
import select
import signal
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from shared.numbers import seconds
from shared.process import control_client, runtime
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import read_holder
from supervision.commands.context import CommandExit, Context, is_running
from supervision.commands.run import supervise
from supervision.commands.status import without_orchestrator

HELP = "drain and stop everything"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--now", action="store_true", help="do not wait for work in progress")
    parser.add_argument(
        "--within", type=seconds, default=180.0, metavar="S", help="how long to wait, in seconds (%(default)s)"
    )


def run(context: Context, given: Namespace) -> int:
    """Request a stop and wait until the orchestrator has exited; without one, adopt what lives and stop it."""
    home = context.settings().bulkhead_home
    try:
        pid = context.ask({"command": "stop"})["pid"]
    except control_client.NoOrchestrator:
        # It may live without a socket (an older version does not bind it again). The lock names it, and SIGTERM
        # requests the same.
        if is_running(home) and (holder := read_holder(runtime.orchestrator_lock_file(home))):
            os.kill(holder.pid, signal.SIGTERM)
            return _wait(context, holder.pid, given)
        if not without_orchestrator(home)["slots"]:
            print(f"Nothing runs over {home}.")
            return CommandExit.NOT_RUNNING
        # No orchestrator, but its children live: adopting and draining them is the only orderly way to stop them.
        return supervise(context, context.child_config(), only_stop=True)
    return _wait(context, pid, given)


def _wait(context: Context, pid: int, given: Namespace) -> int:
    try:
        orchestrator = os.pidfd_open(pid)
    # It has exited since it answered, which is what was requested.
    except ProcessLookupError:
        return ExitCode.OK
    try:
        if given.now:
            with suppress(control_client.NoOrchestrator):  # it has left already
                context.ask({"command": "stop"})
        # A pidfd becomes readable at the exit: no polling, and no confusion with a later process of the same pid.
        left_in_time, _, _ = select.select([orchestrator], [], [], given.within)
    finally:
        os.close(orchestrator)
    if not left_in_time:
        print(f"orchestrator {pid} has not finished within {given.within:g} s; it goes on stopping", file=sys.stderr)
        return CommandExit.UNWELL
    return ExitCode.OK
