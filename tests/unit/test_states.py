"""Transition tables: whole, closed, and the same words in code and database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from shared.errors import IllegalTransition
from shared.messages import Policy
from shared.states import (
    MESSAGE_TRANSITIONS,
    OPEN_MESSAGE_STATES,
    SESSION_TRANSITIONS,
    SLOT_TRANSITIONS,
    DesiredSession,
    MessageState,
    SessionState,
    SlotState,
    predecessors,
    require_transition,
)
from shared.store.migrate import migrations_directory

M = MessageState
TABLES: list[tuple[type[StrEnum], Mapping[Any, frozenset[Any]]]] = [
    (MessageState, MESSAGE_TRANSITIONS),
    (SlotState, SLOT_TRANSITIONS),
    (SessionState, SESSION_TRANSITIONS),
]
SCHEMA = "\n".join(
    path.read_text()
    for path in sorted(migrations_directory().glob("[0-9]*.sql"))
    if not path.name.endswith(".rollback.sql")
)


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_has_its_row_and_no_other(states: type[StrEnum], table: Mapping[Any, frozenset[Any]]) -> None:
    assert set(table) == set(states)
    assert set().union(*table.values()) <= set(states)
    assert not [state for state, following in table.items() if state in following], "staying is no transition"


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_can_be_reached(states: type[StrEnum], table: Mapping[Any, frozenset[Any]]) -> None:
    first = next(iter(states))
    reached, edge = {first}, {first}
    while edge:
        edge = set().union(*(table[state] for state in edge)) - reached
        reached |= edge
    assert reached == set(states)


def test_a_slot_and_a_session_can_always_come_back() -> None:
    for table, home in ((SLOT_TRANSITIONS, SlotState.STARTING), (SESSION_TRANSITIONS, SessionState.STARTING)):
        for start in table:
            reached: set[Any] = {start}
            while (more := set().union(*(table[state] for state in reached)) | reached) != reached:
                reached = more
            assert home in reached, f"{start} is a dead end"


def test_whatever_a_page_shows_may_follow_whatever_it_showed() -> None:
    # it is asked every few seconds: what lies between two answers is not seen
    shown = {
        SessionState.NEEDS_LINK,
        SessionState.SYNCING,
        SessionState.READY,
        SessionState.OFFLINE,
        SessionState.CONFLICT,
    }
    for state in shown | {SessionState.STARTING, SessionState.DEGRADED}:
        assert shown - {state} <= SESSION_TRANSITIONS[state], state


def test_what_the_provider_proved_never_moves_backwards() -> None:
    rank = {M.SENT: 1, M.DELIVERED: 2, M.READ: 3}
    steps = [(old, new) for old in rank for new in MESSAGE_TRANSITIONS[old] if new in rank]
    assert all(rank[new] > rank[old] for old, new in steps)
    for old in rank:
        assert not MESSAGE_TRANSITIONS[old] & set(OPEN_MESSAGE_STATES), "what went out is never open again"


def test_what_is_open_blocks_its_chat_in_every_statement() -> None:
    assert set(OPEN_MESSAGE_STATES) == {M.QUEUED, M.SENDING, M.IN_DOUBT}
    words = ", ".join(f"'{state}'" for state in OPEN_MESSAGE_STATES)
    assert f"WHERE state IN ({words})" in SCHEMA


def test_predecessors() -> None:
    assert predecessors(MESSAGE_TRANSITIONS, M.SENDING) == (M.QUEUED,)
    for new in MessageState:
        before = predecessors(MESSAGE_TRANSITIONS, new)
        assert list(before) == sorted(before)
        assert {old for old in MessageState if new in MESSAGE_TRANSITIONS[old]} == set(before)


def test_an_illegal_step_says_what_would_be_legal() -> None:
    require_transition(MESSAGE_TRANSITIONS, M.QUEUED, M.SENDING)
    with pytest.raises(IllegalTransition, match=r"MessageState: read -> sent is not listed; from read only deleted"):
        require_transition(MESSAGE_TRANSITIONS, M.READ, M.SENT)


def checked_words(column: str, table: str) -> set[str]:
    """Return the words that the schema's CHECK allows in a column."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\)", SCHEMA, re.DOTALL)
    assert body, table
    found = re.search(rf"CHECK \({column} IN \(([^)]*)\)\)", body[1])
    assert found, f"{table}.{column} has no CHECK"
    return set(re.findall(r"'([a-z_]+)'", found[1]))


def test_the_database_knows_the_same_words() -> None:
    assert checked_words("state", "messages") == set(MessageState)
    assert checked_words("desired_state", "phone_configs") == set(DesiredSession)
    assert checked_words("in_doubt_policy", "companies") == set(Policy.__args__)  # type: ignore[attr-defined]  # of a Literal


def test_states_fit_their_columns() -> None:
    assert all(
        len(state) <= 20 for states in (MessageState, SlotState, SessionState, DesiredSession) for state in states
    )
