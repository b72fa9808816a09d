"""Conversations over HTTP: listed, read, replied to, assigned, handed back and closed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.store import companies, connections
from shared.store.pool import Transaction
from tests.api.api_env import ApiEnv, problem
from tests.conversations.env import stored

PLACE = "/api/v2/conversations/talk"
CHAT = "15550109001"
_numbers = count(1)


class Talk:
    """Company `talk`, its conversations, and its API."""

    def __init__(self, api_env: ApiEnv, connection: int) -> None:
        self.api, self.connection = api_env, connection

    def receive(self, text: str = "hello", chat: str = CHAT) -> None:
        """Let a customer write."""
        number = next(_numbers)
        line = InboundMessage(
            connection_id=self.connection,
            provider_id=f"wamid.talk{number}",
            chat_id=chat,
            sender=chat,
            type="text",
            content={"body": text},
            at=datetime.now(UTC),
        )
        self.api.run(stored, (line,))

    def get(self, path: str = "") -> Any:
        answer = self.api.call("GET", PLACE + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def one(self, chat: str = CHAT) -> dict[str, Any]:
        (found,) = self.get(f"?chatId={chat}")["conversations"]
        return dict(found)

    def post(self, what: str, body: Any = None, chat: str = CHAT, status: int = 200) -> Any:
        answer = self.api.call("POST", f"{PLACE}/{self.one(chat)['id']}/{what}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if status < 400 else problem(answer)


def _company(transaction: Transaction) -> int:
    companies.ensure(transaction, "talk")
    return connections.ensure(transaction, company_id="talk", phone_index=0, connection_type="meta_direct")


@pytest.fixture
def talk(api_env: ApiEnv) -> Iterator[Talk]:
    """A company with an assistant, without conversations."""
    made = Talk(api_env, api_env.run(_company))
    api_env.sql("DELETE FROM conversations WHERE company_id = 'talk'")
    given = {"settings": {"enableAssistant": True, "enableHumanHandoff": True}}
    assert api_env.call("PATCH", "/api/v2/companies/talk", json=given).status_code == 200
    yield made
    api_env.call("PATCH", "/api/v2/companies/talk", json={"settings": {"enableAssistant": None}})


def test_the_way_of_a_conversation(talk: Talk) -> None:
    talk.receive()
    shown = talk.one()
    assert (shown["state"], shown["reason"], shown["assignee"], shown["waitingS"]) == (
        "bot", "first_message", None, None)  # fmt: skip
    assert (shown["phoneIndex"], shown["connectionType"], shown["aliases"]) == (0, "meta_direct", [CHAT])
    talk.receive("a human, please")
    waiting = talk.one()
    assert (waiting["state"], waiting["reason"], waiting["version"]) == ("waiting", "keyword", 2)
    assert waiting["waitingS"] >= 0
    accepted = talk.post("reply", {"message": "I am Grace."}, status=202)
    assert (accepted["companyId"], accepted["chatId"], accepted["type"]) == ("talk", CHAT, "text")
    whole = talk.get(f"/{waiting['id']}")
    assert (whole["state"], whole["reason"]) == ("human", "api")
    assert whole["humanUntil"] is not None
    assert [line["message"] for line in whole["messages"]] == ["I am Grace.", "a human, please", "hello"]
    assigned = talk.post("assign", {"assignee": "Grace"})
    assert (assigned["state"], assigned["assignee"]) == ("human", "Grace")
    assert [one["id"] for one in talk.get("?assignee=Grace")["conversations"]] == [waiting["id"]]
    back = talk.post("handback")
    assert (back["state"], back["reason"], back["assignee"], back["humanUntil"]) == (
        "bot", "handed_back", None, None)  # fmt: skip
    assert talk.post("handback")["version"] == back["version"], "a repetition changes nothing"
    closed = talk.post("close")
    assert (closed["state"], talk.post("close")["version"]) == ("closed", closed["version"])
    talk.receive("again")
    assert talk.one()["state"] == "bot"


def test_who_is_assigned_takes_over_and_puts_back(talk: Talk) -> None:
    talk.receive()
    assert talk.post("assign", {"assignee": "Grace"})["state"] == "human"
    put_back = talk.post("assign", {"assignee": None})
    assert (put_back["state"], put_back["reason"], put_back["assignee"]) == ("waiting", "put_back", None)
    assert talk.post("assign", {"assignee": None})["version"] == put_back["version"]


def test_those_who_wait_longest_come_first_in_pages(talk: Talk) -> None:
    chats = [str(15550109010 + number) for number in range(3)]
    for number, chat in enumerate(chats):
        talk.receive("human", chat)
        talk.api.sql(
            "UPDATE conversations SET state_at = now() - make_interval(secs => %s) WHERE chat_id = %s",
            60.0 * number,
            chat,
        )
    talk.receive("hello", "15550109020")
    first = talk.get("?state=waiting&limit=2")
    assert [one["chatId"] for one in first["conversations"]] == [chats[2], chats[1]]
    assert first["conversations"][0]["waitingS"] == pytest.approx(120, abs=20)
    rest = talk.get(f"?state=waiting&limit=2&cursor={first['next']}")
    assert ([one["chatId"] for one in rest["conversations"]], rest["next"]) == ([chats[0]], None)
    newest = talk.get("?limit=2")
    older = talk.get(f"?limit=2&cursor={newest['next']}")
    listed = [one["chatId"] for one in (*newest["conversations"], *older["conversations"])]
    assert listed == ["15550109020", *chats]
    assert talk.get("?phoneIndex=0&state=bot")["conversations"][0]["chatId"] == "15550109020"


def test_contacts_that_are_merged_have_one_conversation(talk: Talk) -> None:
    other = "15550109002"
    talk.receive()
    talk.receive("human", other)
    kept = talk.one()
    for person, chat in ((9101, CHAT), (9102, other)):
        talk.api.sql(
            "INSERT INTO contact_aliases (company_id, alias, person_id) VALUES ('talk', %s, %s) "
            "ON CONFLICT (company_id, alias) DO UPDATE SET person_id = excluded.person_id", chat, person)  # fmt: skip
        talk.api.sql(
            "INSERT INTO people (company_id, id, first_seen_at, last_seen_at) VALUES ('talk', %s, now(), now()) "
            "ON CONFLICT DO NOTHING", person)  # fmt: skip
    was = talk.one(other)["id"]
    answer = talk.api.call("POST", f"/api/v2/contacts/talk/{CHAT}/merge", json={"contactId": other})
    assert answer.status_code == 200, answer.text
    merged = talk.one(other)
    assert (merged["id"], merged["state"], merged["formerIds"]) == (kept["id"], "waiting", [was])
    assert talk.get(f"/{was}")["id"] == kept["id"], "under its former id too"


class TestRefused:
    def test_what_is_not_there(self, talk: Talk) -> None:
        for method, path in (
            ("GET", "/999999"),
            ("GET", "/x"),
            ("POST", "/999999/close"),
            ("POST", "/999999/handback"),
        ):
            found = problem(talk.api.call(method, PLACE + path))
            assert found["type"] == "conversation_unknown"
        body = {"message": "x"}
        assert problem(talk.api.call("POST", f"{PLACE}/999999/reply", json=body))["type"] == "conversation_unknown"
        assert problem(talk.api.call("GET", "/api/v2/conversations/nosuch"))["type"] == "company_unknown"
        assert problem(talk.api.call("GET", f"{PLACE}?phoneIndex=7"))["type"] == "phone_index_unknown"
        assert problem(talk.api.call("GET", f"{PLACE}?state=open"))["type"] == "query_invalid"

    def test_another_companys(self, talk: Talk) -> None:
        talk.receive()
        other = f"/api/v2/conversations/alpha/{talk.one()['id']}"
        assert problem(talk.api.call("GET", other))["type"] == "conversation_unknown"
        assert problem(talk.api.call("POST", f"{other}/close"))["type"] == "conversation_unknown"

    def test_moves_that_the_state_does_not_allow(self, talk: Talk) -> None:
        talk.receive()
        talk.post("close")
        refused = talk.post("assign", {"assignee": "Grace"}, status=409)
        assert (refused["type"], refused["state"]) == ("conversation_refused", "closed")
        assert talk.post("handback", status=409)["state"] == "closed"

    def test_a_reply_through_a_connection_that_was_removed(self, talk: Talk) -> None:
        other = talk.api.run(
            connections.ensure, company_id="talk", phone_index=5, connection_type="meta_direct"
        )  # fmt: skip
        Talk(talk.api, other).receive("hello", "15550109005")
        talk.api.sql("UPDATE phone_configs SET status = 'removed' WHERE id = %s", other)
        refused = talk.post("reply", {"message": "too late"}, chat="15550109005", status=404)
        assert refused["type"] == "phone_index_unknown"

    def test_to_whom_there_is_no_assistant(self, talk: Talk) -> None:
        talk.receive("human")
        given = {"settings": {"enableAssistant": False}}
        assert talk.api.call("PATCH", "/api/v2/companies/talk", json=given).status_code == 200
        assert talk.post("handback", status=409)["reason"] == "no_assistant"

    @pytest.mark.parametrize(
        "body", [{}, {"assignee": ""}, {"assignee": " Grace"}, {"assignee": "a\nb"}, {"assignee": "x" * 101},
                 {"assignee": 7}, {"assignee": "Grace", "more": 1}]
    )  # fmt: skip
    def test_names_that_are_none(self, talk: Talk, body: Any) -> None:
        talk.receive()
        assert talk.post("assign", body, status=422)["type"] == "body_invalid"

    @pytest.mark.parametrize("body", [{}, {"message": "x", "sendAt": "2030-01-01T00:00:00Z"}, {"message": None}])
    def test_replies_that_are_none(self, talk: Talk, body: Any) -> None:
        talk.receive()
        assert talk.post("reply", body, status=422)["type"] == "body_invalid"
        assert talk.one()["state"] == "bot"
