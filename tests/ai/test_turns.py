"""Turns from a customer's message to the answer, by the running process."""

from __future__ import annotations

from pathlib import Path

from ai import rows
from shared.conversations import rows as conversations
from tests.ai.env import AiEnv
from tests.sandbox.env import SandboxEnv
from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.waiting import eventually

_CHAT = "15550100200"


def _states(ai: AiEnv) -> list[tuple[str, str]]:
    return [(turn["state"], turn["reason"]) for turn in ai.turns()]


def test_what_is_asked_is_answered_once_and_what_comes_meanwhile_next(ai: AiEnv) -> None:
    ai.behave("answer", text="It is open.", contains="open")
    ai.behave("slow", latency_ms=700, contains="first")
    ai.start()
    ai.write(_CHAT, "first?")
    eventually(lambda: ai.asked() or ai.turns()[0]["state"] == "running", 20, "the first turn runs")
    ai.write(_CHAT, "is it open?")
    ai.write(_CHAT, "really open?")
    turns = ai.ended(2)
    assert [turn["state"] for turn in turns] == ["answered", "answered"]
    assert len(ai.answers(_CHAT)) == 2 and ai.answers(_CHAT)[1] == "It is open."
    keys = query(ai.store.url, "SELECT idempotency_key AS key, author FROM messages WHERE type = 'text' ORDER BY id")
    assert [row["key"] for row in keys] == [f"turn-{turn['id']}" for turn in turns]
    assert {row["author"] for row in keys} == {"assistant"}
    # both messages of the second turn were asked in one call, with the first exchange before them
    last = ai.asked()[-1]["messages"]
    assert [one["role"] for one in last] == ["system", "user", "assistant", "user", "user"]
    # its figures are those of the model, and nothing that was said is kept beside the messages
    assert turns[0]["tokens_in"] > 0 and turns[0]["model"] == "sandbox-model"
    kept = query(ai.store.url, "SELECT count(*) AS kept FROM model_calls WHERE answer IS NOT NULL")
    assert kept[0]["kept"] == 0
    signs = query(ai.store.url, "SELECT DISTINCT type FROM messages WHERE type <> 'text'")
    assert {row["type"] for row in signs} == {"read", "typing"}
    assert ai.metric("turns_total", outcome="answered") == ai.metric("turn_seconds_count") == 2
    assert ai.metric("model_calls_total", model="sandbox-model", outcome="answered") == 2
    assert ai.metric("model_call_seconds_count", model="sandbox-model") == 2
    assert ai.metric("model_tokens_total", way="in") == sum(turn["tokens_in"] for turn in turns)
    # while no turn waits it looks at an index, and claims nothing
    claims = ai.metric("statement_seconds_count", statement="claim_turns")
    looks = ai.metric("statement_seconds_count", statement="next_turn")
    eventually(
        lambda: ai.metric("statement_seconds_count", statement="next_turn") >= looks + 3, 20, "three looks are made"
    )
    assert ai.metric("statement_seconds_count", statement="claim_turns") == claims > 0


def test_many_conversations_of_one_company_leave_room_for_another(ai: AiEnv) -> None:
    # claimed by rows alone: no process is needed
    for number in range(12):
        ai.write(f"1555010{number:04}", "hello")
    claimed = ai.store.store.run(rows.claim, incarnation="ai-0.test", most=100, each=8)
    assert len(claimed) == 8
    assert not ai.store.store.run(rows.claim, incarnation="ai-0.test", most=100, each=8)


def test_a_human_who_takes_over_while_the_model_thinks_is_not_talked_over(ai: AiEnv) -> None:
    ai.behave("slow", latency_ms=900)
    ai.start()
    ai.write(_CHAT, "hello")
    eventually(lambda: any(turn["state"] == "running" for turn in ai.turns()), 20, "the turn runs")
    ai.store.store.run(
        conversations.take_over,
        [conversations.HumanReply(company_id="acme", connection_id=ai.connection, chat_id=_CHAT, reason="api")],
    )
    ai.ended()
    assert _states(ai) == [("dropped", "human")] and not ai.answers(_CHAT)


