"""Corrections of Meta's document: each with its place, the new content and the evidence.

Evidence is Meta's own examples in the same document, or Meta's pages where the document has no rule.
`tests/sandbox/test_openapi.py` shows that each amendment is needed: without it one of Meta's examples would be refused,
or a documented limit would not be enforced.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Amendment(NamedTuple):
    """One correction.

    Attributes:
        at: the place, as keys from `components.schemas` down; the last key is replaced or added.
        becomes: the new content.
        why: the evidence.
    """

    at: tuple[str | int, ...]
    becomes: Any
    why: str


_NUMBER_OR_TEXT: Final = {"type": ["number", "string"]}

AMENDMENTS: Final = (
    Amendment(
        ("BaseMessageProperties", "required"),
        ["messaging_product"],
        "`recipient_type` is missing in Meta's example 'Send Test Message' and `type` in 'Send Text Message with "
        "Preview URL'; its pages call "
        "both optional; `recipient` may stand in place of `to`, which is checked beside the schema",
    ),
    Amendment(
        ("BaseMessageProperties", "properties", "messaging_product"),
        {"type": "string", "enum": ["whatsapp"]},
        "the page names this one value",
    ),
    Amendment(
        ("BaseMessageProperties", "properties", "biz_opaque_callback_data"),
        {"type": "string", "maxLength": 512},
        "on the page, not in the document",
    ),
    Amendment(
        ("BaseMessageProperties", "properties", "recipient"),
        {"type": "string", "minLength": 1},
        "business-scoped user ids: on the page only",
    ),
    Amendment(
        ("BaseMessageProperties", "properties", "recipient_identity_key_hash"),
        {"type": "string"},
        "on the page, not in the document",
    ),
    Amendment(
        ("TextMessage", "allOf", 1, "properties", "text", "required"), ["body"], "a text without a body is refused"
    ),
    Amendment(
        ("TextMessage", "allOf", 1, "properties", "text", "properties", "body"),
        {"type": "string", "minLength": 1, "maxLength": 4096},
        "the page's limit",
    ),
    Amendment(("MediaObject", "properties"), {"caption": {"type": "string", "maxLength": 1024}}, "the page's limit"),
    Amendment(
        ("LocationMessage", "allOf", 1, "properties", "location", "required"),
        ["latitude", "longitude"],
        "a place without coordinates is refused",
    ),
    Amendment(
        ("LocationMessage", "allOf", 1, "properties", "location", "properties", "latitude"),
        _NUMBER_OR_TEXT,
        "a number in 'Send Location Message'",
    ),
    Amendment(
        ("LocationMessage", "allOf", 1, "properties", "location", "properties", "longitude"),
        _NUMBER_OR_TEXT,
        "a number in 'Send Location Message'",
    ),
    Amendment(
        ("ReactionMessage", "allOf", 1, "properties", "reaction", "required"),
        ["message_id", "emoji"],
        "the page: an empty emoji removes, a missing one is refused",
    ),
    Amendment(("LanguageObject", "required"), ["code"], "`policy` is missing in nearly every template example"),
    Amendment(
        ("TemplateComponent", "properties", "index"),
        {"type": ["string", "integer"]},
        "the pattern allows neither 0 nor 1, and 'Send Catalog Template Message' writes the number 0",
    ),
    Amendment(
        ("TemplateComponent", "properties", "sub_type"),
        {"type": "string"},
        "'Send Catalog Template Message' writes CATALOG, 'Send Flow Template Message' flow",
    ),
    Amendment(
        ("InteractiveObject", "properties", "type", "enum"),
        [
            "button",
            "call_permission_request",
            "carousel",
            "catalog_message",
            "cta_url",
            "flow",
            "list",
            "location_request_message",
            "order_details",
            "order_status",
            "product",
            "product_list",
            "request_contact_info",
            "voice_call",
        ],
        "order_details and order_status stand in Meta's examples, the others on its pages",
    ),
    Amendment(
        # Meta's document ends at alternative 5; what follows adds the kinds that only its pages describe
        ("ActionObject", "oneOf", 6),
        {
            "type": "object",
            "required": ["name", "parameters"],
            "properties": {
                "name": {"enum": ["cta_url"]},
                "parameters": {
                    "type": "object",
                    "required": ["display_text", "url"],
                    "properties": {"display_text": {"type": "string"}, "url": {"type": "string"}},
                },
            },
        },
        "goes with type cta_url",
    ),
    Amendment(
        ("ActionObject", "oneOf", 7),
        {"type": "object", "required": ["name"], "properties": {"name": {"enum": ["send_location"]}}},
        "goes with type location_request_message",
    ),
    Amendment(
        ("ActionObject", "oneOf", 8),
        {
            "type": "object",
            "required": ["name", "parameters"],
            "properties": {"name": {"enum": ["review_and_pay", "review_order"]}, "parameters": {"type": "object"}},
        },
        "'Send Order Details Message' and 'Send Order Status Message'",
    ),
    Amendment(
        ("ActionObject", "oneOf", 9),
        {
            "type": "object",
            "required": ["cards"],
            "properties": {"cards": {"type": "array", "minItems": 2, "maxItems": 10, "items": {"type": "object"}}},
        },
        "goes with type carousel",
    ),
    Amendment(
        ("ActionObject", "oneOf", 10),
        {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"enum": ["voice_call"]}, "parameters": {"type": "object"}},
        },
        "goes with type voice_call",
    ),
    Amendment(
        ("ActionObject", "oneOf", 11),
        {"type": "object", "required": ["name"], "properties": {"name": {"enum": ["request_contact_info"]}}},
        "goes with type request_contact_info",
    ),
    Amendment(
        ("ActionObject", "oneOf", 3, "required"),
        ["name"],
        "the page: without parameters the first item of the catalog is shown",
    ),
    Amendment(
        ("BodyObject", "properties", "text", "maxLength"), 4096, "the page about lists; 1,024 holds for the other kinds"
    ),
    *(
        Amendment(
            (f"{name}Object", "properties", "type"),
            {"type": "string"},
            "the page about contacts writes Mobile, Landline, Company, Facebook, personal",
        )
        for name in ("Phone", "Email", "Url", "Address")
    ),
    Amendment(
        ("TemplateComponent", "properties", "type", "enum"),
        ["header", "body", "button", "carousel", "limited_time_offer", "order_status"],
        "the pages about carousels, offers and orders in templates",
    ),
)

READ_RECEIPT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "messaging_product": {"type": "string", "enum": ["whatsapp"]},
        "status": {"type": "string", "enum": ["read"]},
        "message_id": {"type": "string", "minLength": 1},
        "typing_indicator": {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["text"]}},
            "required": ["type"],
        },
    },
    "required": ["messaging_product", "status", "message_id"],
    "additionalProperties": False,
}
"""Mark as read, with or without typing. Meta's examples ('Send typing indicator and read receipt') and pages have it;
no schema of the document has.
"""
