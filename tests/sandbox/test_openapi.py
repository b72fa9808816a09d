"""Meta's own examples against the validators: what passes, what does not and why, and that every amendment is
needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jsonschema_rs
import pytest

from sandbox.openapi.amendments import AMENDMENTS
from sandbox.openapi.validators import MessageValidator, amended, document, message_schemas
from tests.sandbox.env import SandboxEnv, text
from tests.support import samples

DOCUMENT = document()
EXAMPLES: dict[str, dict[str, Any]] = {
    name: example["value"]
    for name, example in DOCUMENT["paths"]["/{Version}/{Phone-Number-ID}/messages"]["post"]["requestBody"]["content"][
        "application/json"
    ]["examples"].items()
}

PLACEHOLDERS = {
    "{{Recipient-Phone-Number}}": "+15550100200",
    "{{Recipient-WA-Phone-Number}}": "+15550100200",
    "<HEADER_TYPE>": "text",
}
"""Placeholders that stand where only certain values are allowed. All others are texts as good as any."""

FILES = {
    "<IMAGE_OBJECT_ID>": (samples.JPEG, "image/jpeg"),
    "<AUDIO_OBJECT_ID>": (samples.OGG, "audio/ogg"),
    "<VIDEO_OBJECT_ID>": (samples.MP4, "video/mp4"),
    "<DOCUMENT_OBJECT_ID>": (samples.PDF, "application/pdf"),
    "<MEDIA_OBJECT_ID>": (samples.WEBP, "image/webp"),
}
"""Placeholders of uploaded files, and what was uploaded."""

REFUSED = {
    "Send Reply to List Message": (
        131008,
        "the example forgot `type`; without it a message is a text, and this one has no `text`",
    ),
}
"""Examples of Meta's that are refused, with the code and the reason."""


def filled(node: Any, more: Mapping[str, str] = MappingProxyType({})) -> Any:
    if isinstance(node, dict):
        return {key: filled(value, more) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, more) for value in node]
    return more.get(node, PLACEHOLDERS.get(node, node)) if isinstance(node, str) else node


def test_there_are_as_many_examples_as_in_metas_document() -> None:
    assert len(EXAMPLES) == 50
    assert REFUSED.keys() <= EXAMPLES.keys()


def test_every_example_is_taken_or_refused_for_a_named_reason(env: SandboxEnv) -> None:
    uploaded = {placeholder: env.upload(*file).json()["id"] for placeholder, file in FILES.items()}
    for number, (name, example) in enumerate(sorted(EXAMPLES.items())):
        answer = env.send(filled(example, uploaded))
        if name in REFUSED:
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, REFUSED[name][0]), name
        elif "status" in example:
            assert answer.json() == {"success": True}, name
        else:
            assert answer.status_code == 200, (name, answer.text)
            assert answer.json()["messages"][0]["id"].startswith("wamid."), name
            accepted = env.ledger("accepted")[-1]
            assert (accepted["message"], accepted["type"]) == (
                filled(example, uploaded),
                example.get("type", "text"),
            ), (number, name)


def _makes_a_difference(amendment_index: int) -> bool:
    """Whether some probe is judged differently when one amendment is left out."""
    without = amended(DOCUMENT["components"]["schemas"], AMENDMENTS[:amendment_index] + _renumbered(amendment_index))
    validators = {name: jsonschema_rs.Draft202012Validator(schema) for name, schema in message_schemas(without).items()}
    whole = MessageValidator()
    for probe in [*map(filled, EXAMPLES.values()), *PROBES]:
        if "status" not in probe and validators[probe.get("type", "text")].is_valid(probe) != (
            whole.violation(probe) is None
        ):
            return True
    return False


def _renumbered(left_out: int) -> tuple[Any, ...]:
    """Return the amendments after `left_out`; a list grows by one element less then, so later places in the same list
    move up.
    """
    at = AMENDMENTS[left_out].at
    moved = []
    for later in AMENDMENTS[left_out + 1 :]:
        same_list = isinstance(at[-1], int) and later.at[:-1] == at[:-1]
        moved.append(
            later._replace(at=(*later.at[:-1], later.at[-1] - 1))
            if same_list and isinstance(later.at[-1], int)
            else later
        )
    return tuple(moved)


