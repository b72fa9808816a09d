"""Messenger's and Instagram's webhooks in our words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from meta.events.parsed import ParsedEvents
from shared.states import MessageState
from tests.meta.test_events import read

pytestmark = pytest.mark.fast

PAGE = "100000000000001"
"""An account that the readers' tests know; here it is a page."""
AT = 1760000000123


def entry(*items: dict[str, Any], kind: str = "page", part: str = "messaging") -> dict[str, Any]:
    """Return a webhook of one page."""
    return {"object": kind, "entry": [{"id": PAGE, "time": AT, part: list(items)}]}


def item(**parts: Any) -> dict[str, Any]:
    """Return what one person did."""
    return {"sender": {"id": "24500000000000001"}, "recipient": {"id": PAGE}, "timestamp": AT, **parts}


def echo(**message: Any) -> dict[str, Any]:
    """Return what the page itself wrote."""
    return {
        "sender": {"id": PAGE},
        "recipient": {"id": "24500000000000001"},
        "timestamp": AT,
        "message": {"is_echo": True, "app_id": 5, **message},
    }


def lines(found: ParsedEvents) -> list[tuple[str, dict[str, Any]]]:
    """Return types and contents, and see that nothing was left unsaid."""
    assert found.outcome() == ""
    return [(message.type, dict(message.content)) for message in found.messages]


IMAGE = {"type": "image", "payload": {"url": "https://scontent.example/a.jpg"}}
FALLBACK = {"type": "fallback", "title": "A page", "payload": {"url": "https://example.org"}}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"message": {"mid": "m_1", "text": "Hi"}}, [("text", {"body": "Hi"})]),
        (
            {"message": {"mid": "m_1", "text": "Hi", "reply_to": {"mid": "m_0"}}},
            [("text", {"body": "Hi", "quoted": "m_0"})],
        ),
        (
            {"message": {"mid": "m_1", "text": "Red", "quick_reply": {"payload": "RED"}}},
            [("button", {"text": "Red", "payload": "RED"})],
        ),
        ({"message": {"mid": "m_1", "attachments": [IMAGE]}}, [("image", {"media": {}})]),
        (
            {"message": {"mid": "m_1", "text": "look", "attachments": [IMAGE, IMAGE]}},
            [("image", {"media": {}, "caption": "look"}), ("image", {"media": {}})],
        ),
        (
            {
                "message": {
                    "mid": "m_1",
                    "attachments": [{"type": "image", "payload": {"url": "https://x.example/s", "sticker_id": 369}}],
                }
            },
            [("sticker", {"media": {}})],
        ),
        (
            {"message": {"mid": "m_1", "attachments": [{"type": "file", "payload": {"url": "https://x.example/f"}}]}},
            [("document", {"media": {}})],
        ),
        (
            {
                "message": {
                    "mid": "m_1",
                    "attachments": [{"type": "location", "payload": {"coordinates": {"lat": 1.5, "long": 2}}}],
                }
            },
            [("location", {"latitude": 1.5, "longitude": 2})],
        ),
        (
            {"message": {"mid": "m_1", "text": "see https://example.org", "attachments": [FALLBACK]}},
            [("text", {"body": "see https://example.org"})],
        ),
        (
            {
                "message": {
                    "mid": "m_1",
                    "attachments": [{"type": "story_mention", "payload": {"url": "https://x.example/story"}}],
                }
            },
            [("interactive", {"kind": "story_mention", "response": {"url": "https://x.example/story"}})],
        ),
        ({"message": {"mid": "m_1", "is_unsupported": True}}, [("unsupported", {"kind": "unsupported", "errors": []})]),
        ({"message": {"mid": "m_1", "is_deleted": True}}, [("revoke", {"target": "m_1"})]),
        ({"message_edit": {"mid": "m_1", "text": "new", "num_edit": 1}}, [("edit", {"target": "m_1", "body": "new"})]),
        (
            {"postback": {"mid": "m_2", "title": "Start", "payload": "GO", "referral": {"ref": "r"}}},
            [("button", {"text": "Start", "payload": "GO"})],
        ),
        (
            {"reaction": {"mid": "m_1", "action": "react", "reaction": "love", "emoji": "❤"}},
            [("reaction", {"emoji": "❤", "target": "m_1"})],
        ),
        (
            {"reaction": {"mid": "m_1", "action": "react", "reaction": "like"}},
            [("reaction", {"emoji": "👍", "target": "m_1"})],
        ),
        ({"reaction": {"mid": "m_1", "action": "unreact"}}, [("reaction", {"emoji": "", "target": "m_1"})]),
        (
            {"optin": {"ref": "r", "payload": "p"}},
            [("system", {"kind": "optin", "body": "", "ref": "r", "payload": "p"})],
        ),
        ({"referral": {"ref": "r"}}, [("system", {"kind": "referral", "body": "", "ref": "r"})]),
        (
            {"pass_thread_control": {"new_owner_app_id": 5}},
            [("system", {"kind": "pass_thread_control", "body": "", "new_owner_app_id": 5})],
        ),
        (
            {"policy-enforcement": {"action": "block"}},
            [("system", {"kind": "policy_enforcement", "body": "", "action": "block"})],
        ),
    ],
)
@pytest.mark.parametrize("kind", ["page", "instagram"])
def test_every_item_has_one_shape(parts: dict[str, Any], expected: list[tuple[str, dict[str, Any]]], kind: str) -> None:
    found = read(entry(item(**parts), kind=kind))
    assert lines(found) == expected
    for message in found.messages:
        assert (message.chat_id, message.sender, message.from_me) == ("24500000000000001",) * 2 + (False,)
        assert message.at == datetime.fromtimestamp(AT / 1000, UTC)
        assert message.may_trigger == (expected[0][1].get("kind") not in ("pass_thread_control", "policy_enforcement"))
    assert len({message.provider_id for message in found.messages}) == len(expected)
    assert [contact.user_id for contact in found.contacts] == ["24500000000000001"]


