"""`run` (also without a command): supervise in the foreground."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from functools import partial

from shared import fail_points, logs
from shared.errors import SlotTaken
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import kill_holder, read_holder
from shared.spelling import misspelt
from supervision.announce import Announcer
from supervision.commands.context import Context
from supervision.environment import Told
from supervision.ipc.listeners import PortUnusable
from supervision.ipc.service_manager import Keeper
from supervision.supervisor import Supervisor

HELP = "start everything that is needed and watch it, until Ctrl-C"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--only", default="", metavar="KINDS", help="run only these kinds and what they need, for example api,meta"
    )


def run(context: Context, given: Namespace) -> int:
    """Supervise until told to stop."""
    for name, meant in misspelt(context.environ, context.rows).items():
        print(f"{name} is no setting; do you mean {meant}?", file=sys.stderr)
    told = context.told(given.only)
    return supervise(context, told, only=given.only)


def supervise(context: Context, told: Told, *, only: str = "", only_stop: bool = False) -> int:
    """Run a supervisor in this process and return its exit code.

    Args:
        context: where it runs.
        told: what its children are told.
        only: kinds named on the command line, for reloading.
        only_stop: adopt what lives and stop it.
    """
    os.umask(0o077)  # for us and every child: what is written here is for this user alone
    home = told.settings.bulkhead_home
    fail_points.arm(
        "" if only_stop else told.settings.crash_points,
        fail_points.ORCHESTRATOR,
        runtime.run_dir(home),
        partial(kill_holder, home),
    )
    with ExitStack() as opened:
        own = [told.settings.path("logs", f"orchestrator.{stream}.log") for stream in ("out", "err")]
        out, err = (opened.enter_context(path.open("a", encoding="utf-8")) for path in own)
        logs.configure(level=told.settings.log_level, kind="orchestrator", out=out, err=err)
        supervisor = Supervisor(
            told,
            entries=context.entries,
            inherited=context.environ,
            reload=lambda: context.told(only),
            announcer=Announcer(sys.stdout),
            keeper=Keeper(context.environ),
            policy=context.policy,
            use_cgroups=context.use_cgroups,
        )
        log = logs.logger(__name__)
        try:
            return supervisor.run(only_stop=only_stop)
        except SlotTaken:
            holder = read_holder(runtime.orchestrator_lock_file(home))
            who = f"process {holder.pid}" if holder else "another process"
            print(f"An orchestrator ({who}) already runs over {home}; nothing was started.", file=sys.stderr)
            return ExitCode.SLOT_TAKEN
        except PortUnusable as problem:
            print(f"{problem}.", file=sys.stderr)
            return ExitCode.BOOT
        except Exception as error:
            # its children go on; whoever starts us again will find them
            log.error("orchestrator_crashed", exc_info=error)
            raise
