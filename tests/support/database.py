"""Statements of the tests themselves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extras import RealDictCursor


def query(url: str, statement: str | sql.Composable, **parameters: Any) -> list[Mapping[str, Any]]:
    """Run any statement on a connection of its own and return its rows."""
    with closing(psycopg2.connect(url, cursor_factory=RealDictCursor)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows
