"""WhatsApp's webhooks: Meta's own examples, every type of message, echoes, history, calls, people and events of
accounts, each in our terms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from meta.events.content import READERS
from meta.events.whatsapp import ACCOUNT_FIELDS
from shared.messages import InboundMessage
from tests.meta.seed import status, text, webhook
from tests.meta.test_events import EXAMPLES, RECEIVED, read
from tests.support import environment

pytestmark = pytest.mark.fast

QUOTED = "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBJGMzEyNzhENTZDMzNGODlDRDgA"
EXPECTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "button_message": (
        "button",
        {
            "text": "Unsubscribe",
            "payload": "Unsubscribe",
            "quoted": "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBJFNjk2OTMwNEZCQjhGMzUyQUYA",
        },
    ),
    "contact_sharing_message": (
        "contacts",
        {
            "contacts": [
                {
                    "name": {"first_name": "Lucía", "last_name": "Gómez", "formatted_name": "Lucía Gómez"},
                    "org": {"company": "Google"},
                    "phones": [{"phone": "+1 (983) 555-2319", "wa_id": "19835552319", "type": "MOBILE"}],
                }
            ]
        },
    ),
    "image_message": (
        "image",
        {
            "media": {
                "id": "1003383421387256",
                "mimetype": "image/jpeg",
                "sha256": "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI=",
            },
            "caption": "Taj Mahal",
        },
    ),
    "interactive_list_reply_message": (
        "interactive",
        {
            "kind": "list_reply",
            "id": "priority_express",
            "title": "Priority Mail Express",
            "description": "Next Day to 2 Days",
            "quoted": QUOTED,
        },
    ),
    "location_message": (
        "location",
        {
            "latitude": 37.44221496582,
            "longitude": -122.16165924072,
            "name": "Philz Coffee",
            "address": "101 Forest Ave, Palo Alto, CA 94301",
            "url": "https://philzcoffee.com/",
        },
    ),
    "order_message": (
        "order",
        {
            "catalog_id": "194836987003835",
            "text": "",
            "product_items": [
                {"product_retailer_id": "di9ozbzfi4", "quantity": 2, "item_price": 30, "currency": "USD"},
                {"product_retailer_id": "nqryix03ez", "quantity": 1, "item_price": 25, "currency": "USD"},
            ],
        },
    ),
    "reaction_message": (
        "reaction",
        {"emoji": "👍", "target": "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI0RTJEOTc2ODVERUY5RDlGNkYA"},
    ),
    "system_message": (
        "system",
        {
            "kind": "user_changed_number",
            "body": "User Sheena Nelson changed from 16505551234 to 12195555358",
            "wa_id": "12195555358",
        },
    ),
    "unsupported_message": (
        "unsupported",
        {
            "kind": "unsupported",
            "errors": [
                {
                    "code": 131051,
                    "title": "Message type unknown",
                    "message": "Message type unknown",
                    "details": "Message type is currently not supported.",
                }
            ],
        },
    ),
    "text_message_with_context_product_inquiry": (
        "text",
        {"body": "Is this still available?", "quoted": "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGA9wcm9kdWN0X2lucXVpcnkA"},
    ),
}
"""Outcome of Meta's examples, where it is worth spelling out."""

