"""The Send API of Messenger and Instagram: bodies by type, windows by the clock, refusals by code and subcode."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meta.errors import ErrorAction, ProviderAcceptance, Refusal, Unclear
from meta.graph import GraphAnswer
from meta.sending import messenger
from meta.sending.payloads import PayloadRefused
from shared.messages import OutboundMessage

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PERSON = "24312345678901234"
SHA = "a" * 64


def message(type_: str = "text", *, channel: str = "messenger", chat: str = PERSON, **content: Any) -> OutboundMessage:
    return OutboundMessage(
        id=7,
        company_id="demo",
        connection_id=1,
        connection_type=channel,
        chat_id=chat,
        type=type_,
        content=content,
        attempt=1,
        token="bulkhead:7:1",
        incarnation="meta-0.a",
        created_at=NOW,
    )


def body(one: OutboundMessage, **ids: str) -> dict[str, Any]:
    built: dict[str, Any] = json.loads(messenger.build(one, ids))
    return built


@pytest.mark.parametrize("shown", ["m_1", "m_1#2", "m_1#30"])
def test_a_part_is_quoted_and_reacted_to_by_the_id_that_the_provider_knows(shown: str) -> None:
    assert body(message(body="Hi", quoted=shown))["reply_to"] == {"mid": "m_1"}
    reacted = body(message("reaction", target=shown, emoji="👍"))
    assert reacted["payload"]["message_id"] == "m_1"


def test_a_text_carries_its_token_as_metadata_and_what_it_replies_to() -> None:
    assert body(message(body="Hi", quoted="m_1")) == {
        "recipient": {"id": PERSON},
        "messaging_type": "RESPONSE",
        "message": {"text": "Hi", "metadata": "bulkhead:7:1"},
        "reply_to": {"mid": "m_1"},
    }
    assert "messaging_type" not in body(message(body="Hi", channel="instagram"))
    assert body(message(body="Hi", tag="HUMAN_AGENT"))["messaging_type"] == "MESSAGE_TAG"


def test_attachments_by_link_id_and_upload() -> None:
    def payload(one: OutboundMessage, **ids: str) -> Any:
        return body(one, **ids)["message"]["attachment"]

    assert payload(message("image", media={"link": "https://e.org/a"})) == {
        "type": "image",
        "payload": {"url": "https://e.org/a", "is_reusable": False},
    }
    assert payload(message("document", media={"id": "99"})) == {"type": "file", "payload": {"attachment_id": "99"}}
    assert payload(message("video", media={"sha256": SHA, "mimetype": "video/mp4"}), **{SHA: "5"}) == {
        "type": "video",
        "payload": {"attachment_id": "5"},
    }
    assert [file.sha256 for file in messenger.files(message("video", media={"sha256": SHA}))] == [SHA]
    assert json.loads(messenger.upload_fields("application/pdf")["message"])["attachment"]["type"] == "file"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (message("typing", state="composing"), {"sender_action": "typing_on"}),
        (message("typing", state="paused"), {"sender_action": "typing_off"}),
        (message("read", target="m_1"), {"sender_action": "mark_seen"}),
        (
            message("reaction", target="m_1", emoji="👍"),
            {"sender_action": "react", "payload": {"message_id": "m_1", "reaction": "👍"}},
        ),
        (message("reaction", target="m_1", emoji=""), {"sender_action": "unreact", "payload": {"message_id": "m_1"}}),
        (
            message("reaction", channel="instagram", target="m_1", emoji="❤️"),
            {"sender_action": "react", "payload": {"message_id": "m_1", "reaction": "love"}},
        ),
    ],
)
def test_sender_actions(one: OutboundMessage, expected: dict[str, Any]) -> None:
    assert body(one) == {"recipient": {"id": PERSON}, **expected}
    assert not messenger.has_window(one)


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (message(), "invalid_content"),
        (message(body="Hi", chat="120363041234567890@g.us"), "invalid_recipient"),
        (message("image", media={"sha256": SHA}), "media_unknown"),
        (message("document", channel="instagram", media={"id": "5"}), "unsupported_type"),
        (message("location", latitude=1, longitude=2), "unsupported_type"),
    ],
)
def test_what_cannot_be_sent(one: OutboundMessage, code: str) -> None:
    with pytest.raises(PayloadRefused) as refused:
        messenger.build(one, {})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("ago", "tag", "late"),
    [
        (timedelta(hours=23, minutes=59), "", False),
        (timedelta(hours=24, seconds=1), "", True),
        (timedelta(hours=24, seconds=1), "HUMAN_AGENT", False),
        (timedelta(days=7, seconds=1), "HUMAN_AGENT", True),
        (None, "", False),
    ],
)
def test_windows(ago: timedelta | None, tag: str, late: bool) -> None:
    assert bool(messenger.too_late(message(body="Hi", tag=tag), None if ago is None else NOW - ago, NOW)) is late


def answered(status: int, **found: Any) -> GraphAnswer:
    return GraphAnswer(status, json.dumps(found).encode(), {})


@pytest.mark.parametrize(
    ("code", "subcode", "name", "kind"),
    [
        (10, 2018278, "outside_window", ErrorAction.DEAD),
        (10, 2534022, "outside_window", ErrorAction.DEAD),
        (10, 0, "10", ErrorAction.DEAD),
        (100, 2018001, "100", ErrorAction.DEAD),
        (100, 2018276, "outside_window", ErrorAction.DEAD),
        (551, 1545041, "551", ErrorAction.DEAD),
        (613, 0, "613", ErrorAction.THROTTLE),
        (4, 0, "4", ErrorAction.THROTTLE),
        (2, 0, "2", ErrorAction.RETRY),
        (1200, 0, "1200", ErrorAction.RETRY),
        (190, 463, "190", ErrorAction.PAUSE),
        (368, 0, "368", ErrorAction.PAUSE),
    ],
)
def test_refusals(code: int, subcode: int, name: str, kind: ErrorAction) -> None:
    reading = messenger.read(
        answered(400, error={"code": code, "error_subcode": subcode, "message": "no", "fbtrace_id": "Axyz"}), "text"
    )
    assert isinstance(reading, Refusal)
    assert (reading.code, reading.rule.action) == (name, kind)
    assert "Axyz" in reading.detail


def test_answers() -> None:
    assert messenger.read(answered(200, recipient_id=PERSON, message_id="m_1"), "text") == ProviderAcceptance("m_1")
    assert messenger.read(answered(200, recipient_id=PERSON), "typing") == ProviderAcceptance("")
    assert isinstance(messenger.read(answered(200, recipient_id=PERSON), "text"), Unclear)
    assert isinstance(messenger.read(GraphAnswer(502, b"", {}), "text"), Unclear)
    assert isinstance(messenger.read(GraphAnswer(400, b'{"error": []}', {}), "text"), Refusal)
