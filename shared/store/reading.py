"""Copies from which lists, searches and figures are read: kept up to date by the recorder, which follows the events;
typed functions for `queries/reading.sql`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.content import DELETE, EDIT, MARKS
from shared.store import contacts, events, inbound
from shared.store.pool import Row, Transaction, records
from shared.store.targets import ACTING

_LONGEST_TRANSACTION: Final = timedelta(minutes=10)
"""No transaction lasts so long: what comes after a position was written since then."""
_IDLE: Final = 1000
"""Transactions by which the position may stay behind while no message has changed."""
UNCOUNTED: Final = sorted({*MARKS, EDIT, DELETE})
"""Types that are left out of figures unless they are asked for: they are no messages to the person who gets them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step of the copies did.

    Attributes:
        messages: how many were brought up to date. complete: nothing is left that may be read. timed: how long steps
            took that were reached for the first time: connection type, `sent` or `delivered`, seconds, how many.
    """

    messages: int
    complete: bool
    timed: Sequence[tuple[str, str, float, int]] = ()


def advance(transaction: Transaction, *, most_transactions: int) -> Step:
    """Update the copies by the events of at most so many transactions, in one transaction with the position."""
    known = _position(transaction, "messages")
    # queried after the position: the statements below then see every transaction before it
    horizon = events.horizon(transaction)
    before = min(horizon.oldest, known["xid"] + most_transactions)
    complete = before >= horizon.oldest
    changed = transaction.rows(
        "changed_messages", xid=known["xid"], before=before, since=known["read_at"] - _LONGEST_TRANSACTION
    )
    # An idle database stays idle: the position is left behind a little, and the next read begins there again.
    if not changed and complete and before - known["xid"] < _IDLE:
        return Step(messages=0, complete=True)
    # another recorder went on meanwhile
    if transaction.one("lock_reading_position", name="messages")["xid"] != known["xid"]:
        return Step(messages=0, complete=False)
    # Here, where both are final, whichever came first: while one was being written, the other could not see it.
    inbound.withdraw_echoes(transaction, [row["message_id"] for row in changed if row["is_new"] or row["furthest"]])
    messages, timed = _index(transaction, changed, timed=False)
    # the instant is that of a horizon that was reached: of an earlier one, nothing is known about the rest
    transaction.execute("move_reading_position", name="messages", xid=before, read_at=horizon.at if complete else None)
    return Step(messages=messages, complete=complete, timed=timed)


def position(transaction: Transaction) -> int:
    """Return the transaction up to which (not included) the events are in the copies."""
    return int(_position(transaction, "messages")["xid"])


def _position(transaction: Transaction, name: str) -> Row:
    return next(row for row in transaction.rows("reading_positions") if row["name"] == name)


def backfill(transaction: Transaction, *, most: int) -> Step:
    """Index at most `most` messages from before the copies were made, newest first."""
    # without the lock first: when it is complete, nothing is written for ever
    if not _position(transaction, "backfill")["xid"]:
        return Step(messages=0, complete=True)
    below = transaction.one("lock_reading_position", name="backfill")["xid"]
    if not below:
        return Step(messages=0, complete=True)
    rows = transaction.rows("messages_to_backfill", below=below, most=most)
    messages = index_older(transaction, [row["id"] for row in rows])
    complete = len(rows) < most
    transaction.execute("move_reading_position", name="backfill", xid=0 if complete else rows[-1]["id"], read_at=None)
    return Step(messages=messages, complete=complete)


def index_older(transaction: Transaction, ids: Sequence[int]) -> int:
    """Index messages without events of their own: from before the copies were made, or imported. Returns how many."""
    known = [
        {
            "message_id": message_id,
            "sent_at": None,
            "delivered_at": None,
            "furthest": 0,
            "is_new": True,
            "is_rewritten": True,
        }
        for message_id in ids
    ]
    messages, _ = _index(transaction, known, timed=True)
    return messages


def _index(
    transaction: Transaction, changed: Sequence[Row], *, timed: bool
) -> tuple[int, list[tuple[str, str, float, int]]]:
    """`timed`: how long earlier steps took is not known any more."""
    if not changed:
        return 0, []
    rows = [
        {
            "message_id": row["message_id"],
            "sent_at": None if row["sent_at"] is None else row["sent_at"].isoformat(),
            "delivered_at": None if row["delivered_at"] is None else row["delivered_at"].isoformat(),
            "furthest": row["furthest"],
            "is_rewritten": row["is_rewritten"],
        }
        for row in changed
    ]
    indexed = transaction.one("index_messages", rows=records(rows), timed=timed, acting=ACTING)
    contacts.see(transaction, [row["message_id"] for row in changed if row["is_new"]])
    # the middle of the bucket (`latency_bucket`: eight for each doubling of the milliseconds)
    durations = [(kind, step, 2 ** ((bucket + 0.5) / 8) / 1000, many) for kind, step, bucket, many in indexed["timed"]]
    return int(indexed["messages"]), durations


def indexed_at(transaction: Transaction) -> datetime:
    """Return the instant up to which everything is in the copies, by the database's clock."""
    found: datetime = transaction.one("reading_position")["read_at"]
    return found


@dataclass(frozen=True, order=True, slots=True)
class ChatPosition:
    """Where a page of chats begins: after this one."""

    last_at: datetime
    chat_id: str
    connection_id: int


