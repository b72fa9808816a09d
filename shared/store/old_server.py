"""Reads the tables of a single-process server: finds them and their columns by the names that such servers use, and
streams their rows in one read-only transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2 import extras, sql

from shared.errors import BulkheadError, StoreUnavailable
from shared.store.statements import parse

_SQL: Final = parse(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"), "old_server.sql")
_CONNECT_S: Final = 5
_BATCH: Final = 500
"""Rows that are fetched at once."""


class OldTablesUnknown(BulkheadError):
    """Raised when a table or a column is missing; its text says how to name it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OldTable:
    """One table as we need it.

    Attributes:
        names: under which it may stand, the first that is there counts. columns: what we need, each with the names of
            columns that may hold it, in lower case and without underscores; the first one that is there counts.
        required: what it cannot do without.
    """

    names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    required: frozenset[str]


TABLES: Final[Mapping[str, OldTable]] = {
    "numbers": OldTable(
        names=("phone_configs",),
        columns={
            "company_id": ("companyid", "tenantid"),
            "phone_index": ("phoneindex", "index"),
            "connection_type": ("connectiontype", "type"),
            "phone_number": ("phonenumber", "number", "phone"),
            "account_id": ("metaphonenumberid", "phonenumberid", "waphonenumberid", "pageid"),
            "waba_id": ("metabusinessaccountid", "businessaccountid", "wabaid", "metawabaid"),
            "access_token": ("metaaccesstoken", "accesstoken", "token"),
            "api_key": ("d360apikey", "api360key", "apikey"),
            "status": ("status", "state"),
        },
        required=frozenset({"company_id", "phone_index", "connection_type"}),
    ),
    "contacts": OldTable(
        names=("contacts",),
        columns={
            "company_id": ("companyid", "tenantid"),
            "phone": ("phone", "phonenumber", "number", "waid", "chatid", "contactid"),
            "name": ("name", "fullname", "displayname", "pushname", "contactname"),
        },
        required=frozenset({"company_id", "phone"}),
    ),
    "history": OldTable(
        names=("messages", "chat_messages", "message_history"),
        columns={
            "company_id": ("companyid", "tenantid"),
            "phone_index": ("phoneindex", "index"),
            "provider_id": ("messageid", "providerid", "wamid", "wamessageid", "externalid", "id"),
            "chat_id": ("chatid", "remotejid", "conversationid", "phone", "contactphone"),
            "sender": ("author", "sender", "fromnumber"),
            "sender_name": ("sendername", "pushname", "notifyname"),
            "from_me": ("fromme", "isfromme", "isoutgoing", "outgoing", "direction"),
            "type": ("type", "messagetype"),
            "body": ("body", "content", "text", "message"),
            "at": ("timestamp", "sentat", "messagetimestamp", "createdat"),
        },
        required=frozenset({"company_id", "phone_index", "provider_id", "chat_id", "at"}),
    ),
}
"""What is imported, and where single-process servers keep it."""


