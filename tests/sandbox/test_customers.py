"""Customers of the sandbox: every kind of thing that they do arrives signed, in Meta's shape, as often and as late as
was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
import requests

from sandbox.config import D360_ID, META_DIRECT_ID
from sandbox.customers import AROUND, MESSAGES, PEOPLE
from tests.sandbox.env import Receiver, SandboxEnv

FILES = ("image", "video", "audio", "voice", "document", "sticker")


def values(receiver: Receiver, field: str = "") -> list[dict[str, Any]]:
    """Return every value of every WhatsApp change so far."""
    bodies = [json.loads(post.body) for post in list(receiver.posts)]
    changes = [
        change
        for body in bodies
        if body["object"] == "whatsapp_business_account"
        for entry in body["entry"]
        for change in entry["changes"]
    ]
    return [change["value"] for change in changes if not field or change["field"] == field]


def items(receiver: Receiver, part: str = "messaging") -> list[dict[str, Any]]:
    """Return every item of every page and Instagram account so far."""
    bodies = [json.loads(post.body) for post in list(receiver.posts)]
    return [
        item
        for body in bodies
        if body["object"] != "whatsapp_business_account"
        for entry in body["entry"]
        for item in entry.get(part, [])
    ]


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_each_kind_of_message_is_posted_in_metas_shape(env: SandboxEnv, receiver: Receiver, kind: str) -> None:
    made = env.control(
        "POST",
        "customers",
        {"phone_number_id": META_DIRECT_ID, "from": "15550100200", "kind": kind, "target": "wamid.TARGET"},
    )

    def arrived() -> dict[str, Any] | None:
        return next(
            (
                message
                for value in values(receiver)
                for message in value.get("messages", [])
                if message["id"] == made["id"]
            ),
            None,
        )

    message = receiver.wait(arrived)
    assert message["from"] == "15550100200"
    assert message["timestamp"].isdecimal()
    assert isinstance(message["type"], str)
    if kind in FILES:
        own = message[message["type"]]
        media = requests.get(
            f"{env.base}/graph/v23.0/{own['id']}",
            headers={"Authorization": f"Bearer {env.config.access_tokens[0]}"},
            timeout=5,
        ).json()
        assert (media["sha256"], media["mime_type"]) == (own["sha256"], own["mime_type"])


@pytest.mark.parametrize("kind", sorted(AROUND))
def test_each_thing_around_messages_names_its_number(env: SandboxEnv, receiver: Receiver, kind: str) -> None:
    made = env.control(
        "POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": "15550100200", "kind": kind, "target": "X.1"}
    )
    (value,) = receiver.wait(lambda: [value for value in values(receiver) if "messages" not in value])
    assert value["metadata"]["phone_number_id"] == META_DIRECT_ID
    assert len(value) == 3
    if kind == "echo":
        assert made["id"] == value["message_echoes"][0]["id"]


@pytest.mark.parametrize("kind", sorted(PEOPLE))
@pytest.mark.parametrize("about", ["page", "instagram"])
def test_each_action_of_a_customer_is_posted_for_its_account(
    env: SandboxEnv, receiver: Receiver, kind: str, about: str
) -> None:
    env.control(
        "POST",
        "people",
        {
            "account_id": "300",
            "object": about,
            "from": "245",
            "kind": kind,
            "target": "m_1",
            "url": "https://x.example/a.jpg",
        },
    )
    (item,) = receiver.wait(lambda: items(receiver))
    assert (item["sender"], item["recipient"]) == ({"id": "245"}, {"id": "300"})
    assert json.loads(receiver.posts[-1].body)["object"] == about


def test_objects_do_not_share_a_post_and_standby_stands_apart(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"linger_ms": 200})
    env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": "15550100200"})
    env.control("POST", "people", {"account_id": "300", "from": "245"})
    env.control("POST", "people", {"account_id": "300", "from": "246", "standby": True})
    receiver.wait(lambda: values(receiver) and items(receiver) and items(receiver, "standby"))
    assert {json.loads(post.body)["object"] for post in receiver.posts} == {"whatsapp_business_account", "page"}
    assert [item["sender"]["id"] for item in items(receiver, "standby")] == ["246"]


def test_a_thousand_updates_share_one_body(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"batch_max": 1000, "linger_ms": 300})
    made = env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": "15550100200", "count": 1000})
    receiver.wait(lambda: receiver.posts, 20)
    (value,) = values(receiver)
    assert [message["id"] for message in value["messages"]] == made["ids"]
    assert len(set(made["ids"])) == 1000


def test_people_without_a_number_and_files_of_ones_own(env: SandboxEnv, receiver: Receiver) -> None:
    content = b"\xff\xd8\xff" + b"x" * 100
    asked = {
        "phone_number_id": D360_ID,
        "user_id": "US.1",
        "kind": "image",
        "data": base64.b64encode(content).decode(),
        "group_id": "G1",
        "text": "look",
    }
    env.control("POST", "customers", asked)
    (message,) = receiver.wait(lambda: [message for value in values(receiver) for message in value["messages"]])
    assert "from" not in message
    assert (message["from_user_id"], message["group_id"], message["image"]["caption"]) == ("US.1", "G1", "look")
    assert message["image"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert values(receiver)[0]["contacts"] == [{"profile": {"name": "Customer"}, "user_id": "US.1"}]


def test_a_delay_is_kept(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": "15550100200", "delay_ms": 400})
    env.control("POST", "customers", {"phone_number_id": META_DIRECT_ID, "from": "15550100201"})
    receiver.wait(lambda: len(receiver.posts) == 2)
    assert [value["messages"][0]["from"] for value in values(receiver)] == ["15550100201", "15550100200"]


@pytest.mark.parametrize(
    ("signature", "header"),
    [("right", "X-Hub-Signature-256"), ("wrong", "X-Hub-Signature-256"), ("sha1", "X-Hub-Signature"), ("none", "")],
)
def test_any_body_can_be_posted_signed_or_not(env: SandboxEnv, receiver: Receiver, signature: str, header: str) -> None:
    answers = env.control(
        "POST", "posts", {"base64": base64.b64encode(b"\xff{").decode(), "signature": signature, "copies": 2}
    )["answers"]
    assert [answer["http_status"] for answer in answers] == [200, 200]
    for post in receiver.posts:
        assert post.body == b"\xff{"
        assert {name for name in post.headers if name.startswith("X-Hub")} == ({header} if header else set())


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("customers", {"phone_number_id": META_DIRECT_ID, "from": "1", "kind": "hologram"}, "kind: one of"),
        ("customers", {"phone_number_id": META_DIRECT_ID}, "from or user_id"),
        ("customers", {"phone_number_id": META_DIRECT_ID, "from": "1", "count": 1001}, "count: from 1"),
        ("customers", {"phone_number_id": META_DIRECT_ID, "from": "1", "kind": "reaction"}, "needs a target"),
        ("customers", {"phone_number_id": META_DIRECT_ID, "from": "1", "kind": "image", "data": "?"}, "data: base64"),
        ("people", {"account_id": "1", "from": "2", "object": "whatsapp"}, "object: one of"),
        ("posts", {}, "one of body"),
        ("posts", {"body": "x", "signature": "weak"}, "signature: one of"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    env: SandboxEnv, path: str, body: dict[str, Any], says: str
) -> None:
    answer = requests.post(f"{env.base}/control/{path}", json=body, timeout=5)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
