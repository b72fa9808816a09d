"""The control API: waiting for the ledger, writing as a customer, limits, knobs, and who may call it."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from sandbox.limits import LimitValues, Pace, SandboxLimits
from sandbox.openapi.validators import document
from tests.sandbox.env import CUSTOMER, Receiver, SandboxEnv, text
from tests.support.waiting import joined


def test_a_reader_is_woken_by_what_arrives(env: SandboxEnv) -> None:
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(env.ledger("accepted", wait_s=10)))
    reader.start()
    sender = SandboxEnv.send
    sender(env, text(biz_opaque_callback_data="woken"))
    joined(reader, 5)
    assert [entry["callback"] for entry in found] == ["woken"]
    assert env.ledger("accepted", since=found[0]["seq"]) == []


def test_the_summary_counts_what_arrived_and_names_duplicates(env: SandboxEnv) -> None:
    for name in ("a", "b", "a", "", "c", "a"):
        env.send(text(**({"biz_opaque_callback_data": name} if name else {})))
    env.send_d360(text(biz_opaque_callback_data="c"))
    env.send({})
    summary = env.control("GET", "summary")
    assert (summary["arrived"], summary["distinct"], summary["unnamed"], summary["duplicated"]) == (
        7,
        3,
        1,
        {"a": 3, "c": 2},
    )
    assert (
        summary["events"]["graph.accepted"],
        summary["events"]["d360.accepted"],
        summary["events"]["graph.refused"],
    ) == (6, 1, 1)
    assert env.control("GET", "arrivals", message=["a", "nobody"]) == {"arrivals": {"a": 3, "nobody": 0}}
    seq = env.control("GET", "ledger")["seq"]
    env.send(text(biz_opaque_callback_data="a"))
    assert env.control("GET", "summary", since=seq)["duplicated"] == {}
    assert env.control("GET", "arrivals", since=seq) == {"arrivals": {"a": 1}}
    assert env.control("GET", "arrivals") == {"arrivals": {"a": 4, "b": 1, "c": 2}}


def test_a_customers_message_looks_like_metas_example(env: SandboxEnv, receiver: Receiver) -> None:
    # the example has the older form
    env.control("POST", "settings", {"user_ids": 0})
    written = env.control(
        "POST",
        "inbound",
        {"phone_number_id": "100000000000001", "from": CUSTOMER, "name": "Ann", "text": "Grüße", "quoted": "wamid.OUT"},
    )
    receiver.wait(lambda: receiver.posts)
    example = document()["paths"]["/whatsapp/webhooks"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]["Text Message"]["value"]
    envelope = json.loads(receiver.posts[0].body)
    assert _shape(example) == _shape(
        json.loads(receiver.posts[0].body.replace(b'"context":{"from":"15550783001","id":"wamid.OUT"},', b""))
    )
    value = envelope["entry"][0]["changes"][0]["value"]
    (message,) = value["messages"]
    assert value["contacts"] == [{"profile": {"name": "Ann"}, "wa_id": "15550100200"}]
    assert (message["id"], message["from"], message["type"], message["text"]) == (
        written["id"],
        "15550100200",
        "text",
        {"body": "Grüße"},
    )
    assert message["context"] == {"from": "15550783001", "id": "wamid.OUT"}


def _shape(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _shape(value) for key, value in node.items()}
    return [_shape(value) for value in node] if isinstance(node, list) else type(node).__name__


def test_a_customer_may_write_anything_on_either_channel(env: SandboxEnv, receiver: Receiver) -> None:
    image = {"type": "image", "image": {"id": "900", "mime_type": "image/jpeg", "sha256": "x"}}
    env.control("POST", "inbound", {"phone_number_id": "100000000000002", "from": CUSTOMER, "message": image})
    receiver.wait(lambda: receiver.posts)
    (message,) = next(receiver.posts[0].values())["messages"]
    assert message["image"] == image["image"]
    assert "X-Bulkhead-Webhook-Secret" in receiver.posts[0].headers
    receiver.posts.clear()
    env.control(
        "POST", "changes", {"phone_number_id": "100000000000001", "field": "account_alerts", "value": {"alert": 1}}
    )
    receiver.wait(lambda: receiver.posts)
    assert json.loads(receiver.posts[0].body)["entry"][0]["changes"] == [
        {"value": {"alert": 1}, "field": "account_alerts"}
    ]


def test_a_message_goes_on_when_a_tester_says_so(env: SandboxEnv, receiver: Receiver) -> None:
    message_id = env.send(text(biz_opaque_callback_data="on")).json()["messages"][0]["id"]
    receiver.wait(lambda: len(receiver.statuses()) == 2)
    env.control("POST", "statuses", {"callback": "on"})
    receiver.wait(lambda: receiver.statuses()[2:] == [("on", "read")])
    env.control("POST", "statuses", {"id": message_id, "status": "failed", "code": 131026})
    receiver.wait(lambda: receiver.statuses()[3:] == [("on", "failed")])
    assert {status["id"] for post in receiver.posts for value in post.values() for status in value["statuses"]} == {
        message_id
    }
    assert env.control("GET", "arrivals") == {"arrivals": {"on": 1}}


def test_knobs_are_turned_shown_and_reset(env: SandboxEnv) -> None:
    before = env.control("GET", "settings")
    turned = env.control("POST", "settings", {"latency_ms": 5, "statuses": ["sent", "read"], "delays_ms": {"read": 7}})
    assert (turned["latency_ms"], turned["statuses"], turned["delays_ms"]["read"], turned["delays_ms"]["sent"]) == (
        5,
        ["sent", "read"],
        7,
        20,
    )
    assert env.control("GET", "settings") == turned
    seq = env.control("POST", "reset")["seq"]
    assert env.control("GET", "settings") == before
    assert [entry["event"] for entry in env.ledger()][-1] == "reset" and env.ledger()[-1]["seq"] == seq


def test_metas_limits_when_they_are_switched_on(env: SandboxEnv) -> None:
    env.control("POST", "limits", {"pair_period_s": 6, "pair_burst": 3})
    codes = [env.send(text(to=f"+1555010020{user}")).status_code for user in (1, 1, 1, 1, 2)]
    assert codes == [200, 200, 200, 400, 200]
    assert env.ledger("refused")[-1]["code"] == 131056
    env.control("POST", "limits", {"messages_per_second": 5})
    answers = [env.send(text()) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[5].json()["error"]["code"] == 130429
    assert env.send(text(), "100000000000003").status_code == 200
    env.control("POST", "reset")
    assert {env.send(text()).status_code for _ in range(10)} == {200}


def test_a_pace_lends_a_burst_and_wants_it_back() -> None:
    pace, now = Pace(6.0, 45), 1000.0
    for _ in range(45):
        assert pace.allows("a", now)
        pace.count("a", now)
    assert not pace.allows("a", now)
    assert pace.allows("b", now)
    assert not pace.allows("a", now + 5.9)
    assert pace.allows("a", now + 6.0)
    assert pace.allows("a", now + 45 * 6.0)


def test_a_refused_message_counts_for_no_limit() -> None:
    now = 0.0
    limits = SandboxLimits(lambda: now)
    limits.set(LimitValues(messages_per_second=2, pair_period_s=6, pair_burst=1))
    assert [limits.passed("n", "a"), limits.passed("n", "a"), limits.passed("n", "b"), limits.passed("n", "c")] == [
        None,
        131056,
        None,
        130429,
    ]
    now = 0.5
    assert [limits.passed("n", "c"), limits.passed("n", "d")] == [None, 130429]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", {"fault": "flood"}),
        ("faults", {}),
        ("faults", {"fault": "slow", "latency": 5}),
        ("faults", {"fault": "slow", "latency_ms": -5}),
        ("faults", {"fault": "slow", "latency_ms": True}),
        ("faults", {"fault": "slow", "count": 0}),
        ("faults", {"fault": "slow", "probability": 0}),
        ("faults", {"fault": "error", "http_status": 200}),
        ("faults", []),
        ("settings", {"latency": 5}),
        ("settings", {"latency_ms": "5"}),
        ("settings", {"statuses": ["gone"]}),
        ("settings", {"delays_ms": {"gone": 1}}),
        ("settings", {"batch_max": 0}),
        ("limits", {"messages_per_second": -1}),
        ("limits", {"pair_burst": 0}),
        ("inbound", {"phone_number_id": "100000000000001", "from": "", "text": "x"}),
        ("inbound", {"phone_number_id": "100000000000001", "from": "Ann", "text": "x"}),
        ("inbound", {"phone_number_id": "100000000000001", "from": CUSTOMER}),
        ("inbound", {"phone_number_id": "100000000000001", "from": CUSTOMER, "message": {"type": 5}}),
        ("statuses", {"callback": "x", "status": "gone"}),
        ("reset", {"seed": "x"}),
    ],
)
def test_what_a_tester_mistypes_is_refused_with_a_reason(quiet_env: SandboxEnv, path: str, body: Any) -> None:
    answer = quiet_env.http.post(f"{quiet_env.base}/control/{path}", json=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert quiet_env.ledger() == []


def test_what_is_not_there_is_said_to_be_missing(quiet_env: SandboxEnv) -> None:
    for path, body in (
        ("inbound", {"phone_number_id": "1", "from": CUSTOMER, "text": "x"}),
        ("statuses", {"callback": "nobody"}),
        ("changes", {"phone_number_id": "1", "field": "x", "value": {"x": 1}}),
    ):
        assert quiet_env.http.post(f"{quiet_env.base}/control/{path}", json=body, timeout=5).status_code == 404
    for query in ({"since": "x"}, {"wait_s": 61}, {"limit": -1}, {"since": "nan"}):
        assert quiet_env.http.get(f"{quiet_env.base}/control/ledger", params=query, timeout=5).status_code == 400
    assert quiet_env.http.post(f"{quiet_env.base}/control/reset", data=b"{", timeout=5).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Origin": "http://127.0.0.1:9"}, 200),
        ({"Host": "sandbox.example.com"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
    ],
)
def test_the_control_api_answers_this_machine_only(quiet_env: SandboxEnv, headers: dict[str, str], status: int) -> None:
    for path in ("settings", "web/devices"):
        assert quiet_env.http.get(f"{quiet_env.base}/control/{path}", headers=headers, timeout=5).status_code == status
