"""`backup FILE`: the database, files of messages and browser profiles as one archive, while everything runs."""

from __future__ import annotations

from pathlib import Path

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.archive_progress import run_with_progress
from supervision.commands.command_exits import CommandRefused
from supervision.commands.command_line import version_of
from supervision.commands.context import Context


@click.command("backup", short_help="Write database, files and browser profiles into one archive.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--without-profiles", is_flag=True, help="Leave out browser profiles; their phones are linked anew.")
@click.pass_obj
def command(context: Context, file: Path, without_profiles: bool) -> int:
    """Write the database, files of messages and browser profiles into FILE (tar), while everything runs.

    Secrets are in it as they are in the database: sealed. The key is NOT: keep BULKHEAD_HOME/secret_key, or
    SECRET_ENCRYPTION_KEY, apart from it; without it, they cannot be opened. Files in S3 stay where they are.
    """
    target = file.expanduser().absolute()
    if target.exists():
        raise CommandRefused(f"{target} exists already; choose another name, or remove it", ExitCode.USAGE)
    if not target.parent.is_dir():
        raise CommandRefused(f"{target.parent} is no folder; make it: mkdir -p {target.parent}", ExitCode.USAGE)
    programs = context.embedded.postgres_programs()
    code, done = run_with_progress(
        context,
        "--backup",
        str(target),
        f"--version={version_of(context)}",
        *([f"--programs={programs}"] if programs else []),
        *(["--without-profiles"] if without_profiles else []),
    )
    if code:
        return code
    click.echo(f"Written: {target}, {done['bytes']} bytes, {done['files']} files.")
    screen.warn(
        "The key that opens its secrets is not in it: keep BULKHEAD_HOME/secret_key, or SECRET_ENCRYPTION_KEY, "
        "in another place."
    )
    if done["mediaElsewhere"]:
        screen.warn("Files of messages are in S3 (MEDIA_STORAGE) and not in it: back up that bucket by itself.")
    return ExitCode.OK
