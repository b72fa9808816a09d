"""What the command lines of several commands share: types of arguments, options, and arguments that say where to find
their values.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from shared.numbers import seconds, whole
from supervision.commands.context import Context

_F = TypeVar("_F", bound=Callable[..., Any])

ALL_COMPANIES: Final = "all"
"""Value of `--company` that means every company, where a command lists."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"([0-9]{1,7})([smhd])")


class Checked(click.ParamType[Any]):
    """A type by a function that raises `ArgumentTypeError` with a sentence.

    Args:
        name: of the type, as a usage line shows it.
        read: text to value.
    """

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text; leaves as a usage error when it is none."""
        # a default has its type already
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ArgumentTypeError as problem:
            self.fail(f"{problem}.", param, ctx)


class Target(click.ParamType[str]):
    """A kind or one slot, completed from the registry; the command itself checks it."""

    name = "KIND[-N]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return kinds and slots that begin so."""
        context = ctx.find_object(Context)
        rows = context.rows if context else ()
        names = [
            *(row.name for row in rows),
            *(f"{row.name}-{number}" for row in rows for number in range(row.instances)),
        ]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class PointedArgument(click.Argument):
    """An argument whose absence is explained.

    Args:
        hint: where its values are found.
        given: what click's arguments take.
    """

    def __init__(self, *names: Any, hint: str, **given: Any) -> None:
        super().__init__(*names, **given)
        self._hint = hint

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value; adds the hint when it is missing."""
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter as problem:
            raise click.MissingParameter(self._hint, problem.ctx, problem.param) from None


def count(low: int, high: int | None = None) -> Checked:
    """Return a type of whole numbers."""
    return Checked("N", whole(low) if high is None else whole(low, high))


SECONDS: Final = Checked("SECONDS", seconds)
TARGET: Final = Target()


def duration(text: str) -> int:
    """Return the seconds of a duration such as `90s`, `2h` or `1d`. Raises `ArgumentTypeError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no duration; write 30m, 2h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def instant(text: str) -> datetime:
    """Return the instant that a text names: ISO 8601 (without a zone UTC), or a time ago such as `30m`. Raises
    `ArgumentTypeError`.
    """
    try:
        if _DURATION.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=duration(text))
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{text!r} is no time; write 30m, 2h, 1d for a time ago, or 2026-12-01T09:00:00+01:00"
        ) from None


def label(text: str) -> tuple[str, str]:
    """Return name and value of `name=value`. Raises `ArgumentTypeError`."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ArgumentTypeError(f"{text!r} is no label; write slot=meta-0")
    return name, value


def percent(text: str) -> float:
    """Return a number from 0 to 100. Raises `ArgumentTypeError`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ArgumentTypeError(f"{text!r} is no number from 0 to 100")
    return value


OLD_TABLES: Final = ("numbers", "contacts", "history")
"""What is taken over from a single-process server: names of `shared.store.old_server.TABLES`, which is not loaded
here."""


def old_column(text: str) -> tuple[str, str, str]:
    """Return the parts of WHAT.FIELD=COLUMN. Raises `ArgumentTypeError`."""
    ours, _, theirs = text.partition("=")
    what, _, field = ours.partition(".")
    if not (theirs and field) or what not in OLD_TABLES:
        raise ArgumentTypeError(f"{text!r} is not WHAT.FIELD=COLUMN, for example history.chat_id=remote_jid")
    return what, field, theirs


def old_table(text: str) -> tuple[str, str]:
    """Return the parts of WHAT=TABLE. Raises `ArgumentTypeError`."""
    what, _, theirs = text.partition("=")
    if not theirs or what not in OLD_TABLES:
        raise ArgumentTypeError(f"{text!r} is not WHAT=TABLE, for example history=chat_log")
    return what, theirs


PERCENT: Final = Checked("N", percent)
DURATION: Final = Checked("DURATION", duration)
INSTANT: Final = Checked("WHEN", instant)
LABEL: Final = Checked("NAME=VALUE", label)


def as_json(purpose: str = "One JSON object a line.") -> Callable[[_F], _F]:
    """Return the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help=purpose)


def company(purpose: str = "Of this company.  [default: COMPANY_ID]") -> Callable[[_F], _F]:
    """Return the option `--company`; empty: that of the settings."""
    return click.option("--company", metavar="ID", default="", help=purpose)


def some_companies() -> Callable[[_F], _F]:
    """Return the option `--company` of a command that lists: one, or `all`."""
    return company("Of this company, or `all`.  [default: COMPANY_ID]")


def old_tables(function: _F) -> _F:
    """Add the options that name tables and columns of a single-process server."""
    for name, type_, shape, purpose in (
        ("--table", old_table, "WHAT=TABLE", "A table of theirs; may be repeated."),
        (
            "--column",
            old_column,
            "WHAT.FIELD=COLUMN",
            "A column of theirs, for example history.chat_id=remote_jid; may be repeated.",
        ),
    ):
        option = click.option(name, type=Checked(shape, type_), multiple=True, metavar=shape, help=purpose)
        function = option(function)
    return function


def within(default: float, purpose: str) -> Callable[[_F], _F]:
    """Return the option `--within`."""
    return click.option("--within", type=SECONDS, default=default, metavar="S", show_default=True, help=purpose)


def phone_index(hint: str = "`bulkhead connections list` shows them.") -> Callable[[_F], _F]:
    """Return the argument that names a connection."""
    return click.argument("index", metavar="PHONE_INDEX", type=count(0), cls=PointedArgument, hint=hint)


def joined(words: Sequence[str]) -> str:
    """Return a list for a sentence: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
