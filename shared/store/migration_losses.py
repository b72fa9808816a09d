"""What a rollback of a migration would lose: read from its file, counted in the database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg2 import sql

_COMMENT: Final = re.compile(r"--[^\n]*")
_TABLES: Final = re.compile(
    r"\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?([a-z_0-9\s,]+?)\s*(?:CASCADE|RESTRICT)?\s*;", re.IGNORECASE
)
_ALTER: Final = re.compile(r"\bALTER\s+TABLE\s+(?:ONLY\s+)?([a-z_0-9]+)\s([^;]*);", re.IGNORECASE)
_COLUMN: Final = re.compile(r"\bDROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?([a-z_0-9]+)", re.IGNORECASE)
_DELETE: Final = re.compile(r"\bDELETE\s+FROM\s+([a-z_0-9]+)", re.IGNORECASE)
_MOST: Final = 1_000_000
"""Most rows that are counted: a larger number is no more useful, and counting takes time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What one statement drops.

    Attributes:
        what: `table`, `column` or `rows`. name: of the table, or table.column. rows: with a value in it, at most
            `_MOST`.
    """

    what: str
    name: str
    rows: int

    def __str__(self) -> str:
        count = f"more than {_MOST:,}" if self.rows >= _MOST else f"{self.rows:,}"
        return {
            "table": f"table {self.name} with {count} rows",
            "column": f"column {self.name}, set in {count} rows",
            "rows": f"some of {count} rows of {self.name}",
        }[self.what]


def dropped(rollback: str) -> Iterator[tuple[str, str, str]]:
    """Yield (what, table, column or empty) of each table, column and row that a rollback's SQL drops."""
    text = _COMMENT.sub("", rollback)
    for match in _TABLES.finditer(text):
        yield from (("table", name.strip().lower(), "") for name in match[1].split(","))
    for match in _ALTER.finditer(text):
        yield from (("column", match[1].lower(), column.lower()) for column in _COLUMN.findall(match[2]))
    yield from (("rows", name.lower(), "") for name in dict.fromkeys(_DELETE.findall(text)))


def losses(cursor: Any, statements: Mapping[str, str], rollback: str) -> list[Loss]:
    """Return what a rollback's SQL would lose in this database; what is empty, or not there, is left out.

    Args:
        statements: `is_relation`, `count_rows` and `count_values`, in which `{table}` and `{column}` are names.
    """
    found = []
    for what, table, column in dropped(rollback):
        cursor.execute(statements["is_relation"], {"table": table})
        if not cursor.fetchone()[0]:
            continue
        count = sql.SQL(statements["count_values" if column else "count_rows"])
        cursor.execute(
            count.format(table=sql.Identifier(table), column=sql.Identifier(column)) if column
            else count.format(table=sql.Identifier(table)),
            {"most": _MOST},
        )  # fmt: skip
        (rows,) = cursor.fetchone()
        if rows:
            found.append(Loss(what=what, name=f"{table}.{column}" if column else table, rows=rows))
    return found
