"""A company with connections in a real database, and short ways to put messages there and to look at the outcome of
them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from shared.channels.registry import kind_for
from shared.messages import OutboundMessage, Receipt
from shared.states import MessageState
from shared.store import companies, connections, messages
from shared.store import receipts as store_receipts
from shared.store.messages import Accepted, NewMessage, Settlement
from shared.store.pool import Pool
from shared.store.store import Store
from tests.support.database import query
from tests.support.waiting import deadline_s, joined

_T = TypeVar("_T")

LONG_AGO = datetime(2024, 5, 1, tzinfo=UTC)
JOIN_S = 20.0
_EMPTIED: Final = (
    # most rows go with their company, those of the installation do not
    *("companies", "hooks", "hook_deliveries", "api_keys", "tasks", "alerts", "alert_silences", "process_health"),
    *("process_metrics", "events", "event_positions", "event_names", "webhook_outages", "inbound_journal"),
)


def open_store(url: str, *, limit: int = 8, query_s: float = 5.0, connect_s: float = 5.0, name: str = "test") -> Store:
    """Return a store of its own over `url`."""
    return Store(Pool(url, limit=limit, application_name=name, idle_s=30.0, connect_s=connect_s), query_s=query_s)


def empty(url: str) -> None:
    """Remove what earlier tests have left in a database that a folder keeps."""
    query(url, "; ".join(f"DELETE FROM {table}" for table in _EMPTIED))


def token_of(url: str, row_id: int, attempt: int = 1) -> str:
    """Return the token of one attempt of a row, as the claim writes it."""
    (row,) = query(
        url,
        """SELECT i.id AS installation, to_hex((extract(epoch FROM m.created_at) * 1000000)::bigint) AS accepted
        FROM messages m, installation i WHERE m.id = %(id)s""",
        id=row_id,
    )
    return f"bulkhead:{row['installation']}:{row_id}:{attempt}:{row['accepted']}"


@contextmanager
def open_transaction(url: str, statement: str = "SELECT", **parameters: Any) -> Iterator[Any]:
    """Hold a transaction open that has run `statement`; it commits at the end of the block."""
    with closing(psycopg2.connect(url)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            yield connection
        connection.commit()


def side_by_side(*work: Callable[[], _T]) -> list[_T]:
    """Run functions at the same moment, one thread each, and return their results in order; the first error is raised
    here.
    """
    barrier = threading.Barrier(len(work))
    results: dict[int, _T] = {}
    errors: list[BaseException] = []

    def run(position: int, one: Callable[[], _T]) -> None:
        try:
            barrier.wait(deadline_s(JOIN_S))
            results[position] = one()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        joined(thread, JOIN_S)
    if errors:
        raise errors[0]
    return [results[position] for position in range(len(work))]


def backends(url: str, name: str) -> list[int]:
    """Return the pids of the server's processes for connections whose application name starts with `name`."""
    statement = """SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE %(name)s || '%%'
                    AND pid <> pg_backend_pid()"""
    return [row["pid"] for row in query(url, statement, name=name)]


def cut(url: str, name: str = "") -> int:
    """Let the server end the connections whose application name starts with `name`, as a restart of it would, and
    return how many there were.
    """
    pids = backends(url, name)
    query(url, "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%(pids)s::int[]) AS t(pid)", pids=pids)
    return len(pids)


