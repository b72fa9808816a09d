"""Which moves there are, and what decides them: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.conversations.states import (
    MERGE_PRECEDENCE,
    MOVES,
    TURN_TRANSITIONS,
    ConversationRules,
    ConversationState,
    Timed,
    TurnState,
    on_arrival,
    overdue,
)

S = ConversationState
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
BOTH = ConversationRules(assists=True, hands_over=True)
ASSISTS = ConversationRules(assists=True, hands_over=False)
HANDS_OVER = ConversationRules(assists=False, hands_over=True)


@pytest.mark.parametrize(
    ("state", "rules", "asks", "may_trigger", "expected"),
    [
        (None, BOTH, False, True, (S.BOT, "first_message", True)),
        (None, BOTH, True, True, (S.WAITING, "keyword", False)),
        (None, ASSISTS, True, True, (S.BOT, "first_message", True)),
        (None, HANDS_OVER, False, True, (S.WAITING, "no_assistant", False)),
        (S.BOT, BOTH, False, True, (S.BOT, "", True)),
        (S.BOT, BOTH, True, True, (S.WAITING, "keyword", False)),
        (S.BOT, BOTH, False, False, (S.BOT, "", False)),
        # the assistant was turned off meanwhile
        (S.BOT, HANDS_OVER, False, True, (S.WAITING, "no_assistant", False)),
        (S.WAITING, BOTH, False, True, (S.WAITING, "", False)),
        (S.WAITING, BOTH, True, True, (S.WAITING, "", False)),
        (S.HUMAN, BOTH, True, True, (S.HUMAN, "", False)),
        (S.CLOSED, BOTH, False, True, (S.BOT, "reopened", True)),
        (S.CLOSED, BOTH, True, True, (S.WAITING, "keyword", False)),
        (S.CLOSED, HANDS_OVER, False, True, (S.WAITING, "no_assistant", False)),
        # history that is imported
        (S.CLOSED, BOTH, True, False, (S.CLOSED, "", False)),
    ],
)
def test_what_a_customers_message_does(
    state: S | None,
    rules: ConversationRules,
    asks: bool,
    may_trigger: bool,
    expected: tuple[S, str, bool],
) -> None:
    found = on_arrival(state, rules, asks_for_human=asks, may_trigger=may_trigger)
    assert (found.state, found.reason, found.opens_turn) == expected


@pytest.mark.parametrize(
    ("state", "ago_minutes", "move"),
    [
        (S.HUMAN, 0, "human_timeout"),
        (S.HUMAN, -1, ""),
        (S.WAITING, 10, "waiting_timeout"),
        (S.WAITING, 9, ""),
        (S.BOT, 60, "idle"),
        (S.BOT, 59, ""),
        (S.CLOSED, 10_000, ""),
    ],
)
def test_timeouts(state: S, ago_minutes: int, move: str) -> None:
    rules = ConversationRules(
        assists=True, hands_over=True, waiting_timeout=timedelta(minutes=10), idle_timeout=timedelta(minutes=60)
    )
    at = NOW - timedelta(minutes=ago_minutes)
    conversation = Timed(state=state, since=at, last_inbound_at=None, human_until=at if state is S.HUMAN else None)
    assert overdue(conversation, rules, NOW) == move
    assert overdue(conversation, BOTH, NOW) == (move if state is S.HUMAN else ""), "without limits nothing passes"
    touched = Timed(state=state, since=at, last_inbound_at=NOW, human_until=conversation.human_until)
    assert overdue(touched, rules, NOW) == ("" if state is S.BOT else move), "who writes is not idle"


@pytest.mark.parametrize("state", list(S))
def test_where_no_one_can_answer_any_more_it_is_closed(state: S) -> None:
    off = ConversationRules(assists=False, hands_over=False)
    is_open = state is not S.CLOSED
    gone = Timed(state=state, since=NOW, last_inbound_at=NOW, human_until=None, is_removed=True)
    assert overdue(gone, BOTH, NOW) == ("connection_removed" if is_open else "")
    here = Timed(state=state, since=NOW, last_inbound_at=NOW, human_until=None)
    assert overdue(here, off, NOW) == ("switched_off" if is_open else "")


def test_a_human_without_a_limit_stays() -> None:
    assert overdue(Timed(state=S.HUMAN, since=NOW, last_inbound_at=None, human_until=None), BOTH, NOW) == ""


def test_the_tables_fit_together() -> None:
    assert set(MERGE_PRECEDENCE) == set(S)
    assert set(TURN_TRANSITIONS) == set(TurnState)
    for name, move in MOVES.items():
        for has_assistant in (True, False):
            after = move.target(has_assistant=has_assistant)
            # who is assigned may be another one from now on
            assert after not in move.before or name == "assigned"
        assert move.target(has_assistant=True) is not None
    reached = {move.target(has_assistant=True) for move in MOVES.values()}
    assert reached == set(S), "each state is reached"
    assert {state for move in MOVES.values() for state in move.before} == set(S), "each state is left"
    assert MOVES["handed_back"].target(has_assistant=False) is None
