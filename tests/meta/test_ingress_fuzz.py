"""Whatever is posted: no 5xx, no crash, nothing lost. What was answered by 200 is in the journal, and everything in it
is processed or named.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meta.events.whatsapp import READERS
from meta.inbound.webhooks import BODY_MOST
from tests.meta.env import MetaEnv
from tests.meta.openapi_webhooks import NUMBER, made
from tests.meta.seed import signature, text, webhook
from tests.meta.test_events import JSON, OURS, mutated, paths_of, read, replaced
from tests.meta.test_events_messaging import PAGE, echo, entry, item
from tests.support.examples import examples

FUZZ = settings(
    max_examples=examples(15),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
PURE = settings(FUZZ, max_examples=examples(75))

CHATS = [
    entry(
        item(
            message={
                "mid": "m_1",
                "text": "x",
                "attachments": [{"type": "image", "payload": {"url": "https://x.example/a"}}],
            }
        ),
        echo(mid="m_2", metadata="bulkhead:1:1"),
    ),
    entry(
        item(postback={"title": "x"}),
        item(reaction={"mid": "m", "action": "react"}),
        item(read={"watermark": 1}),
        item(delivery={"mids": ["m"]}),
        kind="instagram",
    ),
    {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "time": 1, "changes": [{"field": "account_update", "value": {"event": "X"}}]}],
    },
    webhook(
        {
            "calls": [{"id": "c", "from": "1555", "event": "connect"}],
            "history": [{"threads": [{"id": "1", "messages": [text("x", "wamid.H")]}]}],
        }
    ),
    webhook(
        {
            "user_id_update": [{"user_id": {"previous": "US.1", "current": "US.2"}}],
            "user_preferences": [{"wa_id": "1", "value": "stop"}],
            "groups": [{"group_id": "g"}],
        }
    ),
    webhook(
        {
            "messages": [
                {
                    "from": "15550100200",
                    "id": "wamid.D",
                    "type": "edit",
                    "edit": {"original_message_id": "wamid.A", "message": {"type": "text"}},
                }
            ]
        }
    ),
    webhook(
        {
            "state_sync": [{"contact": {"phone_number": "15550100200", "full_name": "x"}}],
            "contacts": [{"wa_id": "1", "user_id": "US.1"}],
            "messages": [text("x", "w")],
        }
    ),
]


@st.composite
def disturbed(draw: st.DrawFn) -> Any:
    """Return an event of another shape with parts replaced by whatever JSON can hold."""
    payload = draw(st.sampled_from(CHATS))
    for _ in range(draw(st.integers(0, 3))):
        payload = replaced(payload, draw(st.sampled_from(paths_of(payload))), draw(JSON))
    return payload


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a body of any kind: right, disturbed, cut, with bytes changed, or no JSON at all."""
    payload = draw(st.one_of(made(), mutated(), disturbed(), JSON))
    body = json.dumps(payload, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    how = draw(st.sampled_from(["as it is", "cut", "changed", "prefixed", "noise", "utf-16"]))
    if how == "cut":
        body = body[: draw(st.integers(0, len(body)))]
    elif how == "changed" and body:
        where = draw(st.integers(0, len(body) - 1))
        body = body[:where] + draw(st.binary(min_size=1, max_size=4)) + body[where + 1 :]
    elif how == "prefixed":
        body = draw(st.sampled_from([b"\xef\xbb\xbf", b"\0", b"\xff\xfe", b" \n"])) + body
    elif how == "noise":
        body = draw(st.binary(max_size=300))
    elif how == "utf-16":
        body = json.dumps(payload).encode("utf-16")
    return body


@PURE
@given(made())
def test_whatever_the_schemas_allow_is_read_or_named(payload: Any) -> None:
    found = read(payload)
    assert found.outcome() or sum(found.counts.values()) >= said(payload)


@PURE
@given(st.one_of(disturbed(), mutated()))
def test_what_was_disturbed_is_kept_in_forms_that_the_tables_take(payload: Any) -> None:
    found = read(payload)
    for message in found.messages:
        assert 0 < len(message.provider_id) <= 255
        assert 0 < len(message.type) <= 20
        assert "\\u0000" not in json.dumps([message.content, message.context, message.chat_id, message.sender])
    assert {message.connection_id for message in found.messages} <= {one for ids in OURS.values() for one in ids}
    assert "\0" not in found.outcome()


def said(payload: Any) -> int:
    """Return how many things a webhook that is right in shape says: each must be counted, or the whole is named."""
    changes = [change["value"] for entry_ in payload["entry"] for change in entry_["changes"]]
    return sum(
        sum(len(items) for name, items in value.items() if name in READERS) if READERS.keys() & value.keys() else 1
        for value in changes
    )


@FUZZ
@given(st.lists(bodies(), min_size=5, max_size=15))
def test_no_body_brings_a_5xx_or_is_lost(env: MetaEnv, posted: list[bytes]) -> None:
    pid = env.meta.process.pid
    (before,) = env.query("SELECT coalesce(max(id), 0) FROM inbound_journal")[0]
    answers = [env.post(body, headers={"X-Hub-Signature-256": signature(body)}) for body in posted]
    assert set(answers) <= {200, 400}
    kept = [bytes(body) for (body,) in env.query("SELECT body FROM inbound_journal WHERE id > %s ORDER BY id", before)]
    assert sorted(kept) == sorted(body for body, answer in zip(posted, answers, strict=True) if answer == 200)
    env.wait_journal_read()
    assert not env.query("SELECT id, outcome FROM inbound_journal WHERE id > %s AND outcome LIKE 'failed%%'", before)
    assert env.meta.process.poll() is None
    assert env.meta.process.pid == pid


def big(kind: str) -> bytes:
    """Return a body of just 3 MB."""
    dice = random.Random(7)
    if kind == "one text":
        body = json.dumps(webhook({"messages": [text("x" * (BODY_MOST - 2000), "wamid.BIG")]}))
    elif kind == "many messages":
        body = json.dumps(
            webhook(
                {"messages": [text('ä\\"' * dice.randint(0, 9), f"wamid.MANY{number}") for number in range(14_000)]}
            )
        )
    elif kind == "many keys":
        body = json.dumps(
            webhook(
                {
                    "messages": [
                        {**text("x", "wamid.KEYS"), "context": {f"k{number}": number for number in range(150_000)}}
                    ]
                }
            )
        )
    elif kind == "deep":
        body = '{"object":"page","entry":' + "[" * 1_400_000 + "]" * 1_400_000 + "}"
    elif kind == "long number":
        body = '{"object":"page","n":' + "9" * 3_000_000 + "}"
    else:
        body = json.dumps(
            {
                "object": "page",
                "entry": [
                    {
                        "id": PAGE,
                        "messaging": [item(message={"mid": f"m{n}", "text": "\0\ud800"}) for n in range(12_000)],
                    }
                ],
            }
        )
    return body.encode()[:BODY_MOST] if kind != "half" else body.encode()


@pytest.mark.parametrize("kind", ["one text", "many messages", "many keys", "deep", "long number", "NUL and halves"])
def test_three_megabytes_of_anything(env: MetaEnv, kind: str) -> None:
    body = big(kind)
    assert len(body) <= BODY_MOST
    (before,) = env.query("SELECT coalesce(max(id), 0) FROM inbound_journal")[0]
    assert env.post(body) == 200
    env.wait_journal_read(90)
    ((outcome,),) = env.query("SELECT outcome FROM inbound_journal WHERE id > %s", before)
    assert not outcome.startswith("failed"), outcome
    if kind == "many messages":
        assert env.query("SELECT count(*) FROM inbound_messages WHERE provider_id LIKE 'wamid.MANY%%'") == [(14_000,)]
    assert env.post(webhook({"messages": [text("still here", f"wamid.AFTER {kind}")]}, number=NUMBER)) == 200
    env.wait_journal_read()
    assert len(env.inbound(f"wamid.AFTER {kind}")) == 1
    env.query("UPDATE inbound_journal SET body = '' WHERE id > %s RETURNING id", before)
