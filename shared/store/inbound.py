"""What came in: the raw journal, the normalised messages and what changes them, people, and events of accounts; typed
functions for `queries/inbound.sql`.

The files that came with messages are in `inbound_media.py`, and what operators read of the journal in
`inbound_journal.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.filenames import with_clean_names
from shared.inbound_events import AccountEvent, Arrived, Contact, ContactMove, MarketingChoice, Watermark
from shared.messages import InboundMessage, Receipt
from shared.states import MESSAGE_TRANSITIONS, MessageState, predecessors
from shared.store import erasure, people
from shared.store.people import OnePerson
from shared.store.pool import Row, Transaction, records

_EDIT = "edit"
"""Type of a message that changes another one's words."""
REVOKE = "revoke"
"""Type of a message that revokes another one."""
_CHANGES: Final = frozenset({_EDIT, REVOKE})
_PARTS_MOST = 50
"""Files of one message that a provider may send at once; Messenger's clients stop at 30."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawEvent:
    """One event as it came: `source` names the provider's door, `connection_id` is None when only the body names
    one.
    """

    source: str
    body: bytes
    connection_id: int | None = None


def journal(transaction: Transaction, kind: str, events: Sequence[RawEvent]) -> list[int]:
    """Keep raw events. Returns their journal ids."""
    rows = transaction.rows(
        "journal_events",
        kind=kind,
        sources=[event.source for event in events],
        connection_ids=[event.connection_id for event in events],
        bodies=[event.body for event in events],
    )
    return [row["id"] for row in rows]


def take(transaction: Transaction, kind: str, *, most: int) -> list[Row]:
    """Lock a batch of raw events that are not processed, oldest first: (id, source, connection_id, body, received_at,
    attempts).

    The commit of what is made of them does not wait for the disk: a crash of PostgreSQL that takes it takes the mark
    that they were processed with it, and they are processed again.
    """
    transaction.execute("commit_unforced")
    return [{**row, "body": bytes(row["body"])} for row in transaction.rows("take_journal", kind=kind, most=most)]


def finish(transaction: Transaction, outcomes: dict[int, str]) -> None:
    """Mark raw events as processed; `outcomes` by id: what went wrong ("" for nothing)."""
    transaction.execute("finish_journal", ids=list(outcomes), outcomes=list(outcomes.values()))


def import_history(transaction: Transaction, messages: Sequence[InboundMessage]) -> list[int]:
    """Keep messages of a server that was used before: they make no event, and no automation acts on them. Returns
    the ids of those that were new.
    """
    rows = [
        {
            "connection_id": message.connection_id,
            "provider_id": message.provider_id,
            "chat_id": message.chat_id,
            "sender": message.sender,
            "sender_name": message.sender_name,
            "from_me": message.from_me,
            "type": message.type,
            "content": dict(message.content),
            "at": message.at.isoformat(),
        }
        for message in messages
    ]
    return [row["id"] for row in transaction.rows("import_inbound", rows=records(rows))]


def insert(transaction: Transaction, messages: Sequence[tuple[InboundMessage, int | None]]) -> list[Row]:
    """Keep normalised messages, each with its journal id, and apply edits and revokes.

    One that is there already is left alone, unless it was `unknown` then and is not now. An echo of a message that we
    sent is no message.

    Returns:
        (id, connection_id, provider_id, arrived) of those that were new, or are understood only now; `arrived`: an
        `Arrived` of a company that keeps conversations, else None.
    """
    # Reversed, so that of two with one id the first is kept: ON CONFLICT accepts a key once in a statement, and a
    # webhook may repeat a message.
    unique = {
        (message.connection_id, message.provider_id): (message, journal_id)
        for message, journal_id in reversed(messages)
    }
    rows = [
        {
            "connection_id": message.connection_id,
            "journal_id": journal_id,
            "provider_id": message.provider_id,
            "chat_id": message.chat_id,
            "sender": message.sender,
            "sender_name": message.sender_name,
            "sender_username": message.sender_username,
            "from_me": message.from_me,
            "may_trigger": message.may_trigger,
            "type": message.type,
            # at this one place, for every channel: the file's name was chosen by its sender
            "content": with_clean_names(message.content),
            "context": message.context,
            "at": message.at.isoformat(),
        }
        # in one order everywhere, so that two instances never wait for each other's keys
        for _, (message, journal_id) in sorted(unique.items(), key=lambda one: one[0])
    ]
    new = transaction.rows("insert_inbound", rows=records(rows))
    fresh = {(row["connection_id"], row["provider_id"]): row["id"] for row in new}
    if new:
        arrived = [message for message, _ in unique.values()]
        # each asked for only where some message needs it: most batches hold none
        if any(message.content.get("quoted") and not message.from_me for message in arrived):
            people.learn_from_replies(transaction, list(fresh.values()))
        changes = [
            _Change(id=fresh[name], type=message.type, from_me=message.from_me)
            for name, (message, _) in sorted(unique.items(), key=lambda one: one[0])
            # Only what is new: a repeated webhook must not delete a message that was changed since.
            if message.type in _CHANGES and name in fresh
        ]
        _apply(
            transaction, list(fresh.values()), changes, is_scoped=any(_names_a_wamid(message) for message in arrived)
        )
    erasure.note_copies(
        transaction,
        {
            (*name, journal_id)
            for message, journal_id in messages
            if journal_id is not None
            and ((name := (message.connection_id, message.provider_id)) not in fresh or unique[name][1] != journal_id)
        },
    )
    return [{**row, "arrived": _arrived(row, unique)} for row in new]


def _arrived(row: Row, messages: Mapping[tuple[int, str], tuple[InboundMessage, int | None]]) -> Arrived | None:
    if row["conversing"] is None:
        return None
    message, _ = messages[row["connection_id"], row["provider_id"]]
    return Arrived(id=row["id"], company_id=row["conversing"], message=message)


def withdraw_echoes(transaction: Transaction, ids: Sequence[int]) -> int:
    """Remove lines that are messages of ours, whose id at the provider was not stored yet when their echo came; `ids`:
    messages of either direction that have changed. Return how many. Repeated, it changes nothing.
    """
    return len(transaction.rows("withdraw_echoes", ids=list(ids))) if ids else 0


def parked(transaction: Transaction, *, most: int) -> list[int]:
    """Return edits and deletions that had found no message and are to be applied again now, up to `most` of them."""
    return [row["id"] for row in transaction.rows("parked_changes", most=most)]


def apply_parked(transaction: Transaction, ids: Sequence[int]) -> None:
    """Apply edits and deletions again that had found no message.

    Their message may have had no id of the provider's yet, may have been in another process's hands, or an alias of its
    chat was learned since.
    """
    changes = [_Change(**row) for row in transaction.rows("take_parked_changes", ids=list(ids))]
    if changes:
        _apply(transaction, [change.id for change in changes], changes, is_scoped=True)


def unpark(transaction: Transaction, change: int) -> None:
    """Look at an edit or a deletion no more: it cannot be applied."""
    transaction.execute("unpark_change", id=change)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """An edit or a deletion that came in: our id of it."""

    id: int
    type: str
    from_me: bool


def _apply(transaction: Transaction, ids: Sequence[int], changes: Sequence[_Change], *, is_scoped: bool) -> None:
    """Let edits and deletions take hold on what they name, and earlier ones on the messages among `ids`.

    Args:
        changes: those among `ids`. is_scoped: whether they may name a message by another spelling of its id.
    """
    if is_scoped:
        transaction.execute("resolve_scoped_ids", ids=list(ids))
    if edits := [change.id for change in changes if change.from_me and change.type == _EDIT]:
        transaction.execute("edit_sent", ids=edits)
    changed = transaction.rows("apply_inbound_changes", ids=list(ids), most_parts=_PARTS_MOST)
    if revokes := [change.id for change in changes if change.from_me and change.type == REVOKE]:
        transaction.execute(
            "revoke_sent",
            ids=revokes,
            before=[
                state
                for state in predecessors(MESSAGE_TRANSITIONS, MessageState.DELETED)
                # A queued message is not at the provider, so no hand on a phone can have deleted it.
                if state is not MessageState.QUEUED
            ],
        )
    erasure.erase_deleted(transaction, [row["id"] for row in changed])
    if changes:
        named = [change.id for change in changes]
        erasure.erase_targets(transaction, named)
        transaction.execute("park_changes", ids=named)


def _names_a_wamid(message: InboundMessage) -> bool:
    return any(str(message.content.get(name, "")).startswith("wamid.") for name in ("quoted", "target"))


def see(
    transaction: Transaction,
    contacts: Sequence[Contact],
    moves: Sequence[ContactMove] = (),
    choices: Sequence[MarketingChoice] = (),
) -> None:
    """Store people, changes of their numbers and ids, and their choices about marketing messages; idempotent."""
    # Numbers that are named together with a user id. Whatever names only the number means the same person. In the order
    # of time: of two people with one number the newer has it.
    named = [one for one in sorted(contacts, key=lambda one: one.at) if one.phone and one.user_id != one.phone]
    both = {(one.connection_id, one.phone): one.user_id for one in named}
    if contacts:
        rows = [
            {
                "connection_id": one.connection_id,
                "user_id": both.get((one.connection_id, one.user_id), one.user_id),
                "phone": one.phone or None,
                "name": one.name,
                "username": one.username,
                "at": one.at.isoformat(),
            }
            for one in sorted(contacts, key=lambda one: (one.connection_id, one.user_id))
        ]
        transaction.execute("see_contacts", rows=records(rows))
    # After the contacts were written: a move merges the old row into the one that may have been made just now.
    _move(transaction, moves, contacts)
    people.learn(
        transaction,
        [OnePerson(connection_id=one.connection_id, first=one.user_id, second=one.phone, at=one.at) for one in named]
        # a user id that was replaced; a number that was given up may soon be another person's
        + [
            OnePerson(connection_id=move.connection_id, first=move.former, second=move.user_id, at=move.at)
            for move in moves
            if move.user_id and not move.former.isdecimal()
        ],
    )
    if both:
        transaction.execute(
            "release_phones",
            connection_ids=[connection_id for connection_id, _ in both],
            user_ids=list(both.values()),
            phones=[number for _, number in both],
        )
    if choices:
        wishes = [
            {
                "connection_id": one.connection_id,
                "user_id": one.user_id,
                "phone": _number(one.user_id),
                "accepts": one.accepts,
                "at": one.at.isoformat(),
            }
            for one in choices
        ]
        transaction.execute("note_marketing", rows=records(wishes))


def _move(transaction: Transaction, moves: Sequence[ContactMove], contacts: Sequence[Contact]) -> None:
    if only := [move for move in moves if not move.user_id and move.phone]:
        transaction.execute(
            "change_phones",
            connection_ids=[move.connection_id for move in only],
            former=[move.former for move in only],
            phones=[move.phone for move in only],
        )
    rows = [
        {
            "connection_id": move.connection_id,
            "former": move.former,
            "user_id": move.user_id or move.phone,
            "phone": move.phone or None,
            "by_phone": bool(move.user_id),
            "at": move.at.isoformat(),
        }
        for move in moves
        if move.user_id or move.phone
    ]
    # a person known by a number so far has a user id now
    rows += [
        {
            "connection_id": one.connection_id,
            "former": one.phone,
            "user_id": one.user_id,
            "phone": one.phone,
            "by_phone": False,
            "at": one.at.isoformat(),
        }
        for one in contacts
        if one.phone and one.user_id != one.phone
    ]
    if rows:
        transaction.execute("move_contacts", rows=records(rows))


def _number(user_id: str) -> str | None:
    return user_id if user_id.isascii() and user_id.isdecimal() else None


def phones_of(transaction: Transaction, people: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Return the numbers of people given by (connection id, user id), where they are known."""
    asked = sorted(set(people))
    if not asked:
        return {}
    rows = transaction.rows(
        "phones_of",
        connection_ids=[connection_id for connection_id, _ in asked],
        user_ids=[user_id for _, user_id in asked],
    )
    return {(row["connection_id"], row["user_id"]): row["phone"] for row in rows}


