"""One message through each connection type, and what every fault of the provider leads to. The ledger judges."""

from __future__ import annotations

import pytest

from shared.store import connections, messages
from tests.meta.seed import D360, DIRECT, EMBEDDED
from tests.meta.town import Town, new_chat
from tests.support.waiting import eventually


@pytest.mark.parametrize("phone_index", [DIRECT, EMBEDDED, D360])
def test_a_text_arrives_once_and_reaches_delivered(town: Town, phone_index: int) -> None:
    chat = new_chat()
    row = town.send(chat, "Grüße / hello", phone_index=phone_index)
    town.wait_state(row, "delivered")
    (arrived,) = town.arrived(row)
    assert arrived["channel"] == ("d360" if phone_index == D360 else "graph")
    assert arrived["callback"] == town.token(row)
    message = arrived["message"]
    assert message["to"] == f"+{chat}"
    assert message["text"] == {"body": "Grüße / hello", "preview_url": False}
    assert town.row(row)["provider_id"] == arrived["id"]
    # "sent" by the answer, and by the provider's status
    assert [state for state, _ in town.history(row)] == ["queued", "sending", "sent", "sent", "delivered"]


def test_a_reply_quotes_and_a_user_id_needs_no_phone(town: Town) -> None:
    row = town.send("US.9f8e7d", quoted="wamid.QUOTED")
    town.wait_state(row, "delivered")
    (arrived,) = town.arrived(row)
    assert arrived["message"]["recipient"] == "US.9f8e7d"
    assert "to" not in arrived["message"]
    assert arrived["message"]["context"] == {"message_id": "wamid.QUOTED"}


def test_a_chat_that_meta_cannot_reach_is_dead_before_any_call(town: Town) -> None:
    row = town.send("120363000000000000@g.us")
    town.wait_state(row, "failed")
    assert town.history(row)[-1] == ("failed", "invalid_recipient")
    assert town.asked(row) == 0


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
    town: Town, fault: str, details: dict[str, int], code: str
) -> None:
    chat = new_chat()
    town.arm(fault, chat, **details)
    row = town.send(chat)
    town.wait_state(row, "in_doubt")
    assert town.history(row)[-1] == ("in_doubt", code)
    # another message's webhooks are the proof that webhooks are alive
    town.wait_state(town.send(new_chat()), "delivered")
    town.wait_state(row, "delivered")
    assert ("queued", "evidence_unsent") in town.history(row)
    assert [entry["callback"] for entry in town.arrived(row)] == [town.token(row, 2)]


def test_without_any_sign_of_life_a_doubt_is_left_to_a_human(town: Town) -> None:
    chat = new_chat()
    town.arm("cut_before", chat)
    row = town.send(chat)
    eventually(lambda: town.row(row)["held_at"], 10, lambda: f"held: {town.history(row)}")
    assert town.state(row) == "in_doubt"
    assert town.asked(row) == 1


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
    town: Town, fault: str, details: dict[str, int]
) -> None:
    chat = new_chat()
    town.arm(fault, chat, **details)
    row = town.send(chat)
    town.wait_state(row, "delivered")
    (arrived,) = town.arrived(row)
    assert town.row(row)["provider_id"] == arrived["id"]
    assert town.asked(row) == 1


def test_a_webhook_that_overtakes_the_answer_wins(town: Town) -> None:
    chat = new_chat()
    town.arm("slow", chat, latency_ms=700)
    row = town.send(chat)
    town.wait_state(row, "delivered", within_s=0.6 + 5)
    eventually(lambda: town.metric("messages_in_flight") == 0, 5, "the answer came")
    assert town.state(row) == "delivered"
    assert len(town.arrived(row)) == 1


@pytest.mark.parametrize("fault", ["webhook_reorder", "webhook_duplicate"])
def test_statuses_in_any_order_and_number(town: Town, fault: str) -> None:
    chat = new_chat()
    town.control("POST", "settings", {"statuses": ["sent", "delivered", "read", "played"]})
    town.arm(fault, chat, count=4)
    row = town.send(chat)
    town.wait_state(row, "read")
    eventually(lambda: town.control("GET", "summary")["webhooks_pending"] == 0, 10, "all statuses were taken")
    town.wait_journal_read()
    assert town.state(row) == "read"
    told = [step["extra"]["status"] for step in town.store.run(messages.history, row) if step["extra"]]
    assert sorted(told) == ["delivered", "played", "read", "sent"], (
        "each of the provider's steps stands in the history once"
    )


def test_a_later_failure_is_told_with_its_code(town: Town) -> None:
    chat = new_chat()
    town.arm("fail_later", chat, code=131047)
    row = town.send(chat)
    town.wait_state(row, "failed")
    assert town.history(row)[-1] == ("failed", "131047")
    assert "24 hours" in town.row(row)["error_detail"]


def test_trouble_that_passes_is_tried_again_by_the_retry_policy(town: Town) -> None:
    chat = new_chat()
    town.arm("error", chat, code=131000, count=2)
    row = town.send(chat)
    town.wait_state(row, "delivered")
    assert [entry["callback"] for entry in town.arrived(row)] == [town.token(row, 3)]
    assert [step for step in town.history(row) if step[1]] == [("queued", "131000")] * 2


def test_three_counted_attempts_make_a_dead_letter(town: Town) -> None:
    chat = new_chat()
    town.arm("error", chat, code=131016, count=3)
    row = town.send(chat)
    town.wait_state(row, "failed")
    assert town.history(row)[-1] == ("failed", "131016")
    assert town.asked(row) == 3
    assert "fbtrace_id" in town.row(row)["error_detail"]


def test_a_limit_between_two_people_is_waited_out_without_spending_attempts(town: Town) -> None:
    chat = new_chat()
    town.arm("error", chat, code=131056)
    first, second = town.send_many([(chat, "one"), (chat, "two")])
    other = town.send(new_chat())
    town.wait_state(other, "delivered")
    town.wait_state(second, "delivered")
    assert town.history(first)[2] == ("queued", "131056")
    (arrived,) = town.arrived(first)
    assert arrived["callback"] == town.token(first), "the refused attempt was not charged"
    assert arrived["seq"] < town.arrived(second)[0]["seq"], "the chat kept its order"


def test_a_dead_token_pauses_the_connection_and_loses_nothing(town: Town) -> None:
    chat, later = new_chat(), new_chat()
    town.arm("error", chat, code=190, phone_number_id="100000000000003")
    row = town.send(chat, phone_index=EMBEDDED)
    eventually(
        lambda: town.query("SELECT status FROM phone_configs WHERE id = %s", town.ids[EMBEDDED]) == [("paused",)],
        10,
        "the connection is paused",
    )
    assert town.query("SELECT status_reason FROM phone_configs WHERE id = %s", town.ids[EMBEDDED]) == [
        ("190: the access token is no longer valid",)
    ]
    waiting = town.send(later, phone_index=EMBEDDED)
    direct = town.send(new_chat())
    town.wait_state(direct, "delivered")
    assert [town.state(row), town.state(waiting)] == ["queued", "queued"]
    assert town.asked(waiting) == 0
    assert town.store.run(connections.resume, town.ids[EMBEDDED])
    for one in (row, waiting):
        town.wait_state(one, "delivered")
        assert [entry["callback"] for entry in town.arrived(one)] == [town.token(one)]
