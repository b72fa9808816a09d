"""Named SQL: reads `queries/*.sql` and gives each statement by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from shared.kinds import KINDS

HOT: Final = frozenset(
    {
        "accept_messages",
        "apply_inbound_changes",
        "apply_receipts",
        "claim_messages",
        "due_messages",
        "finish_journal",
        "insert_inbound",
        "journal_events",
        "learn_aliases",
        "match_receipts",
        "note_webhook_evidence",
        "see_contacts",
        "settle_messages",
        "take_journal",
        "touch_connections",
    }
)
"""Statements that run for every batch of messages. Each connection prepares them: to plan one costs PostgreSQL more
than to run it.
"""

_PARAMETER = re.compile(r"%\((\w+)\)s")
"""A parameter in psycopg2's form, which PREPARE does not know: there it becomes `$1`, `$2`, …"""
_HEADER = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*) --$", re.MULTILINE)
"""The line that begins a statement. No comment may have this form."""


def parse(text: str, origin: str = "") -> dict[str, str]:
    """Split one file into its statements.

    Args:
        text: statements, each under a line `-- name --` and at least one comment line with its description.
        origin: file name for error messages.
    Raises:
        ValueError: when a statement has no description, no body, more than one statement, or a name that was used
            before.
    """
    found: dict[str, str] = {}
    headers = list(_HEADER.finditer(text))
    for header, following in zip(headers, [*headers[1:], None], strict=False):
        name = header["name"]
        body = text[header.end() : following.start() if following else len(text)].strip()
        if not body.startswith("-- "):
            raise ValueError(f"{origin}: {name} has no description")
        # Comments stay in the file: the server would parse them with each execution, and psycopg2 would read a percent
        # sign in them as a parameter.
        sql = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")).strip().rstrip(";")
        if not sql or name in found:
            raise ValueError(f"{origin}: {name} is {'a name used twice' if name in found else 'empty'}")
        # PREPARE takes one statement, and a second one would run unseen under the first one's name.
        if ";" in sql:
            raise ValueError(f"{origin}: {name} holds more than one statement")
        found[name] = sql
    return found


def query_files() -> list[Path]:
    """Return the files of named statements: those of `shared`, then those of each room."""
    shared = Path(__file__).parents[1]
    # A set: several kinds may share a room, whose file must not be read twice.
    rooms = sorted({row.room for row in KINDS})
    folders = [*sorted(shared.glob("*/queries")), *(shared.parent / room / "queries" for room in rooms)]
    return [file for folder in folders for file in sorted(folder.glob("*.sql"))]


@cache
def statements() -> Mapping[str, str]:
    """Return every named statement of `queries/` in `shared` and in the kinds' rooms. Raises `ValueError` when two
    files use one name.
    """
    everything: dict[str, str] = {}
    for file in query_files():
        for name, sql in parse(file.read_text(encoding="utf-8"), file.name).items():
            if name in everything:
                raise ValueError(f"{file.name}: {name} is a name used twice")
            everything[name] = sql
    return everything


class Prepared(NamedTuple):
    """What a connection sends once, and what it sends every time."""

    prepare: str
    execute: str


@cache
def prepared() -> Mapping[str, Prepared]:
    """Return the hot statements by name."""
    return {name: _prepared(name, statements()[name]) for name in sorted(HOT)}


def _prepared(name: str, sql: str) -> Prepared:
    numbers: dict[str, int] = {}
    # A name that occurs twice keeps its number, so that EXECUTE passes its value once.
    body = _PARAMETER.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", sql)
    return Prepared(
        f"PREPARE {name} AS {body}", f"EXECUTE {name}({', '.join(f'%({parameter})s' for parameter in numbers)})"
    )
