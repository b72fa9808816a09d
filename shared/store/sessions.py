"""Browser sessions: desired state, observed state, and events. Typed functions for `queries/sessions.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.store.pool import Row, Transaction
from shared.store.texts import storable

_NEWEST: Final = 2**62
"""Above every id of an event, within `bigint`: a page that begins here begins with the newest."""


def of_company(transaction: Transaction, company_id: str) -> list[Row]:
    """Return a company's connections with the shown states of their sessions: `ready` only while a proof of it is
    younger than 15 seconds.
    """
    return transaction.rows("sessions_of_company", company_id=company_id)


def states(transaction: Transaction) -> list[Row]:
    """Return how many sessions there are for each pair of desired and observed state."""
    return transaction.rows("session_states")


def want(transaction: Transaction, *, company_id: str, phone_index: int, desired_state: str) -> bool:
    """Set the desired state of a browser session. Returns False when there is no such connection."""
    return (
        transaction.row("want_session", company_id=company_id, phone_index=phone_index, desired_state=desired_state)
        is not None
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenSessions:
    """What one round of taking sessions came to.

    Attributes:
        moved: those whose host was dead, with its name. others: how many other hosts run sessions.
    """

    moved: Mapping[int, str]
    others: int


def take(
    transaction: Transaction, *, kind: str, incarnation: str, kept: Sequence[int], any_linked: bool
) -> TakenSessions:
    """Make the incarnation's host the one of sessions that have none, or whose host is dead.

    Args:
        kept: connections whose profile is on this host. any_linked: take linked sessions without a host too, though
            their profile is not here.
    """
    rows = transaction.rows(
        "take_sessions",
        kind=kind,
        incarnation=incarnation,
        host=host_of(incarnation),
        kept=list(kept),
        any_linked=any_linked,
    )
    return TakenSessions(
        moved={row["id"]: row["host_before"] for row in rows if row["host_before"] is not None},
        others=rows[0]["others"],
    )


def here(transaction: Transaction, *, kind: str, incarnation: str) -> list[Row]:
    """Return (id, company_id, desired_state) of the connections whose session runs on the incarnation's host."""
    return transaction.rows("sessions_here", kind=kind, incarnation=incarnation, host=host_of(incarnation))


def host_of_session(transaction: Transaction, *, company_id: str, phone_index: int) -> str:
    """Return where a connection's browser session runs; empty: nowhere, or there is no connection. For chaos runs."""
    row = transaction.row("host_of_session", company_id=company_id, phone_index=phone_index)
    return row["host"] if row else ""


def host_of(incarnation: str) -> str:
    """Return the host of an incarnation; empty: its name has none."""
    return incarnation.partition("@")[2]


def linked_at(transaction: Transaction, *, connection_id: int, link: str) -> datetime | None:
    """Return since when `link` is a connection's link to its phone, by the database's clock; None when another one is,
    or none.
    """
    row = transaction.row("session_linked_at", connection_id=connection_id, link=link)
    return row["linked_at"] if row else None


def note(
    transaction: Transaction,
    *,
    connection_id: int,
    event: str,
    at: datetime,
    state: str = "",
    detail: str = "",
    incarnation: str = "",
) -> None:
    """Record an event of a session; does nothing when its connection no longer exists."""
    transaction.execute(
        "note_session_event",
        connection_id=connection_id,
        at=at,
        event=event,
        state=state,
        detail=storable(detail),
        incarnation=incarnation,
    )


def events(transaction: Transaction, connection_id: int, *, most: int, before: int | None = None) -> list[Row]:
    """Return what happened to a session, newest first; `before`: only what was noted before the event with this id."""
    return transaction.rows(
        "session_events", connection_id=connection_id, most=most, before=_NEWEST if before is None else before
    )
