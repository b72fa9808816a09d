"""Outbound messages in PostgreSQL: one typed function for each named statement of `queries/messages.sql`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from math import inf
from types import MappingProxyType
from typing import Any, Final, Literal

from shared.content import MARKS
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Policy, Retry, Sent
from shared.origin import Origin
from shared.states import MESSAGE_TRANSITIONS, MessageState, require_transition
from shared.store import erasure, people
from shared.store.people import OnePerson
from shared.store.pool import Row, Transaction, json, records

_ROW_FIELDS: Final = tuple(row.name for row in fields(OutboundMessage))
"""Columns that make an `OutboundMessage`: claims and doubts return them under the names of its fields."""
Author = Literal["assistant"]
"""Who writes a message, where that is not a client of the API."""
TARGETING_TYPES: Final = frozenset({"edit", "delete"})
"""Messages that change another one once they have gone out; see `apply_to_targets`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewMessage:
    """A message to accept.

    Attributes:
        fingerprint: digest of what was asked, so that an idempotency key cannot be used for something else.
        scheduled_for: when it shall be sent; None: at once. in_doubt_policy: wins over the company's.
        origin: the request that asked for it, if one did. author: who wrote it.
    """

    company_id: str
    connection_id: int
    process_name: str
    chat_id: str = field(repr=False)
    type: str
    content: Mapping[str, Any] = field(repr=False)
    fingerprint: str = ""
    idempotency_key: str | None = None
    scheduled_for: datetime | None = None
    in_doubt_policy: Policy | None = None
    origin: Origin | None = None
    author: Author | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """The process that claims.

    Attributes:
        kind, incarnation: of the process. token_at_claim: write the token that the kind's channel uses
            (`bulkhead:<installation>:<id>:<attempt>:<accepted>`) with the claim. worlds: to which world each connection
            type sends; what was accepted for the other one becomes a dead letter.
    """

    kind: str
    incarnation: str
    token_at_claim: bool
    worlds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRequest:
    """What one claim asks for.

    Attributes:
        ids: offered rows. chats: (connection id, chat id) whose head is asked for. connections: those whose due rows
            are asked for, as many as their limits let through, and as `ids` and `chats` leave of `limit`. limit: most
            rows.
        capacity: most rows of one connection (None: no limit). capacities: the same for single connections.
    """

    ids: Sequence[int] = ()
    chats: Sequence[tuple[int, str]] = ()
    connections: Sequence[int] = ()
    limit: int
    capacity: int | None = None
    capacities: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What a claim brought.

    Attributes:
        messages: the rows that are ours now, in the order of their ids. waits: connections whose limits hold due rows
            back, and for how long at least (seconds; infinite: until one of their own in flight ends). unseen: polled
            connections that have more queued rows, whether the look at them found those or not.
    """

    messages: list[OutboundMessage]
    waits: Mapping[int, float]
    unseen: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The outcome of a `NewMessage`.

    Attributes:
        id: its row. replayed: the row was there already, from an earlier request with the same key. conflict: that
            request asked for something else; `id` is then the earlier row. state: the row's state. conversing: the row
            is new, and its company keeps conversations.
    """

    id: int
    created_at: datetime
    replayed: bool = False
    conflict: bool = False
    state: MessageState = MessageState.QUEUED
    conversing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What to write about one claimed row.

    Attributes:
        after_s: seconds until the next attempt. counts: the attempt is charged. acts: it is an edit or a deletion that
            has gone out, so that another message changes with it, in the same transaction. aliases: the chat and the
            provider's id of it.
    """

    id: int
    state: MessageState
    provider_id: str = ""
    after_s: float = 0.0
    code: str = ""
    detail: str = ""
    counts: bool = True
    acts: bool = False
    aliases: OnePerson | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A row in doubt: the message, for how long, when it was claimed and how long ago (seconds), its own or its
    company's policy (None: the setting's).

    Attributes:
        link: the link through which the attempt was made; empty: not known, or of no session.
        held: it is left to a human for lack of evidence; only proof or evidence moves it.
    """

    message: OutboundMessage
    age_s: float
    doubt_s: float
    claimed_at: datetime
    policy: Policy | None
    link: str = field(default="", repr=False)
    held: bool = False


