"""The database roles of a connection: that of the runtimes for its whole session, that of one company's requests for
one transaction (docs/internals/store.md).

psycopg2 begins and ends transactions by itself, each in a round trip of its own. A company's transaction begins with
its role in one round trip, on a connection in autocommit, so that psycopg2 does not know of it.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import extensions

from shared.store.statements import statements


def enter_runtime(connection: Any) -> None:
    """Take the role of the runtimes for the session."""
    # outside of a transaction, whose end would take the role back
    connection.autocommit = True
    _execute(connection, "enter_runtime")


def begin_as_company(cursor: Any, company_id: str) -> None:
    """Begin a transaction of one company, on a connection in autocommit."""
    # for this transaction alone: a setting of the session would meet the connection's next user
    cursor.execute(f"{statements()['begin_transaction']}; {statements()['enter_company']}", {"company_id": company_id})


def commit(connection: Any) -> None:
    """Commit what is open, in whichever way it was begun."""
    if not connection.autocommit:
        connection.commit()
    elif not is_idle(connection):
        _execute(connection, "commit_transaction")


def roll_back(connection: Any) -> None:
    """Roll back what is open, in whichever way it was begun."""
    if not connection.autocommit:
        connection.rollback()
    elif not is_idle(connection):
        _execute(connection, "roll_back_transaction")


def is_idle(connection: Any) -> bool:
    """Whether a connection is in no transaction; one that is would have its role for the next user too."""
    return bool(connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE)


def _execute(connection: Any, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements()[name])