def chosen_columns(what: str, present: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return the column of the table for each of ours that is there.

    Args:
        what: a key of `TABLES`. present: columns of the table. named: ours that an operator named, with the column.
    Raises:
        OldTablesUnknown: a required one is missing, a named one is not there, or it is named for what is not imported.
    """
    table = TABLES[what]
    if unknown := sorted(named.keys() - table.columns.keys()):
        raise OldTablesUnknown(f"{what}: nothing is called {unknown[0]}; there are {', '.join(table.columns)}")
    plain = {name.lower().replace("_", ""): name for name in reversed(present)}
    chosen = {}
    for ours, names in table.columns.items():
        if ours in named:
            if named[ours] not in present:
                raise OldTablesUnknown(f"{what}: there is no column {named[ours]}; there are {', '.join(present)}")
            chosen[ours] = named[ours]
        elif found := next((plain[name] for name in names if name in plain), None):
            chosen[ours] = found
    if missing := sorted(table.required - chosen.keys()):
        raise OldTablesUnknown(
            f"{what}: no column for {', '.join(missing)}; name it with --column {what}.{missing[0]}=COLUMN. There are "
            f"{', '.join(present)}"
        )
    return chosen


class OldServerTables:
    """The tables of one single-process server, read in one transaction.

    Args:
        columns: columns that an operator named: `TABLES` key to (ours to theirs). tables: table names likewise.
    """

    def __init__(self, connection: Any, columns: Mapping[str, Mapping[str, str]], tables: Mapping[str, str]) -> None:
        self._connection, self._named, self._tables = connection, columns, tables

    def columns(self, what: str) -> tuple[tuple[str, str], dict[str, str]] | None:
        """Return (schema, table) and the chosen columns; None when there is no such table. Raises
        `OldTablesUnknown`.
        """
        names = (self._tables[what],) if what in self._tables else TABLES[what].names
        with self._connection.cursor() as cursor:
            cursor.execute(_SQL["find_tables"], {"names": list(names)})
            found = dict(reversed(cursor.fetchall()))
            table = next((name for name in names if name in found), None)
            if table is None:
                if what in self._tables:
                    raise OldTablesUnknown(
                        f"{what}: there is no table {names[0]} of another program in the search path"
                    )
                return None
            cursor.execute(_SQL["columns"], {"place": found[table], "name": table})
            present = [row[0] for row in cursor.fetchall()]
        return (found[table], table), chosen_columns(what, present, self._named.get(what, {}))

    def rows(self, what: str) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a table under our names, by company; nothing when there is no such table. Raises
        `OldTablesUnknown`.
        """
        found = self.columns(what)
        if found is None:
            return
        place, chosen = found
        order = [name for name in ("company_id", "phone_index", "chat_id", "at") if name in chosen]
        statement = sql.SQL(_SQL["read_rows"]).format(
            columns=sql.SQL(", ").join(
                sql.SQL(" AS ").join([sql.Identifier(theirs), sql.Identifier(ours)]) for ours, theirs in chosen.items()
            ),
            table=sql.Identifier(*place),
            order=sql.SQL(", ").join(sql.Identifier(chosen[name]) for name in order),
        )
        # a cursor in the server: a history is larger than memory
        with self._connection.cursor(f"read_{what}", cursor_factory=extras.RealDictCursor) as cursor:
            cursor.itersize = _BATCH
            cursor.execute(statement)
            for row in cursor:
                yield dict(row)


def mark_number(
    url: str,
    *,
    company_id: str,
    phone_index: int,
    status: str,
    columns: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, str],
) -> None:
    """Write the status of one number into the server's table, in a transaction of its own.

    Raises:
        StoreUnavailable, OldTablesUnknown: as above; there is no column for a status, or no such number.
    """
    try:
        with (
            closing(psycopg2.connect(url, connect_timeout=_CONNECT_S, application_name="bulkhead/move")) as opened,
            opened,
            opened.cursor() as cursor,
        ):
            found = OldServerTables(opened, columns, tables).columns("numbers")
            if found is None or "status" not in found[1]:
                raise OldTablesUnknown("numbers: no column for status; name it with --column numbers.status=COLUMN")
            place, chosen = found
            names = {ours: sql.Identifier(chosen[ours]) for ours in ("status", "company_id", "phone_index")}
            values = {"status": status, "company_id": company_id, "phone_index": phone_index}
            cursor.execute(sql.SQL(_SQL["mark_number"]).format(table=sql.Identifier(*place), **names), values)
            if cursor.rowcount != 1:
                raise OldTablesUnknown(f"numbers: {cursor.rowcount} rows of {company_id}/{phone_index} instead of one")
    except psycopg2.Error as error:
        raise StoreUnavailable(f"the single-process server's database: {str(error).strip()}") from error


@contextmanager
def open_tables(
    url: str, *, columns: Mapping[str, Mapping[str, str]], tables: Mapping[str, str]
) -> Iterator[OldServerTables]:
    """Open the server's database for reading: one state of it, whatever it writes meanwhile. Raises
    `StoreUnavailable`.
    """
    try:
        with closing(psycopg2.connect(url, connect_timeout=_CONNECT_S, application_name="bulkhead/import")) as opened:
            opened.set_session(isolation_level="REPEATABLE READ", readonly=True)
            yield OldServerTables(opened, columns, tables)
    except psycopg2.Error as error:
        raise StoreUnavailable(f"the single-process server's database: {str(error).strip()}") from error
