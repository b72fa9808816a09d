"""Looks after conversations: timeouts, and lines whose author was not known when they came."""

from __future__ import annotations

from typing import Final

from shared.conversations import rows
from shared.conversations.rows import MoveOrder, Overdue
from shared.conversations.states import MOVES, Timed, overdue
from shared.logs import logger
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

_MOST: Final = 200
"""Conversations of one transaction: its locks last as long as all of them take."""


class ConversationCare:
    """Does what no request asks for; every step may be done twice, by two recorders too."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def decide_echoes(self) -> None:
        """Let humans take over who wrote while a message of ours was being sent. Raises `StoreUnavailable`."""
        if taken := await self._store.call(rows.decide_echoes, most=_MOST):
            log.info("conversations_taken_over", conversations=taken)

    async def end_overdue(self) -> None:
        """Make the moves that nothing written makes: timeouts, and the ends of what no one can answer any more. Raises
        `StoreUnavailable`.
        """
        while True:
            found, moved = await self._store.call(_end)
            if moved:
                log.info("conversations_timed_out", conversations=moved)
            # those that a condition of the database found, and the policy did not, must not be read for ever
            if found < _MOST or not moved:
                break


def _end(transaction: Transaction) -> tuple[int, int]:
    """Make one batch of moves. Return how many conversations were looked at, and how many were moved."""
    found = rows.overdue(transaction, most=_MOST)
    moves = [order for one in found if (order := _order(one)) is not None]
    moved = rows.move(transaction, moves)
    return len(found), len(moved)


def _order(one: Overdue) -> MoveOrder | None:
    timed = Timed(
        state=one.state,
        since=one.since,
        last_inbound_at=one.last_inbound_at,
        human_until=one.human_until,
        is_removed=one.is_removed,
    )
    rules = rows.rules_of(one.settings)
    name = overdue(timed, rules, one.now)
    if not name:
        return None
    after = MOVES[name].target(has_assistant=rules.assists)
    # every move of a timeout leads somewhere: a table that says otherwise is wrong
    assert after is not None  # noqa: S101
    # of the version that was looked at: what was written meanwhile begins the time anew
    return MoveOrder(id=one.id, before={one.state}, after=after, reason=name, version=one.version)
