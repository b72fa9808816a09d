"""Webhooks as the product gets them: signed over the exact bytes, complete, retried until taken, and gone on with after a restart."""

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
from tests.sandbox.house import APP_SECRET, CUSTOMER, D360_SECRET, House, Post, Receiver, text
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


def test_a_message_is_sent_then_delivered(house: House, receiver: Receiver) -> None:
    message_id = house.send(text("Grüße / 👋", biz_opaque_callback_data="gw1:ä/1")).json()["messages"][0]["id"]
    receiver.wait(lambda: receiver.statuses() == [("gw1:ä/1", "sent"), ("gw1:ä/1", "delivered")])
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
    eventually(lambda: house.control("GET", "summary")["webhooks_pending"] == 0, 5)
    taken = house.ledger("taken")
    assert [entry["http_status"] for entry in taken] == [200] * len(receiver.posts)


def test_the_bytes_are_escaped_as_metas_are(house: House, receiver: Receiver) -> None:
    house.send(text(biz_opaque_callback_data="ä/1"))
    receiver.wait(lambda: len(receiver.posts) == 2)
    assert rb'"biz_opaque_callback_data":"\u00e4\/1"' in receiver.posts[0].body
    assert json.loads(encode({"a": "/ä\ud800\\/"})) == {"a": "/ä\ud800\\/"}


def test_360dialog_has_its_own_guard_and_no_signature(house: House, receiver: Receiver) -> None:
    house.send_d360(text(biz_opaque_callback_data="gw1:2"))
    receiver.wait(lambda: receiver.statuses() == [("gw1:2", "sent"), ("gw1:2", "delivered")])
    for post in receiver.posts:
        assert post.headers[D360_GUARD] == D360_SECRET
        assert "X-Hub-Signature-256" not in post.headers
        assert next(post.values())["metadata"]["phone_number_id"] == D360_ID


def test_360dialogs_address_is_set_through_its_own_call_and_kept(tmp_path: Path, receiver: Receiver) -> None:
    key = {"D360-API-KEY": "d360-key-of-the-tests"}
    with House(tmp_path, receiver, d360_webhook_url="") as house:
        house.send_d360(text(biz_opaque_callback_data="before"))
        assert [entry["updates"][0]["kind"] for entry in house.ledger("dropped")] == ["sent"]
        for wrong in (
            {"url": "ftp://x"},
            {"url": receiver.url, "headers": {"X": 5}},
            {"url": receiver.url, "headers": {"X": "a\nb"}},
            {"url": receiver.url, "headers": {"X Y": "a"}},
        ):
            assert (
                house.http.post(f"{house.base}/d360/v1/configs/webhook", json=wrong, headers=key, timeout=5).status_code
                == 400
            )
        assert (
            house.http.post(f"{house.base}/d360/v1/configs/webhook", json={"url": receiver.url}, timeout=5).status_code
            == 401
        )
        wanted = {"url": receiver.url.replace("/api/meta", ""), "headers": {"X-Gw": "mine"}}
        assert (
            house.http.post(f"{house.base}/d360/v1/configs/webhook", json=wanted, headers=key, timeout=5).json()
            == wanted
        )
    with House(tmp_path, receiver, d360_webhook_url="") as house:
        assert house.http.get(f"{house.base}/d360/v1/configs/webhook", headers=key, timeout=5).json() == wanted
        house.send_d360(text(biz_opaque_callback_data="after"))
        receiver.wait(lambda: receiver.statuses() == [("after", "sent"), ("after", "delivered")])
    assert {(post.path, post.headers["X-Gw"]) for post in receiver.posts} == {("/webhook", "mine")}


def test_what_is_not_taken_is_posted_again_with_the_same_content(house: House, receiver: Receiver) -> None:
    house.control("POST", "settings", {"statuses": ["sent"], "retry_base_ms": 10, "retry_cap_ms": 40})
    receiver.answers.extend([500, 404, 0, 302, 201])
    house.send(text(biz_opaque_callback_data="again"))
    receiver.wait(lambda: len(receiver.posts) == 6)
    assert len({post.body for post in receiver.posts}) == 1
    refused = house.ledger("refused")
    assert [(entry["attempt"], entry["http_status"]) for entry in refused] == [
        (1, 500),
        (2, 404),
        (3, 0),
        (4, 302),
        (5, 201),
    ]
    assert refused[2]["error"] == "ServerDisconnectedError"
    (taken,) = house.ledger("taken", wait_s=5)
    assert (taken["attempt"], taken["http_status"], [update["kind"] for update in taken["updates"]]) == (
        6,
        200,
        ["sent"],
    )
    waits = [later["at"] - earlier["at"] for earlier, later in zip(refused, [*refused[1:], taken], strict=True)]
    assert waits[1] >= 0.01 and waits[2] >= 0.02 and waits[3] >= 0.04, waits


def test_a_webhook_that_hangs_is_given_up_and_tried_again(house: House, receiver: Receiver) -> None:
    house.control("POST", "settings", {"statuses": ["sent"], "post_timeout_ms": 100})
    receiver.hold.clear()
    house.send(text(biz_opaque_callback_data="held"))
    (refused,) = house.ledger("refused", wait_s=5)
    assert (refused["http_status"], refused["error"]) == (0, "TimeoutError")
    receiver.hold.set()
    assert house.ledger("taken", wait_s=5)


