"""Objects that are sent as the provider spells them: what is right passes, what is wrong is named with its place,
before anything is queued."""

from __future__ import annotations

from typing import Any

import pytest

from shared.compose.checks import is_emoji
from shared.compose.objects.contacts import CONTACTS_FIELD, spelled_contacts
from shared.compose.objects.interactive import INTERACTIVE_FIELD, KINDS, interactive_content
from shared.compose.objects.templates import TEMPLATE_FIELDS, template_content
from shared.fields import FieldsInvalid, checked


def wrong_template(components: Any, language: str = "en_US") -> list[tuple[str, str]]:
    """Return what is wrong with a template."""
    try:
        template_content(checked({"name": "t", "language": language, "components": components}, TEMPLATE_FIELDS))
    except FieldsInvalid as refused:
        return list(refused.wrong)
    return []


def wrong_message(given: Any) -> list[tuple[str, str]]:
    """Return what is wrong with an interactive message."""
    try:
        interactive_content(checked({"interactive": given}, (INTERACTIVE_FIELD,))["interactive"])
    except FieldsInvalid as refused:
        return list(refused.wrong)
    return []


def body(*parameters: dict[str, Any], kind: str = "body", **more: Any) -> list[dict[str, Any]]:
    return [{"type": kind, "parameters": list(parameters), **more}]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def button(sub_type: str = "url", index: Any = 0, *parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "button", "sub_type": sub_type, "index": index, "parameters": list(parameters) or [text("a")]}]


CARD = {"card_index": 0, "components": [*body({"type": "image", "image": {"link": "https://e.org/a"}}, kind="HEADER")]}
RIGHT_TEMPLATES: dict[str, Any] = {
    "named parameters, type in capitals": [
        *body(text("Rui", parameter_name="atendente"), kind="HEADER"),
        *body(text("77", parameter_name="pedido"), kind="Body"),
    ],
    "a document with its name": body(
        {"type": "document", "document": {"link": "https://e.org/i.pdf", "filename": "Invoice 7.pdf"}}, kind="header"
    ),
    "index as a number": button("url", 0),
    "index as a text": button("copy_code", "1", {"type": "coupon_code", "coupon_code": "SAVE10"}),
    "a flow": button(
        "flow", "0", {"type": "action", "action": {"flow_token": "t", "flow_action_data": {"a": 1, "b": None}}}
    ),
    "a catalog": button("CATALOG", 0, {"type": "action", "action": {"thumbnail_product_retailer_id": "2"}}),
    "a limited offer": body(
        {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1796001623429}},
        kind="LIMITED_TIME_OFFER",
    ),
    "a carousel": [{"type": "CAROUSEL", "cards": [CARD, {**CARD, "card_index": 1}]}],
    "money and a date": body(
        {"type": "currency", "currency": {"fallback_value": "$1", "code": "USD", "amount_1000": 1000}},
        {"type": "date_time", "date_time": {"fallback_value": "May 1"}},
    ),
    "a parameter that came later": body({"type": "hologram", "hologram": {}}),
    "no parameters": body(),
    "nulls": body({"type": "text", "text": "x", "currency": None}, sub_type=None, index=None),
}
WRONG_TEMPLATES: dict[str, tuple[Any, str]] = {
    "a button without index": (
        [{"type": "button", "sub_type": "url", "parameters": [text("a")]}],
        "/components/0/index",
    ),
    "a button without sub_type": (
        [{"type": "button", "index": 0, "parameters": [text("a")]}],
        "/components/0/sub_type",
    ),
    "an eleventh button": (button("url", 10), "/components/0/index"),
    "an index that is a word": (button("url", "first"), "/components/0/index"),
    "a parameter of 4,097 characters": (body(text("x" * 4097)), "/components/0/parameters/0/text"),
    "a header of 61 characters": (body(text("x" * 61), kind="header"), "/components/0/parameters/0/text"),
    "an empty parameter": (body(text("")), "/components/0/parameters/0/text"),
    "a text parameter without text": (body({"type": "text"}), "/components/0/parameters/0/text"),
    "a line break": (body(text("a\nb")), "/components/0/parameters/0/text"),
    "five blanks": (body(text("a     b")), "/components/0/parameters/0/text"),
    "a component that there is not": (body(kind="headline"), "/components/0/type"),
    "an image without a file": (body({"type": "image"}, kind="header"), "/components/0/parameters/0/image"),
    "an image with two files": (
        body({"type": "image", "image": {"id": "1", "link": "https://e.org/a"}}, kind="header"),
        "/components/0/parameters/0/image",
    ),
    "a carousel without cards": ([{"type": "carousel"}], "/components/0/cards"),
    "a card's parameter": (
        [{"type": "carousel", "cards": [{"card_index": 0, "components": body(text(""))}]}],
        "/components/0/cards/0/components/0/parameters/0/text",
    ),
    "money without its code": (
        body({"type": "currency", "currency": {"fallback_value": "$1", "amount_1000": 1}}),
        "/components/0/parameters/0/currency/code",
    ),
}


