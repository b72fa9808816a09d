"""A human who writes takes over; the assistant's own messages, and their echoes, do not."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from shared.conversations import rows
from shared.conversations.states import ConversationState
from shared.delivery.accept import accept_batch
from shared.states import MessageState
from shared.store import inbound
from shared.store.messages import Accepted
from shared.store.pool import Transaction
from tests.conversations.env import CHAT, ConversationEnv
from tests.support.waiting import deadline_s, eventually

S = ConversationState
USER_ID = "US.13491208655302741918"


def test_a_clients_message_takes_over(env: ConversationEnv) -> None:
    env.receive()
    env.send()
    conversation = env.conversation()
    assert (conversation["state"], conversation["reason"]) == ("human", "api")
    assert [turn["state"] for turn in env.turns()] == ["dropped"]
    (limit,) = env.query("SELECT human_until - state_at AS lasts FROM conversations")
    assert limit["lasts"] == timedelta(minutes=60)
    assert env.receive("thanks") == [], "the assistant is silent"
    env.send("more")
    assert env.conversation()["version"] == conversation["version"], "a human who goes on changes nothing"


@pytest.mark.parametrize("state", list(S))
def test_from_every_state(env: ConversationEnv, state: ConversationState) -> None:
    env.receive()
    if state is not S.BOT:
        env.move(state)
    env.send()
    assert env.state == "human"


@pytest.mark.parametrize(
    "fields",
    [
        {"author": "assistant"},
        {"type": "template", "content": {"name": "order_shipped", "language": "en"}},
        {"type": "reaction", "content": {"emoji": "👍", "target": "wamid.1"}},
        {"type": "read", "content": {"target": "wamid.1"}},
        {"type": "typing", "content": {"state": "composing"}},
        {"scheduled_for": datetime.now(UTC) + timedelta(hours=1)},
        {"chat": "15550100999"},
    ],
)
def test_what_is_no_reply_of_a_human(env: ConversationEnv, fields: dict[str, object]) -> None:
    env.receive()
    env.send(**fields)  # type: ignore[arg-type]
    assert env.state == "bot"


def test_a_repetition_of_a_request_takes_over_only_once(env: ConversationEnv) -> None:
    env.receive()
    env.send(idempotency_key="k")
    env.move(S.BOT)
    assert env.send(idempotency_key="k").replayed
    assert env.state == "bot"


def test_what_is_written_by_hand_takes_over(env: ConversationEnv) -> None:
    env.receive()
    env.receive("I am here", from_me=True)
    assert (env.state, env.conversation()["reason"]) == ("human", "by_hand")


def test_under_another_id_of_the_person_too(env: ConversationEnv) -> None:
    env.receive(chat=USER_ID)
    env.query("SELECT link_aliases('acme', %(a)s, %(b)s)", a=USER_ID, b=CHAT)
    env.receive("I am here", chat=CHAT, from_me=True)
    assert env.state == "human"


def test_who_begins_to_write_by_hand_is_not_interrupted_when_the_customer_answers(env: ConversationEnv) -> None:
    env.receive("Hello from the shop", from_me=True)
    assert env.receive("hello") == []
    assert env.state == "human"


def test_a_client_that_writes_first_begins_nothing(env: ConversationEnv) -> None:
    """It may be one of a thousand notifications."""
    env.send()
    assert env.conversations() == []
    assert len(env.receive()) == 1


@pytest.mark.parametrize("fields", [{"context": {"history": True}}, {"at": datetime.now(UTC) - timedelta(minutes=61)}])
def test_history_does_not_take_over(env: ConversationEnv, fields: dict[str, object]) -> None:
    env.receive()
    env.query("UPDATE conversations SET state_at = now() - interval '1 day'")
    env.receive("long ago", from_me=True, **fields)  # type: ignore[arg-type]
    assert env.state == "bot"


def test_what_was_written_before_it_was_handed_back_does_not_take_over_again(env: ConversationEnv) -> None:
    env.receive()
    env.receive("late", from_me=True, at=datetime.now(UTC) - timedelta(seconds=5))
    assert env.state == "bot"


class TestEchoes:
    """The provider reports what we send like what was written by hand: by its id it is ours."""

    def answer(self, env: ConversationEnv) -> int:
        """Queue an answer of the assistant, and claim it."""
        sent = env.send("We open at nine.", author="assistant").id
        env.own.claim([sent])
        return sent

    def echo(self, env: ConversationEnv, provider_id: str, text: str = "We open at nine.") -> None:
        env.receive(text, from_me=True, provider_id=provider_id)

    def decide(self, env: ConversationEnv) -> int:
        return env.store.run(rows.decide_echoes, most=100)

    def test_of_our_own_message(self, env: ConversationEnv) -> None:
        env.receive()
        env.own.settle(self.answer(env), MessageState.SENT, provider_id="wamid.out1")
        self.echo(env, "wamid.out1")
        assert (env.state, env.conversation()["echo_id"]) == ("bot", None)

    @pytest.mark.parametrize("is_withdrawn", [False, True])
    def test_that_comes_before_our_id_is_known(self, env: ConversationEnv, is_withdrawn: bool) -> None:
        env.receive()
        sent = self.answer(env)
        self.echo(env, "wamid.out2")
        assert env.state == "bot"
        assert self.decide(env) == 0
        assert env.conversation()["echo_id"] is not None, "it is still being sent"
        env.own.settle(sent, MessageState.SENT, provider_id="wamid.out2")
        if is_withdrawn:
            assert env.store.run(inbound.withdraw_echoes, [sent]) == 1
        assert self.decide(env) == 0
        assert (env.state, env.conversation()["echo_id"]) == ("bot", None)

    def test_a_human_who_writes_at_that_moment(self, env: ConversationEnv) -> None:
        env.receive()
        sent = self.answer(env)
        self.echo(env, "wamid.hand", "No, at ten!")
        assert env.state == "bot"
        env.own.settle(sent, MessageState.SENT, provider_id="wamid.out3")
        assert self.decide(env) == 1
        assert (env.state, env.conversation()["reason"]) == ("human", "by_hand")

    def test_while_an_answer_is_in_doubt_other_words_are_a_humans(self, env: ConversationEnv) -> None:
        env.receive()
        env.own.settle(self.answer(env), MessageState.IN_DOUBT)
        self.echo(env, "wamid.echo", "We open  at nine. ")
        assert env.state == "bot", "the same words, but for a space"
        self.echo(env, "wamid.hand", "At ten.")
        assert env.state == "human"


class TestAnswer:
    """The state is read again in the transaction that queues an answer, and stays so until its end."""

    def test_waits_for_a_human_who_is_writing_and_then_is_not_queued(self, env: ConversationEnv) -> None:
        env.receive()
        conversation_id = env.conversation()["id"]
        with ThreadPoolExecutor() as threads:

            def reply(transaction: Transaction) -> Future[ConversationState | None]:
                accept_batch(transaction, [env.own.message(CHAT)])
                asked = threads.submit(env.store.run, rows.lock_for_answer, conversation_id)
                eventually(lambda: waits_for_lock(env), 10, "the answer waits")
                return asked

            assert env.store.run(reply).result(deadline_s(10)) is S.HUMAN

    def test_that_is_queued_first_is_followed_by_the_human(self, env: ConversationEnv) -> None:
        env.receive()
        conversation_id = env.conversation()["id"]
        with ThreadPoolExecutor() as threads:

            def answer(transaction: Transaction) -> Future[Accepted]:
                assert rows.lock_for_answer(transaction, conversation_id) is S.BOT
                human = threads.submit(env.send)
                eventually(lambda: waits_for_lock(env), 10, "the human waits")
                accept_batch(transaction, [env.own.message(CHAT, author="assistant")])
                assert env.state == "bot"
                return human

            env.store.run(answer).result(deadline_s(10))
        assert env.state == "human"

    def test_of_a_conversation_that_is_gone(self, env: ConversationEnv) -> None:
        assert env.store.run(rows.lock_for_answer, 4711) is None


def waits_for_lock(env: ConversationEnv) -> bool:
    return bool(
        env.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE '%%conversations%%'"
        )
    )
