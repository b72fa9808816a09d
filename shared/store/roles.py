"""The database roles of a connection: that of the runtimes for its whole session, that of one company's requests for
one transaction (docs/internals/store.md).

psycopg2 would begin each transaction in a round trip of its own. Connections are in autocommit, so that psycopg2 does
not know of transactions, and what begins one is sent together with its first statement.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import extensions

from shared.store.statements import statements


def enter_runtime(connection: Any) -> None:
    """Take the role of the runtimes for the session, and leave the beginning of transactions to `BeginningCursor`."""
    # outside of a transaction, whose end would reset the role
    connection.autocommit = True
    with connection.cursor() as cursor:
        # in one round trip; the second one's function stands in the schema that the first one finds
        cursor.execute(f"{statements()['enter_schema']};{statements()['enter_runtime']}")


class BeginningCursor(extensions.cursor):
    """A cursor that sends what begins its transaction together with the first statement that it is given: no
    statement of a company runs before its role.
    """

    _beginning = b""

    def begin_with_next(self, company_id: str | None) -> None:
        """Let the next statement begin a transaction: of one company, or (None) of all."""
        begin = f"{statements()['begin_transaction']};".encode()
        if company_id is not None:
            # for this transaction alone: a setting of the session would meet the connection's next user
            begin += self.mogrify(statements()["enter_company"], {"company_id": company_id}) + b";"
        self._beginning = begin

    def execute(self, query: Any, vars: Any = None) -> None:
        """Run a statement; see psycopg2."""
        if not self._beginning:
            super().execute(query, vars)
            return
        # Bytes and no parameters: nothing in it is a place for a parameter any more.
        super().execute(self._beginning + self.mogrify(query, vars))
        # only now: after a statement that did not arrive, the next one still has to begin
        self._beginning = b""


def commit(connection: Any) -> None:
    """Commit what is open, if a statement has begun it. Raises `RuntimeError` when PostgreSQL rolled it back instead,
    since a statement had failed and the caller went on.
    """
    if is_idle(connection):
        return
    # PostgreSQL answers with the command that it has done
    if (done := _execute(connection, "commit_transaction")) != statements()["commit_transaction"]:
        raise RuntimeError(f"a statement of the transaction had failed: its commit ended in {done}")


def roll_back(connection: Any) -> None:
    """Roll back what is open, if a statement has begun it."""
    if not is_idle(connection):
        _execute(connection, "roll_back_transaction")


def is_idle(connection: Any) -> bool:
    """Whether a connection is in no transaction; one that is would have its role for the next user too."""
    return bool(connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE)


def _execute(connection: Any, name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statements()[name])
        return str(cursor.statusmessage)
