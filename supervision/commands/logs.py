"""`logs [KIND[-N]]`: print the end of the log files in the order of time, of all processes or of some, and follow
them."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import click

from shared.process.exit_codes import ExitCode
from shared.settings import Settings
from supervision.commands.command_exits import CommandExit, CommandRefused
from supervision.commands.context import Context
from supervision.commands.log_lines import LEVELS, LogFile, LogLine, files_in, is_shown, last, merged
from supervision.commands.options import INSTANT, TARGET, count
from supervision.decisions.plan import KindUnknown

# Seconds between two looks at the files while following them.
_LOOK_EACH_S = 0.2
_COLOUR_OF = {"warning": "yellow", "error": "red", "critical": "red"}


@click.command("logs", short_help="Show logs of all processes in the order of time, or of some.")
@click.argument("targets", metavar="[KIND[-N]]…", type=TARGET, nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines, until Ctrl-C.")
@click.option("--err", is_flag=True, help="Only the error files (warnings, errors, tracebacks).")
@click.option(
    "-n", "--lines", type=count(1), default=50, show_default=True, metavar="N", help="How many lines, of all together."
)
@click.option(
    "--since",
    type=INSTANT,
    default=None,
    metavar="WHEN",
    help="Only since then: 30m, 2h, or an instant. All of them unless -n is given; rotated files too.",
)
@click.option(
    "--level", type=click.Choice(LEVELS), default="debug", show_default=True, help="Only this level and above."
)
@click.pass_context
def command(
    ctx: click.Context,
    targets: tuple[str, ...],
    follow: bool,
    err: bool,
    lines: int,
    since: datetime | None,
    level: str,
) -> int:
    """Show the end of the logs in the order of time: of all processes, or of kinds and slots (`orchestrator` is the
    supervisor's own). 3: there are none yet.
    """
    settings = ctx.ensure_object(Context).settings()
    directory = settings.path("logs")
    names = [name for target in targets for name in _slots(target, settings, directory)]
    streams = ("err",) if err else ("out", "err")
    files = files_in(directory, names, streams, rotated=since is not None)
    if not files or (targets and not names):
        raise CommandRefused(
            f"no logs of {', '.join(map(repr, targets)) or 'any process'} in {directory}; `bulkhead status` lists the "
            "processes",
            CommandExit.NOT_RUNNING,
        )
    named = len({file.source for file in files}) > 1
    # with an instant, the instant is the limit
    is_given = ctx.get_parameter_source("lines") is not click.core.ParameterSource.DEFAULT
    most = lines if is_given or since is None else None
    if most is not None and since is None and level == LEVELS[0]:
        # of each file no more can be shown; with a filter any line may be one of the last
        for file in files:
            file.skip_to_last(most)
    chosen = (line for line in merged(files) if is_shown(line, level=level, since=since))
    for line in chosen if most is None else last(chosen, most, level=level, since=since):
        _print(line, named=named)
    try:
        while follow:
            time.sleep(_LOOK_EACH_S)
            # processes that started meanwhile have new files
            known = {file.path for file in files}
            files = [file for file in files if file.path.suffix == ".log"]
            files += [file for file in files_in(directory, names, streams, rotated=False) if file.path not in known]
            for line in merged(files):
                if is_shown(line, level=level, since=since):
                    _print(line, named=named)
    except KeyboardInterrupt:
        return ExitCode.OK
    return ExitCode.OK


def _slots(target: str, settings: Settings, directory: Path) -> list[str]:
    """Return the names of the files of a kind or a slot. Raises `KindUnknown`."""
    kind = target if any(row.name == target for row in settings.kinds) else target.rpartition("-")[0]
    if target != "orchestrator" and all(row.name != kind for row in settings.kinds):
        raise KindUnknown(
            f"no kind or slot {target!r}; kinds: orchestrator, {', '.join(row.name for row in settings.kinds)}"
        )
    files: list[LogFile] = files_in(directory, (), ("out", "err"), rotated=False)
    known = {file.source.rpartition(".")[0] for file in files}
    # A slot has a file of exactly its name, a kind has those of its slots.
    return [target] if target in known else sorted(name for name in known if name.startswith(f"{target}-"))


def _print(line: LogLine, *, named: bool) -> None:
    text = f"{line.source}: {line.text}" if named else line.text
    click.secho(text, fg=_COLOUR_OF.get(line.level))
