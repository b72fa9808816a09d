"""Webhooks as the product gets them: signed over the exact bytes, complete, retried until taken, and gone on with after
a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from sandbox.config import D360_GUARD, D360_ID, DEMO_NUMBERS, META_DIRECT_ID
from sandbox.openapi.validators import document
from sandbox.updates import encode
from tests.sandbox.env import APP_SECRET, CUSTOMER, D360_SECRET, Post, Receiver, SandboxEnv, text
from tests.support.waiting import eventually


def _meta_schema(name: str) -> jsonschema_rs.Draft202012Validator:
    definitions = json.loads(
        json.dumps(document()["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
    )
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def _signed(post: Post) -> bool:
    """Compute the signature by the letter of RFC 2104, so that the sandbox's own way is not trusted."""
    key = APP_SECRET.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + post.body).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    return post.headers.get("X-Hub-Signature-256") == f"sha256={outer}"


def test_a_message_is_sent_then_delivered(env: SandboxEnv, receiver: Receiver) -> None:
    message_id = env.send(text("Grüße / 👋", biz_opaque_callback_data="gw1:ä/1")).json()["messages"][0]["id"]
    # in either order: two POSTs may be under way at once, as from Meta
    receiver.wait(lambda: sorted(receiver.statuses()) == [("gw1:ä/1", "delivered"), ("gw1:ä/1", "sent")])
    schema = _meta_schema("StatusMessageValue")
    for post in receiver.posts:
        assert post.path == "/api/meta/webhook"
        assert _signed(post)
        envelope = json.loads(post.body)
        assert envelope["object"] == "whatsapp_business_account"
        (entry,) = envelope["entry"]
        (change,) = entry["changes"]
        assert (entry["id"], change["field"]) == ("200000000000001", "messages")
        schema.validate(change["value"])
        assert change["value"]["metadata"] == {"display_phone_number": "15550783001", "phone_number_id": META_DIRECT_ID}
        (status,) = change["value"]["statuses"]
        assert status["id"] == message_id
        assert status["recipient_id"] == "15550100200"
        assert abs(int(status["timestamp"]) - time.time()) < 5
        assert status["pricing"] == {
            "billable": False,
            "pricing_model": "PMP",
            "type": "free_customer_service",
            "category": "service",
        }
    eventually(lambda: env.control("GET", "summary")["webhooks_pending"] == 0, 5)
    taken = env.ledger("taken")
    assert [entry["http_status"] for entry in taken] == [200] * len(receiver.posts)


def test_the_bytes_are_escaped_as_metas_are(env: SandboxEnv, receiver: Receiver) -> None:
    env.send(text(biz_opaque_callback_data="ä/1"))
    receiver.wait(lambda: len(receiver.posts) == 2)
    assert rb'"biz_opaque_callback_data":"\u00e4\/1"' in receiver.posts[0].body
    assert json.loads(encode({"a": "/ä\ud800\\/"})) == {"a": "/ä\ud800\\/"}


def test_360dialog_has_its_own_guard_and_no_signature(env: SandboxEnv, receiver: Receiver) -> None:
    env.send_d360(text(biz_opaque_callback_data="gw1:2"))
    receiver.wait(lambda: receiver.statuses() == [("gw1:2", "sent"), ("gw1:2", "delivered")])
    for post in receiver.posts:
        assert post.headers[D360_GUARD] == D360_SECRET
        assert "X-Hub-Signature-256" not in post.headers
        assert next(post.values())["metadata"]["phone_number_id"] == D360_ID


def test_360dialogs_address_is_set_through_its_own_call_and_kept(tmp_path: Path, receiver: Receiver) -> None:
    key = {"D360-API-KEY": "d360-key-of-the-tests"}
    with SandboxEnv(tmp_path, receiver, d360_webhook_url="") as env:
        env.send_d360(text(biz_opaque_callback_data="before"))
        assert [entry["updates"][0]["kind"] for entry in env.ledger("dropped")] == ["sent"]
        for wrong in (
            {"url": "ftp://x"},
            {"url": receiver.url, "headers": {"X": 5}},
            {"url": receiver.url, "headers": {"X": "a\nb"}},
            {"url": receiver.url, "headers": {"X Y": "a"}},
        ):
            assert (
                env.http.post(f"{env.base}/d360/v1/configs/webhook", json=wrong, headers=key, timeout=5).status_code
                == 400
            )
        assert (
            env.http.post(f"{env.base}/d360/v1/configs/webhook", json={"url": receiver.url}, timeout=5).status_code
            == 401
        )
        config = {"url": receiver.url.replace("/api/meta", ""), "headers": {"X-Gw": "mine"}}
        assert (
            env.http.post(f"{env.base}/d360/v1/configs/webhook", json=config, headers=key, timeout=5).json() == config
        )
    with SandboxEnv(tmp_path, receiver, d360_webhook_url="") as env:
        assert env.http.get(f"{env.base}/d360/v1/configs/webhook", headers=key, timeout=5).json() == config
        env.send_d360(text(biz_opaque_callback_data="after"))
        receiver.wait(lambda: receiver.statuses() == [("after", "sent"), ("after", "delivered")])
    assert {(post.path, post.headers["X-Gw"]) for post in receiver.posts} == {("/webhook", "mine")}


