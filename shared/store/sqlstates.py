"""Decides from an SQLSTATE whether an error is about this row or our code, or about the database.

Errors about a row or a statement are listed, because they are few and stable. Everything else means that the database
cannot serve now (failover, revoked privilege, full disk, shutdown, a pooler in between): callers wait and live on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import psycopg2

from shared.errors import Outage

_ROW_OR_BUG: Final = frozenset({"21", "22", "23", "27", "2F", "38", "39", "42", "44", "54", "P0"})
"""Classes (the first two characters) of errors that come back however often the same statement runs with the same
values: PostgreSQL, appendix A. 22 and 23 are data and constraints, 42 is the statement, 54 a limit of the program, P0
PL/pgSQL.
"""
_SCHEMA: Final = frozenset({"42P01", "42703", "42883", "42704", "42P10"})
"""A table, column, function, type or unique index that a migration makes is not there yet."""
_SESSION: Final = frozenset({"26000", "42P05", "0A000"})
"""A prepared statement is missing, its name is taken, or its result type has changed: a new connection serves the same
statement.
"""
_PRIVILEGE: Final = "42501"
"""`insufficient_privilege`: of class 42, but an administrator's change of a role, which ends when it is undone."""
_TRANSACTION_BUGS: Final = frozenset({"25001", "25P01", "25P02"})
"""Statements that our code runs in the wrong state of a transaction; the rest of class 25 is a server that is read-only
or gave up on us.
"""


_OUTAGES: Final[Mapping[str, Outage]] = {
    # by code, else by class
    "25006": "read_only",
    "25P03": "slow",
    "25P04": "slow",
    "28": "privilege",
    "40": "busy",
    "42501": "privilege",
    "42": "schema",
    "53": "full",
    "55P03": "busy",
    "57014": "slow",
}
"""Why the database cannot serve now, by SQLSTATE; every other one: it is away, or as good as away."""
# without a connection there is no SQLSTATE. PostgreSQL's English texts for class 53; in another language it is "away"
_NO_CONNECTION_LEFT: Final = ("too many clients", "too many connections", "connection slots are reserved")


class Trouble(Enum):
    """What an error of PostgreSQL is about.

    Attributes:
        ROW: this row, or a bug of ours. SCHEMA: the migrations have not run. SESSION: this connection's prepared
            statements. DATABASE: anything else.
    """

    ROW = auto()
    SCHEMA = auto()
    SESSION = auto()
    DATABASE = auto()


def trouble(error: psycopg2.Error) -> Trouble:
    """Classify `error`. One without an SQLSTATE was raised by the client: a wrong call of ours, or a connection that
    broke.
    """
    state = error.pgcode
    if state is None:
        # psycopg2 raises these by itself for a wrong call, for example a parameter that is missing.
        ours = (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError)
        return Trouble.ROW if isinstance(error, ours) else Trouble.DATABASE
    # Before the classes: these codes are of class 42, which counts as a bug of ours otherwise.
    if state in _SCHEMA:
        return Trouble.SCHEMA
    if state in _SESSION:
        return Trouble.SESSION
    if state in _TRANSACTION_BUGS or (state[:2] in _ROW_OR_BUG and state != _PRIVILEGE):
        return Trouble.ROW
    return Trouble.DATABASE


def outage(error: psycopg2.Error) -> Outage:
    """Return why the database cannot serve now, by an error that is not about a row."""
    state = error.pgcode
    if state is None:
        return "full" if any(text in str(error) for text in _NO_CONNECTION_LEFT) else "away"
    return _OUTAGES.get(state) or _OUTAGES.get(state[:2]) or "away"
