"""Conversations and turns in PostgreSQL: typed functions for `queries/conversations.sql`.

Every change of a row is counted, has an event and ends the open turn by triggers of the table (migration 0120), so that
no statement can forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from shared.conversations.states import LONGEST_JOIN, MERGE_PRECEDENCE, MOVES, ConversationRules, ConversationState
from shared.store.pool import Row, Transaction, records
from shared.tenancy.company_settings import CompanySettings, usual_minutes

HUMAN_MINUTES: Final = usual_minutes("humanTimeoutMinutes")
_FOLD: Final = [str(state) for state in MERGE_PRECEDENCE]


def rules_of(settings: CompanySettings) -> ConversationRules:
    """Return what a company has set, as far as states depend on it."""
    return ConversationRules(
        assists=settings.assists,
        hands_over=settings.hands_off,
        waiting_timeout=settings.waiting_timeout,
        idle_timeout=settings.idle_timeout,
    )


def companies(transaction: Transaction, ids: Iterable[str]) -> Mapping[str, CompanySettings]:
    """Return the settings of those of some companies for which conversations are kept."""
    rows = transaction.rows("rules_of_companies", ids=sorted(set(ids)))
    return {row["id"]: CompanySettings.read(row["settings"]) for row in rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrivedChat:
    """A chat in which a customer wrote.

    Attributes:
        first: state in which its conversation begins; None: it does not. reason: of that. at: of the last message.
    """

    company_id: str
    connection_id: int
    chat_id: str = field(repr=False)
    first: ConversationState | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ArrivedConversation:
    """The conversation of such a chat, locked. `is_new`: it began just now."""

    id: int
    state: ConversationState
    is_new: bool


_TRIES: Final = 3
"""Looks for one conversation that is merged each time it is looked for."""


def begin(transaction: Transaction, chats: Sequence[ArrivedChat]) -> list[ArrivedConversation | None]:
    """Return the conversation of each chat, begun where there was none; None: it does not begin.

    A person who has several with one connection has one afterwards.
    """
    found: list[ArrivedConversation | None] = [None] * len(chats)
    left = list(range(len(chats)))
    for _ in range(_TRIES):
        rows = [
            {
                "position": position,
                "company_id": chats[position].company_id,
                "connection_id": chats[position].connection_id,
                "chat_id": chats[position].chat_id,
                "state": chats[position].first,
                "reason": chats[position].reason,
                "at": chats[position].at.isoformat(),
            }
            for position in left
        ]
        hits: dict[int, list[Row]] = {}
        for row in transaction.rows("begin_conversations", rows=records(rows)):
            hits.setdefault(row["position"], []).append(row)
        for position, several in hits.items():
            if len(several) > 1:
                chat = chats[position]
                fold(transaction, company_id=chat.company_id, connection_id=chat.connection_id, chat_id=chat.chat_id)
                # looked for again: its state is that of the merge
                continue
            (row,) = several
            found[position] = ArrivedConversation(row["id"], ConversationState(row["state"]), row["is_new"])
        left = [
            position
            for position in left
            if found[position] is None and (len(hits.get(position, ())) > 1 or chats[position].first is not None)
        ]
        if not left:
            break
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveOrder:
    """One move of a conversation.

    Attributes:
        before: states from which it is made. reason: a code. assignee: who looks after it from now on; None: as it is.
            version: only of this version of the row; None: of any.
    """

    id: int
    before: Iterable[ConversationState]
    after: ConversationState
    reason: str
    assignee: str | None = field(default=None, repr=False)
    version: int | None = None


def move(transaction: Transaction, moves: Sequence[MoveOrder]) -> dict[int, ConversationState]:
    """Move conversations, each by one conditional update. Return the states, by id, of those that were moved."""
    if not moves:
        return {}
    rows = [
        {
            "id": one.id,
            "before": sorted(one.before),
            "state": one.after,
            "reason": one.reason,
            "assignee": one.assignee,
            "version": one.version,
        }
        for one in moves
    ]
    moved = transaction.rows("move_conversations", rows=records(rows), human_minutes=HUMAN_MINUTES)
    return {row["id"]: ConversationState(row["state"]) for row in moved}


def hand_over(transaction: Transaction, conversation_id: int, *, reason: str) -> bool:
    """Let the customer of a conversation wait for a human: event `human_handoff.requested`. `reason`: a code. Return
    whether it was the assistant's until now.
    """
    order = MoveOrder(
        id=conversation_id, before={ConversationState.BOT}, after=ConversationState.WAITING, reason=reason
    )
    return conversation_id in move(transaction, [order])


def lock_for_answer(transaction: Transaction, conversation_id: int) -> ConversationState | None:
    """Return the state of a conversation, and keep it so until the transaction ends: an answer of the assistant is
    queued in the same transaction, only in `bot`. None: it is gone.
    """
    row = transaction.row("lock_conversation", id=conversation_id)
    if row is not None and row["beside"] > 1:
        # The person turned out to have another one: a human may answer there.
        fold(transaction, **{name: row[name] for name in ("company_id", "connection_id", "chat_id")})
        row = transaction.row("lock_conversation", id=conversation_id)
    return None if row is None else ConversationState(row["state"])


def fold(transaction: Transaction, *, company_id: str, connection_id: int, chat_id: str) -> int | None:
    """Make one conversation of those of a chat's person with a connection, in the state that comes first in
    `MERGE_PRECEDENCE`. Return its id, locked; None: there is none.
    """
    row = transaction.one(
        "fold_conversations", company_id=company_id, connection_id=connection_id, chat_id=chat_id, precedence=_FOLD
    )
    return None if row["id"] is None else int(row["id"])


def fold_person(transaction: Transaction, company_id: str, person_id: int) -> None:
    """As `fold`, with every connection of the company: two people were merged by hand."""
    transaction.rows("fold_conversations_of_person", company_id=company_id, person_id=person_id, precedence=_FOLD)


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanReply:
    """What a human wrote in a chat.

    Attributes:
        reason: the code of where: `api`, `by_hand`. at: the provider's instant; None: it is sent now.
    """

    company_id: str
    connection_id: int
    chat_id: str = field(repr=False)
    reason: str
    at: datetime | None = None


def take_over(transaction: Transaction, replies: Sequence[HumanReply]) -> list[int]:
    """Give the conversations of chats to the human who wrote there. Return the ids of those that were not a human's
    until now.
    """
    if not replies:
        return []
    rows = [
        {
            "company_id": one.company_id,
            "connection_id": one.connection_id,
            "chat_id": one.chat_id,
            "reason": one.reason,
            "at": None if one.at is None else one.at.isoformat(),
        }
        for one in replies
    ]
    taken = transaction.rows(
        "take_over_conversations",
        rows=records(rows),
        before=sorted(MOVES["taken_over"].before),
        human_minutes=HUMAN_MINUTES,
    )
    return [row["id"] for row in taken]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandWritten:
    """A line that was written by hand, or is the echo of a message of ours.

    Attributes:
        id: our row of it. body: its text, if it has one.
    """

    id: int
    company_id: str
    connection_id: int
    chat_id: str = field(repr=False)
    at: datetime
    body: str | None = field(default=None, repr=False)


def written_by_hand(transaction: Transaction, lines: Sequence[HandWritten]) -> None:
    """Let the humans who wrote lines take over; a line that may be the echo of our own message is decided when the id
    of that is known (`decide_echoes`).
    """
    if not lines:
        return
    rows = [
        {
            "id": one.id,
            "company_id": one.company_id,
            "connection_id": one.connection_id,
            "chat_id": one.chat_id,
            "body": one.body,
        }
        for one in lines
    ]
    undecided = {row["id"] for row in transaction.rows("undecided_echoes", rows=records(rows))}
    take_over(
        transaction,
        [
            HumanReply(
                company_id=one.company_id,
                connection_id=one.connection_id,
                chat_id=one.chat_id,
                reason="by_hand",
                at=one.at,
            )
            for one in lines
            if one.id not in undecided
        ],
    )
    if undecided:
        transaction.execute("note_undecided_echoes", rows=records([row for row in rows if row["id"] in undecided]))


def decide_echoes(transaction: Transaction, *, most: int) -> int:
    """Decide whose lines are that may be ours, up to `most`. Return how many humans have taken over."""
    rows = transaction.rows("decide_echoes", most=most)
    return len(take_over(transaction, [HumanReply(**row, reason="by_hand") for row in rows]))


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnInput:
    """Messages of a customer, first and last, that the assistant is to answer. `delay_s`: for how long it waits for
    more.
    """

    company_id: str
    conversation_id: int
    first_id: int
    last_id: int
    delay_s: float


def join_turns(transaction: Transaction, inputs: Sequence[TurnInput]) -> list[int]:
    """Let messages join the open turns of their conversations, or open turns. Return the ids of the turns."""
    if not inputs:
        return []
    rows = [
        {
            "company_id": one.company_id,
            "conversation_id": one.conversation_id,
            "first_id": one.first_id,
            "last_id": one.last_id,
            "delay_s": one.delay_s,
        }
        for one in inputs
    ]
    return [row["id"] for row in transaction.rows("join_turns", rows=records(rows), longest=LONGEST_JOIN)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """A conversation that may be due for a move. `is_removed`: its connection is. `now`: the database's clock."""

    id: int
    company_id: str
    state: ConversationState
    since: datetime
    last_inbound_at: datetime | None
    human_until: datetime | None
    is_removed: bool
    version: int
    settings: CompanySettings
    now: datetime