def accept(
    transaction: Transaction, messages: Sequence[NewMessage], worlds: Mapping[str, str] = MappingProxyType({})
) -> list[Accepted]:
    """Write `messages` in their order, and return the outcome of each; used keys answer with their earlier row.

    Args:
        worlds: to which world each connection type sends now; it is kept with the row.
    """
    rows = [
        {
            "position": position,
            "company_id": message.company_id,
            "connection_id": message.connection_id,
            "process_name": message.process_name,
            "chat_id": message.chat_id,
            "type": message.type,
            "content": message.content,
            "idempotency_key": message.idempotency_key,
            "fingerprint": message.fingerprint,
            "scheduled_for": message.scheduled_for.isoformat() if message.scheduled_for else None,
            "in_doubt_policy": message.in_doubt_policy,
            "author": message.author,
            **_origin(message.origin),
        }
        for position, message in enumerate(messages)
    ]
    written = {
        row["position"]: Accepted(id=row["id"], created_at=row["created_at"], conversing=bool(row["conversing"]))
        for row in transaction.rows("accept_messages", rows=json(rows), **_worlds(worlds))
    }
    # Left out by ON CONFLICT: their key is taken. The earlier row is committed by now, since the insert waited for it.
    missing = [position for position in range(len(messages)) if position not in written]
    if missing:
        earlier = {
            (row["company_id"], row["idempotency_key"]): row
            for row in transaction.rows(
                "messages_by_idempotency_key",
                company_ids=[messages[position].company_id for position in missing],
                keys=[messages[position].idempotency_key for position in missing],
            )
        }
        for position in missing:
            message = messages[position]
            row = earlier[message.company_id, message.idempotency_key]
            written[position] = Accepted(
                id=row["id"],
                created_at=row["created_at"],
                replayed=True,
                # The same key for something else is the client's bug, and must not be answered as if it had been
                # accepted.
                conflict=row["fingerprint"] != message.fingerprint,
                state=MessageState(row["state"]),
            )
    return [written[position] for position in range(len(messages))]


def find_by_key(transaction: Transaction, company_id: str, key: str) -> Row | None:
    """Return the row that took an idempotency key (id, fingerprint, state, created_at), None when no row did."""
    return transaction.row("messages_by_idempotency_key", company_ids=[company_id], keys=[key])


def claim(
    transaction: Transaction,
    *,
    kind: str,
    incarnation: str,
    ids: Sequence[int] = (),
    chats: Sequence[tuple[int, str]] = (),
    most: int,
    token_at_claim: bool,
    worlds: Mapping[str, str] = MappingProxyType({}),
) -> list[OutboundMessage]:
    """Claim rows for a caller that does not poll again when a limit lets more through; arguments as of `Claimant` and
    `ClaimRequest`.
    """
    claimant = Claimant(kind=kind, incarnation=incarnation, token_at_claim=token_at_claim, worlds=worlds)
    return claim_within_limits(transaction, claimant, ClaimRequest(ids=ids, chats=chats, limit=most)).messages


