"""What a PostgreSQL server says about itself and us, for `bulkhead doctor`: over a connection of its own, since the
schema may be missing.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import psycopg2
from psycopg2 import extras

from shared.errors import StoreUnavailable
from shared.store.statements import statements

_CONNECT_S: Final = 5


def server_facts(database_url: str) -> dict[str, Any]:
    """Return a row of facts (`server_facts`). Raises `StoreUnavailable` with the server's or libpq's own words."""
    try:
        with (
            closing(psycopg2.connect(database_url, connect_timeout=_CONNECT_S, application_name="bulkhead/doctor"))
            as connection,
            connection.cursor(cursor_factory=extras.RealDictCursor) as cursor,
        ):  # fmt: skip
            cursor.execute(statements()["server_facts"])
            return dict(cursor.fetchone() or {})
    except psycopg2.Error as error:
        raise StoreUnavailable(str(error).strip()) from error