def chats(
    transaction: Transaction, *, company_id: str, before: ChatPosition, connection_id: int | None, most: int
) -> list[Row]:
    """Return (chat_id, connection_id, last_at) of chats, newest first. `connection_id`: only this one's."""
    return transaction.rows(
        "chats_page",
        company_id=company_id,
        before_at=before.last_at,
        before_chat=before.chat_id,
        before_connection=before.connection_id,
        connection_id=connection_id,
        acting=ACTING,
        most=most,
    )


def chats_found(
    transaction: Transaction,
    *,
    before: ChatPosition,
    connection_id: int | None,
    most: int,
    number: str,
    words: str,
) -> list[Row]:
    """As `chats`, of those that a search finds; the company is that of the transaction. `number`: first digits, empty:
    none.
    """
    return transaction.rows(
        "chats_found",
        before_at=before.last_at,
        before_chat=before.chat_id,
        before_connection=before.connection_id,
        connection_id=connection_id,
        # null is like nothing
        number=f"{number}%" if number else None,
        words=words,
        most=most,
    )


def chat_facts(transaction: Transaction, company_id: str, found: Sequence[Row]) -> list[Row]:
    """Return (chat_id, connection_id, chat_ids, message_id, read_at, unread) of chats, in their order. `message_id`: of
    the newest message, None when retention has deleted it.
    """
    if not found:
        return []
    return transaction.rows(
        "chat_facts",
        company_id=company_id,
        chat_ids=[row["chat_id"] for row in found],
        connection_ids=[row["connection_id"] for row in found],
        acting=ACTING,
    )


def people_named(transaction: Transaction, company_id: str, ids: Sequence[str]) -> Mapping[str, Row]:
    """Return people (id, name, profile_name, username) by each of these ids; ids without a person are left out."""
    rows = transaction.rows("people_named", company_id=company_id, ids=list(ids)) if ids else ()
    return {row["alias"]: row for row in rows}


def mark_read(transaction: Transaction, *, company_id: str, chat_id: str, message_id: int | None) -> datetime | None:
    """Mark a chat as read up to a message of it, or up to now. Return until when it is read; None: it has no such
    message, or there is no such chat.
    """
    if message_id is None and not transaction.one("has_chat", company_id=company_id, chat_id=chat_id)["found"]:
        return None
    row = transaction.row("mark_chat_read", company_id=company_id, chat_id=chat_id, message_id=message_id)
    return row["read_at"] if row else None


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFilter:
    """Which messages of a company are listed; None: all.

    Attributes:
        words: any of these, in their texts. since: written at or after it.
    """

    since: datetime
    words: str | None = None
    chat_id: str | None = None
    connection_id: int | None = None
    direction: str | None = None
    type: str | None = None
    state: str | None = None

    @property
    def selects(self) -> bool:
        """Whether it leaves out messages that an index of their instants finds."""
        return any(
            value is not None for value in (self.chat_id, self.connection_id, self.direction, self.type, self.state)
        )


_WALK: Final = 5000
"""Index rows that one filtered page reads: a few milliseconds, however few of them match."""
_OF_THEM: Final = 3
"""Rows for each one of a page that is not filtered: beside an answer, an assistant sends two marks."""


def listed(
    transaction: Transaction, company_id: str, selection: MessageFilter, *, before: tuple[datetime, int], most: int
) -> tuple[list[tuple[datetime, int]], tuple[datetime, int] | None]:
    """Return (instant, id) of at most `most` messages, newest first, and where the next page begins; None: there is
    none. A page may be shorter, even empty, though others follow.
    """
    parameters: dict[str, Any] = {
        "company_id": company_id,
        "before_at": before[0],
        "before_id": before[1],
        "since": selection.since,
        "connection_id": selection.connection_id,
        "direction": selection.direction,
        "type": selection.type,
        "state": selection.state,
        "chat_id": selection.chat_id,
        # one more than requested: its presence means that another page follows
        "most": most + 1,
    }
    if selection.words is not None:
        rows = transaction.rows("messages_found", words=selection.words, **parameters)
        looked, last = 0, None
    else:
        walk = _WALK if selection.selects else _OF_THEM * (most + 1)
        rows = transaction.rows("messages_listed", walk=walk, marks=sorted(MARKS), **parameters)
        looked = rows[0]["looked"] - walk
        last = (rows[0]["last_at"], rows[0]["last_id"]) if looked >= 0 else None
    found = [(row["at"], row["message_id"]) for row in rows if row["message_id"] is not None]
    if len(found) > most:
        return found[:most], found[most - 1]
    return found, last


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureFilter:
    """Which messages are counted, and by what: `since` and `until` are days in UTC, both included; `groups` of `day`,
    `connection`, `channel`, `type`; None: all.
    """

    since: Any
    until: Any
    groups: frozenset[str] = frozenset()
    phone_index: int | None = None
    channel: str | None = None
    type: str | None = None

    def parameters(self, company_id: str) -> dict[str, Any]:
        """Return them for a statement."""
        return {
            "company_id": company_id,
            "since": self.since,
            "until": self.until,
            "phone_index": self.phone_index,
            "channel": self.channel,
            "type": self.type,
            "uncounted": UNCOUNTED,
            **{f"by_{name}": name in self.groups for name in ("day", "connection", "channel", "type")},
        }


def figures(transaction: Transaction, company_id: str, selection: FigureFilter) -> tuple[list[Row], list[Row]]:
    """Return how many messages there were by outcome, and how many were that fast by step and bucket, each with the
    columns that are grouped by.
    """
    parameters = selection.parameters(company_id)
    return transaction.rows("figures", **parameters), transaction.rows("latencies", **parameters)
