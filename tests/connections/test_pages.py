"""Messenger and Instagram: made, looked at, written to, with echoes as proof and windows that close."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.connections.env import INSTAGRAM, PAGE, AccountsEnv
from tests.meta.env import new_chat
from tests.sandbox.env import ACCESS_TOKEN
from tests.support import samples
from tests.support.database import query
from tests.support.waiting import eventually

INDEX = {"messenger": 10, "instagram": 11}
ACCOUNT = {"messenger": PAGE, "instagram": INSTAGRAM}
OBJECT = {"messenger": "page", "instagram": "instagram"}


@pytest.fixture(params=["messenger", "instagram"])
def channel(request: pytest.FixtureRequest, env: AccountsEnv) -> str:
    """A connection type, with a connection of company demo."""
    channel: str = request.param
    made = env.call(
        "POST",
        "/api/v2/connections/demo",
        {
            "connectionType": channel,
            "phoneIndex": INDEX[channel],
            "accountId": ACCOUNT[channel],
            "accessToken": ACCESS_TOKEN,
        },
    )
    assert made.status_code in (201, 409), made.text
    env.wait_connection(INDEX[channel], state="ready")
    return channel


def person() -> str:
    return f"24{new_chat()}567"


def send(env: AccountsEnv, channel: str, kind: str, chat: str, **fields: Any) -> int:
    answer = env.call("POST", f"/api/v2/messages/{kind}/demo/{chat}", {"phoneIndex": INDEX[channel], **fields})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["id"])


def test_a_text_is_sent_and_its_status_arrives(env: AccountsEnv, channel: str) -> None:
    row = send(env, channel, "text", person(), message="Hello")
    env.wait_state(row, "delivered")
    (arrived,) = env.arrived(row)
    assert arrived["message"]["text"] == "Hello"
    assert arrived["body"]["message"]["metadata"] == arrived["callback"]
    assert arrived["phone_number_id"] == ACCOUNT[channel]


def test_a_send_whose_answer_is_lost_is_proved_by_its_echo(env: AccountsEnv, channel: str) -> None:
    chat = person()
    env.arm("cut_after", chat)
    row = send(env, channel, "text", chat, message="Hello")
    env.wait_state(row, "delivered")
    assert len(env.arrived(row)) == 1
    assert ("in_doubt", "no_answer") in env.history(row)


def test_a_file_is_uploaded_once_and_named_by_its_id(env: AccountsEnv, channel: str) -> None:
    picture = base64.b64encode(samples.JPEG).decode()
    rows = [send(env, channel, "image", person(), data=picture, mimetype="image/jpeg") for _ in range(2)]
    for row in rows:
        env.wait_state(row, "delivered")
    (upload,) = env.events("attachment_uploaded", phone_number_id=ACCOUNT[channel])
    assert {env.arrived(row)[0]["body"]["message"]["attachment"]["payload"]["attachment_id"] for row in rows} == {
        upload["id"]
    }


def test_a_link_is_left_to_the_provider(env: AccountsEnv, channel: str) -> None:
    row = send(env, channel, "image", person(), url="https://example.org/cat.jpg")
    env.wait_state(row, "delivered")
    assert env.arrived(row)[0]["body"]["message"]["attachment"] == {
        "type": "image",
        "payload": {"url": "https://example.org/cat.jpg", "is_reusable": False},
    }


def test_typing_and_reading_are_sender_actions(env: AccountsEnv, channel: str) -> None:
    chat = person()
    env.control(
        "POST", "people", {"account_id": ACCOUNT[channel], "object": OBJECT[channel], "from": chat, "text": "Hi"}
    )
    row = send(env, channel, "typing", chat)
    env.wait_state(row, "sent")
    assert [entry["action"] for entry in env.events("action", to=chat)] == ["typing_on"]


def test_a_customer_of_just_now_is_answered_and_one_of_yesterday_is_not(env: AccountsEnv, channel: str) -> None:
    chat = person()
    env.control(
        "POST", "people", {"account_id": ACCOUNT[channel], "object": OBJECT[channel], "from": chat, "text": "Hi"}
    )
    where = (
        "UPDATE inbound_messages SET at = at - make_interval(hours => %(hours)s) WHERE chat_id = %(chat)s RETURNING id"
    )
    url = env.settings.database_url
    eventually(lambda: query(url, where, hours=0, chat=chat), 15.0, "the message comes in")
    env.wait_state(send(env, channel, "text", chat, message="In time"), "delivered")
    query(url, where, hours=25, chat=chat)
    row = send(env, channel, "text", chat, message="Too late")
    env.wait_state(row, "failed")
    assert env.row(row)["error_code"] == "outside_window"
    assert env.arrived(row) == []


@pytest.mark.parametrize("code", [10, 100, 551])
def test_a_refusal_is_a_dead_letter_with_its_code(env: AccountsEnv, channel: str, code: int) -> None:
    chat = person()
    env.arm("error", chat, code=code)
    row = send(env, channel, "text", chat, message="Hello")
    env.wait_state(row, "failed")
    assert env.row(row)["error_code"] == str(code)


def test_a_look_at_a_page(env: AccountsEnv, channel: str) -> None:
    result = env.done("POST", f"/api/v2/connections/demo/{INDEX[channel]}/test")
    assert result["healthy"] is True
    assert result["page"]["id"] == ACCOUNT[channel]
    assert result["webhooks"]["subscribed"] is True