def test_the_first_retry_waits_for_its_own_time(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"statuses": ["sent"], "retry_first_ms": 400})
    receiver.answers.append(500)
    env.send(text(biz_opaque_callback_data="again"))
    receiver.wait(lambda: len(receiver.posts) == 2)
    (refused,), (taken,) = env.ledger("refused"), env.ledger("taken", wait_s=10)
    assert taken["at"] - refused["at"] >= 0.4


def test_an_account_without_our_app_gets_no_webhooks(env: SandboxEnv, receiver: Receiver) -> None:
    apps = "200000000000001/subscribed_apps"
    assert env.get(apps, method="DELETE").json() == {"success": True}
    env.send(text(biz_opaque_callback_data="unheard"))
    assert env.ledger("dropped", wait_s=10)
    assert env.control("GET", "summary")["webhooks_pending"] == 0
    assert env.get(apps, method="POST").json() == {"success": True}
    env.send(text(biz_opaque_callback_data="heard"))
    receiver.wait(lambda: receiver.statuses() == [("heard", "sent"), ("heard", "delivered")])


def test_what_is_not_taken_is_posted_again_with_the_same_content(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"statuses": ["sent"], "retry_base_ms": 10, "retry_cap_ms": 40})
    receiver.answers.extend([500, 404, 0, 302, 201])
    env.send(text(biz_opaque_callback_data="again"))
    receiver.wait(lambda: len(receiver.posts) == 6)
    assert len({post.body for post in receiver.posts}) == 1
    refused = env.ledger("refused")
    assert [(entry["attempt"], entry["http_status"]) for entry in refused] == [
        (1, 500),
        (2, 404),
        (3, 0),
        (4, 302),
        (5, 201),
    ]
    assert refused[2]["error"] == "ServerDisconnectedError"
    (taken,) = env.ledger("taken", wait_s=5)
    assert (taken["attempt"], taken["http_status"], [update["kind"] for update in taken["updates"]]) == (
        6,
        200,
        ["sent"],
    )
    waits = [later["at"] - earlier["at"] for earlier, later in zip(refused, [*refused[1:], taken], strict=True)]
    assert waits[1] >= 0.01 and waits[2] >= 0.02 and waits[3] >= 0.04, waits


def test_a_webhook_that_hangs_is_given_up_and_tried_again(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"statuses": ["sent"], "post_timeout_ms": 100})
    receiver.hold.clear()
    env.send(text(biz_opaque_callback_data="held"))
    (refused,) = env.ledger("refused", wait_s=5)
    assert (refused["http_status"], refused["error"]) == (0, "TimeoutError")
    receiver.hold.set()
    assert env.ledger("taken", wait_s=5)


def test_after_its_time_an_update_is_given_up(env: SandboxEnv, receiver: Receiver) -> None:
    env.control("POST", "settings", {"statuses": ["sent"], "retry_for_s": 0, "retry_base_ms": 1})
    receiver.answers.append(500)
    env.send(text(biz_opaque_callback_data="lost"))
    (given_up,) = env.ledger("given_up", wait_s=5)
    assert [update["kind"] for update in given_up["updates"]] == ["sent"]
    assert env.control("GET", "summary")["webhooks_pending"] == 0
    assert len(receiver.posts) == 1


def test_many_updates_share_a_post(env: SandboxEnv, receiver: Receiver) -> None:
    env.control(
        "POST", "settings", {"batch_max": 30, "linger_ms": 1_500, "statuses": ["sent"], "delays_ms": {"sent": 0}}
    )
    names = [f"batch:{number}" for number in range(40)]
    for number, name in enumerate(names):
        env.send(text(biz_opaque_callback_data=name), META_DIRECT_ID if number % 2 else "100000000000003")
    receiver.wait(lambda: len(receiver.statuses()) == 40)
    assert sorted(receiver.statuses()) == sorted((name, "sent") for name in names)
    assert max(len(post.statuses()) for post in receiver.posts) == 30
    assert all(_signed(post) for post in receiver.posts)
    assert [entry["id"] for entry in json.loads(receiver.posts[0].body)["entry"]] == [
        "200000000000003",
        "200000000000001",
    ]


