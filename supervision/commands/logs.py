"""`logs KIND[-N]`: print the end of a kind's log files, and follow them."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from supervision.commands.context import CommandExit, Context
from supervision.decisions.plan import KindUnknown

HELP = "show the end of a kind's logs"
# Seconds between two looks at the files while following them.
_LOOK_EACH_S = 0.2


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", metavar="KIND[-N]", help="a kind, one slot, or orchestrator")
    parser.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    parser.add_argument("--err", action="store_true", help="only the error file (warnings, errors, tracebacks)")
    parser.add_argument(
        "-n", "--lines", type=whole(1), default=50, metavar="N", help="lines of each file (%(default)s)"
    )


def run(context: Context, given: Namespace) -> int:
    """Print the lines; 3: there is no such log yet."""
    settings = context.settings()
    kind = given.target if any(row.name == given.target for row in settings.kinds) else given.target.rpartition("-")[0]
    if given.target != "orchestrator" and all(row.name != kind for row in settings.kinds):
        raise KindUnknown(
            f"no kind or slot {given.target!r}; kinds: orchestrator, {', '.join(row.name for row in settings.kinds)}"
        )
    directory = settings.path("logs")
    streams = ("err",) if given.err else ("out", "err")
    # A slot has a file of exactly its name, a kind has those of its slots.
    several = not (directory / f"{given.target}.err.log").exists()
    names = (
        sorted({path.name.split(".")[0] for path in directory.glob(f"{given.target}-*.log")})
        if several
        else [given.target]
    )
    files = [path for name in names for stream in streams if (path := directory / f"{name}.{stream}.log").exists()]
    if not files:
        print(f"no logs of {given.target!r} in {directory}", file=sys.stderr)
        return CommandExit.NOT_RUNNING
    position = {path: _show_end(path, given.lines, named=len(files) > 1) for path in files}
    while given.follow:
        for path in files:
            position[path] = _show_new(path, position[path], named=len(files) > 1)
        sys.stdout.flush()
        time.sleep(_LOOK_EACH_S)
    return ExitCode.OK


def _show_end(path: Path, lines: int, *, named: bool) -> int:
    with path.open("rb") as file:
        text = file.read()
    for line in text.decode(errors="replace").splitlines()[-lines:]:
        print(f"{path.name.removesuffix('.log')}: {line}" if named else line)
    return len(text)


def _show_new(path: Path, position: int, *, named: bool) -> int:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(position if position <= size else 0)  # shorter than before: it was rotated
        for line in file:
            text = line.decode(errors="replace").rstrip("\n")
            print(f"{path.name.removesuffix('.log')}: {text}" if named else text)
        return file.tell()
