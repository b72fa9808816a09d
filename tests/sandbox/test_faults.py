"""Each fault twice: what the client sees, and what the ledger says happened."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.faults import FAULTS
from sandbox.graph_errors import ERRORS
from tests.sandbox.env import Receiver, SandboxEnv, text
from tests.support.waiting import joined


def _events(env: SandboxEnv) -> list[tuple[str, str]]:
    return [(entry["event"], entry.get("fault", "")) for entry in env.ledger() if entry["channel"] in {"graph", "d360"}]


@pytest.mark.parametrize("channel", ["graph", "d360"])
def test_cut_before_leaves_nothing_behind(env: SandboxEnv, receiver: Receiver, channel: str) -> None:
    env.arm("cut_before", channel=channel)
    send = env.send if channel == "graph" else env.send_d360
    with pytest.raises(requests.ConnectionError):
        send(text(biz_opaque_callback_data="cut"))
    assert _events(env) == [("refused", "cut_before")]
    assert send(text(biz_opaque_callback_data="cut")).status_code == 200
    assert env.control("GET", "arrivals")["arrivals"] == {"cut": 1}


def test_cut_after_has_taken_the_message(env: SandboxEnv, receiver: Receiver) -> None:
    env.arm("cut_after")
    with pytest.raises(requests.ConnectionError):
        env.send(text(biz_opaque_callback_data="cut"))
    assert _events(env) == [("accepted", "cut_after")]
    receiver.wait(lambda: receiver.statuses() == [("cut", "sent"), ("cut", "delivered")])
    assert env.send(text(biz_opaque_callback_data="cut")).status_code == 200
    assert env.control("GET", "summary")["duplicated"] == {"cut": 2}


@pytest.mark.parametrize(
    ("details", "status", "body"),
    [({}, 502, b""), ({"http_status": 503}, 503, b""), ({"code": 131000}, 502, b"131000")],
)
def test_5xx_after_accept(env: SandboxEnv, details: dict[str, Any], status: int, body: bytes) -> None:
    env.arm("5xx_after_accept", **details)
    answer = env.send(text(biz_opaque_callback_data="x"))
    assert answer.status_code == status
    assert body in answer.content and bool(body) == bool(answer.content)
    assert _events(env) == [("accepted", "5xx_after_accept")]


def test_slow_is_taken_at_once_and_answered_late(env: SandboxEnv, receiver: Receiver) -> None:
    env.arm("slow", latency_ms=300)
    assert env.send(text()).status_code == 200
    answered_at = time.time()
    (accepted,) = env.ledger("accepted")
    assert answered_at - accepted["at"] >= 0.29


@pytest.mark.parametrize(("fault", "event"), [("hang", "refused"), ("hang_after", "accepted")])
def test_a_hang_lasts_until_the_client_gives_up_or_the_reset(env: SandboxEnv, fault: str, event: str) -> None:
    env.arm(fault, count=2)
    with pytest.raises(requests.ReadTimeout):
        env.http.post(
            f"{env.base}/graph/v23.0/100000000000001/messages",
            json=text(),
            headers={"Authorization": "Bearer access-token-of-the-tests"},
            timeout=0.2,
        )
    assert _events(env) == [(event, fault)]
    caught: list[Exception] = []

    def send() -> None:
        try:
            requests.post(
                f"{env.base}/graph/v23.0/100000000000001/messages",
                json=text(),
                headers={"Authorization": "Bearer access-token-of-the-tests"},
                timeout=10,
            )
        except requests.RequestException as error:
            caught.append(error)

    held = threading.Thread(target=send)
    held.start()
    assert len(env.ledger(event, since=env.ledger()[0]["seq"] + 1, wait_s=5)) == 1
    env.control("POST", "reset")
    joined(held, 5)
    assert [type(error) for error in caught] == [requests.ConnectionError]
    assert env.send(text()).status_code == 200


def test_any_error_of_metas_can_be_asked_for(env: SandboxEnv) -> None:
    for code, row in ERRORS.items():
        env.arm("error", code=code, details="as asked")
        answer = env.send(text())
        assert (answer.status_code, answer.json()["error"]["code"]) == (row.http_status, code)
        assert answer.json()["error"]["error_data"]["details"] == "as asked"
    assert _events(env) == [("refused", "error")] * len(ERRORS)


def test_an_error_may_be_bare_or_unlisted(env: SandboxEnv) -> None:
    env.arm("error", http_status=503)
    assert (env.send(text()).status_code, env.ledger("accepted")) == (503, [])
    env.arm("error", code=131999, http_status=418)
    unlisted = env.send(text())
    assert (unlisted.status_code, unlisted.json()["error"]["code"]) == (418, 131999)
    env.arm("error")
    assert env.send(text()).json()["error"]["code"] == 131000


def test_a_message_may_fail_after_it_was_taken(env: SandboxEnv, receiver: Receiver) -> None:
    env.arm("fail_later", code=131047)
    assert env.send(text(biz_opaque_callback_data="later")).status_code == 200
    receiver.wait(lambda: receiver.statuses() == [("later", "failed")])
    (status,) = next(receiver.posts[0].values())["statuses"]
    (error,) = status["errors"]
    assert (error["code"], error["title"]) == (131047, "Re-engagement message")
    assert error["error_data"]["details"].startswith("Message failed to send because more than 24 hours")
    assert "pricing" not in status


def test_dropped_delayed_doubled_and_reordered_webhooks(env: SandboxEnv, receiver: Receiver) -> None:
    env.arm("webhook_drop", status="sent")
    env.send(text(biz_opaque_callback_data="dropped"))
    receiver.wait(lambda: receiver.statuses() == [("dropped", "delivered")])
    (dropped,) = env.ledger("dropped")
    assert [update["kind"] for update in dropped["updates"]] == ["sent"]

    receiver.posts.clear()
    env.arm("webhook_delay", status="sent", latency_ms=200)
    env.send(text(biz_opaque_callback_data="delayed"))
    receiver.wait(lambda: receiver.statuses() == [("delayed", "delivered"), ("delayed", "sent")])

    receiver.posts.clear()
    env.arm("webhook_duplicate", status="delivered")
    env.send(text(biz_opaque_callback_data="doubled"))
    receiver.wait(
        lambda: receiver.statuses() == [("doubled", "sent"), ("doubled", "delivered"), ("doubled", "delivered")]
    )

    receiver.posts.clear()
    env.arm("webhook_reorder")
    env.send(text(biz_opaque_callback_data="reordered"))
    receiver.wait(lambda: receiver.statuses() == [("reordered", "delivered"), ("reordered", "sent")])
    assert env.control("GET", "faults")["armed"] == []
    assert env.control("GET", "arrivals")["arrivals"] == dict.fromkeys(
        ("dropped", "delayed", "doubled", "reordered"), 1
    )


def test_faults_keep_to_their_number_count_and_dice(env: SandboxEnv) -> None:
    env.arm("error", code=2, count=2, phone_number_id="100000000000003")
    env.arm("error", code=4, count=None, to="15550100299")
    codes = []
    for number, to in [("1", "200"), ("3", "200"), ("1", "299"), ("3", "299"), ("3", "200"), ("1", "299")]:
        answer = env.send(text(to=f"+15550100{to}"), f"10000000000000{number}")
        codes.append(answer.json().get("error", {}).get("code", 0))
    assert codes == [0, 2, 4, 2, 0, 4]
    (left,) = env.control("GET", "faults")["armed"]
    assert (left["code"], left["left"], left["taken"]) == (4, None, 2)
    assert env.control("DELETE", f"faults/{left['id']}") == {"disarmed": 1}
    assert env.control("DELETE", f"faults/{left['id']}") == {"disarmed": 0}

    def rolled() -> list[int]:
        env.control("POST", "reset", {"seed": 7})
        env.arm("error", code=2, count=None, probability=0.5)
        return [env.send(text()).status_code for _ in range(40)]

    first = rolled()
    assert rolled() == first
    assert 8 <= first.count(503) <= 32
    assert env.control("DELETE", "faults") == {"disarmed": 1}


def test_a_refused_send_takes_no_fault(env: SandboxEnv) -> None:
    env.arm("cut_after")
    assert env.send({}).status_code == 400
    assert [fault["left"] for fault in env.control("GET", "faults")["armed"]] == [1]


def test_every_fault_is_tried_here() -> None:
    tried = Path(__file__).read_text()
    assert [name for name in FAULTS if f'"{name}"' not in tried] == []
