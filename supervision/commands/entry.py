"""The entry of the orchestrator's command line: the supervisor starts without any library, every other command by
`command_line`; what an operator got wrong becomes sentences and exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Final

from shared.errors import BulkheadError
from shared.process.exit_codes import ExitCode
from supervision.commands.command_exits import CommandExit, code_of, sentences
from supervision.commands.context import Context

COMPLETION_VARIABLE: Final = "_BULKHEAD_COMPLETE"
"""Variable by which a shell asks this program for completions (docs/cli.md)."""
_ONLY: Final = "--only"


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
    # a shell that asks for completions gives no words
    only = None if COMPLETION_VARIABLE in context.environ else only_of(argv)
    try:
        # by name: the process that supervises loads no library of the command line, and a command no supervisor
        if only is not None:
            return int(import_module("supervision.commands.supervise").start(context, only))
        return int(import_module("supervision.commands.command_line").run(argv, context))
    except BulkheadError as problem:
        code = code_of(problem)
        if code is None:
            raise
        print(*sentences(problem), sep="\n", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        return CommandExit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has closed it. The interpreter would fail again when it flushes at exit.
        sys.stderr.close()
        return ExitCode.OK


def only_of(argv: Sequence[str]) -> str | None:
    """Return the kinds that `run` is limited to (empty: none); None when this is another command line than one of
    `run`, or a wrong one, which the library explains."""
    words, only, is_named = list(argv), "", False
    while words:
        word = words.pop(0)
        if word == "run" and not is_named:
            is_named = True
        elif word == _ONLY and words and not words[0].startswith("-"):
            only = words.pop(0)
        elif word.startswith(f"{_ONLY}="):
            only = word.removeprefix(f"{_ONLY}=")
        else:
            return None
    return only