def test_what_an_earlier_life_left_is_posted_by_the_next(tmp_path: Path, receiver: Receiver) -> None:
    with SandboxEnv(tmp_path, receiver) as env:
        env.control("POST", "settings", {"delays_ms": {"delivered": 60_000}})
        env.send(text(biz_opaque_callback_data="first"))
        receiver.wait(lambda: receiver.statuses() == [("first", "sent")])
        assert env.ledger("taken", wait_s=5)
        env.control("POST", "settings", {"delays_ms": {"sent": 60_000}})
        env.send(text(biz_opaque_callback_data="second"))
        env.control("POST", "inbound", {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER, "text": "third"})
        receiver.wait(lambda: any("messages" in value for post in receiver.posts for value in post.values()))
        assert env.control("GET", "summary")["webhooks_pending"] == 2
    receiver.posts.clear()
    with SandboxEnv(tmp_path, receiver) as env:
        receiver.wait(
            lambda: sorted(receiver.statuses()) == [("first", "delivered"), ("second", "delivered"), ("second", "sent")]
        )
        eventually(lambda: env.control("GET", "summary")["webhooks_pending"] == 0, 5)
    receiver.posts.clear()
    with SandboxEnv(tmp_path, receiver) as env:
        assert env.control("GET", "summary")["webhooks_pending"] == 0
        env.send(text(biz_opaque_callback_data="fourth"))
        receiver.wait(lambda: ("fourth", "delivered") in receiver.statuses())
        assert {name for name, _ in receiver.statuses()} == {"fourth"}


def test_what_was_left_for_a_number_that_is_gone_is_dropped(tmp_path: Path, receiver: Receiver) -> None:
    with SandboxEnv(tmp_path, receiver) as env:
        env.control("POST", "settings", {"delays_ms": {"sent": 60_000, "delivered": 60_000}})
        env.send(text(biz_opaque_callback_data="gone"))
    with SandboxEnv(tmp_path, receiver, numbers=DEMO_NUMBERS[1:]) as env:
        (dropped,) = env.ledger("dropped", wait_s=5)
        assert sorted(update["kind"] for update in dropped["updates"]) == ["delivered", "sent"]
        assert env.control("GET", "summary")["webhooks_pending"] == 0


def test_a_webhook_that_is_away_gets_everything_when_it_is_back(tmp_path: Path, receiver: Receiver) -> None:
    away = Receiver()
    away.close()
    with SandboxEnv(tmp_path, away) as env:
        for number in range(5):
            env.send(text(biz_opaque_callback_data=f"away:{number}"))
        (refused, *_rest) = env.ledger("refused", wait_s=5)
        assert refused["error"] == "ClientConnectorError"
    with SandboxEnv(tmp_path, receiver):
        receiver.wait(lambda: len(set(receiver.statuses())) == 10)


@pytest.mark.parametrize(
    ("extra", "in_status"),
    [
        ({"to": "group-1", "recipient_type": "group"}, {"recipient_id": "group-1", "recipient_type": "group"}),
        ({"to": None, "recipient": "US.abc"}, {"recipient_user_id": "US.abc"}),
    ],
)
def test_statuses_name_the_recipient_in_the_right_field(
    env: SandboxEnv, receiver: Receiver, extra: dict[str, Any], in_status: dict[str, Any]
) -> None:
    env.send({name: value for name, value in text(**extra).items() if value is not None})
    receiver.wait(lambda: receiver.posts)
    (status,) = next(receiver.posts[0].values())["statuses"]
    assert {name: status[name] for name in status if name.startswith("recipient")} == in_status


def test_verification_is_asked_as_meta_asks(env: SandboxEnv) -> None:
    assert env.control("POST", "verify") == {"verified": True, "http_status": 200, "error": ""}
    assert env.control("POST", "verify", {"verify_token": "wrong"}) == {
        "verified": False,
        "http_status": 403,
        "error": "",
    }
    assert [entry["event"] for entry in env.ledger() if entry["channel"] == "webhook"] == ["verified", "not_verified"]


def test_hmac_of_the_tests_is_hmac() -> None:
    body = b"{}"
    expected = "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert _signed(Post("", {"X-Hub-Signature-256": expected}, body))
