"""The page of the command line and the tables of its exit codes, made from the commands themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import EnumMeta
from pathlib import Path
from typing import Any

import click

from embedded import addresses
from shared.kinds import KINDS
from supervision.commands import command_exits, command_line
from supervision.commands.context import Context
from supervision.decisions.restart_policy import Policy

_ENTRIES = Path(__file__).parents[1]


def member_meanings(path: Path, table: str) -> dict[str, str]:
    """Return the docstring of each member of an enumeration, by name.

    Args:
        path: of its module. table: its class.
    """
    # a member's docstring does not exist at run time, only in the source
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == table]
    meanings: dict[str, str] = {}
    name = ""
    for statement in found.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
        elif name and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            meanings[name] = " ".join(str(statement.value.value).split())
    return meanings


def enum_table(path: Path, table: EnumMeta) -> str:
    """Return the table of an enumeration of exit codes."""
    meanings = member_meanings(path, table.__name__)
    rows = ["| name | code | meaning |", "|---|---|---|"]
    members: list[Any] = list(table)
    rows += [f"| `{code.name}` | {code.value} | {meanings[code.name]} |" for code in members]
    return "\n".join(rows) + "\n"


def command_exit_table() -> str:
    """Return the table of exit codes that only commands have."""
    return enum_table(Path(command_exits.__file__), command_exits.CommandExit)


def needs_table() -> str:
    """Return the table of what each command needs."""
    meanings = member_meanings(Path(command_exits.__file__), "Needs")
    rows = ["| needs | without it | commands |", "|---|---|---|"]
    for need in command_exits.Needs:
        names = ", ".join(f"`{name}`" for name, its in command_exits.NEEDS.items() if its is need)
        rows.append(f"| {need.value} | {meanings[need.name]} | {names} |")
    return "\n".join(rows) + "\n"


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command that does something, in the order of the help, with its whole name."""
    context = Context(environ={}, rows=KINDS, entries=_ENTRIES, embedded=addresses, policy=Policy())
    root = command_line.root(context)
    yield from _below(root, click.Context(root, info_name="bulkhead"))


def _below(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is None:
            raise KeyError(name)
        below = click.Context(found, info_name=name, parent=context)
        if isinstance(found, click.Group):
            yield from _below(found, below)
        else:
            yield below.command_path, found, below


def commands_page() -> str:
    """Return the reference of all commands."""
    rows: list[str] = []
    group = ""
    for path, command, context in commands():
        first = path.split()[1]
        if first != group:
            group = first
            rows += [f"### {group}", ""]
            parent = context.parent
            if parent is not None and parent.parent is not None:
                rows += [_paragraphs(parent.command), ""]
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        rows += [f"`{usage}`", "", _paragraphs(command), ""]
        options = [
            one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts
        ]
        if options:
            rows += ["| option | meaning |", "|---|---|", *map(_option, options), ""]
    return "\n".join(rows)


def _paragraphs(command: click.Command) -> str:
    text = (command.help or "").strip()
    if "\b" in text:
        before, _, block = text.partition("\b\n")
        return f"{' '.join(before.split())}\n\n```\n{block.rstrip()}\n```"
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{option.make_metavar(click.Context(click.Command('')))}`"
    meaning = option.help or ""
    default = (
        f" Default: `{option.default:g}`." if option.show_default and isinstance(option.default, int | float) else ""
    )
    if option.show_default and isinstance(option.default, str) and option.default:
        default = f" Default: `{option.default}`."
    needed = " Needed." if option.required else ""
    return f"| {names}{value} | {meaning.replace('|', chr(92) + '|')}{needed}{default} |"
