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
from tests.sandbox.house import House, Receiver, text


def _events(house: House) -> list[tuple[str, str]]:
    return [
        (entry["event"], entry.get("fault", "")) for entry in house.ledger() if entry["channel"] in {"graph", "d360"}
    ]


@pytest.mark.parametrize("channel", ["graph", "d360"])
def test_cut_before_leaves_nothing_behind(house: House, receiver: Receiver, channel: str) -> None:
    house.arm("cut_before", channel=channel)
    send = house.send if channel == "graph" else house.send_d360
    with pytest.raises(requests.ConnectionError):
        send(text(biz_opaque_callback_data="cut"))
    assert _events(house) == [("refused", "cut_before")]
    assert send(text(biz_opaque_callback_data="cut")).status_code == 200
    assert house.control("GET", "arrivals")["arrivals"] == {"cut": 1}


def test_cut_after_has_taken_the_message(house: House, receiver: Receiver) -> None:
    house.arm("cut_after")
    with pytest.raises(requests.ConnectionError):
        house.send(text(biz_opaque_callback_data="cut"))
    assert _events(house) == [("accepted", "cut_after")]
    receiver.wait(lambda: receiver.statuses() == [("cut", "sent"), ("cut", "delivered")])
    assert house.send(text(biz_opaque_callback_data="cut")).status_code == 200
    assert house.control("GET", "summary")["duplicated"] == {"cut": 2}


@pytest.mark.parametrize(
    ("details", "status", "body"),
    [({}, 502, b""), ({"http_status": 503}, 503, b""), ({"code": 131000}, 502, b"131000")],
)
def test_5xx_after_accept(house: House, details: dict[str, Any], status: int, body: bytes) -> None:
    house.arm("5xx_after_accept", **details)
    answer = house.send(text(biz_opaque_callback_data="x"))
    assert answer.status_code == status
    assert body in answer.content and bool(body) == bool(answer.content)
    assert _events(house) == [("accepted", "5xx_after_accept")]


def test_slow_is_taken_at_once_and_answered_late(house: House, receiver: Receiver) -> None:
    house.arm("slow", latency_ms=300)
    started, clock = time.time(), time.monotonic()
    assert house.send(text()).status_code == 200
    assert time.monotonic() - clock >= 0.3
    (accepted,) = house.ledger("accepted")
    assert accepted["at"] - started < 0.25


@pytest.mark.parametrize(("fault", "event"), [("hang", "refused"), ("hang_after", "accepted")])
def test_a_hang_lasts_until_the_client_gives_up_or_the_reset(house: House, fault: str, event: str) -> None:
    house.arm(fault, count=2)
    with pytest.raises(requests.ReadTimeout):
        house.http.post(
            f"{house.base}/graph/v23.0/100000000000001/messages",
            json=text(),
            headers={"Authorization": "Bearer access-token-of-the-tests"},
            timeout=0.2,
        )
    assert _events(house) == [(event, fault)]
    caught: list[Exception] = []

    def send() -> None:
        try:
            requests.post(
                f"{house.base}/graph/v23.0/100000000000001/messages",
                json=text(),
                headers={"Authorization": "Bearer access-token-of-the-tests"},
                timeout=10,
            )
        except requests.RequestException as error:
            caught.append(error)

    held = threading.Thread(target=send)
    held.start()
    assert len(house.ledger(event, since=house.ledger()[0]["seq"] + 1, wait_s=5)) == 1
    house.control("POST", "reset")
    held.join(5)
    assert [type(error) for error in caught] == [requests.ConnectionError]
    assert house.send(text()).status_code == 200


def test_any_error_of_metas_can_be_asked_for(house: House) -> None:
    for code, row in ERRORS.items():
        house.arm("error", code=code, details="as asked")
        answer = house.send(text())
        assert (answer.status_code, answer.json()["error"]["code"]) == (row.http_status, code)
        assert answer.json()["error"]["error_data"]["details"] == "as asked"
    assert _events(house) == [("refused", "error")] * len(ERRORS)


