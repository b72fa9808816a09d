"""The command line of every command but the supervisor's own: finds the command's file, runs it, and explains what is
wrong.

Commands are loaded by name, so that one costs no other's imports. Options may stand anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from configparser import ConfigParser
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import Final

import click

from shared.process.exit_codes import ExitCode
from supervision.commands.command_exits import NEEDS, CommandExit
from supervision.commands.context import Context
from supervision.commands.entry import COMPLETION_VARIABLE

PROGRAM: Final = "bulkhead"

_DEFAULTS: Final = {0: ("run",), 1: ("list", "run")}
"""The command that is meant where none is named, by the number of commands before it: the first that there is."""
_MODULES: Final = {"import": "import_old"}
"""Modules that cannot have their command's name."""
_HELP: Final = ["-h", "--help"]
_OWN_OPTIONS: Final = frozenset({*_HELP, "--version"})
"""Options that a group of commands has itself."""


class Commands(click.Group):
    """All commands, each loaded when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(NEEDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None: there is none of this name."""
        if cmd_name not in NEEDS:
            return None
        module = import_module(f"supervision.commands.{_MODULES.get(cmd_name, cmd_name.replace('-', '_'))}")
        command: click.Command = module.command
        return command


def root(context: Context) -> Commands:
    """Return the program's command line.

    Args:
        context: whose version it names.
    """
    made = Commands(
        name=PROGRAM,
        help="Runs WhatsApp and Meta channels as supervised processes. Without a command: run.",
        epilog="Settings are environment variables: docs/settings.md. Exit codes: docs/exit-codes.md.",
        context_settings={"help_option_names": _HELP},
    )

    def show_version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
        if is_asked and not ctx.resilient_parsing:
            click.echo(f"{PROGRAM} {version_of(context)}")
            ctx.exit()

    # looked up only when it is asked for
    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show_version,
        help="Show the version and exit.",
    )(made)


def run(argv: Sequence[str], context: Context) -> int:
    """Run one command and return the exit code. Raises `BulkheadError` for what an operator got wrong."""
    program = root(context)
    # NO_COLOR (no-color.org): set to anything; else the library colours what a terminal shows
    colour = False if context.environ.get("NO_COLOR") else None
    try:
        result = program.main(
            args=arranged(program, argv),
            prog_name=PROGRAM,
            complete_var=COMPLETION_VARIABLE,
            standalone_mode=False,
            obj=context,
            color=colour,
        )
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.message, err=True)
        return ExitCode.USAGE
    except click.UsageError as problem:
        problem.show(sys.stderr)
        return ExitCode.USAGE
    except click.Abort:
        # Ctrl-C, the end of the input, or no to a question
        click.echo("Nothing more was done.", err=True)
        return CommandExit.INTERRUPTED
    return int(result or ExitCode.OK)


def arranged(program: click.Group, argv: Sequence[str]) -> list[str]:
    """Return a command line with its commands first, so that options may stand before them: `--company demo
    connections test 0` is `connections test --company demo 0`.
    """
    words, path, place = list(argv), list[str](), None
    # a command keeps the help option of the first context that it is seen in
    context = click.Context(program, info_name=PROGRAM, help_option_names=_HELP)
    group: click.Command = program
    while isinstance(group, click.Group):
        place = _first_argument(words, group, context)
        found = None if place is None else group.get_command(context, words[place])
        if place is None:
            break
        if found is None:
            near = get_close_matches(words[place], group.list_commands(context), n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {words[place]!r}.{meant}", ctx=context)
        path.append(words.pop(place))
        group, context = found, click.Context(found, info_name=path[-1], parent=context)
    # without a command it is `run`, and of what can be listed it is the list
    if place is None and isinstance(group, click.Group) and not _OWN_OPTIONS & set(words):
        path += [one for one in _DEFAULTS.get(len(path), ()) if one in group.list_commands(context)][:1]
    return [*path, *words]


def _first_argument(words: Sequence[str], group: click.Group, context: click.Context) -> int | None:
    """Return the place of the first word that is neither an option nor the value of one."""
    # only a command line that begins with an option needs to know all of them
    takes_value: set[str] | None = None
    place = 0
    while place < len(words):
        word = words[place]
        if word == "--":
            return None
        if not word.startswith("-") or word == "-":
            return place
        if "=" not in word:
            takes_value = takes_value if takes_value is not None else _with_values(group, context)
            place += word in takes_value
        place += 1
    return None


def _with_values(command: click.Command, context: click.Context) -> set[str]:
    """Return the names of all options that take a value, of a command and of all commands below it."""
    found = {
        name
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count
        for name in parameter.opts
    }
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                found |= _with_values(below, click.Context(below, info_name=name, parent=context))
    return found


def version_of(context: Context) -> str:
    """Return the version that is installed, or that the checkout beside the entry files declares."""
    declared = ConfigParser()
    # a checkout is not installed, and an older installation beside it has another version
    if declared.read(context.entries / "setup.cfg", encoding="utf-8"):
        return declared["metadata"]["version"]
    return version("bulkhead")
