"""Supervises in the foreground until stopped: what `bulkhead` and `bulkhead run` do.

Loads no library of the command line, since this process supervises; `run` declares its options.
"""

from __future__ import annotations

import os
import sys
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
from supervision.configuration import Configuration
from supervision.environment import ChildConfig
from supervision.ipc.listeners import PortUnusable
from supervision.ipc.sd_notify import SdNotify
from supervision.supervisor import Supervisor


def start(context: Context, only: str) -> int:
    """Supervise until stopped.

    Args:
        context: where and over what.
        only: kinds that it is limited to, comma-separated; empty: all that are needed.
    """
    # Only a hint, and no refusal: a variable that resembles a setting may belong to another program.
    for name, meant in misspelt(context.environ, context.rows).items():
        print(f"{name} is no setting; do you mean {meant}?", file=sys.stderr)
    config = context.child_config(only)
    return supervise(context, config, only=only)


def supervise(context: Context, config: ChildConfig, *, only: str = "", only_stop: bool = False) -> int:
    """Run a supervisor in this process and return its exit code.

    Args:
        context: where it runs.
        config: of its children.
        only: kinds named on the command line, for reloading.
        only_stop: adopt what lives and stop it.
    """
    os.umask(0o077)  # for this process and every child: their files are private to this user
    home = config.settings.bulkhead_home
    fail_points.arm(
        # A stop must not meet the fail points of a test that left processes behind.
        "" if only_stop else config.settings.crash_points,
        fail_points.ORCHESTRATOR,
        runtime.run_dir(home),
        partial(kill_holder, home),
    )
    with ExitStack() as opened:
        own = [config.settings.path("logs", f"orchestrator.{stream}.log") for stream in ("out", "err")]
        out, err = (opened.enter_context(path.open("a", encoding="utf-8")) for path in own)
        logs.configure(level=config.settings.log_level, kind="orchestrator", out=out, err=err)
        supervisor = Supervisor(
            Configuration(config, inherited=context.environ, reload=lambda: context.child_config(only)),
            entries=context.entries,
            announcer=Announcer(sys.stdout),
            sd_notify=SdNotify(context.environ),
            doctor=((sys.executable, str(context.entries / context.program), "doctor", "--json"), context.environ),
            policy=context.policy,
            use_cgroups=context.use_cgroups,
        )
        log = logs.logger(__name__)
        try:
            return supervisor.run(only_stop=only_stop)
        # Nothing was changed: the orchestrator that runs is left alone.
        except SlotTaken:
            holder = read_holder(runtime.orchestrator_lock_file(home))
            who = f"process {holder.pid}" if holder else "another process"
            print(f"An orchestrator ({who}) already runs over {home}; nothing was started.", file=sys.stderr)
            return ExitCode.SLOT_TAKEN
        # Before anything was started; a service manager may try again (70).
        except PortUnusable as problem:
            print(f"{problem}.", file=sys.stderr)
            return ExitCode.BOOT
        except Exception as error:
            # Its children go on, and the next orchestrator adopts them.
            log.error("orchestrator_crashed", exc_info=error)
            raise
