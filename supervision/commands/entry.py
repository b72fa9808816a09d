"""The orchestrator's command line: finds the command's file, runs it, and turns what an operator got wrong into sentences and exit codes."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from shared.errors import BulkheadError, SettingsInvalid
from shared.process.exit_codes import ExitCode
from supervision.commands import (
    chaos,
    companies,
    connections,
    dead_letters,
    drain,
    env,
    events,
    logs,
    migrate,
    ps,
    restart,
    run,
    sessions,
    status,
    stop,
    webhooks,
)
from supervision.commands.context import Answer, Context
from supervision.control import NoOrchestrator, Refused
from supervision.plan import KindUnknown

COMMANDS: Final[dict[str, ModuleType]] = {
    "run": run,
    "status": status,
    "ps": ps,
    "restart": restart,
    "drain": drain,
    "stop": stop,
    "logs": logs,
    "events": events,
    "env": env,
    "migrate": migrate,
    "dead-letters": dead_letters,
    "companies": companies,
    "connections": connections,
    "sessions": sessions,
    "webhooks": webhooks,
    "chaos": chaos,
}

_ANSWERS: Final[dict[type[BulkheadError], int]] = {
    SettingsInvalid: ExitCode.CONFIGURATION,
    KindUnknown: ExitCode.USAGE,
    Refused: ExitCode.USAGE,
    NoOrchestrator: Answer.NOT_RUNNING,
}
"""What an operator got wrong, and how the command then leaves."""


def main(argv: Sequence[str], context: Context) -> int:
    """Run one command and return the exit code.

    Args:
        argv: the command line without the program's name; without a command it is `run`.
        context: where and over what it runs.
    """
    given = _parser().parse_args(_with_command(argv))
    try:
        return int(COMMANDS[given.command].run(context, given))
    except tuple(_ANSWERS) as problem:
        print(*(problem.problems if isinstance(problem, SettingsInvalid) else [problem]), sep="\n", file=sys.stderr)
        return _ANSWERS[type(problem)]
    except KeyboardInterrupt:
        return ExitCode.OK
    except BrokenPipeError:
        # the reader of our output has seen enough
        sys.stderr.close()
        return ExitCode.OK


def _with_command(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    asks_for_help = any(word in ("-h", "--help") for word in words)
    return words if (words and not words[0].startswith("-")) or asks_for_help else ["run", *words]


class _Parser(ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override] # exits, as the original does
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="bulkhead",
        description="Runs WhatsApp and Meta channels as supervised processes. Without a command: run.",
        epilog="Settings are environment variables, see docs/settings.md. Exit codes: docs/exit-codes.md.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.arguments(
            commands.add_parser(name, help=module.HELP, description=(module.__doc__ or "").split("`: ", 1)[-1])
        )
    return parser
