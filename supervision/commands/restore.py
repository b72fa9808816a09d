"""`restore FILE`: an installation from a backup, in an empty home and an empty database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import click

from shared.clock import left, monotonic
from shared.process.exit_codes import ExitCode
from shared.states import SlotState
from supervision.commands import screen
from supervision.commands.archive_progress import run_with_progress
from supervision.commands.command_exits import CommandRefused
from supervision.commands.context import Context, is_running
from supervision.commands.status import ask
from supervision.environment import SETTINGS_FILE

_BROUGHT: Final = frozenset({SETTINGS_FILE, "secret_key"})
"""What an operator puts into an empty home before a restore."""
_STARTED_S: Final = 180.0
"""Seconds for the embedded PostgreSQL, whose first start makes its data directory."""
_STOPPED_S: Final = 60.0
_LOOK_EACH_S: Final = 0.2
_SHOWN: Final = 5


@click.command("restore", short_help="Make an installation from a backup, in an empty home.")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--without-key", is_flag=True, help="Go on without the key of its secrets; connections need them again.")
@click.pass_obj
def command(context: Context, file: Path, without_key: bool) -> int:
    """Make an installation from FILE in an empty BULKHEAD_HOME and an empty database; changes nothing that exists.

    Put the key first: the old home's `secret_key` into the new home, or SECRET_ENCRYPTION_KEY into the environment or
    settings.env. Afterwards all connections are paused, since what waited may have been sent after the backup.
    """
    settings = context.settings()
    home = settings.bulkhead_home
    if is_running(home):
        raise CommandRefused(f"Bulkhead runs over {home}; a restore needs an empty home. Stop it: bulkhead stop")
    there = sorted(path.name for path in home.iterdir() if path.name not in _BROUGHT) if home.exists() else []
    if there:
        raise CommandRefused(
            f"{home} is not empty ({', '.join(there[:_SHOWN])}{', …' if len(there) > _SHOWN else ''}); a restore "
            f"changes nothing that exists. Move it away: mv {home} {home}.before; or choose another home: "
            "BULKHEAD_HOME=…"
        )
    if not settings.secret_encryption_key and not (home / "secret_key").exists() and not without_key:
        raise CommandRefused(
            f"The key of the backup's secrets is not in it: put the old home's `secret_key` into {home}, or set "
            "SECRET_ENCRYPTION_KEY; with --without-key, every connection needs its credentials again."
        )
    programs = context.embedded.postgres_programs()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with nullcontext() if settings.database_url else _embedded_database(context):
        code, done = run_with_progress(
            context,
            "--restore",
            str(file.absolute()),
            *([f"--programs={programs}"] if programs else []),
            *(["--without-key"] if without_key else []),
        )
    if code:
        return code
    click.echo(f"Restored as of {done['at']}: {done['files']} files. Start it: bulkhead")
    if done["paused"]:
        screen.warn(
            f"{done['paused']} connections are paused: what waits there may have been sent after the backup. Look "
            "(bulkhead messages search --company all --state queued), then: bulkhead connections resume"
        )
    if done["mediaElsewhere"]:
        screen.warn("Files of messages were in S3 (MEDIA_STORAGE); set the same bucket.")
    return ExitCode.OK


@contextmanager
def _embedded_database(context: Context) -> Iterator[None]:
    """Run the embedded PostgreSQL alone, by an orchestrator of our own, until the block ends."""
    home = context.settings().bulkhead_home
    process = subprocess.Popen(
        [sys.executable, str(context.entries / "orchestrator.py"), "run", "--only", "postgres"],
        env=dict(context.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # of its own: Ctrl-C ends this command, which then stops it in order
        start_new_session=True,
    )
    try:
        by = monotonic() + _STARTED_S
        while ask(home)[0]["slots"].get("postgres-0", {}).get("state") != SlotState.READY:
            if process.poll() is not None or not left(by):
                raise CommandRefused("the embedded PostgreSQL did not start; see `bulkhead logs postgres --err`")
            time.sleep(_LOOK_EACH_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOPPED_S)
        except subprocess.TimeoutExpired:
            screen.warn(f"the embedded PostgreSQL still stops (process {process.pid}); `bulkhead stop` waits for it")