GROUPS = {
    "group_create_message": "group_create",
    "group_remove_participants": "group_create",
    "group_settings_update": "group_settings_update",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_metas_own_examples_are_understood(path: Any) -> None:
    payload = json.loads(path.read_text())
    found = read(payload)
    assert found.outcome() == ""
    assert set(found.door_events) == {9}
    (change,) = payload["entry"][0]["changes"]
    if path.stem in GROUPS:
        (kept,) = found.messages
        (group,) = change["value"]["groups"]
        assert (kept.type, kept.content["kind"], kept.chat_id, kept.may_trigger) == (
            "system",
            GROUPS[path.stem],
            group["group_id"],
            False,
        )
        return
    (message,) = change["value"]["messages"]
    (kept,) = found.messages
    assert (kept.provider_id, kept.sender, kept.chat_id) == (message["id"], message["from"], message["from"])
    assert kept.at == datetime.fromtimestamp(int(message["timestamp"]), UTC)
    assert kept.may_trigger
    assert not kept.from_me
    assert kept.context.items() >= message.get("context", {}).items()
    assert kept.context.get("referral") == message.get("referral")
    kind, content = EXPECTED.get(path.stem, (message["type"], None))
    assert kept.type == kind
    assert content is None or kept.content == content
    contacts = change["value"].get("contacts", [])
    assert {(contact.user_id, contact.name) for contact in found.contacts if contact.name} == {
        (one["wa_id"], one["profile"]["name"]) for one in contacts
    }


def test_the_document_states_the_result_of_each_example() -> None:
    docs = environment.REPOSITORY / "docs"
    page = "".join((docs / name).read_text() for name in ("inbound.md", "internals/inbound.md"))
    missing = [path.stem for path in EXAMPLES if f"| `{path.stem}` |" not in page]
    missing += [kind for kind in [*READERS, *ACCOUNT_FIELDS] if f"`{kind}`" not in page]
    assert not missing


def one(message: Mapping[str, Any], **value: Any) -> InboundMessage:
    """Return what is kept of one message."""
    whole: dict[str, Any] = {"from": "15550100200", "id": "wamid.ONE", "timestamp": "1760000000", **message}
    (kept,) = read(webhook({"messages": [whole], **value})).messages
    return kept


MEDIA = {"id": "900", "mime_type": "audio/ogg; codecs=opus", "sha256": "c2hh"}


@pytest.mark.parametrize(
    ("message", "kind", "content"),
    [
        (
            {"type": "audio", "audio": MEDIA | {"voice": True}},
            "audio",
            {
                "media": {"id": "900", "mimetype": "audio/ogg; codecs=opus", "sha256": "c2hh", "voice": True},
                "voice": True,
            },
        ),
        (
            {"type": "voice", "voice": MEDIA},
            "audio",
            {
                "media": {"id": "900", "mimetype": "audio/ogg; codecs=opus", "sha256": "c2hh", "voice": True},
                "voice": True,
            },
        ),
        (
            {"type": "video", "video": {"id": 900, "caption": "look"}},
            "video",
            {"media": {"id": "900"}, "caption": "look"},
        ),
        (
            {"type": "document", "document": {"id": "9", "filename": "a.pdf", "file_size": "12"}},
            "document",
            {"media": {"id": "9", "filename": "a.pdf", "size": 12}, "filename": "a.pdf"},
        ),
        (
            {"type": "sticker", "sticker": {"id": "9", "animated": True}},
            "sticker",
            {"media": {"id": "9"}, "animated": True},
        ),
        ({"type": "image", "image": {"url": "https://lookaside.example/x"}}, "image", {"media": {}}),
        (
            {"type": "location", "location": {"latitude": "48.1", "longitude": 11}},
            "location",
            {"latitude": 48.1, "longitude": 11},
        ),
        ({"type": "reaction", "reaction": {"message_id": "wamid.T"}}, "reaction", {"emoji": "", "target": "wamid.T"}),
        (
            {
                "type": "interactive",
                "interactive": {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}},
            },
            "interactive",
            {"kind": "button_reply", "id": "yes", "title": "Yes"},
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "nfm_reply",
                    "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a":[1,"b"]}'},
                },
            },
            "interactive",
            {"kind": "nfm_reply", "id": "flow", "title": "Sent", "response": {"a": [1, "b"]}},
        ),
        (
            {"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "{no"}}},
            "interactive",
            {"kind": "nfm_reply", "response": "{no"},
        ),
        (
            {
                "type": "interactive",
                "interactive": {"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}},
            },
            "interactive",
            {"kind": "call_permission_reply", "response": {"response": "accept"}},
        ),
        (
            {
                "type": "edit",
                "edit": {"original_message_id": "wamid.T", "message": {"type": "text", "text": {"body": "new"}}},
            },
            "edit",
            {"target": "wamid.T", "body": "new"},
        ),
        (
            {
                "type": "edit",
                "edit": {
                    "original_message_id": "wamid.T",
                    "message": {"type": "image", "image": {"id": "1", "caption": "new"}},
                },
            },
            "edit",
            {"target": "wamid.T", "type": "image", "content": {"media": {"id": "1"}, "caption": "new"}},
        ),
        (
            {"type": "edit", "edit": {"message_id": "wamid.T", "body": "new"}},
            "edit",
            {"target": "wamid.T", "body": "new"},
        ),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.T"}}, "revoke", {"target": "wamid.T"}),
        (
            {"type": "unsupported", "unsupported": {"type": "poll_creation"}},
            "unsupported",
            {"kind": "poll_creation", "errors": []},
        ),
        (
            {"type": "unknown", "errors": [{"code": 131051}]},
            "unknown",
            {"type": "unknown", "errors": [{"code": 131051}]},
        ),
        (
            {"type": "hologram", "hologram": {"b": 1, "a": "secret"}},
            "unknown",
            {"type": "hologram", "keys": ["a", "b"]},
        ),
        (
            {"type": "location", "location": {"latitude": "north"}},
            "unknown",
            {"type": "location", "keys": ["latitude"]},
        ),
        ({"type": "image", "image": {"caption": "no file"}}, "unknown", {"type": "image", "keys": ["caption"]}),
        ({}, "unknown", {}),
    ],
)
def test_every_type_has_one_shape(message: dict[str, Any], kind: str, content: dict[str, Any]) -> None:
    kept = one(message)
    assert (kept.type, kept.content) == (kind, content)


def test_what_is_not_understood_is_named_in_the_journal() -> None:
    found = read(
        webhook(
            {
                "messages": [
                    {"from": "1", "id": "wamid.1", "type": "hologram"},
                    {"from": "1", "id": "wamid.2", "type": "image", "image": 5},
                ]
            }
        )
    )
    assert (
        found.outcome()
        == "entry[0].changes[0].type hologram: not one that we read; entry[0].changes[0].image: not an object"
    )
    assert [message.type for message in found.messages] == ["unknown", "unknown"]


def test_files_are_to_be_fetched_and_their_address_is_not_shown() -> None:
    found = read(
        webhook(
            {
                "messages": [
                    {
                        "from": "15550100200",
                        "id": "wamid.F",
                        "type": "image",
                        "image": MEDIA | {"url": "https://lookaside.example/?x=1"},
                    }
                ]
            }
        )
    )
    (source,) = found.media
    assert (source.connection_id, source.provider_id, source.id, source.url) == (
        1,
        "wamid.F",
        "900",
        "https://lookaside.example/?x=1",
    )
    assert "url" not in found.messages[0].content["media"]


def test_what_stands_beside_a_message_is_its_context() -> None:
    kept = one(
        text(
            "x",
            "wamid.1",
            context={"forwarded": True, "frequently_forwarded": True},
            referral={"source_id": "7"},
            identity={"hash": "h"},
        )
    )
    assert kept.context == {
        "forwarded": True,
        "frequently_forwarded": True,
        "referral": {"source_id": "7"},
        "identity": {"hash": "h"},
    }


def test_people_without_a_number_groups_and_names() -> None:
    value = {
        "contacts": [
            {"profile": {"name": "Ann", "username": "ann"}, "user_id": "us.9f8e"},
            {"profile": {"name": "Bob"}, "wa_id": "15550100201"},
        ],
        "messages": [
            {"from_user_id": "us.9f8e", "id": "wamid.1", "timestamp": "1", "type": "text", "text": {"body": "a"}},
            text("b", "wamid.2", sender="15550100201", group_id="Y2FwaV9ncm91cDox"),
            {
                "from": "15550100202",
                "from_user_id": "DE.7",
                "id": "wamid.3",
                "timestamp": "1",
                "type": "text",
                "text": {"body": "c"},
            },
        ],
    }
    found = read(webhook(value))
    first, second, third = found.messages
    assert (first.chat_id, first.sender, first.sender_name) == ("US.9f8e", "US.9f8e", "Ann")
    assert [message.sender_username for message in found.messages] == ["ann", "", ""]
    assert (second.chat_id, second.sender, second.sender_name) == ("Y2FwaV9ncm91cDox", "15550100201", "Bob")
    assert (third.chat_id, third.sender) == ("15550100202", "15550100202")
    people = {(contact.user_id, contact.phone, contact.name) for contact in found.contacts}
    assert {("US.9f8e", "", "Ann"), ("15550100201", "15550100201", "Bob"), ("DE.7", "15550100202", "")} <= people
    assert "ann" in {contact.username for contact in found.contacts}


def test_echoes_of_the_business_app_are_ours_and_trigger_nothing() -> None:
    echoes = [
        {
            "from": "15550783001",
            "to": "15550100200",
            "id": "wamid.E",
            "timestamp": "1",
            "type": "text",
            "text": {"body": "by hand"},
        },
        {
            "from": "15550783001",
            "to_user_id": "US.1",
            "id": "wamid.R",
            "timestamp": "1",
            "type": "revoke",
            "revoke": {"original_message_id": "wamid.E"},
        },
    ]
    found = read(webhook({"message_echoes": echoes}))
    assert [(kept.from_me, kept.may_trigger, kept.chat_id, kept.type) for kept in found.messages] == [
        (True, False, "15550100200", "text"),
        (True, False, "US.1", "revoke"),
    ]
    assert not found.contacts


def field(name: str, value: dict[str, Any], **entry: Any) -> dict[str, Any]:
    """Return a webhook of another field than messages."""
    payload = webhook(value)
    payload["entry"][0]["changes"][0]["field"] = name
    payload["entry"][0] |= entry
    return payload


def test_history_is_kept_on_both_sides_and_triggers_nothing() -> None:
    past = [
        {
            "from": "15550783001",
            "id": "wamid.H1",
            "timestamp": "1739230955",
            "type": "text",
            "text": {"body": "out"},
            "history_context": {"status": "READ"},
        },
        {
            "from": "15550100200",
            "id": "wamid.H2",
            "timestamp": "1739230970",
            "type": "media_placeholder",
            "history_context": {"status": "PLAYED"},
        },
    ]
    chunk = {
        "metadata": {"phase": 0, "chunk_order": 1, "progress": 55},
        "threads": [{"id": "15550100200", "messages": past}],
    }
    found = read(field("history", {"history": [chunk]}))
    assert found.outcome() == ""
    out, placeholder = found.messages
    assert (out.from_me, out.chat_id, out.may_trigger, out.context) == (
        True,
        "15550100200",
        False,
        {"status": "read", "history": True},
    )
    assert (placeholder.from_me, placeholder.type, placeholder.content) == (
        False,
        "unknown",
        {"type": "media_placeholder"},
    )
    file = {"from": "15550100200", "id": "wamid.H2", "timestamp": "1739230970", "type": "image", "image": MEDIA}
    (behind,) = read(field("history", {"messages": [file]})).messages
    assert (behind.type, behind.may_trigger) == ("image", False)


def test_history_that_is_not_shared_is_named() -> None:
    found = read(field("history", {"history": [{"errors": [{"code": 2593109}]}]}))
    assert (found.messages, found.counts) == ([], {"history_refused": 1})
    assert found.outcome().endswith("history is not shared")


def test_calls_are_kept_step_by_step() -> None:
    calls = [
        {
            "id": "wacid.1",
            "from": "15550100200",
            "to": "15550783001",
            "event": "connect",
            "timestamp": "1",
            "direction": "USER_INITIATED",
            "session": {"sdp": "…"},
        },
        {
            "id": "wacid.1",
            "from": "15550100200",
            "to": "15550783001",
            "event": "terminate",
            "timestamp": "2",
            "status": "COMPLETED",
            "duration": 8,
        },
    ]
    ringing = {"id": "wacid.2", "type": "call", "status": "RINGING", "timestamp": "3", "recipient_id": "15550100200"}
    found = read(field("calls", {"calls": calls, "statuses": [ringing]}))
    assert found.outcome() == ""
    assert [
        (call.provider_id, call.from_me, call.content["kind"])
        for call in sorted(found.messages, key=lambda one: one.at)
    ] == [
        ("wacid.1:connect", False, "connect"),
        ("wacid.1:terminate", False, "terminate"),
        ("wacid.2:ringing", True, "ringing"),
    ]
    assert all("session" not in call.content and call.chat_id == "15550100200" for call in found.messages)
    assert not found.receipts


def test_a_chat_that_is_opened_for_the_first_time() -> None:
    opened = {"from": "15550100200", "id": "wamid.W", "timestamp": "1760000000", "type": "request_welcome"}
    found = read(webhook({"messages": [opened]}))
    (line,) = found.messages
    assert (line.type, line.content["kind"], line.may_trigger, found.outcome()) == (
        "system",
        "request_welcome",
        True,
        "",
    )


def test_numbers_and_ids_that_change_are_moves() -> None:
    system = {
        "from": "15550100200",
        "id": "wamid.S",
        "timestamp": "1760000000",
        "type": "system",
        "system": {"type": "user_changed_number", "wa_id": "15550100299"},
    }
    (move,) = read(webhook({"messages": [system]})).moves
    assert (move.former, move.user_id, move.phone) == ("15550100200", "", "15550100299")
    for update in (
        {"wa_id": "15550100299", "user_id": {"previous": "US.1", "current": "US.2"}},
        {"wa_id": "15550100299", "previous_user_id": "US.1", "user_id": "US.2"},
        {"wa_id": "15550100299", "old_user_id": "US.1", "new_user_id": "US.2"},
    ):
        (move,) = read(field("user_id_update", {"user_id_update": [update]})).moves
        assert (move.former, move.user_id, move.phone) == ("US.1", "US.2", "15550100299")


def test_the_address_book_of_the_business_app_gives_names() -> None:
    items = [
        {
            "type": "contact",
            "contact": {"full_name": "Ann Lee", "phone_number": "15550100200"},
            "action": "add",
            "metadata": {"timestamp": "1739321024"},
        },
        {"type": "contact", "contact": {"phone_number": "15550100201"}, "action": "remove"},
    ]
    found = read(field("smb_app_state_sync", {"state_sync": items}))
    assert [(contact.user_id, contact.name) for contact in found.contacts] == [("15550100200", "Ann Lee")]


def test_an_opt_out_of_marketing_is_recorded() -> None:
    preferences = [
        {"wa_id": "15550100200", "category": "marketing_messages", "value": word, "timestamp": 1760000000}
        for word in ("stop", "resume", "perhaps")
    ]
    found = read(field("user_preferences", {"user_preferences": preferences}))
    assert [(choice.user_id, choice.accepts) for choice in found.choices] == [
        ("15550100200", False),
        ("15550100200", True),
    ]
    assert "value: neither stop nor resume" in found.outcome()


@pytest.mark.parametrize("kind", sorted(ACCOUNT_FIELDS))
def test_account_events_have_one_name(kind: str) -> None:
    payload: Any = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "200", "time": 1739321024, "changes": [{"field": kind, "value": {"event": "X\0"}}]}],
    }
    first, again = read(payload), read(payload)
    (notice,) = first.account_events
    assert (notice.account_id, notice.kind, notice.value) == ("200", kind, {"event": "X"})
    assert notice.at == datetime.fromtimestamp(1739321024, UTC)
    assert again.account_events == first.account_events
    assert first.outcome() == ""
    payload["entry"][0]["time"] += 1
    assert read(payload).account_events[0].name != notice.name, "the same news at another time is another one"


def test_a_group_status_names_its_participant() -> None:
    group = status("read", provider_id="wamid.G", recipient_type="group", recipient_participant_id="15550100200")
    (receipt,) = read(webhook({"statuses": [group]})).receipts
    assert receipt.extra["recipient_participant_id"] == "15550100200"
    assert receipt.at != RECEIVED
