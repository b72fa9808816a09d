"""Sending a text: what is answered, what is written, and what a key keeps from happening twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from shared.channels.registry import kind_for
from tests.api.house import ALPHA, CHAT, House, problem
from tests.support.servers import Servers
from tests.support.waiting import eventually


@pytest.mark.parametrize("index", ALPHA)
def test_a_text_is_accepted_as_a_row_and_hinted(house: House, servers: Servers, index: int) -> None:
    answer = house.send("Hello ☂", phoneIndex=index, chat="+1 (555) 010-0200")
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
    (row,) = house.sql(
        "SELECT chat_id, state, content, process_name, idempotency_key FROM messages WHERE id = %s", body["id"]
    )
    assert (row["chat_id"], row["state"], row["content"]) == (CHAT, "queued", {"body": "Hello ☂", "quoted": None})
    assert row["process_name"] == kind_for(ALPHA[index]).name
    assert row["idempotency_key"].startswith(" "), "a key of our own, that no client can send"
    with redis.Redis.from_url(servers.redis_server_url) as client:
        eventually(lambda: client.exists(f"rq:job:m-{body['id']}"), 5, "the row is hinted")


def test_the_phone_index_is_0_when_none_is_given(house: House) -> None:
    assert house.send().json()["phoneIndex"] == 0


def test_every_spelling_of_a_phone_number_is_the_same_chat(house: House) -> None:
    spellings = ("+1 555 010-0201", "15550100201", "15550100201@c.us", "1.555.010.0201", "15550100201@s.whatsapp.net")
    assert {house.send(chat=spelling, phoneIndex=1).json()["chatId"] for spelling in spellings} == {"15550100201"}


def test_a_group_is_a_chat_of_a_browser_session(house: House) -> None:
    answer = house.send(chat="120363041234567890@g.us", phoneIndex=1)
    assert answer.json()["chatId"] == "120363041234567890@g.us"
    assert house.call("GET", answer.headers["Location"]).status_code == 200


def test_the_longest_text_of_each_channel_is_accepted_however_it_is_escaped(house: House) -> None:
    escaped = "\\ud83d\\ude00"
    for index, limit in ((0, 4096), (1, 65536)):
        answer = house.call(
            "POST",
            f"/api/v2/messages/text/alpha/{CHAT}",
            data=f'{{"phoneIndex": {index}, "message": "{escaped * limit}"}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 202, answer.text
        (row,) = house.sql("SELECT length(content->>'body') AS length FROM messages WHERE id = %s", answer.json()["id"])
        assert row["length"] == limit


def test_the_same_key_with_the_same_body_is_one_message(house: House) -> None:
    first = house.send("once", chat="15550100210", headers={"Idempotency-Key": "k-1"})
    second = house.send("once", chat="+1 555 010 0210", phoneIndex=0, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json() == first.json()
    assert len(house.sql("SELECT id FROM messages WHERE chat_id = '15550100210'")) == 1


def test_a_replay_tells_the_state_of_now(house: House) -> None:
    first = house.send("moving", headers={"Idempotency-Key": "k-moving"})
    house.sql("UPDATE messages SET state = 'delivered' WHERE id = %s", first.json()["id"])
    second = house.send("moving", headers={"Idempotency-Key": "k-moving"})
    assert second.json() == first.json() | {"status": "delivered"}


@pytest.mark.parametrize(
    ("text", "chat", "index"),
    [("other", CHAT, 0), ("first", "15550100299", 0), ("first", CHAT, 1)],
    ids=["other text", "other chat", "other connection"],
)
def test_the_same_key_for_something_else_is_refused(house: House, text: str, chat: str, index: int) -> None:
    key = {"Idempotency-Key": f"conflict-{text}-{chat}-{index}"}
    first = house.send("first", headers=key)
    answer = house.send(text, chat=chat, phoneIndex=index, headers=key)
    assert answer.status_code == 409
    assert problem(answer)["type"] == "idempotency_key_reused"
    assert problem(answer)["messageId"] == first.json()["id"]


def test_a_key_belongs_to_its_company(house: House) -> None:
    ours = house.send("shared key", headers={"Idempotency-Key": "k-both"})
    theirs = house.send("another text", company="beta", headers={"Idempotency-Key": "k-both"})
    assert theirs.status_code == 202
    assert theirs.json()["id"] != ours.json()["id"]


def test_fifty_at_once_with_one_key_are_one_message(house: House) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: house.send("storm", chat="15550100211", headers={"Idempotency-Key": "storm"}), range(50))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(house.sql("SELECT id FROM messages WHERE chat_id = '15550100211'")) == 1


def test_without_a_key_the_same_text_twice_is_two_messages(house: House) -> None:
    assert house.send("again").json()["id"] != house.send("again").json()["id"]


def test_a_reply_names_the_quoted_message_by_our_id_or_the_providers(house: House) -> None:
    quoted = house.send("the question", chat="15550100212").json()["id"]
    refused = house.send("too early", chat="15550100212", quotedMessageId=quoted)
    assert problem(refused)["type"] == "quoted_message_unknown"
    house.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.question' WHERE id = %s", quoted)
    for name in (quoted, "wamid.question"):
        reply = house.send("the answer", chat="15550100212", quotedMessageId=name)
        assert reply.status_code == 202, reply.text
        (row,) = house.sql("SELECT content FROM messages WHERE id = %s", reply.json()["id"])
        assert row["content"] == {"body": "the answer", "quoted": "wamid.question"}


@pytest.mark.parametrize(
    "where", [{"chat": "15550100213"}, {"phoneIndex": 1}, {"company": "beta"}], ids=["chat", "connection", "company"]
)
def test_a_message_of_another_chat_connection_or_company_cannot_be_quoted(
    house: House, where: dict[str, object]
) -> None:
    quoted = house.send("private", chat="15550100214").json()["id"]
    house.sql("UPDATE messages SET state = 'sent', provider_id = 'wamid.private' WHERE id = %s", quoted)
    answer = house.send("who asked?", **({"chat": "15550100214", "quotedMessageId": quoted} | where))
    assert answer.status_code == 422
    assert problem(answer)["type"] == "quoted_message_unknown"


def test_prefer_wait_answers_when_the_message_has_left(house: House) -> None:
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(
            house.send, "wait for it", chat="15550100215", headers={"Prefer": "respond-async, wait=30"}
        )
        (row,) = eventually(
            lambda: house.sql("SELECT id FROM messages WHERE chat_id = '15550100215'"), 5, "the row is there"
        )
        house.sql("UPDATE messages SET state = 'sent' WHERE id = %s", row["id"])
        answer = answering.result(5)
    assert answer.status_code == 200
    assert answer.json()["status"] == "sent"
    assert answer.headers["Preference-Applied"] == "wait=30"


def test_prefer_wait_ends_when_the_time_is_over(house: House) -> None:
    answer = house.send("nobody sends it", headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert 1.0 <= answer.elapsed.total_seconds() < 3.0
    assert answer.json()["status"] == "queued"


@pytest.mark.parametrize("preference", ["wait=soon", "wait=-1", "wait", "wait=0", "handling=lenient"])
def test_a_preference_that_is_not_understood_is_ignored(house: House, preference: str) -> None:
    answer = house.send("at once", headers={"Prefer": preference})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
