"""One message through each connection type, and what every fault of the provider leads to. The ledger judges."""

from __future__ import annotations

import pytest

from shared.store import connections, messages
from tests.meta.env import MetaEnv, new_chat
from tests.meta.seed import D360, DIRECT, EMBEDDED
from tests.support.waiting import eventually


@pytest.mark.parametrize("phone_index", [DIRECT, EMBEDDED, D360])
def test_a_text_arrives_once_and_reaches_delivered(env: MetaEnv, phone_index: int) -> None:
    chat = new_chat()
    row = env.send(chat, "Grüße / hello", phone_index=phone_index)
    env.wait_state(row, "delivered")
    (arrived,) = env.arrived(row)
    assert arrived["channel"] == ("d360" if phone_index == D360 else "graph")
    assert arrived["callback"] == env.token(row)
    message = arrived["message"]
    assert message["to"] == f"+{chat}"
    assert message["text"] == {"body": "Grüße / hello", "preview_url": False}
    assert env.row(row)["provider_id"] == arrived["id"]
    # "sent" by the answer, and by the provider's status
    assert [state for state, _ in env.history(row)] == ["queued", "sending", "sent", "sent", "delivered"]


def test_a_reply_quotes_and_a_user_id_needs_no_phone(env: MetaEnv) -> None:
    row = env.send("US.9f8e7d", quoted="wamid.QUOTED")
    env.wait_state(row, "delivered")
    (arrived,) = env.arrived(row)
    assert arrived["message"]["recipient"] == "US.9f8e7d"
    assert "to" not in arrived["message"]
    assert arrived["message"]["context"] == {"message_id": "wamid.QUOTED"}


def test_a_chat_that_meta_cannot_reach_is_dead_before_any_call(env: MetaEnv) -> None:
    row = env.send("120363000000000000@g.us")
    env.wait_state(row, "failed")
    assert env.history(row)[-1] == ("failed", "invalid_recipient")
    assert env.asked(row) == 0


@pytest.mark.parametrize(
    ("fault", "details", "code"),
    [
        ("cut_before", {}, "no_answer"),
        ("hang", {}, "no_answer"),
        ("error", {"http_status": 500}, "http_500"),
        ("error", {"http_status": 503}, "http_503"),
    ],
)
def test_what_was_not_taken_is_sent_again_when_webhooks_prove_it(
    env: MetaEnv, fault: str, details: dict[str, int], code: str
) -> None:
    chat = new_chat()
    env.arm(fault, chat, **details)
    row = env.send(chat)
    env.wait_state(row, "in_doubt")
    assert env.history(row)[-1] == ("in_doubt", code)
    # another message's webhooks are the proof that webhooks are alive
    env.wait_state(env.send(new_chat()), "delivered")
    env.wait_state(row, "delivered")
    assert ("queued", "evidence_unsent") in env.history(row)
    assert [entry["callback"] for entry in env.arrived(row)] == [env.token(row, 2)]


