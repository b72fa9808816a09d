"""`stop`: drain and stop everything in reverse order of start; also what an orchestrator that died left running."""

from __future__ import annotations

import os
import select
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from shared.process import runtime
from shared.process.exit_codes import ExitCode
from supervision import control
from supervision.commands.context import Answer, Context
from supervision.commands.run import supervise
from supervision.commands.status import without_orchestrator

HELP = "drain and stop everything"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--now", action="store_true", help="do not wait for what is in hand")
    parser.add_argument(
        "--within", type=float, default=180.0, metavar="S", help="how long to wait, in seconds (%(default)s)"
    )


def run(context: Context, given: Namespace) -> int:
    """Ask the orchestrator and wait until it has left; without one, adopt what lives and stop it."""
    home = context.settings().bulkhead_home
    path = runtime.control_socket(home)
    try:
        pid = control.ask(path, {"command": "stop"})["pid"]
    except control.NoOrchestrator:
        if not without_orchestrator(home)["slots"]:
            print(f"Nothing runs over {home}.")
            return ExitCode.OK
        return supervise(context, context.told(), only_stop=True)
    try:
        orchestrator = os.pidfd_open(pid)
    except ProcessLookupError:
        return ExitCode.OK
    try:
        if given.now:
            with suppress(control.NoOrchestrator):  # it has left already
                control.ask(path, {"command": "stop"})
        left_in_time, _, _ = select.select([orchestrator], [], [], given.within)
    finally:
        os.close(orchestrator)
    if not left_in_time:
        print(f"orchestrator {pid} has not finished within {given.within:g} s; it goes on stopping", file=sys.stderr)
        return Answer.UNWELL
    return ExitCode.OK