@pytest.mark.parametrize("name", RIGHT_TEMPLATES)
def test_a_right_template_passes(name: str) -> None:
    assert wrong_template(RIGHT_TEMPLATES[name]) == []


@pytest.mark.parametrize("name", WRONG_TEMPLATES)
def test_a_wrong_template_is_named_with_its_place(name: str) -> None:
    components, place = WRONG_TEMPLATES[name]
    assert [pointer for pointer, _ in wrong_template(components)] == [place]


@pytest.mark.parametrize(
    ("language", "is_right"),
    [("de", True), ("en_US", True), ("fil", True), ("zh_HK", True), ("german", False), ("EN", False), ("en-US", False)],
)
def test_languages(language: str, is_right: bool) -> None:
    assert bool(wrong_template([], language)) is not is_right


def message(kind: str, action: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "body": {"text": "x"}, "action": action, **more}


def reply(id_: str = "1", title: str = "Yes") -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": id_, "title": title}}


def flow(**parameters: Any) -> dict[str, Any]:
    return {"name": "flow", "parameters": {"flow_message_version": "3", "flow_cta": "x", "flow_id": "1", **parameters}}


def link(url: str) -> dict[str, Any]:
    return {"name": "cta_url", "parameters": {"display_text": "x", "url": url}}


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": str(number), "title": "row"} for number in range(first, first + count)]


FILE = {"type": "image", "image": {"sha256": "0" * 64}}
CARDS = [{"card_index": index, "type": "cta_url", "action": {}} for index in range(11)]
BUTTONS = {"buttons": [reply()]}
RIGHT_MESSAGES: dict[str, Any] = {
    "three buttons": message("button", {"buttons": [reply("1", "a"), reply("2", "b"), reply("3", "c")]}),
    "a header with a file of ours": message("button", BUTTONS, header=FILE),
    "a footer that is null": message("button", BUTTONS, footer=None, header=None),
    "a long list": message(
        "list", {"button": "b", "sections": [{"title": None, "rows": rows(10)}]}, body={"text": "x" * 4096}
    ),
    "a flow by name": message("flow", flow(flow_id=None, flow_name="n", flow_action_payload={"data": {"a": None}})),
    "a link": message("cta_url", link("https://example.com/a?b=c")),
    "a catalog": message("catalog_message", {"name": "catalog_message"}),
    "two cards": message("carousel", {"cards": CARDS[:2]}),
    "a product without a body": {
        "type": "product",
        "action": {"catalog_id": "1", "product_retailer_id": "2"},
    },
    "a kind that came later": message("hologram", {"deep": [{"er": 1}]}, header={"type": "gif"}),
}
WRONG_MESSAGES: dict[str, tuple[Any, str]] = {
    "a title of 21 characters": (
        message("button", {"buttons": [reply(title="a" * 21)]}),
        "/interactive/action/buttons/0/reply/title",
    ),
    "two buttons of one id": (
        message("button", {"buttons": [reply(), reply(title="No")]}),
        "/interactive/action/buttons",
    ),
    "two buttons of one title": (
        message("button", {"buttons": [reply(), reply("2")]}),
        "/interactive/action/buttons",
    ),
    "eleven rows in two sections": (
        message(
            "list",
            {"button": "b", "sections": [{"title": "a", "rows": rows(6)}, {"title": "b", "rows": rows(5, 6)}]},
        ),
        "/interactive/action/sections",
    ),
    "one row twice": (
        message("list", {"button": "b", "sections": [{"rows": [*rows(1), *rows(1)]}]}),
        "/interactive/action/sections",
    ),
    "a header that moves": (
        message("button", BUTTONS, header={"type": "gif", "gif": {"id": "1"}}),
        "/interactive/header/type",
    ),
    "a picture over a list": (
        message("list", {"button": "b", "sections": [{"rows": rows(1)}]}, header=FILE),
        "/interactive/header/type",
    ),
    "a header where none is": (
        message("location_request_message", {"name": "send_location"}, header=FILE),
        "/interactive/header",
    ),
    "a header with two files": (
        message("button", BUTTONS, header={"type": "image", "image": {"id": "1", "link": "https://e.org/a"}}),
        "/interactive/header/image",
    ),
    "a catalog's body of 2,000 characters": (
        message("catalog_message", {"name": "catalog_message"}, body={"text": "x" * 2000}),
        "/interactive/body/text",
    ),
    "one card": (message("carousel", {"cards": CARDS[:1]}), "/interactive/action/cards"),
    "eleven cards": (message("carousel", {"cards": CARDS}), "/interactive/action/cards"),
    "version 4 of flows": (
        message("flow", flow(flow_message_version="4")),
        "/interactive/action/parameters/flow_message_version",
    ),
    "a flow with two names": (message("flow", flow(flow_name="n")), "/interactive/action/parameters"),
    "a number to call": (message("cta_url", link("tel:+15550100200")), "/interactive/action/parameters/url"),
    "what belongs to another kind": (
        message("button", {**BUTTONS, "catalog_id": "1"}),
        "/interactive/action/catalog_id",
    ),
    "products without a header": (
        message("product_list", {"catalog_id": "1", "sections": [{"product_items": [{"product_retailer_id": "1"}]}]}),
        "/interactive/header",
    ),
}