def _message(type_name: str, content: Any) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": "+15550100200", "type": type_name, type_name: content}


PROBES = [
    text(messaging_product="telegram"),
    text(biz_opaque_callback_data="x" * 512),
    text(biz_opaque_callback_data="x" * 513),
    text(recipient="US.1234"),
    text(recipient_identity_key_hash="abc"),
    text(text={}),
    text("x" * 4097),
    _message("image", {"id": "1", "caption": "x" * 1025}),
    _message("location", {"latitude": "1.5", "longitude": 2}),
    _message("location", {"latitude": 1.5, "longitude": "2"}),
    _message("location", {"name": "nowhere"}),
    _message("reaction", {"message_id": "wamid.X"}),
    _message(
        "interactive",
        {
            "type": "cta_url",
            "body": {"text": "x"},
            "action": {"name": "cta_url", "parameters": {"display_text": "x", "url": "https://x"}},
        },
    ),
    _message(
        "interactive", {"type": "location_request_message", "body": {"text": "x"}, "action": {"name": "send_location"}}
    ),
    _message(
        "interactive",
        {"type": "carousel", "body": {"text": "x"}, "action": {"cards": [{"card_index": 0}, {"card_index": 1}]}},
    ),
    _message("interactive", {"type": "voice_call", "action": {"name": "voice_call"}}),
    _message(
        "interactive",
        {"type": "request_contact_info", "body": {"text": "x"}, "action": {"name": "request_contact_info"}},
    ),
    _message("interactive", {"type": "catalog_message", "body": {"text": "x"}, "action": {"name": "catalog_message"}}),
    _message(
        "interactive",
        {
            "type": "list",
            "body": {"text": "x" * 4096},
            "action": {"button": "x", "sections": [{"rows": [{"id": "1", "title": "x"}]}]},
        },
    ),
    _message("contacts", [{"name": {"formatted_name": "Ada"}, "phones": [{"phone": "+1", "type": "Mobile"}]}]),
    _message(
        "contacts", [{"name": {"formatted_name": "Ada"}, "emails": [{"email": "a@example.com", "type": "Company"}]}]
    ),
    _message(
        "contacts", [{"name": {"formatted_name": "Ada"}, "urls": [{"url": "https://example.com", "type": "Facebook"}]}]
    ),
    _message("contacts", [{"name": {"formatted_name": "Ada"}, "addresses": [{"city": "London", "type": "personal"}]}]),
    _message("template", {"name": "x", "language": {"code": "de"}, "components": [{"type": "carousel"}]}),
]


@pytest.mark.parametrize("index", range(len(AMENDMENTS)), ids=lambda index: ".".join(map(str, AMENDMENTS[index].at)))
def test_every_amendment_is_needed(index: int) -> None:
    assert _makes_a_difference(index), AMENDMENTS[index].why


def test_by_the_letter_of_metas_document_no_message_is_valid() -> None:
    definitions = json.loads(json.dumps(DOCUMENT["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/"))
    literal = jsonschema_rs.Draft202012Validator({"$ref": "#/$defs/TextMessage", "$defs": definitions})
    assert not literal.is_valid(EXAMPLES["Send Text Message"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"messaging_product": "whatsapp", "to": "+15550100200", "type": ["text"]}, id="type is a list"),
        pytest.param(text(recipient_type="\ud800"), id="broken text"),
        pytest.param(text(text={"body": 10**400}), id="a very long number"),
        pytest.param(text(context=[]), id="context is a list"),
        pytest.param(_message("contacts", [{}] * 6), id="six contacts"),
        pytest.param(_message("sticker", {"id": "1", "link": "https://x"}), id="id and link"),
        pytest.param(_message("image", {}), id="neither id nor link"),
        pytest.param(
            {"messaging_product": "whatsapp", "status": "unread", "message_id": "wamid.X"}, id="no such status"
        ),
    ],
)
def test_a_wrong_body_is_refused_in_metas_shape(quiet_env: SandboxEnv, body: dict[str, Any]) -> None:
    answer = quiet_env.send(json.dumps(body).encode())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in {100, 131009}
    assert answer.json()["error"]["fbtrace_id"]
    assert quiet_env.ledger("refused")[-1]["code"] == answer.json()["error"]["code"]
    assert quiet_env.ledger("accepted") == []
