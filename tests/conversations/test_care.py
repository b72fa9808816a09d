"""What the recorder does for conversations: timeouts, figures, and what is kept."""

from __future__ import annotations

import asyncio

import pytest

from recorder.conversation_care import ConversationCare
from shared.conversations import rows
from shared.conversations.rows import MoveOrder
from shared.conversations.states import ConversationState
from shared.states import MessageState
from shared.store import retention
from tests.conversations.env import CHAT, ConversationEnv

S = ConversationState


@pytest.fixture
def care(env: ConversationEnv) -> ConversationCare:
    return ConversationCare(env.store)


def end(care: ConversationCare) -> None:
    asyncio.run(care.end_overdue())


class TestTimeouts:
    def test_back_to_the_assistant_when_no_human_writes(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive()
        env.send()
        end(care)
        assert env.state == "human"
        env.ago("human_until", minutes=1)
        end(care)
        conversation = env.conversation()
        assert (conversation["state"], conversation["reason"], conversation["human_until"]) == (
            "bot", "human_timeout", None)  # fmt: skip

    def test_a_human_who_writes_begins_the_time_anew(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive()
        env.send()
        env.ago("human_until", minutes=1)
        env.send("I am still here")
        end(care)
        assert env.state == "human"

    def test_never_where_the_company_says_so(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.set(humanTimeoutMinutes=0)
        env.receive()
        env.send()
        assert env.conversation()["human_until"] is None
        end(care)
        assert env.state == "human"

    def test_without_an_assistant_it_is_closed(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.set(enableAssistant=False)
        env.receive()
        env.send()
        env.ago("human_until", minutes=1)
        end(care)
        assert (env.state, env.conversation()["reason"]) == ("closed", "human_timeout")

    def test_of_those_who_wait(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive("human")
        env.ago("state_at", hours=10)
        end(care)
        assert env.state == "waiting", "by default nobody is sent away"
        env.set(waitingTimeoutMinutes=30)
        end(care)
        assert (env.state, env.conversation()["reason"]) == ("bot", "waiting_timeout")
        assert env.events()[-1] == ("conversation.updated", "bot", "waiting_timeout")

    def test_of_those_who_say_nothing_more(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive()
        env.ago("state_at", hours=25)
        end(care)
        assert env.state == "bot", "the customer wrote just now"
        env.ago("last_inbound_at", hours=25)
        end(care)
        assert (env.state, env.conversation()["reason"]) == ("closed", "idle")
        env.receive("again")
        assert env.state == "bot"

    def test_of_a_company_that_switched_it_off(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive("human")
        env.set(enableAssistant=False, enableHumanHandoff=False)
        end(care)
        assert (env.state, env.conversation()["reason"]) == ("closed", "switched_off")

    def test_of_a_connection_that_is_removed(self, env: ConversationEnv, care: ConversationCare) -> None:
        env.receive("human")
        env.query("UPDATE phone_configs SET status = 'removed'")
        end(care)
        assert (env.state, env.conversation()["reason"]) == ("closed", "connection_removed")

    def test_a_human_who_writes_between_the_look_and_the_move_is_not_overtaken(self, env: ConversationEnv) -> None:
        env.receive("human")
        env.ago("state_at", hours=1)
        env.set(waitingTimeoutMinutes=30)
        (found,) = env.store.run(rows.overdue, most=10)
        env.send("I am here")
        order = MoveOrder(id=found.id, before=set(S), after=S.BOT, reason="waiting_timeout", version=found.version)
        assert env.store.run(rows.move, [order]) == {}
        assert env.state == "human"


def test_echoes_are_decided(env: ConversationEnv, care: ConversationCare) -> None:
    env.receive()
    sent = env.send("answer", author="assistant").id
    env.own.claim([sent])
    env.receive("by hand", from_me=True, provider_id="wamid.hand")
    env.own.settle(sent, MessageState.SENT, provider_id="wamid.ours")
    asyncio.run(care.decide_echoes())
    assert env.state == "human"


def test_figures_of_those_who_wait(env: ConversationEnv) -> None:
    env.receive("human")
    env.receive("human", chat="15550100201")
    env.query("UPDATE conversations SET state_at = now() - interval '16 minutes' WHERE chat_id = %(chat)s", chat=CHAT)
    found = env.store.run(lambda transaction: transaction.one("waiting_figures", most=10, limit_minutes=15))
    assert (found["customers"], found["late"]) == (2, 1)
    assert found["longest_s"] == pytest.approx(960, abs=60)
    env.set(waitingLimitMinutes=0)
    found = env.store.run(lambda transaction: transaction.one("waiting_figures", most=10, limit_minutes=15))
    assert (found["customers"], found["late"]) == (2, 0)


def test_what_was_closed_long_ago_is_deleted_with_its_turns(env: ConversationEnv) -> None:
    env.receive()
    env.receive("hello", chat="15550101999")
    first, second = env.conversations()
    env.query(
        "UPDATE conversations SET state = 'closed', state_at = now() - interval '40 days' WHERE id = %(id)s",
        id=second["id"],
    )
    found = env.store.run(retention.prune_rows, statement="prune_conversations", age_s=30 * 86400.0, most=100)
    assert found == 1
    assert [row["id"] for row in env.conversations()] == [first["id"]]
    assert [turn["conversation_id"] for turn in env.turns()] == [first["id"]]