def test_a_human_goes_on_where_the_model_fails_or_says_so(ai: AiEnv) -> None:
    ai.set(enableHumanHandoff=True, assistantConfig={"handoffText": "A colleague will answer."})
    ai.behave("refusal", contains="first")
    ai.behave("tool_calls", calls=[{"name": "handoff_to_human", "arguments": {"reason": "asked"}}], contains="second")
    ai.start()
    ai.write(_CHAT, "first")
    ai.write("15550100201", "second")
    ai.ended(2)
    assert sorted(_states(ai)) == [("handed_off", "assistant"), ("handed_off", "model_blocked")]
    states = query(ai.store.url, "SELECT state FROM conversations")
    assert [row["state"] for row in states] == ["waiting", "waiting"]
    assert ai.answers(_CHAT) == ai.answers("15550100201") == ["A colleague will answer."]
    # what comes in now is the human's
    ai.write(_CHAT, "are you there?")
    assert len(ai.turns()) == 2


def test_money_is_checked_before_the_call_and_what_costs_none_is_given(
    home: Path, env: StoreEnv, model: SandboxEnv
) -> None:
    ai = AiEnv(home, env, model, llm_prices='{"sandbox-model": [100, 1000]}', ai_turn_dollars=10)
    # 600 tokens of answer at a thousandth of a dollar: one call may cost 0.6 dollars and a little
    ai.set(assistantConfig={"monthlyBudget": 0.7, "apology": "Sorry.", "cacheSeconds": 600})
    try:
        ai.start()
        ai.write(_CHAT, "hello")
        (first,) = ai.ended()
        assert first["state"] == "answered" and 0 < first["cost_micros"] == ai.spent()["spent"]
        query(ai.store.url, "UPDATE model_spend SET spent_micros = 650000")
        ai.write(_CHAT, "hello again")
        turn = ai.ended(2)[-1]
        assert (turn["state"], turn["reason"]) == ("failed", "budget")
        # what another customer was answered before costs nothing
        ai.write("15550100201", "hello")
        turn = ai.ended(3)[-1]
        assert (turn["state"], turn["reason"], turn["cost_micros"]) == ("answered", "", 0)
        assert ai.answers("15550100201") == ai.answers(_CHAT)[:1]
        assert len(ai.asked()) == 1 and ai.spent()["reserved"] == 0
    finally:
        ai.close()


def test_numbers_and_mails_do_not_leave_and_come_back_in_the_answer(ai: AiEnv) -> None:
    ai.behave("answer", text="I call [phone 1] and write to [mail 1].")
    ai.start()
    ai.write(_CHAT, "I am 15550100299, jane@example.com")
    ai.ended()
    (asked,) = ai.asked()
    assert asked["messages"][-1]["content"] == "I am [phone 1], [mail 1]"
    assert ai.answers(_CHAT) == ["I call 15550100299 and write to jane@example.com."]
    # nothing of it is logged
    log = ai.entry.log.read_text()
    assert "15550100299" not in log and "jane@" not in log


def test_a_turn_that_kills_its_process_is_given_up(ai: AiEnv) -> None:
    ai.set(assistantConfig={"apology": "Sorry."}).start()
    ai.write(_CHAT, "hello")
    ai.ended()
    query(
        ai.store.url,
        "UPDATE turns SET state = 'running', incarnation_id = NULL, ended_at = NULL, message_id = NULL, attempts = 3, "
        "due_at = now()",
    )
    query(ai.store.url, "DELETE FROM messages")
    (turn,) = ai.ended()
    assert (turn["state"], turn["reason"]) == ("failed", "poison") and ai.answers(_CHAT) == ["Sorry."]
