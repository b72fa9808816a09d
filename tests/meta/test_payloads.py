"""Bodies of send calls, checked against Meta's own document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meta.sending.payloads import PayloadRefused, build
from sandbox.openapi.validators import MessageValidator
from shared.messages import OutboundMessage

VALIDATOR = MessageValidator()


def message(chat_id: str = "15550100200", **fields: Any) -> OutboundMessage:
    values: dict[str, Any] = {
        "id": 7,
        "company_id": "demo",
        "connection_id": 1,
        "connection_type": "meta_direct",
        "chat_id": chat_id,
        "type": "text",
        "content": {"body": "Hello", "quoted": None},
        "attempt": 1,
        "token": "bulkhead:7:1",
        "incarnation": "test",
    }
    return OutboundMessage(**values | fields)


def test_the_whole_body() -> None:
    body = json.loads(build(message()))
    assert VALIDATOR.violation(body) is None
    assert body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+15550100200",
        "biz_opaque_callback_data": "bulkhead:7:1",
        "type": "text",
        "text": {"body": "Hello", "preview_url": False},
    }


def test_a_preview_is_shown_only_when_asked_for_and_a_reply_quotes() -> None:
    body = json.loads(build(message(content={"body": "see https://example.org", "quoted": "wamid.Q", "preview": True})))
    assert VALIDATOR.violation(body) is None
    assert body["text"]["preview_url"] is True
    assert body["context"] == {"message_id": "wamid.Q"}


@pytest.mark.parametrize("chat_id", ["US.9f8e", "us.9f8e", "US.ENT.9f8e"])
def test_business_scoped_user_ids(chat_id: str) -> None:
    body = json.loads(build(message(chat_id)))
    assert body["recipient"] == chat_id.replace("us.", "US.")
    assert "to" not in body


@pytest.mark.parametrize("body", ["\u0000", "\ud800", "😀" * 1000, '"\\\n', "a" * 4096])
def test_any_text_makes_json(body: str) -> None:
    assert json.loads(build(message(content={"body": body})))["text"]["body"] == body


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"chat_id": "120363@g.us"}, "invalid_recipient"),
        ({"chat_id": "12@lid"}, "invalid_recipient"),
        ({"chat_id": ""}, "invalid_recipient"),
        ({"type": "forward", "content": {"target": "wamid.X"}}, "unsupported_type"),
        ({"content": {}}, "invalid_content"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_code(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(PayloadRefused) as refused:
        build(message(**fields))
    assert refused.value.code == code
