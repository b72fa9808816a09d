"""Sending a text: what is answered, what is written, and what a key keeps from happening twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.channels.registry import kind_for
from tests.api.api_env import ALPHA, CHAT, ApiEnv, problem
from tests.support.waiting import deadline_s, eventually


@pytest.mark.parametrize("index", ALPHA)
def test_a_text_is_accepted_as_a_row_and_hinted(api_env: ApiEnv, index: int) -> None:
    answer = api_env.send("Hello ☂", phoneIndex=index, chat="+1 (555) 010-0200")
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body == {
        "id": body["id"],
        "status": "queued",
        "companyId": "alpha",
        "chatId": CHAT,
        "phoneIndex": index,
        "connectionType": ALPHA[index],
        "type": "text",
        "held": index == 3,
        "createdAt": body["createdAt"],
    }
    assert answer.headers["Location"] == f"/api/v2/messages/alpha/{CHAT}/{body['id']}"
    assert "Idempotency-Replayed" not in answer.headers
    (row,) = api_env.sql(
        "SELECT chat_id, state, content, process_name, idempotency_key FROM messages WHERE id = %s", body["id"]
    )
    assert (row["chat_id"], row["state"], row["content"]) == (CHAT, "queued", {"body": "Hello ☂", "quoted": None})
    assert row["process_name"] == kind_for(ALPHA[index]).name
    assert row["idempotency_key"].startswith(" "), "a key of our own, that no client can send"
    with redis.Redis.from_url(api_env.redis_url) as client:
        eventually(lambda: client.keys(f"rq:job:m-*-{body['id']}"), 5, "the row is hinted")


def test_the_phone_index_is_0_when_none_is_given(api_env: ApiEnv) -> None:
    assert api_env.send().json()["phoneIndex"] == 0


def test_every_spelling_of_a_phone_number_is_the_same_chat(api_env: ApiEnv) -> None:
    spellings = ("+1 555 010-0201", "15550100201", "15550100201@c.us", "1.555.010.0201", "15550100201@s.whatsapp.net")
    assert {api_env.send(chat=spelling, phoneIndex=1).json()["chatId"] for spelling in spellings} == {"15550100201"}


def test_a_group_is_a_chat_of_a_browser_session(api_env: ApiEnv) -> None:
    answer = api_env.send(chat="120363041234567890@g.us", phoneIndex=1)
    assert answer.json()["chatId"] == "120363041234567890@g.us"
    assert api_env.call("GET", answer.headers["Location"]).status_code == 200


def test_the_longest_text_of_each_channel_is_accepted_however_it_is_escaped(api_env: ApiEnv) -> None:
    escaped = "\\ud83d\\ude00"
    for index, limit in ((0, 4096), (1, 65536)):
        answer = api_env.call(
            "POST",
            f"/api/v2/messages/text/alpha/{CHAT}",
            data=f'{{"phoneIndex": {index}, "message": "{escaped * limit}"}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 202, answer.text
        (row,) = api_env.sql(
            "SELECT length(content->>'body') AS length FROM messages WHERE id = %s", answer.json()["id"]
        )
        assert row["length"] == limit


def test_the_same_key_with_the_same_body_is_one_message(api_env: ApiEnv) -> None:
    first = api_env.send("once", chat="15550100210", headers={"Idempotency-Key": "k-1"})
    second = api_env.send("once", chat="+1 555 010 0210", phoneIndex=0, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json() == first.json()
    assert len(api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100210'")) == 1


def test_a_replay_returns_the_current_state(api_env: ApiEnv) -> None:
    first = api_env.send("moving", headers={"Idempotency-Key": "k-moving"})
    api_env.sql("UPDATE messages SET state = 'delivered' WHERE id = %s", first.json()["id"])
    second = api_env.send("moving", headers={"Idempotency-Key": "k-moving"})
    assert second.json() == first.json() | {"status": "delivered"}


@pytest.mark.parametrize(
    ("text", "chat", "index"),
    [("other", CHAT, 0), ("first", "15550100299", 0), ("first", CHAT, 1)],
    ids=["other text", "other chat", "other connection"],
)
def test_the_same_key_for_something_else_is_refused(api_env: ApiEnv, text: str, chat: str, index: int) -> None:
    key = {"Idempotency-Key": f"conflict-{text}-{chat}-{index}"}
    first = api_env.send("first", headers=key)
    answer = api_env.send(text, chat=chat, phoneIndex=index, headers=key)
    assert answer.status_code == 409
    assert problem(answer)["type"] == "idempotency_key_reused"
    assert problem(answer)["messageId"] == first.json()["id"]


def test_a_key_belongs_to_its_company(api_env: ApiEnv) -> None:
    ours = api_env.send("shared key", headers={"Idempotency-Key": "k-both"})
    theirs = api_env.send("another text", company="beta", headers={"Idempotency-Key": "k-both"})
    assert theirs.status_code == 202
    assert theirs.json()["id"] != ours.json()["id"]


def test_fifty_at_once_with_one_key_are_one_message(api_env: ApiEnv) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(
                lambda _: api_env.send("storm", chat="15550100211", headers={"Idempotency-Key": "storm"}), range(50)
            )
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100211'")) == 1


def test_without_a_key_the_same_text_twice_is_two_messages(api_env: ApiEnv) -> None:
    assert api_env.send("again").json()["id"] != api_env.send("again").json()["id"]


def test_a_reply_names_the_quoted_message_by_our_id_or_the_providers(api_env: ApiEnv) -> None:
    quoted = api_env.send("the question", chat="15550100212").json()["id"]
    refused = api_env.send("too early", chat="15550100212", quotedMessageId=quoted)
    assert problem(refused)["type"] == "quoted_message_unknown"
    api_env.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.question' WHERE id = %s", quoted)
    for name in (quoted, "wamid.question"):
        reply = api_env.send("the answer", chat="15550100212", quotedMessageId=name)
        assert reply.status_code == 202, reply.text
        (row,) = api_env.sql("SELECT content FROM messages WHERE id = %s", reply.json()["id"])
        assert row["content"] == {"body": "the answer", "quoted": "wamid.question"}


@pytest.mark.parametrize(
    "where", [{"chat": "15550100213"}, {"phoneIndex": 1}, {"company": "beta"}], ids=["chat", "connection", "company"]
)
def test_a_message_of_another_chat_connection_or_company_cannot_be_quoted(
    api_env: ApiEnv, where: dict[str, object]
) -> None:
    quoted = api_env.send("private", chat="15550100214").json()["id"]
    api_env.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.private' WHERE id = %s", quoted)
    answer = api_env.send("who asked?", **({"chat": "15550100214", "quotedMessageId": quoted} | where))
    assert answer.status_code == 422
    assert problem(answer)["type"] == "quoted_message_unknown"


def test_prefer_wait_answers_when_the_message_has_left(api_env: ApiEnv) -> None:
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(
            api_env.send, "wait for it", chat="15550100215", headers={"Prefer": "respond-async, wait=30"}
        )
        (row,) = eventually(
            lambda: api_env.sql("SELECT id FROM messages WHERE chat_id = '15550100215'"), 5, "the row is there"
        )
        api_env.sql("UPDATE messages SET state = 'sent' WHERE id = %s", row["id"])
        answer = answering.result(deadline_s(5))
    assert answer.status_code == 200
    assert answer.json()["status"] == "sent"
    assert answer.headers["Preference-Applied"] == "wait=30"


def test_prefer_wait_ends_when_the_time_is_over(api_env: ApiEnv) -> None:
    answer = api_env.send("nobody sends it", headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert 1.0 <= answer.elapsed.total_seconds() < 3.0
    assert answer.json()["status"] == "queued"


@pytest.mark.parametrize("preference", ["wait=soon", "wait=-1", "wait", "wait=0", "handling=lenient"])
def test_a_preference_that_is_not_understood_is_ignored(api_env: ApiEnv, preference: str) -> None:
    answer = api_env.send("at once", headers={"Prefer": preference})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