@pytest.mark.parametrize("name", RIGHT_MESSAGES)
def test_a_right_interactive_message_passes(name: str) -> None:
    assert wrong_message(RIGHT_MESSAGES[name]) == []


@pytest.mark.parametrize("name", WRONG_MESSAGES)
def test_a_wrong_interactive_message_is_named_with_its_place(name: str) -> None:
    given, place = WRONG_MESSAGES[name]
    assert [pointer for pointer, _ in wrong_message(given)] == [place]


def test_every_kind_of_metas_document_has_its_row() -> None:
    documented = {"button", "call_permission_request", "catalog_message", "list", "product", "product_list", "flow"}
    assert documented <= KINDS.keys()


CARD_AS_IT_CAME = {
    "name": {"last_name": "Mobile", "first_name": "Ana", "formatted_name": "Ana Mobile"},
    "emails": [{"type": "Internet", "email": "a@b.c"}],
    "phones": [{"type": "Mobile", "phone": "+1 (555) 010-0999", "wa_id": "15550100999"}],
}


def test_a_card_that_came_in_is_passed_on_as_it_is() -> None:
    fields = checked({"contacts": [CARD_AS_IT_CAME]}, (CONTACTS_FIELD,))
    assert spelled_contacts(fields["contacts"]) == [CARD_AS_IT_CAME]


@pytest.mark.parametrize(
    ("contact", "place"),
    [
        ({"name": "x", "birthday": "2000-13-41"}, "/contacts/0/birthday"),
        ({"name": "x", "birthday": "20001231"}, "/contacts/0/birthday"),
        ({"name": "x", "emails": [{"email": "nowhere"}]}, "/contacts/0/emails/0/email"),
        ({"name": None}, "/contacts/0/name"),
        ({"name": {"first_name": "x"}}, "/contacts/0/name/formatted_name"),
    ],
)
def test_a_wrong_contact_is_named_with_its_place(contact: Any, place: str) -> None:
    with pytest.raises(FieldsInvalid) as refused:
        checked({"contacts": [contact]}, (CONTACTS_FIELD,))
    assert [pointer for pointer, _ in refused.value.wrong] == [place]


def test_null_is_as_good_as_absent() -> None:
    given = {"name": "x", "org": None, "birthday": None, "phones": [{"phone": "1", "type": None}]}
    fields = checked({"contacts": [given]}, (CONTACTS_FIELD,))
    assert spelled_contacts(fields["contacts"])[0]["phones"] == [{"phone": "1"}]


@pytest.mark.parametrize(
    "emoji",
    ["\U0001fa77", "\U0001fae8", "\U0001fae9", "\u2139\ufe0f", "👍🏽", "👨‍👩‍👧", "🇩🇪", "1️⃣", "#⃣", "❤", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
)
def test_any_emoji_of_today_is_one(emoji: str) -> None:
    assert is_emoji(emoji)


@pytest.mark.parametrize("words", ["", "yes", "1", "é", "👍👍", "👍!", "🇩", "\u200d", "-"])
def test_what_is_no_emoji(words: str) -> None:
    assert not is_emoji(words)