def claim_within_limits(
    transaction: Transaction, claimant: Claimant, request: ClaimRequest, in_flight: Container[int] = ()
) -> Claimed:
    """Make the claimant the sender of rows that are due, first in their chat, and let through by their connection's
    limits.

    Args:
        in_flight: rows that are left alone, also if they are offered: the claimant holds them, and the end of an
            earlier claim of its own may stand in the table without its knowledge.
    Returns:
        What was claimed and which connections have to wait; rows that are not due, not first or not ours are silently
        left out.
    """
    # Rows that were offered come first: their clients wait, and what a look finds is found again.
    rest = request.limit - len(request.ids) - len(request.chats)
    found = (
        due(transaction, kind=claimant.kind, grace_s=0.0, most=rest, connection_ids=request.connections)
        if request.connections
        else []
    )
    rows = transaction.rows(
        "claim_messages",
        kind=claimant.kind,
        incarnation=claimant.incarnation,
        ids=[row_id for row_id in (*request.ids, *found) if row_id not in in_flight],
        chat_connections=[connection_id for connection_id, _ in request.chats],
        chat_ids=[chat_id for _, chat_id in request.chats],
        capacity=request.capacity,
        # Two arrays in one order: there is no parameter for a mapping, and the text of a prepared statement is fixed.
        limited=list(request.capacities),
        capacities=list(request.capacities.values()),
        most=request.limit,
        polled=list(request.connections),
        token_at_claim=claimant.token_at_claim,
        **_worlds(claimant.worlds),
    )
    # Null is a wait without a known end: as many are in flight as may be.
    waits = {int(name): inf if wait_s is None else wait_s for name, wait_s in (rows[0]["waits"] or {}).items()}
    if request.connections and len(found) >= rest:
        # there was no capacity left to see whether they have more
        waits = dict.fromkeys(request.connections, 0.0) | waits
    return Claimed(
        messages=[_outbound(row) for row in rows if row["id"] is not None],
        waits=waits,
        unseen=frozenset(rows[0]["unseen"] or ()),
    )