@contextmanager
def away(server_url: str, url: str) -> Iterator[None]:
    """Take one database away, those connected included; it is back at the end of the block."""
    name = urlsplit(url).path.lstrip("/")
    query(server_url, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    try:
        query(
            server_url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %(name)s",
            name=name,
        )
        yield
    finally:
        query(server_url, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


SLOW_COMMIT = """
    CREATE OR REPLACE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared(71); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT OR UPDATE ON messages DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.state = '{state}') EXECUTE FUNCTION wait_at_commit();
"""


class SlowCommits:
    """While the block runs, certain commits wait at the server; then they go through, the process that has given up
    meanwhile. See `StoreEnv.slow_commits`.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Self:
        self._lock = psycopg2.connect(self._url)
        with self._lock.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(71)")
        return self

    def waiting(self) -> int:
        """Return how many commits wait."""
        return len(
            query(self._url, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 71 AND NOT granted")
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.close()


class StoreEnv:
    """One database, one store, and what tests do with them all the time.

    Attributes:
        connection: id of the first connection, `acme`'s phone 0 on `meta_direct`.
    """

    def __init__(self, url: str, *, limit: int = 8) -> None:
        self.url = url
        self.store = open_store(url, limit=limit)
        self.connection = self.connect()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def connect(self, company: str = "acme", phone_index: int = 0, connection_type: str = "meta_direct") -> int:
        """Make a company's connection and return its id."""
        self.store.run(companies.ensure, company)
        return self.store.run(
            connections.ensure, company_id=company, phone_index=phone_index, connection_type=connection_type
        )

    def message(self, chat: str = "a", **fields: Any) -> NewMessage:
        """Return a message to accept on the first connection, or as `fields` say."""
        defaults: dict[str, Any] = {
            "company_id": "acme",
            "connection_id": self.connection,
            "process_name": kind_for(fields.pop("connection_type", "meta_direct")).name,
            "type": "text",
            "content": {"body": "hello"},
        }
        return NewMessage(chat_id=chat, **(defaults | fields))

    def accept(self, *chats: str, **fields: Any) -> list[int]:
        """Accept one message for each chat named and return their ids."""
        return [one.id for one in self.accepted([self.message(chat, **fields) for chat in chats])]

    def accepted(self, rows: Sequence[NewMessage]) -> list[Accepted]:
        """Accept `rows` in one batch."""
        return self.store.run(messages.accept, rows)

    def claim(
        self,
        ids: Sequence[int] = (),
        *,
        incarnation: str = "meta-0.a",
        chats: Sequence[tuple[int, str]] = (),
        most: int = 100,
        token_at_claim: bool = True,
        kind: str = "meta",
    ) -> list[OutboundMessage]:
        """Claim rows."""
        return self.store.run(
            messages.claim,
            kind=kind,
            incarnation=incarnation,
            ids=ids,
            chats=chats,
            most=most,
            token_at_claim=token_at_claim,
        )

    def claimed_ids(self, ids: Sequence[int], **named: Any) -> list[int]:
        """Claim rows and return which were claimed."""
        return [message.id for message in self.claim(ids, **named)]

    def token(self, row_id: int, attempt: int = 1) -> str:
        """Return the token of one attempt, as the claim writes it."""
        return token_of(self.url, row_id, attempt)

    def settle(self, row_id: int, state: MessageState, *, incarnation: str = "meta-0.a", **fields: Any) -> bool:
        """Write one outcome and return whether it was written."""
        return row_id in self.store.run(
            messages.settle, incarnation=incarnation, settlements=[Settlement(id=row_id, state=state, **fields)]
        )

    def receipts(self, *receipts: Receipt) -> list[bool]:
        """Apply receipts in one batch."""
        return self.store.run(store_receipts.apply, receipts)

    def row(self, row_id: int) -> Mapping[str, Any]:
        """Return everything that is stored about a message."""
        return query(self.url, "SELECT * FROM messages WHERE id = %(id)s", id=row_id)[0]

    def state(self, row_id: int) -> str:
        """Return a message's state."""
        return str(self.row(row_id)["state"])

    def history(self, row_id: int) -> list[str]:
        """Return the states that stand in a message's history, in order."""
        return [row["state"] for row in self.store.run(messages.history, row_id)]

    @contextmanager
    def slow_commits(self, state: str) -> Iterator[SlowCommits]:
        """Give a block in which commits that bring a message into `state` wait."""
        query(self.url, SLOW_COMMIT.format(state=state))
        try:
            yield SlowCommits(self.url)
        finally:
            query(self.url, "DROP TRIGGER slow_commit ON messages")

    def rows(self, row_ids: Sequence[int]) -> list[Mapping[str, Any]]:
        """Return everything that is stored about these messages, in the order of their ids."""
        return query(self.url, "SELECT * FROM messages WHERE id = ANY(%(ids)s) ORDER BY id", ids=list(row_ids))

    def set(self, row_id: int, assignments: str, **parameters: Any) -> None:
        """Bring a row into a condition that takes long to reach otherwise."""
        query(self.url, f"UPDATE messages SET {assignments} WHERE id = %(row_id)s", row_id=row_id, **parameters)
