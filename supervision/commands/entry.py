"""The orchestrator's command line: finds the command's file, runs it, and turns what an operator got wrong into
sentences and exit codes."""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from configparser import ConfigParser
from importlib.metadata import version
from io import TextIOWrapper
from types import ModuleType
from typing import Final

from shared.errors import BulkheadError, SettingsInvalid
from shared.process.control_client import NoOrchestrator, OrchestratorRefused
from shared.process.exit_codes import ExitCode
from supervision.commands import (
    alerts,
    chaos,
    companies,
    connections,
    dead_letters,
    doctor,
    drain,
    env,
    events,
    import_old,
    keys,
    logs,
    migrate,
    move,
    ps,
    reseal,
    restart,
    run,
    sessions,
    shadow,
    status,
    stop,
    webhooks,
)
from supervision.commands.context import CommandExit, Context
from supervision.decisions.plan import KindUnknown

COMMANDS: Final[dict[str, ModuleType]] = {
    "run": run,
    "status": status,
    "ps": ps,
    "restart": restart,
    "drain": drain,
    "stop": stop,
    "logs": logs,
    "events": events,
    "alerts": alerts,
    "env": env,
    "doctor": doctor,
    "migrate": migrate,
    "import": import_old,
    "move": move,
    "dead-letters": dead_letters,
    "companies": companies,
    "keys": keys,
    "connections": connections,
    "reseal": reseal,
    "sessions": sessions,
    "webhooks": webhooks,
    "chaos": chaos,
    "shadow": shadow,
}

_ANSWERS: Final[dict[type[BulkheadError], int]] = {
    SettingsInvalid: ExitCode.CONFIGURATION,
    KindUnknown: ExitCode.USAGE,
    OrchestratorRefused: ExitCode.USAGE,
    NoOrchestrator: CommandExit.NOT_RUNNING,
}
"""What an operator got wrong, and how the command then leaves."""


def main(argv: Sequence[str], context: Context) -> int:
    """Run one command and return the exit code.

    Args:
        argv: the command line without the program's name; without a command it is `run`.
        context: where and over what it runs.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal or a file that takes ASCII alone is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    if list(argv) == ["--version"]:
        print(f"bulkhead {_version(context)}")
        return ExitCode.OK
    name, words = _command_of(argv)
    given = _given(name, words)
    try:
        return int(COMMANDS[name].run(context, given))
    except tuple(_ANSWERS) as problem:
        print(*(problem.problems if isinstance(problem, SettingsInvalid) else [problem]), sep="\n", file=sys.stderr)
        # Exact classes: each error that an operator can cause has its row in the table.
        return _ANSWERS[type(problem)]
    # Ctrl-C ends a command that follows or waits; the orchestrator itself handles SIGINT as a stop.
    except KeyboardInterrupt:
        return ExitCode.OK
    except BrokenPipeError:
        # The reader of our output (head, less) has closed it. The interpreter would fail again when it flushes at exit.
        sys.stderr.close()
        return ExitCode.OK


def _version(context: Context) -> str:
    """Return the version that is installed, or that the checkout beside the entry files declares."""
    declared = ConfigParser()
    # a checkout is not installed, and an older installation beside it has another version
    if declared.read(context.entries / "setup.cfg", encoding="utf-8"):
        return declared["metadata"]["version"]
    return version("bulkhead")


def _command_of(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and its words. Options may stand before the command; without one it is `run`."""
    words = list(argv)
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    # Options may precede the command, so the first word that is one counts.
    place = next((place for place, word in enumerate(words) if word in COMMANDS), None)
    if place is not None:
        return words[place], words[:place] + words[place + 1 :]
    return ("", words) if {"-h", "--help"} & set(words) else ("run", words)


def _given(name: str, words: Sequence[str]) -> Namespace:
    """Parse a command's words; options and positional arguments may stand in any order. Leaves with `USAGE` when they
    are wrong."""
    if name not in COMMANDS:
        # Prints the help or the list of commands, and exits.
        _overview().parse_args([name, *words] if name else words)
    module = COMMANDS[name]
    parser = _Parser(prog=f"bulkhead {name}", description=_described(module))
    module.arguments(parser)
    # parse_intermixed_args refuses REMAINDER: such a command's words are parsed by the program that gets them.
    passes_on = any(action.nargs == REMAINDER for action in parser._actions)
    return parser.parse_args(words) if passes_on else parser.parse_intermixed_args(words)


def _described(module: ModuleType) -> str:
    text = (module.__doc__ or "").split("`: ", 1)[-1]
    return text[:1].upper() + text[1:]


class _Parser(ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override] # exits, as the original does
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _overview() -> ArgumentParser:
    parser = _Parser(
        prog="bulkhead",
        description="Runs WhatsApp and Meta channels as supervised processes. Without a command: run.",
        epilog="Settings are environment variables, see docs/settings.md. Exit codes: docs/exit-codes.md.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        commands.add_parser(name, help=module.HELP, description=_described(module))
    return parser