def test_several_files_of_one_message_are_messages_of_their_own() -> None:
    found = read(entry(item(message={"mid": "m_1", "attachments": [IMAGE, IMAGE]})))
    assert [message.provider_id for message in found.messages] == ["m_1", "m_1#2"]
    assert [(source.provider_id, source.url) for source in found.media] == [
        ("m_1", "https://scontent.example/a.jpg"),
        ("m_1#2", "https://scontent.example/a.jpg"),
    ]


def test_an_echo_of_our_own_send_proves_it_and_one_of_a_human_is_kept() -> None:
    found = read(
        entry(echo(mid="m_ours", text="Hello", metadata="bulkhead:7:1"), echo(mid="m_human", text="Hi, it is me"))
    )
    (receipt,) = found.receipts
    assert (receipt.state, receipt.token, receipt.provider_id) == (MessageState.SENT, "bulkhead:7:1", "m_ours")
    (kept,) = found.messages
    assert (kept.provider_id, kept.from_me, kept.may_trigger, kept.chat_id, kept.context["app_id"]) == (
        "m_human",
        True,
        False,
        "24500000000000001",
        "5",
    )
    assert not found.contacts


def test_only_an_echo_of_the_page_can_prove_a_send() -> None:
    found = read(entry(item(message={"mid": "m_1", "text": "x", "metadata": "bulkhead:7:1"})))
    assert not found.receipts
    assert [message.type for message in found.messages] == ["text"]


def test_deliveries_and_reads_are_receipts_and_watermarks() -> None:
    found = read(entry(item(delivery={"mids": ["m_1", "m_2"], "watermark": AT}), item(read={"watermark": AT + 5})))
    assert [(receipt.state, receipt.provider_id) for receipt in found.receipts] == [
        (MessageState.DELIVERED, "m_1"),
        (MessageState.DELIVERED, "m_2"),
    ]
    assert [(mark.state, mark.chat_id, mark.at) for mark in found.watermarks] == [
        (MessageState.DELIVERED, "24500000000000001", datetime.fromtimestamp(AT / 1000, UTC)),
        (MessageState.READ, "24500000000000001", datetime.fromtimestamp((AT + 5) / 1000, UTC)),
    ]
    seen = read(entry(item(read={"mid": "m_3"}), kind="instagram"))
    assert [(receipt.state, receipt.provider_id) for receipt in seen.receipts] == [(MessageState.READ, "m_3")]
    assert not seen.watermarks


def test_what_another_app_is_answering_triggers_nothing() -> None:
    (message,) = read(entry(item(message={"mid": "m_1", "text": "Hi"}), part="standby")).messages
    assert (message.may_trigger, message.context) == (False, {"standby": True})


def test_the_shape_of_changes_is_read_too() -> None:
    value = item(message={"mid": "m_1", "text": "Hi"})
    found = read(
        entry(
            {"field": "messages", "value": value},
            {"field": "comments", "value": {"text": "nice"}},
            kind="instagram",
            part="changes",
        )
    )
    assert [(message.type, message.provider_id) for message in found.messages] == [("text", "m_1")]
    assert found.outcome() == "entry[0].changes[1].field comments: not one that we read"


def test_what_cannot_be_read_is_named_and_hides_no_other_part() -> None:
    found = read(
        entry(
            {"message": {}},
            item(hologram={}),
            item(message={"mid": 5}),
            item(reaction={}),
            item(message={"mid": "m_1", "text": "Hi"}),
            item(message={"mid": "m_2"}),
        )
    )
    assert [(message.provider_id, message.type) for message in found.messages] == [("m_1", "text"), ("m_2", "unknown")]
    assert found.problems == [
        "entry[0].messaging[0].sender.id, recipient.id: no person is named",
        "entry[0].messaging[1].parts hologram: not what we read",
        "entry[0].messaging[2].mid: not a text",
        "entry[0].messaging[3].reaction.mid: missing",
        "entry[0].messaging[5].type message: not one that we read",
    ]