def test_an_error_may_be_bare_or_unlisted(house: House) -> None:
    house.arm("error", http_status=503)
    assert (house.send(text()).status_code, house.ledger("accepted")) == (503, [])
    house.arm("error", code=131999, http_status=418)
    unlisted = house.send(text())
    assert (unlisted.status_code, unlisted.json()["error"]["code"]) == (418, 131999)
    house.arm("error")
    assert house.send(text()).json()["error"]["code"] == 131000


def test_a_message_may_fail_after_it_was_taken(house: House, receiver: Receiver) -> None:
    house.arm("fail_later", code=131047)
    assert house.send(text(biz_opaque_callback_data="later")).status_code == 200
    receiver.wait(lambda: receiver.statuses() == [("later", "failed")])
    (status,) = next(receiver.posts[0].values())["statuses"]
    (error,) = status["errors"]
    assert (error["code"], error["title"]) == (131047, "Re-engagement message")
    assert error["error_data"]["details"].startswith("Message failed to send because more than 24 hours")
    assert "pricing" not in status


def test_dropped_delayed_doubled_and_reordered_webhooks(house: House, receiver: Receiver) -> None:
    house.arm("webhook_drop", status="sent")
    house.send(text(biz_opaque_callback_data="dropped"))
    receiver.wait(lambda: receiver.statuses() == [("dropped", "delivered")])
    (dropped,) = house.ledger("dropped")
    assert [update["kind"] for update in dropped["updates"]] == ["sent"]

    receiver.posts.clear()
    house.arm("webhook_delay", status="sent", latency_ms=200)
    house.send(text(biz_opaque_callback_data="delayed"))
    receiver.wait(lambda: receiver.statuses() == [("delayed", "delivered"), ("delayed", "sent")])

    receiver.posts.clear()
    house.arm("webhook_duplicate", status="delivered")
    house.send(text(biz_opaque_callback_data="doubled"))
    receiver.wait(
        lambda: receiver.statuses() == [("doubled", "sent"), ("doubled", "delivered"), ("doubled", "delivered")]
    )

    receiver.posts.clear()
    house.arm("webhook_reorder")
    house.send(text(biz_opaque_callback_data="reordered"))
    receiver.wait(lambda: receiver.statuses() == [("reordered", "delivered"), ("reordered", "sent")])
    assert house.control("GET", "faults")["armed"] == []
    assert house.control("GET", "arrivals")["arrivals"] == dict.fromkeys(
        ("dropped", "delayed", "doubled", "reordered"), 1
    )


def test_faults_keep_to_their_number_count_and_dice(house: House) -> None:
    house.arm("error", code=2, count=2, phone_number_id="100000000000003")
    house.arm("error", code=4, count=None, to="15550100299")
    codes = []
    for number, to in [("1", "200"), ("3", "200"), ("1", "299"), ("3", "299"), ("3", "200"), ("1", "299")]:
        answer = house.send(text(to=f"+15550100{to}"), f"10000000000000{number}")
        codes.append(answer.json().get("error", {}).get("code", 0))
    assert codes == [0, 2, 4, 2, 0, 4]
    (left,) = house.control("GET", "faults")["armed"]
    assert (left["code"], left["left"], left["taken"]) == (4, None, 2)
    assert house.control("DELETE", f"faults/{left['id']}") == {"disarmed": 1}
    assert house.control("DELETE", f"faults/{left['id']}") == {"disarmed": 0}

    def rolled() -> list[int]:
        house.control("POST", "reset", {"seed": 7})
        house.arm("error", code=2, count=None, probability=0.5)
        return [house.send(text()).status_code for _ in range(40)]

    first = rolled()
    assert rolled() == first
    assert 8 <= first.count(503) <= 32
    assert house.control("DELETE", "faults") == {"disarmed": 1}


def test_a_refused_send_takes_no_fault(house: House) -> None:
    house.arm("cut_after")
    assert house.send({}).status_code == 400
    assert [fault["left"] for fault in house.control("GET", "faults")["armed"]] == [1]


def test_every_fault_is_tried_here() -> None:
    tried = Path(__file__).read_text()
    assert [name for name in FAULTS if f'"{name}"' not in tried] == []