def test_without_any_sign_of_life_a_doubt_is_left_to_a_human(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("cut_before", chat)
    row = env.send(chat)
    eventually(lambda: env.row(row)["held_at"], 10, lambda: f"held: {env.history(row)}")
    assert env.state(row) == "in_doubt"
    assert env.asked(row) == 1


@pytest.mark.parametrize(
    ("fault", "details"),
    [
        ("cut_after", {}),
        ("hang_after", {}),
        ("5xx_after_accept", {}),
        ("5xx_after_accept", {"http_status": 504}),
    ],
)
def test_what_was_taken_without_an_answer_is_proved_by_its_webhook_and_never_sent_again(
    env: MetaEnv, fault: str, details: dict[str, int]
) -> None:
    chat = new_chat()
    env.arm(fault, chat, **details)
    row = env.send(chat)
    env.wait_state(row, "delivered")
    (arrived,) = env.arrived(row)
    assert env.row(row)["provider_id"] == arrived["id"]
    assert env.asked(row) == 1


def test_a_webhook_that_overtakes_the_answer_wins(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("slow", chat, latency_ms=700)
    row = env.send(chat)
    env.wait_state(row, "delivered", within_s=0.6 + 5)
    eventually(lambda: env.metric("messages_in_flight") == 0, 5, "the answer came")
    assert env.state(row) == "delivered"
    assert len(env.arrived(row)) == 1


@pytest.mark.parametrize("fault", ["webhook_reorder", "webhook_duplicate"])
def test_statuses_in_any_order_and_number(env: MetaEnv, fault: str) -> None:
    chat = new_chat()
    env.control("POST", "settings", {"statuses": ["sent", "delivered", "read", "played"]})
    env.arm(fault, chat, count=4)
    row = env.send(chat)
    env.wait_state(row, "read")
    eventually(lambda: env.control("GET", "summary")["webhooks_pending"] == 0, 10, "all statuses were taken")
    env.wait_journal_read()
    assert env.state(row) == "read"
    reported = [step["extra"]["status"] for step in env.store.run(messages.history, row) if step["extra"]]
    assert sorted(reported) == ["delivered", "played", "read", "sent"], (
        "each of the provider's steps stands in the history once"
    )


def test_a_later_failure_is_reported_with_its_code(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("fail_later", chat, code=131047)
    row = env.send(chat)
    env.wait_state(row, "failed")
    assert env.history(row)[-1] == ("failed", "131047")
    assert "24 hours" in env.row(row)["error_detail"]


def test_trouble_that_passes_is_tried_again_by_the_retry_policy(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("error", chat, code=131000, count=2)
    row = env.send(chat)
    env.wait_state(row, "delivered")
    assert [entry["callback"] for entry in env.arrived(row)] == [env.token(row, 3)]
    assert [step for step in env.history(row) if step[1]] == [("queued", "131000")] * 2


def test_three_counted_attempts_make_a_dead_letter(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("error", chat, code=131016, count=3)
    row = env.send(chat)
    env.wait_state(row, "failed")
    assert env.history(row)[-1] == ("failed", "131016")
    assert env.asked(row) == 3
    assert "fbtrace_id" in env.row(row)["error_detail"]


def test_a_limit_between_two_people_is_waited_out_without_spending_attempts(env: MetaEnv) -> None:
    chat = new_chat()
    env.arm("error", chat, code=131056)
    first, second = env.send_many([(chat, "one"), (chat, "two")])
    other = env.send(new_chat())
    env.wait_state(other, "delivered")
    env.wait_state(second, "delivered")
    assert env.history(first)[2] == ("queued", "131056")
    (arrived,) = env.arrived(first)
    assert arrived["callback"] == env.token(first), "the refused attempt was not charged"
    assert arrived["seq"] < env.arrived(second)[0]["seq"], "the chat kept its order"


def test_a_dead_token_pauses_the_connection_and_loses_nothing(env: MetaEnv) -> None:
    chat, later = new_chat(), new_chat()
    env.arm("error", chat, code=190, phone_number_id="100000000000003")
    row = env.send(chat, phone_index=EMBEDDED)
    eventually(
        lambda: env.query("SELECT status FROM phone_configs WHERE id = %s", env.ids[EMBEDDED]) == [("paused",)],
        10,
        "the connection is paused",
    )
    assert env.query("SELECT status_reason FROM phone_configs WHERE id = %s", env.ids[EMBEDDED]) == [
        ("190: the access token is no longer valid (the sandbox answered, not the provider)",)
    ]
    waiting = env.send(later, phone_index=EMBEDDED)
    direct = env.send(new_chat())
    env.wait_state(direct, "delivered")
    assert [env.state(row), env.state(waiting)] == ["queued", "queued"]
    assert env.asked(waiting) == 0
    assert env.store.run(connections.resume, env.ids[EMBEDDED])
    for one in (row, waiting):
        env.wait_state(one, "delivered")
        assert [entry["callback"] for entry in env.arrived(one)] == [env.token(one)]