def overdue(transaction: Transaction, *, most: int) -> list[Overdue]:
    """Return conversations that may be due for a move without anything that is written, up to `most` of each kind."""
    rows = transaction.rows(
        "overdue_conversations",
        most=most,
        waiting_minutes=usual_minutes("waitingTimeoutMinutes"),
        idle_minutes=usual_minutes("conversationTimeoutMinutes"),
    )
    return [
        Overdue(
            **{
                **row,
                "state": ConversationState(row["state"]),
                "settings": CompanySettings.read(row["settings"]),
            }
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationFilter:
    """Which conversations of a company are listed; None: all.

    Attributes:
        chat_ids: only of these chats. oldest_first: those that have their state for longest.
    """

    state: ConversationState | None = None
    assignee: str | None = None
    connection_id: int | None = None
    chat_ids: Sequence[str] | None = None
    oldest_first: bool = False


def page(
    transaction: Transaction,
    company_id: str,
    selection: ConversationFilter,
    *,
    beyond: tuple[datetime, int] | None,
    most: int,
) -> list[Row]:
    """Return rows of conversations, with `state_s`: for how many seconds they have had their state.

    Args:
        beyond: (state_at, id) of the last one of the page before; None: from the beginning.
    """
    ends = (datetime.min, -1) if selection.oldest_first else (datetime.max, 1 << 62)
    at, place_id = beyond or (ends[0].replace(tzinfo=UTC), ends[1])
    return transaction.rows(
        "conversations_page",
        company_id=company_id,
        state=selection.state,
        assignee=selection.assignee,
        connection_id=selection.connection_id,
        chat_ids=None if selection.chat_ids is None else list(selection.chat_ids),
        oldest_first=selection.oldest_first,
        place_at=at,
        place_id=place_id,
        most=most,
    )


def find(transaction: Transaction, company_id: str, conversation_id: int) -> Row | None:
    """Return the row of a conversation as `page` does, also by the id of one that was merged into it; None: there is
    none.
    """
    return transaction.row("conversation_by_id", company_id=company_id, id=conversation_id)


def aliases_of_chats(transaction: Transaction, company_id: str, chats: Iterable[str]) -> Mapping[str, list[str]]:
    """Return every id of the person of each chat, its own included."""
    asked = sorted(set(chats))
    rows = transaction.rows("aliases_of_chats", company_id=company_id, chat_ids=asked) if asked else ()
    return {row["chat_id"]: row["chat_ids"] for row in rows}


def last_chat(transaction: Transaction, conversation: Row) -> str:
    """Return the id under which the customer of a conversation wrote last; a reply goes there."""
    company_id, chat_id = conversation["company_id"], conversation["chat_id"]
    row = transaction.row(
        "last_chat_of_conversation",
        company_id=company_id,
        chat_ids=aliases_of_chats(transaction, company_id, [chat_id])[chat_id],
        connection_id=conversation["connection_id"],
    )
    return str(row["chat_id"]) if row else str(chat_id)