def contact(transaction: Transaction, connection_id: int, who: str) -> Row | None:
    """Return what is known about one person, by user id, number, or a former one of either; None when nothing is."""
    return transaction.row("contact_by_id", connection_id=connection_id, who=who)


def receipts_up_to(transaction: Transaction, watermarks: Sequence[Watermark]) -> list[Receipt]:
    """Return what watermarks report about single messages of ours: those that had left by the instant and may still
    move to the state.
    """
    # A later watermark includes the earlier ones of its chat and state, so one query for each is enough.
    highest: dict[tuple[int, str, MessageState], Watermark] = {}
    for mark in watermarks:
        name = (mark.connection_id, mark.chat_id, mark.state)
        if name not in highest or mark.at > highest[name].at:
            highest[name] = mark
    found = []
    for mark in highest.values():
        before = [
            state
            for state in predecessors(MESSAGE_TRANSITIONS, mark.state)
            # Not from `queued`, `in_doubt` or `failed`, from which a receipt may move a row too: a watermark names no
            # message, and so does not prove that such a row was sent.
            if state in (MessageState.SENT, MessageState.DELIVERED)
        ]
        rows = transaction.rows(
            "sent_up_to", connection_id=mark.connection_id, chat_id=mark.chat_id, before=before, at=mark.at
        )
        extra = {"status": str(mark.state), "by": "watermark"}
        found += [
            Receipt(
                connection_id=mark.connection_id,
                state=mark.state,
                at=mark.at,
                provider_id=row["provider_id"],
                extra=extra,
            )
            for row in rows
        ]
    return found


def add_account_events(transaction: Transaction, kind: str, events: Sequence[tuple[AccountEvent, int]]) -> set[str]:
    """Keep events about accounts, each with its journal id; `kind` is the process kind. Returns the names of those that
    are new.
    """
    rows = [
        {
            "account_id": event.account_id,
            "kind": event.kind,
            "value": event.value,
            "at": event.at.isoformat(),
            "name": event.name,
            "journal_id": journal_id,
        }
        for event, journal_id in events
    ]
    return {row["name"] for row in transaction.rows("add_account_events", kind=kind, rows=records(rows))}


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundBacklog:
    """Raw events that wait to be processed: how many, and for how long the oldest has waited, in seconds (0 when none
    does).
    """

    events: int
    oldest_s: float


def backlog(transaction: Transaction, kind: str) -> InboundBacklog:
    """Return what waits to be processed."""
    row = transaction.one("journal_backlog", kind=kind)
    return InboundBacklog(events=row["events"], oldest_s=row["oldest_s"])