def test_after_its_time_an_update_is_given_up(house: House, receiver: Receiver) -> None:
    house.control("POST", "settings", {"statuses": ["sent"], "retry_for_s": 0, "retry_base_ms": 1})
    receiver.answers.append(500)
    house.send(text(biz_opaque_callback_data="lost"))
    (given_up,) = house.ledger("given_up", wait_s=5)
    assert [update["kind"] for update in given_up["updates"]] == ["sent"]
    assert house.control("GET", "summary")["webhooks_pending"] == 0
    assert len(receiver.posts) == 1


def test_many_updates_share_a_post(house: House, receiver: Receiver) -> None:
    house.control(
        "POST", "settings", {"batch_max": 30, "linger_ms": 300, "statuses": ["sent"], "delays_ms": {"sent": 0}}
    )
    names = [f"batch:{number}" for number in range(40)]
    for number, name in enumerate(names):
        house.send(text(biz_opaque_callback_data=name), META_DIRECT_ID if number % 2 else "100000000000003")
    receiver.wait(lambda: len(receiver.statuses()) == 40)
    assert sorted(receiver.statuses()) == sorted((name, "sent") for name in names)
    assert max(len(post.statuses()) for post in receiver.posts) == 30
    assert all(_signed(post) for post in receiver.posts)
    assert [entry["id"] for entry in json.loads(receiver.posts[0].body)["entry"]] == [
        "200000000000003",
        "200000000000001",
    ]


def test_what_an_earlier_life_left_is_posted_by_the_next(tmp_path: Path, receiver: Receiver) -> None:
    with House(tmp_path, receiver) as house:
        house.control("POST", "settings", {"delays_ms": {"delivered": 60_000}})
        house.send(text(biz_opaque_callback_data="first"))
        receiver.wait(lambda: receiver.statuses() == [("first", "sent")])
        assert house.ledger("taken", wait_s=5)
        house.control("POST", "settings", {"delays_ms": {"sent": 60_000}})
        house.send(text(biz_opaque_callback_data="second"))
        house.control("POST", "inbound", {"phone_number_id": META_DIRECT_ID, "from": CUSTOMER, "text": "third"})
        receiver.wait(lambda: any("messages" in value for post in receiver.posts for value in post.values()))
        assert house.control("GET", "summary")["webhooks_pending"] == 2
    receiver.posts.clear()
    with House(tmp_path, receiver) as house:
        receiver.wait(
            lambda: sorted(receiver.statuses()) == [("first", "delivered"), ("second", "delivered"), ("second", "sent")]
        )
        eventually(lambda: house.control("GET", "summary")["webhooks_pending"] == 0, 5)
    receiver.posts.clear()
    with House(tmp_path, receiver) as house:
        assert house.control("GET", "summary")["webhooks_pending"] == 0
        house.send(text(biz_opaque_callback_data="fourth"))
        receiver.wait(lambda: ("fourth", "delivered") in receiver.statuses())
        assert {name for name, _ in receiver.statuses()} == {"fourth"}


def test_what_was_left_for_a_number_that_is_gone_is_dropped(tmp_path: Path, receiver: Receiver) -> None:
    with House(tmp_path, receiver) as house:
        house.control("POST", "settings", {"delays_ms": {"sent": 60_000, "delivered": 60_000}})
        house.send(text(biz_opaque_callback_data="gone"))
    with House(tmp_path, receiver, numbers=DEMO_NUMBERS[1:]) as house:
        (dropped,) = house.ledger("dropped", wait_s=5)
        assert sorted(update["kind"] for update in dropped["updates"]) == ["delivered", "sent"]
        assert house.control("GET", "summary")["webhooks_pending"] == 0


def test_a_webhook_that_is_away_gets_everything_when_it_is_back(tmp_path: Path, receiver: Receiver) -> None:
    away = Receiver()
    away.close()
    with House(tmp_path, away) as house:
        for number in range(5):
            house.send(text(biz_opaque_callback_data=f"away:{number}"))
        (refused, *_rest) = house.ledger("refused", wait_s=5)
        assert refused["error"] == "ClientConnectorError"
    with House(tmp_path, receiver):
        receiver.wait(lambda: len(set(receiver.statuses())) == 10)


@pytest.mark.parametrize(
    ("extra", "in_status"),
    [
        ({"to": "group-1", "recipient_type": "group"}, {"recipient_id": "group-1", "recipient_type": "group"}),
        ({"to": None, "recipient": "US.abc"}, {"recipient_user_id": "US.abc"}),
    ],
)
def test_statuses_say_who_it_was_in_the_right_field(
    house: House, receiver: Receiver, extra: dict[str, Any], in_status: dict[str, Any]
) -> None:
    house.send({name: value for name, value in text(**extra).items() if value is not None})
    receiver.wait(lambda: receiver.posts)
    (status,) = next(receiver.posts[0].values())["statuses"]
    assert {name: status[name] for name in status if name.startswith("recipient")} == in_status


def test_verification_is_asked_as_meta_asks(house: House) -> None:
    assert house.control("POST", "verify") == {"verified": True, "http_status": 200, "error": ""}
    assert house.control("POST", "verify", {"verify_token": "wrong"}) == {
        "verified": False,
        "http_status": 403,
        "error": "",
    }
    assert [entry["event"] for entry in house.ledger() if entry["channel"] == "webhook"] == ["verified", "not_verified"]


def test_hmac_of_the_tests_is_hmac() -> None:
    body = b"{}"
    expected = "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert _signed(Post("", {"X-Hub-Signature-256": expected}, body))
