"""`stop`: drain and stop everything in reverse order of start, also after the orchestrator has died."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

import click

from shared.process import control_client, runtime
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import read_holder
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context, is_running
from supervision.commands.options import within
from supervision.commands.status import without_orchestrator
from supervision.commands.supervise import supervise


@click.command("stop", short_help="Drain and stop everything.")
@click.option("--now", is_flag=True, help="Do not wait for work in progress.")
@within(180.0, "How long to wait, in seconds.")
@click.pass_obj
def command(context: Context, now: bool, within: float) -> int:
    """Drain and stop everything, in reverse order of start; also after the orchestrator has died."""
    home = context.settings().bulkhead_home
    try:
        pid = context.ask({"command": "stop"})["pid"]
    except control_client.NoOrchestrator:
        # It may live without a socket (an older version does not bind it again). The lock names it, and SIGTERM
        # requests the same.
        if is_running(home) and (holder := read_holder(runtime.orchestrator_lock_file(home))) and holder.pid:
            os.kill(holder.pid, signal.SIGTERM)
            return _wait(context, holder.pid, now=now, within=within)
        if not without_orchestrator(home)["slots"]:
            click.echo(f"Nothing runs over {home}.")
            return CommandExit.NOT_RUNNING
        # No orchestrator, but its children live: adopting and draining them is the only orderly way to stop them.
        return supervise(context, context.child_config(), only_stop=True)
    return _wait(context, pid, now=now, within=within)


def _wait(context: Context, pid: int, *, now: bool, within: float) -> int:
    try:
        orchestrator = os.pidfd_open(pid)
    # It has exited since it answered, which is what was requested.
    except ProcessLookupError:
        return ExitCode.OK
    try:
        if now:
            with suppress(control_client.NoOrchestrator):  # it has left already
                context.ask({"command": "stop"})
        # A pidfd becomes readable at the exit: no polling, and no confusion with a later process of the same pid.
        left_in_time, _, _ = select.select([orchestrator], [], [], within)
    finally:
        os.close(orchestrator)
    if not left_in_time:
        click.echo(f"orchestrator {pid} has not finished within {within:g} s; it goes on stopping", err=True)
        return CommandExit.UNWELL
    return ExitCode.OK
