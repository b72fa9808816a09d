"""What the model found: a dead letter that is redriven while a later message of its chat is under way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.delivery.in_flight_journal import Stage
from shared.states import MessageState
from shared.store import interventions, messages
from tests.store.env import StoreEnv


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    made = StoreEnv(database_url)
    yield made
    made.close()


def dead_letter(env: StoreEnv, row_id: int) -> None:
    """Let a row be refused for good."""
    env.claim([row_id])
    assert env.settle(row_id, MessageState.FAILED, code="131026")


def parked(env: StoreEnv, row_id: int) -> None:
    """Let two processes die on a row before anything left them."""
    for incarnation in ("meta-0.x", "meta-0.y"):
        env.claim([row_id], incarnation=incarnation)
        flights = [{"id": row_id, "stage": Stage.CLAIMED.name, "text": ""}]
        env.store.run(messages.reclaim, incarnation=incarnation, flights=flights, recorded=True, active_row=row_id)


@pytest.mark.parametrize("fails", [dead_letter, parked])
@pytest.mark.parametrize("state", ["sending", "in_doubt"])
def test_it_waits_for_the_one_under_way(env: StoreEnv, fails: type, state: str) -> None:
    first, second, third = env.accept("a", "a", "a")
    fails(env, first)
    assert env.state(first) == "failed"
    assert [message.id for message in env.claim([second])] == [second]
    if state == "in_doubt":
        assert env.settle(second, MessageState.IN_DOUBT)
    assert env.store.run(interventions.redrive, company_id="acme") == [first]
    chats = [(env.connection, "a")]
    assert env.claim([first, second, third], chats=chats) == []
    if state == "in_doubt":
        assert env.store.run(
            messages.resolve, message_id=second, attempt=1, state=MessageState.SENT, code="proved_sent", incarnation="x"
        )
    else:
        assert env.settle(second, MessageState.SENT, provider_id="p")
    assert [message.id for message in env.claim([third], chats=chats)] == [first], (
        "then it is its turn, before what was accepted later"
    )
