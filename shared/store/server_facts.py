"""Facts that a PostgreSQL server reports about itself and our user, for `bulkhead doctor`: over a separate connection,
since the schema may be missing.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import psycopg2
from psycopg2 import extras

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.store.address import connected
from shared.store.statements import statements
from shared.store.waiting import DeadlinePassed

_CONNECT_S: Final = 5.0
"""Seconds for all servers of the address together."""


def server_facts(database_url: str, host: str) -> dict[str, Any]:
    """Return a row of facts (`server_facts`), with how many connections hosts other than `host` may open
    (`of_other_hosts`), and their names (`other_hosts`). Raises `StoreUnavailable` with the server's or libpq's own
    words.
    """
    try:
        connection, _ = connected(database_url, monotonic() + _CONNECT_S, application_name="bulkhead/doctor")
        with (
            closing(connection),
            connection.cursor(cursor_factory=extras.RealDictCursor) as cursor,
        ):
            cursor.execute(statements()["server_facts"])
            facts = dict(cursor.fetchone() or {})
            others = {"most": 0, "hosts": []}
            if facts["has_heartbeats"]:
                cursor.execute(statements()["connections_of_others"], {"host": host})
                others = dict(cursor.fetchone() or others)
            return facts | {"of_other_hosts": others["most"], "other_hosts": others["hosts"]}
    except DeadlinePassed as error:
        raise StoreUnavailable("PostgreSQL did not answer in time", outage="slow") from error
    except psycopg2.Error as error:
        raise StoreUnavailable(str(error).strip()) from error
