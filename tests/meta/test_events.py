"""What is read out of webhooks: every entry, change and list; Meta's own examples; and whatever else JSON can hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meta.events import reading as events
from meta.events.parsed import ParsedEvents
from meta.events.reading import parse_webhook
from shared.states import MessageState
from tests.meta.seed import status, text, webhook
from tests.support.examples import examples

pytestmark = pytest.mark.fast

EXAMPLES = sorted((Path(__file__).parent / "fixtures" / "webhooks").glob("*.json"))
RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)
OURS = {"100000000000001": [1], "100000000000003": [3, 4], "106540352242922": [9]}


class Owners:
    """Every account's connections, through a door that may be about any of them."""

    def of_account(self, kind: str, account: str) -> list[int]:
        return OURS.get(account, [])

    def of_business_account(self, waba_id: str) -> list[int]:
        return []

    def is_claimed(self, waba_id: str) -> bool:
        return False


def read(payload: Any) -> ParsedEvents:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return parse_webhook(body, RECEIVED, Owners())


def test_every_entry_change_list_and_item_is_read() -> None:
    payload: dict[str, Any] = {"object": "whatsapp_business_account", "entry": []}
    for entry in range(3):
        one = webhook(
            *(
                {
                    "messages": [text("hi", f"wamid.{entry}.{change}.{item}") for item in range(4)],
                    "statuses": [
                        status(word, provider_id=f"wamid.S{entry}.{change}")
                        for word in ("sent", "delivered", "read", "played", "failed")
                    ],
                    "errors": [{"code": 130429, "title": "x"}],
                }
                for change in range(2)
            )
        )
        payload["entry"] += one["entry"]
    found = read(payload)
    assert len({message.provider_id for message in found.messages}) == 24
    assert len(found.receipts) == 30
    assert found.counts["error"] == 6
    assert [receipt.state for receipt in found.receipts[:5]] == [
        MessageState.SENT,
        MessageState.DELIVERED,
        MessageState.READ,
        MessageState.READ,
        MessageState.FAILED,
    ]
    assert found.outcome() == ""


def test_a_status_keeps_everything_worth_keeping() -> None:
    pricing = {"billable": False, "pricing_model": "PMP", "category": "service"}
    error = {
        "code": 131047,
        "title": "t",
        "message": "m",
        "error_data": {"details": "more than 24 hours, +1 555 010 0200"},
        "href": "https://x",
    }
    (sent, failed) = read(
        webhook(
            {
                "statuses": [
                    status("sent", token="bulkhead:7:1", pricing=pricing),
                    status("failed", token="bulkhead:8:1", errors=[error]),
                ]
            }
        )
    ).receipts
    assert (sent.connection_id, sent.token, sent.provider_id, sent.extra["pricing"]) == (
        1,
        "bulkhead:7:1",
        "wamid.X",
        pricing,
    )
    assert sent.at == datetime.fromtimestamp(1760000000, UTC)
    assert (failed.code, failed.detail) == ("131047", "more than 24 hours, [number]")
    assert failed.extra["errors"] == [error]


def test_an_event_of_a_number_of_two_companies_reaches_both() -> None:
    found = read(webhook({"messages": [text("hi", "wamid.A")], "statuses": [status("read")]}, number="100000000000003"))
    assert [message.connection_id for message in found.messages] == [3, 4]
    assert [receipt.connection_id for receipt in found.receipts] == [3, 4]


def test_an_unknown_number_is_named_and_concerns_no_connection() -> None:
    found = read(webhook({"messages": [text("hi", "wamid.A")], "statuses": [status("read")]}, number="1"))
    assert (found.messages, found.receipts, found.door_events) == ([], [], {})
    assert found.counts["unknown_number"] == 2
    assert found.outcome() == "entry[0].changes[0].value: no connection has this phone number id"


def test_what_cannot_be_read_hides_no_other_part() -> None:
    found = read(
        webhook(
            {
                "messages": [
                    5,
                    {},
                    {"from": "1"},
                    {**text("x", "wamid.1"), "text": None},
                    text("good", "wamid.GOOD"),
                    {"from": "1", "id": 7},
                ]
            },
            {"statuses": [{"status": "flying"}, {"id": "x"}, status("read", provider_id="wamid.READ"), None]},
            {"messages": "none", "statuses": {}, "errors": [1]},
        )
    )
    # without a sender it is no message; one that cannot be read is kept as far as it can, and named
    assert [
        (message.provider_id, message.type) for message in found.messages if message.provider_id.startswith("wamid.")
    ] == [
        ("wamid.1", "unknown"),
        ("wamid.GOOD", "text"),
    ]
    assert [receipt.provider_id for receipt in found.receipts] == ["wamid.READ"]
    assert found.counts["unreadable"] == 10
    assert found.counts["unknown_type"] == 1
    assert "messages[1].from, from_user_id: neither is there" in found.outcome()
    assert found.outcome().endswith("and 6 more")


