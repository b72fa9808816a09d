"""States and their legal transitions, as data. Nothing else decides what may follow what; the tables in docs are made
from these.

This file imports only the standard library and `shared.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from shared.errors import IllegalTransition


class MessageState(StrEnum):
    """Life of one outbound message. Statuses never move backwards."""

    QUEUED = "queued"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    DELETED = "deleted"


class SlotState(StrEnum):
    """Life of one slot under the supervisor."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    DRAINING = "draining"
    KILLING = "killing"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    MISCONFIGURED = "misconfigured"


class SessionState(StrEnum):
    """Life of one browser session, as observed; what should be is `DesiredSession`."""

    ABSENT = "absent"
    STARTING = "starting"
    NEEDS_LINK = "needs_link"
    SYNCING = "syncing"
    READY = "ready"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    CONFLICT = "conflict"
    LOGGED_OUT = "logged_out"
    BACKING_OFF = "backing_off"
    QUARANTINED = "quarantined"


class DesiredSession(StrEnum):
    """What the API wants a browser session to be."""

    LINKED = "linked"
    PAUSED = "paused"
    LOGGED_OUT = "logged_out"


class CompanyState(StrEnum):
    """Whether a company may act."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"


M, S, B = MessageState, SlotState, SessionState

MESSAGE_TRANSITIONS: Final[Mapping[MessageState, frozenset[MessageState]]] = {
    # queued -> failed: refused before a send, or attempts used up; -> sent and beyond: proof arrived after a requeue;
    # -> deleted: cancelled
    M.QUEUED: frozenset({M.SENDING, M.FAILED, M.SENT, M.DELIVERED, M.READ, M.DELETED}),
    # sending -> queued: known unsent (retry, drain, reclaim); -> delivered, read: the webhook overtook the answer
    M.SENDING: frozenset({M.QUEUED, M.IN_DOUBT, M.SENT, M.DELIVERED, M.READ, M.FAILED}),
    # in_doubt -> queued: evidence that it was not sent, or the policy is `resend`
    M.IN_DOUBT: frozenset({M.QUEUED, M.SENT, M.DELIVERED, M.READ, M.FAILED}),
    # sent -> failed: Meta accepts a message first, and reports by a status that it could not be delivered
    M.SENT: frozenset({M.DELIVERED, M.READ, M.FAILED, M.DELETED}),
    M.DELIVERED: frozenset({M.READ, M.DELETED}),
    M.READ: frozenset({M.DELETED}),
    # failed -> queued: redrive by a human; -> sent and beyond: the provider proves that it went out after all
    M.FAILED: frozenset({M.QUEUED, M.SENT, M.DELIVERED, M.READ}),
    # deleted -> sent and beyond: cancelled between two attempts, and the provider proves that the first went out; never
    # after a sent one was deleted
    M.DELETED: frozenset({M.SENT, M.DELIVERED, M.READ}),
}

# a message in doubt is open too: a later one that overtook it could arrive before its repetition
OPEN_MESSAGE_STATES: Final = (M.QUEUED, M.SENDING, M.IN_DOUBT)
"""States in which a message blocks the later ones of its chat."""

COMPANY_TRANSITIONS: Final[Mapping[CompanyState, frozenset[CompanyState]]] = {
    CompanyState.ACTIVE: frozenset({CompanyState.SUSPENDED, CompanyState.DELETING}),
    CompanyState.SUSPENDED: frozenset({CompanyState.ACTIVE, CompanyState.DELETING}),
    # no way back: a part of it is gone with the first batch
    CompanyState.DELETING: frozenset(),
}

SLOT_TRANSITIONS: Final[Mapping[SlotState, frozenset[SlotState]]] = {
    # stopped -> unready: adopted, its orchestrator died and it did not; its next beat reports whether it is ready
    S.STOPPED: frozenset({S.STARTING, S.UNREADY}),
    # starting -> backoff, quarantined: no process came to be
    S.STARTING: frozenset({S.READY, S.DRAINING, S.KILLING, S.BACKOFF, S.QUARANTINED}),
    S.READY: frozenset({S.UNREADY, S.DRAINING, S.KILLING}),
    S.UNREADY: frozenset({S.READY, S.DRAINING, S.KILLING}),
    # every death passes through killing: what follows is decided when the slot is proved to be free
    S.DRAINING: frozenset({S.KILLING}),
    # -> misconfigured: it left with the exit code for wrong settings, and a restart with the same ones would end alike
    S.KILLING: frozenset({S.STOPPED, S.STARTING, S.BACKOFF, S.QUARANTINED, S.MISCONFIGURED}),
    S.BACKOFF: frozenset({S.STARTING, S.STOPPED}),
    S.QUARANTINED: frozenset({S.STARTING, S.STOPPED}),
    S.MISCONFIGURED: frozenset({S.STARTING, S.STOPPED}),
}

SESSION_TRANSITIONS: Final[Mapping[SessionState, frozenset[SessionState]]] = {
    # absent -> quarantined: an earlier life of the process connected too often; -> backing_off: a browser that was to
    # be replaced did not end in time
    B.ABSENT: frozenset({B.STARTING, B.BACKING_OFF, B.QUARANTINED}),
    B.STARTING: frozenset(
        {B.NEEDS_LINK, B.SYNCING, B.READY, B.OFFLINE, B.CONFLICT, B.LOGGED_OUT, B.BACKING_OFF, B.ABSENT}
    ),
    # -> degraded: the page does not answer, or another document is loaded and has not shown anything yet
    B.NEEDS_LINK: frozenset(
        {B.DEGRADED, B.SYNCING, B.READY, B.OFFLINE, B.CONFLICT, B.LOGGED_OUT, B.BACKING_OFF, B.ABSENT}
    ),
    B.SYNCING: frozenset(
        {B.DEGRADED, B.READY, B.NEEDS_LINK, B.OFFLINE, B.CONFLICT, B.LOGGED_OUT, B.BACKING_OFF, B.ABSENT}
    ),
    B.READY: frozenset(
        {B.DEGRADED, B.SYNCING, B.OFFLINE, B.CONFLICT, B.LOGGED_OUT, B.NEEDS_LINK, B.BACKING_OFF, B.ABSENT}
    ),
    B.DEGRADED: frozenset(
        {B.READY, B.OFFLINE, B.CONFLICT, B.LOGGED_OUT, B.NEEDS_LINK, B.SYNCING, B.BACKING_OFF, B.ABSENT}
    ),
    B.OFFLINE: frozenset(
        {B.READY, B.SYNCING, B.DEGRADED, B.CONFLICT, B.LOGGED_OUT, B.NEEDS_LINK, B.BACKING_OFF, B.ABSENT}
    ),
    B.CONFLICT: frozenset(
        {B.DEGRADED, B.READY, B.SYNCING, B.OFFLINE, B.NEEDS_LINK, B.LOGGED_OUT, B.BACKING_OFF, B.ABSENT}
    ),
    B.LOGGED_OUT: frozenset({B.STARTING, B.NEEDS_LINK, B.BACKING_OFF, B.ABSENT}),
    B.BACKING_OFF: frozenset({B.STARTING, B.QUARANTINED, B.ABSENT}),
    B.QUARANTINED: frozenset({B.STARTING, B.ABSENT}),
}

_State = TypeVar("_State", bound=StrEnum)


def require_transition(table: Mapping[_State, frozenset[_State]], old: _State, new: _State) -> None:
    """Raise `IllegalTransition` unless `table` lists `new` after `old`."""
    # a bug, not a race: races are decided by the condition of an UPDATE (`predecessors`)
    if new not in table[old]:
        raise IllegalTransition(
            f"{type(old).__name__}: {old} -> {new} is not listed; from {old} only "
            f"{', '.join(sorted(table[old])) or 'nothing'}"
        )


def predecessors(table: Mapping[_State, frozenset[_State]], new: _State) -> tuple[_State, ...]:
    """Return the states from which `new` may be reached, sorted: the condition of the UPDATE that moves a row there."""
    return tuple(sorted(old for old, follow in table.items() if new in follow))