def _worlds(worlds: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the parameters of a statement that compares worlds."""
    return {"world_types": list(worlds), "worlds": list(worlds.values())}


def due(
    transaction: Transaction,
    *,
    kind: str,
    grace_s: float,
    most: int,
    connection_ids: Sequence[int] | None = None,
    but_not: Sequence[int] = (),
    host: str | None = None,
) -> list[int]:
    """Return ids of rows that should have been claimed by now, oldest first: what the relay hints again.

    Args:
        grace_s: how old a row must be before its hint counts as lost. connection_ids: only of these connections.
        but_not: none of these connections. host: leave out sessions of other hosts; None: leave out none.
    """
    given = None if connection_ids is None else list(connection_ids)
    rows = transaction.rows(
        "due_messages",
        kind=kind,
        grace_s=grace_s,
        most=most,
        connection_ids=given,
        but_not=list(but_not),
        host=host,
    )
    return [row["id"] for row in rows]


def chat_heads(transaction: Transaction, chats: Sequence[tuple[int, str]]) -> list[int]:
    """Return the ids of the rows that a claim of these chats would take."""
    rows = transaction.rows(
        "chat_heads",
        chat_connections=[connection_id for connection_id, _ in chats],
        chat_ids=[chat_id for _, chat_id in chats],
    )
    return [row["id"] for row in rows]


def park(transaction: Transaction, *, message_id: int, incarnation: str, code: str, detail: str) -> bool:
    """Make a dead letter of a queued row that no claim can take. Returns False when it is not queued any more."""
    return transaction.row("park_message", id=message_id, incarnation=incarnation, code=code, detail=detail) is not None


def follow_connections(transaction: Transaction, *, kind: str) -> int:
    """Take over what waits at a kind's connections but was accepted for another kind, before their type was changed.
    Returns how many rows that was.
    """
    return len(transaction.rows("follow_connections", kind=kind))


def record_token(transaction: Transaction, *, message_id: int, incarnation: str, token: str, link: str = "") -> bool:
    """Store the id that the message will have at the provider, and through which link it is sent. Returns False when
    the incarnation no longer owns the row.
    """
    row = transaction.row("record_token", id=message_id, incarnation=incarnation, token=token, link=link)
    return row is not None


def settlement(message: OutboundMessage, outcome: Outcome, *, attempts: int, wait_s: float) -> Settlement:
    """Translate an outcome into what is written.

    Args:
        attempts: attempts after which a counted retry becomes a dead letter. wait_s: the retry policy's wait for the
            next attempt.
    """
    match outcome:
        case Sent(provider_id=provider_id, code=code, recipient=recipient):
            return Settlement(
                id=message.id,
                state=MessageState.SENT,
                provider_id=provider_id,
                code=code,
                acts=message.type in TARGETING_TYPES,
                aliases=OnePerson(connection_id=message.connection_id, first=message.chat_id, second=recipient)
                if recipient
                else None,
            )
        # Only counted retries end: a provider that is away, or asks to wait, would otherwise use up every message's
        # attempts.
        case Retry() if outcome.counts and message.attempts_used >= attempts:
            return Settlement(id=message.id, state=MessageState.FAILED, code=outcome.code, detail=outcome.detail)
        case Retry():
            # The provider's own wait replaces that of the policy, also if it is shorter: it knows its limit.
            after_s = wait_s if outcome.after_s is None else outcome.after_s
            return Settlement(
                id=message.id,
                state=MessageState.QUEUED,
                after_s=after_s,
                code=outcome.code,
                detail=outcome.detail,
                counts=outcome.counts,
            )
        case Dead():
            return Settlement(id=message.id, state=MessageState.FAILED, code=outcome.code, detail=outcome.detail)
        case InDoubt():
            return Settlement(id=message.id, state=MessageState.IN_DOUBT, code=outcome.code, detail=outcome.detail)


def settle(transaction: Transaction, *, incarnation: str, settlements: Sequence[Settlement]) -> set[int]:
    """Write the outcomes of claimed rows. Returns the ids that were written; the others belong to another incarnation
    by now, or moved on.
    """
    rows = [
        {
            "id": one.id,
            "state": one.state,
            "provider_id": one.provider_id,
            "after_s": one.after_s,
            "code": one.code,
            "detail": one.detail,
            "counts": one.counts,
        }
        for one in settlements
    ]
    written = {row["id"] for row in transaction.rows("settle_messages", rows=records(rows), incarnation=incarnation)}
    # In the transaction of the settlement: a crash between the two would leave an edit sent and not shown.
    apply_to_targets(transaction, [one.id for one in settlements if one.acts and one.id in written])
    people.learn(transaction, [one.aliases for one in settlements if one.aliases])
    # Only sends that surely did not leave. A counted retry may have reached the provider, which counts it too.
    if unsent := [
        one.id for one in settlements if one.state is MessageState.QUEUED and not one.counts and one.id in written
    ]:
        transaction.execute("give_tokens_back", ids=unsent)
    return written


def held_by(transaction: Transaction, *, incarnation: str) -> list[int]:
    """Return the ids of rows that an incarnation has in hand."""
    return [row["id"] for row in transaction.rows("messages_held", incarnation=incarnation)]


def reclaim(
    transaction: Transaction,
    *,
    incarnation: str,
    flights: Sequence[Mapping[str, Any]] = (),
    recorded: bool = False,
    active_row: int = 0,
) -> list[Row]:
    """Reclaim the rows of a dead incarnation; idempotent.

    Args:
        flights: what its in-flight journal says (id, stage, text). recorded: whether there was a record at all: a row
            that it does not name was then surely not sent. active_row: the row that its code was working on when it
            died; parked as poison the second time.
    Returns:
        (id, state, process_name, code, type) of each row that moved.
    """
    rows = transaction.rows(
        "reclaim_messages", incarnation=incarnation, flights=records(flights), recorded=recorded, active_row=active_row
    )
    # Reclaim settles what the dead process could not: an edit that its journal proves as sent takes effect too.
    apply_to_targets(
        transaction, [row["id"] for row in rows if row["type"] in TARGETING_TYPES and row["state"] == MessageState.SENT]
    )
    return rows


def in_doubt(
    transaction: Transaction,
    *,
    kind: str,
    most: int,
    held: bool = False,
    after: int = 0,
    worlds: Mapping[str, str] = MappingProxyType({}),
) -> list[Doubt]:
    """Return rows in doubt: those that are not held for a human, or those that are, for lack of evidence alone.

    Args:
        most: size of a page. after: id of the last row of the page before; rows may stay in doubt for days, and must
            not hide the others.
        worlds: to which world each connection type sends; rows of the other one are left out, since nothing can be
            found out about them here.
    """
    return [
        Doubt(
            message=_outbound(row),
            age_s=row["age_s"],
            doubt_s=row["doubt_s"],
            claimed_at=row["claimed_at"],
            policy=row["policy"],
            link=row["witness"],
            held=held,
        )
        for row in transaction.rows(
            "in_doubt_messages", kind=kind, most=most, held=held, after=after, **_worlds(worlds)
        )
    ]


def resolve(
    transaction: Transaction,
    *,
    message_id: int,
    attempt: int,
    state: MessageState,
    code: str,
    incarnation: str,
    provider_id: str = "",
) -> bool:
    """Move a row out of doubt about its attempt number `attempt`.

    Returns:
        False when something else (a webhook, another process, a human) did so first, also if the row is in doubt about
        a later attempt by now.
    """
    # A state that the table of transitions does not allow is a bug of the caller, and is refused before the row is
    # touched.
    require_transition(MESSAGE_TRANSITIONS, MessageState.IN_DOUBT, state)
    row = transaction.row(
        "resolve_in_doubt",
        id=message_id,
        attempt=attempt,
        state=state,
        code=code,
        incarnation=incarnation,
        provider_id=provider_id,
    )
    if row is not None and row["type"] in TARGETING_TYPES:
        apply_to_targets(transaction, [message_id])
    return row is not None


def hold(transaction: Transaction, *, message_id: int, attempt: int, code: str, incarnation: str) -> bool:
    """Leave a row in doubt about its attempt number `attempt` to a human. Returns False when it is no longer so, or
    held already.
    """
    return (
        transaction.row("hold_in_doubt", id=message_id, attempt=attempt, code=code, incarnation=incarnation) is not None
    )


def apply_to_targets(transaction: Transaction, ids: Iterable[int]) -> None:
    """Let edits and deletions take hold on the messages that they name; those among `ids` that have not gone out change
    nothing.

    Belongs to the transaction in which they go out: done twice, an edit would overwrite a later one.
    """
    # One statement each: two edits of one message in one UPDATE would apply only one of them.
    for message_id in sorted(set(ids)):  # oldest first: two of them may name the same message
        erasure.erase_deleted(transaction, [row["id"] for row in transaction.rows("apply_to_target", id=message_id)])


def by_id(transaction: Transaction, company_id: str, message_id: int) -> Row | None:
    """Return one outbound message of a company, None when it has none with this id."""
    return transaction.row("message_by_id", company_id=company_id, id=message_id)


def states(transaction: Transaction, ids: Sequence[int]) -> dict[int, MessageState]:
    """Return the states of messages by id; those that are not there are left out."""
    return {row["id"]: MessageState(row["state"]) for row in transaction.rows("message_states", ids=list(ids))}


def history(transaction: Transaction, message_id: int) -> list[Row]:
    """Return every step of one message, oldest first."""
    return transaction.rows("message_history", id=message_id)


def chat_page(
    transaction: Transaction, *, company_id: str, chat_id: str, before: tuple[datetime, int], most: int
) -> list[Row]:
    """Return both directions of a chat under all its names, newest first by `at`, strictly before the cursor (at,
    id). Read and typing marks are no lines of it.
    """
    return transaction.rows(
        "chat_page",
        company_id=company_id,
        chat_id=chat_id,
        before_at=before[0],
        before_id=before[1],
        marks=sorted(MARKS),
        most=most,
    )


def queue_depth(transaction: Transaction) -> list[Row]:
    """Return how much is open by kind and state, with the age of the oldest in seconds."""
    return transaction.rows("queue_depth")


def _origin(origin: Origin | None) -> dict[str, Any]:
    # nothing for what no request asked for: the columns stay null
    if origin is None:
        return {}
    return {"request_id": origin.request_id, "traceparent": origin.traceparent, "key_id": origin.key_id}


def _outbound(row: Row) -> OutboundMessage:
    return OutboundMessage(**{name: row[name] for name in _ROW_FIELDS})


def traces(transaction: Transaction, ids: Sequence[int]) -> dict[int, str]:
    """Return the W3C trace context of each message that has one."""
    return {row["id"]: row["traceparent"] for row in transaction.rows("traces_of_messages", ids=list(ids))}
