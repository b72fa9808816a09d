"""Statements of the tests themselves, on a connection that each thread keeps.

To open one takes 8 ms of CPU or more, with the server's part and the first look at the tables; most statements take
less than one. The suite runs some ten thousand.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql
from psycopg2.extras import RealDictCursor


class Kept:
    """The connection that was used last, and its address. One: tests ask one database many times in a row, and what is
    kept of a database that is gone would never be asked for again."""

    def __init__(self) -> None:
        self._url = ""
        self._connection: Any = None

    @contextmanager
    def connected(self, url: str) -> Iterator[Any]:
        """Give a connection on which each statement is a transaction of its own, in the state of a new one: without
        prepared statements, locks, settings, temporary tables and roles of who had it before.

        What the database gives to a session (`ALTER DATABASE … SET`) is that of when it was opened; who changes it
        opens a connection of its own.
        """
        connection = self._taken(url)
        try:
            yield connection
            with connection.cursor() as cursor:
                # refused in a transaction, so none is left open
                cursor.execute("DISCARD ALL")
        # also one whose statement failed: what it is in then need not be known
        except BaseException:
            connection.close()
            raise
        self.close()  # what was opened inside of this block
        self._url, self._connection = url, connection

    def close(self) -> None:
        """Close what is kept."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _taken(self, url: str) -> Any:
        if self._connection is not None and self._url == url and not _has_ended(self._connection):
            taken, self._connection = self._connection, None
            return taken
        self.close()
        opened = psycopg2.connect(url)
        opened.autocommit = True
        return opened


def _has_ended(connection: Any) -> bool:
    """Whether the server has ended it: it was asked nothing, so what there is to read is the server's last word."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(connection.closed or poll.poll(0))


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.kept = Kept()


_of_thread = _OfThread()
_lasting: Final[dict[str, str]] = {}
"""Servers, and the address that names them, see `keeping`."""


@contextmanager
def keeping(server_url: str) -> Iterator[None]:
    """Keep connections to this server's databases for the time of the block: it runs for longer than any test. That of
    a test may be killed, and must have no session left when the test ends. None to the database of this very address,
    which others may want to copy: that cannot be done beside a session."""
    _lasting[_server_of(server_url)] = server_url
    try:
        yield
    finally:
        _lasting.pop(_server_of(server_url), None)


def _server_of(url: str) -> str:
    return urlsplit(url)._replace(path="").geturl()


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Give a connection as `Kept.connected` does: the one that this thread keeps, or one of its own to a server that is
    not the suite's."""
    if _lasting.get(_server_of(url), url) != url:
        with _of_thread.kept.connected(url) as connection:
            yield connection
        return
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield connection


def query(url: str, statement: str | sql.Composable, **parameters: Any) -> list[Mapping[str, Any]]:
    """Run any statement in a transaction of its own and return its rows.

    Args:
        url: address of the database. statement: with `%(name)s` for each of `parameters`; without any, `%` is itself.
    """
    with connected(url) as connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(statement, parameters or None)
        rows: list[Any] = cursor.fetchall() if cursor.description else []
        return rows