@pytest.mark.parametrize(
    ("given_at", "seconds"),
    [
        ("1760000000", 1760000000),
        (1760000000, 1760000000),
        ("1760000000123", 1760000000.123),
        (1760000000123, 1760000000.123),
    ],
)
def test_instants_in_seconds_and_milliseconds(given_at: Any, seconds: float) -> None:
    (message,) = read(webhook({"messages": [text("x", "wamid.A") | {"timestamp": given_at}]})).messages
    assert message.at == datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize("given_at", ["", "soon", None, -5, 0, True, "9" * 30, 10**40, 1.5, [], "٣"])
def test_an_instant_that_cannot_be_read_is_when_it_came(given_at: Any) -> None:
    (message,) = read(webhook({"messages": [text("x", "wamid.A") | {"timestamp": given_at}]})).messages
    assert message.at in (RECEIVED, datetime.fromtimestamp(3, UTC))


def test_ids_that_no_index_can_hold_are_replaced_by_one_of_their_content() -> None:
    long = text("x", "wamid." + "A" * 5000)
    first, second, other = read(webhook({"messages": [long, long, text("y", "")]})).messages
    assert first.provider_id == second.provider_id != other.provider_id
    assert all(len(message.provider_id) == 71 for message in (first, other))


def test_what_postgresql_cannot_hold_is_left_out() -> None:
    body = (
        json.dumps(webhook({"messages": [text("a\0b\ud800c", "wamid.A", context={"k\0": ["\0", 1e308]})]}))
        .encode()
        .replace(b"1e+308", b"1e999")
    )
    (message,) = read(body).messages
    assert message.content == {"body": "ab?c"}
    assert message.context == {"k": ["", None]}


def test_a_type_of_any_length_has_room() -> None:
    (message,) = read(webhook({"messages": [{"from": "15550100200", "id": "wamid.A", "type": "x" * 500}]})).messages
    assert message.type == "unknown"
    assert message.content == {"type": "x" * 60}


@pytest.mark.parametrize(
    ("late_s", "code", "pauses"),
    [(1, 131042, True), (3600, 131042, False), (1, 131026, False), (1, "131042", True), (1, True, False)],
)
def test_a_failure_that_stops_the_whole_connection_pauses_it_unless_it_is_old(
    late_s: float, code: Any, pauses: bool
) -> None:
    at = int((RECEIVED - timedelta(seconds=late_s)).timestamp())
    found = read(webhook({"statuses": [status("failed", at=at, errors=[{"code": code}])]}))
    assert found.pauses == ({1: ("131042: payment problem", None)} if pauses else {})


@pytest.mark.parametrize(
    ("payload", "kind", "outcome"),
    [
        ([1], "other_object", "object : not one that we read"),
        ({"object": "user", "entry": [{}]}, "other_object", "object user: not one that we read"),
        ({"object": "a phone number: 15550100200"}, "other_object", "object : not one that we read"),
        (webhook({"brand_new": {}}), "other_change", "entry[0].changes[0].field messages: not one that we read"),
        (
            {"object": "page", "entry": [{"messaging": [{}]}]},
            "unknown_number",
            "entry[0].id: no connection has this page id",
        ),
    ],
)
def test_what_we_do_not_read_is_counted_and_named(payload: Any, kind: str, outcome: str) -> None:
    found = read(payload)
    assert found.counts == {kind: 1}
    assert found.outcome() == outcome


def test_not_json_and_too_deep() -> None:
    assert read(b"{").outcome() == "not JSON"
    many_digits = b'{"object":"whatsapp_business_account","n":' + b"9" * 100_000 + b"}"
    events.require_json(many_digits)
    assert read(many_digits).outcome() == ""
    deep = b"[" * 100_000 + b"]" * 100_000
    assert read(deep).outcome() == "nested too deeply"
    events.require_json(deep)
    with pytest.raises(events.NotJson):
        events.require_json(b'{"a":Infinity}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "from", "type", "text", "body", "statuses", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every part of a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths_of(item, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """Return a copy of `value` with another part at `path`."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


SEEDS = [json.loads(path.read_text()) for path in EXAMPLES] + [
    webhook(
        {
            "statuses": [
                status("failed", token="bulkhead:1:1", errors=[{"code": 131042, "error_data": {"details": "x"}}])
            ],
            "errors": [{"code": 1}],
        }
    ),
    webhook({"message_echoes": [text("x", "wamid.E", to="15550100200")]}),
]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Return one of Meta's examples with parts replaced by whatever JSON can hold."""
    payload = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 3))):
        payload = replaced(payload, draw(st.sampled_from(paths_of(payload))), draw(JSON))
    return payload


@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_no_payload_breaks_the_reading(payload: Any) -> None:
    found = read(payload)
    for message in found.messages:
        assert 0 < len(message.provider_id) <= 255
        assert 0 < len(message.type) <= 20
        assert "\0" not in message.chat_id + message.sender + message.sender_name
        assert "\\u0000" not in json.dumps([message.content, message.context])
    assert "\0" not in found.outcome()
