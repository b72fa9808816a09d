"""Tables and encoders against Meta's own document: whatever the tables of `shared.compose` accept is encoded to a valid
body; nothing else happens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meta.sending.payloads import BUILDERS, PayloadRefused, build, files
from sandbox.openapi.validators import MessageValidator
from shared.compose.objects.contacts import spelled_contacts
from shared.compose.objects.interactive import KINDS, interactive_content
from shared.compose.objects.templates import template_content
from shared.compose.types import TYPES
from shared.errors import Refused
from shared.fields import checked
from shared.messages import OutboundMessage
from tests.support.examples import examples

VALIDATOR: Final = MessageValidator()
SHA: Final = "ab" * 32
IDS: Final = {SHA: "1234"}


def message(type_name: str, content: Mapping[str, Any], chat_id: str = "15550100200") -> OutboundMessage:
    return OutboundMessage(
        id=1,
        company_id="demo",
        connection_id=1,
        connection_type="meta_direct",
        chat_id=chat_id,
        type=type_name,
        content=content,
        attempt=1,
        token="bulkhead:1:1",
        incarnation="test",
    )


def texts(most: int, least: int = 1) -> st.SearchStrategy[str]:
    return st.text(min_size=least, max_size=min(most, 40)) | st.just("x" * most)


def parts(
    needed: Mapping[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict(needed), optional=optional)


LINKS = st.sampled_from(["https://example.com/a.png", "http://example.com:8080/ä?x=1"])
NAMED = st.fixed_dictionaries({"link": LINKS}) | st.fixed_dictionaries(
    {"id": st.from_regex("[0-9]{1,20}", fullmatch=True)}
)
MEDIA = NAMED | st.just({"sha256": SHA, "mimetype": "audio/ogg", "size": 5})
HEADER = st.one_of(
    parts({"type": st.just("text"), "text": texts(60)}),
    *(
        parts({"type": st.just(kind), kind: NAMED | st.just({"sha256": SHA})})
        for kind in ("image", "video", "document")
    ),
)
BODY = parts({"text": texts(1024)})
FOOTER = parts({"text": texts(60)})
ROWS = st.lists(
    parts({"id": texts(200), "title": texts(24)}, description=texts(72, 0)),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["id"],
)


def _button_id(button: dict[str, Any]) -> str:
    return str(button["reply"]["id"])


BUTTONS = st.lists(
    st.fixed_dictionaries({"type": st.just("reply"), "reply": parts({"id": texts(256), "title": texts(20)})}),
    min_size=1,
    max_size=3,
    unique_by=_button_id,
)
FLOW = st.sampled_from(["flow_id", "flow_name"]).flatmap(
    lambda name: parts(
        {"flow_message_version": st.just("3"), "flow_cta": texts(30), name: texts(100)},
        flow_token=texts(100),
        flow_action=st.sampled_from(["navigate", "data_exchange"]),
        flow_action_payload=parts({}, screen=texts(50), data=st.dictionaries(texts(10), texts(10), max_size=2)),
        mode=st.sampled_from(["draft", "published"]),
    )
)
PRODUCTS = st.lists(parts({"product_retailer_id": texts(100)}), min_size=1, max_size=5)
CARD = parts(
    {"card_index": st.integers(0, 9), "type": st.just("cta_url"), "action": st.just({"name": "cta_url"})}, header=HEADER
)


def named(name: str, parameters: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return parts({"name": st.just(name)} | ({} if parameters is None else {"parameters": parameters}))


ACTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "button": parts({"buttons": BUTTONS}),
    "list": parts(
        {"button": texts(20), "sections": st.lists(parts({"title": texts(24), "rows": ROWS}), min_size=1, max_size=1)}
    ),
    "cta_url": named("cta_url", parts({"display_text": texts(20), "url": LINKS})),
    "flow": named("flow", FLOW),
    "product": parts({"catalog_id": texts(50), "product_retailer_id": texts(50)}),
    "product_list": parts(
        {
            "catalog_id": texts(50),
            "sections": st.lists(parts({"title": texts(24), "product_items": PRODUCTS}), min_size=1, max_size=3),
        }
    ),
    "catalog_message": named("catalog_message")
    | named("catalog_message", parts({"thumbnail_product_retailer_id": texts(50)})),
    "location_request_message": named("send_location"),
    "call_permission_request": named("call_permission_request"),
    "request_contact_info": named("request_contact_info"),
    "voice_call": named("voice_call"),
    "carousel": parts({"cards": st.lists(CARD, min_size=2, max_size=3)}),
    "order_details": named("review_and_pay", st.just({"reference_id": "1"})),
    "order_status": named("review_order", st.just({"reference_id": "1"})),
}


@st.composite
def interactive(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    made = {"type": name, "action": draw(ACTIONS[name])}
    if kind.needs_body or draw(st.booleans()):
        made["body"] = draw(BODY)
    if kind.headers and (kind.needs_header or draw(st.booleans())):
        made["header"] = draw(HEADER.filter(lambda header: header["type"] in kind.headers))
    return made | ({"footer": draw(FOOTER)} if draw(st.booleans()) else {})


WHERE = st.sampled_from(["HOME", "WORK", "Mobile", "Facebook"])
NAME = parts(
    {"formatted_name": texts(100)},
    first_name=texts(50),
    last_name=texts(50),
    middle_name=texts(50),
    prefix=texts(9),
    suffix=texts(9),
)
CONTACT = parts(
    {"name": NAME},
    phones=st.lists(parts({"phone": texts(30)}, type=WHERE, wa_id=texts(20)), max_size=2),
    emails=st.lists(parts({"email": st.just("ada@example.com")}, type=WHERE), max_size=2),
    urls=st.lists(parts({"url": LINKS}, type=WHERE), max_size=2),
    addresses=st.lists(
        parts({}, street=texts(50), city=texts(50), zip=texts(10), country_code=texts(2), type=WHERE), max_size=2
    ),
    org=parts({}, company=texts(50), title=texts(50)),
    birthday=st.just("1815-12-10"),
)
ALPHABET: Final = st.characters(exclude_categories=["Cs", "Cc", "Zs"])
PARAMETERS = st.lists(
    parts({"type": st.just("text"), "text": st.text(ALPHABET, min_size=1, max_size=40)})
    | parts({"type": st.just("image"), "image": NAMED | st.just({"sha256": SHA})})
    | parts({"type": st.just("payload"), "payload": texts(50)}),
    max_size=3,
)
COMPONENT = parts({"type": st.sampled_from(["header", "body", "BODY"])}, parameters=PARAMETERS) | parts(
    {
        "type": st.just("button"),
        "sub_type": st.sampled_from(["url", "quick_reply", "flow"]),
        "index": st.integers(0, 9) | st.just("1"),
    },
    parameters=PARAMETERS,
)
CONTENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "text": parts({"body": texts(4096)}, preview=st.booleans()),
    "image": parts({"media": MEDIA}, caption=texts(1024, 0) | st.none()),
    "video": parts({"media": MEDIA}, caption=texts(1024)),
    "audio": parts({"media": MEDIA}, voice=st.booleans()),
    "document": parts({"media": MEDIA}, caption=texts(1024), filename=texts(240)),
    "sticker": parts({"media": MEDIA}),
    "location": parts(
        {"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180) | st.integers(-180, 180)},
        name=texts(1000, 0),
        address=texts(1000),
    ),
    "contacts": parts({"contacts": st.lists(CONTACT, min_size=1, max_size=5)}),
    "reaction": parts({"target": texts(100), "emoji": st.sampled_from(["👍", "", "❤️"])}),
    "interactive": interactive(),
    "template": parts(
        {"name": texts(512), "language": st.sampled_from(["de", "en_US", "zh_HK"])},
        components=st.lists(COMPONENT, max_size=3),
    ),
    "read": parts({"target": texts(100)}),
    "typing": parts({"target": texts(100)}, lasts_s=st.floats(1, 25)),
}
OBJECTS: Final = ("interactive", "template", "contacts", "location")
"""Types whose content is made by a table alone."""
WHOLE = st.sampled_from(sorted(CONTENTS)).flatmap(lambda name: st.tuples(st.just(name), CONTENTS[name]))


def complaint(body: bytes) -> object:
    parsed = json.loads(body)
    return (violation, parsed) if (violation := VALIDATOR.violation(parsed)) else None


def test_every_type_and_kind_is_generated() -> None:
    assert CONTENTS.keys() == BUILDERS.keys() | {"read", "typing"}
    assert ACTIONS.keys() == KINDS.keys()


@settings(max_examples=examples(40))
@given(WHOLE, st.sampled_from(["15550100200", "US.9f8e"]), st.none() | texts(100))
def test_valid_content_makes_a_valid_body(sent: tuple[str, dict[str, Any]], chat_id: str, quoted: str | None) -> None:
    type_name, content = sent
    row = message(type_name, content | {"quoted": quoted}, chat_id)
    assert {file.sha256 for file in files(row)} <= {SHA}
    assert complaint(build(row, IDS)) is None


JUNK: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["reply", "text", "x" * 5000, "\0"]),
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.dictionaries(
            st.sampled_from(["id", "link", "type", "text", "name", "title", "sha256", "media"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way]
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        found += places(value, (*way, key))
    return found


def changed(node: Any, way: tuple[Any, ...], becomes: Any) -> Any:
    if not way:
        return becomes
    key, *rest = way
    if isinstance(node, dict):
        return node | {key: changed(node[key], tuple(rest), becomes)}
    return [changed(value, tuple(rest), becomes) if index == key else value for index, value in enumerate(node)]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    type_name = draw(st.sampled_from(OBJECTS))
    content = draw(CONTENTS[type_name])
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(places(content)))
        content = changed(
            content, way, draw(JUNK) if way else draw(st.dictionaries(st.text(max_size=9), JUNK, max_size=3))
        )
        if draw(st.booleans()):
            content = content | draw(
                st.dictionaries(
                    st.sampled_from(["type", "action", "body", "media", "quoted", "header", "target"]), JUNK, max_size=1
                )
            )
    return type_name, content


def composed(type_name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content as it is accepted. Raises `Refused`."""
    given = {"interactive": dict(content)} if type_name == "interactive" else dict(content)
    fields = checked(given, TYPES[type_name].fields)
    match type_name:
        case "interactive":
            return interactive_content(fields["interactive"])
        case "template":
            return template_content(fields)
        case "contacts":
            return {"contacts": spelled_contacts(fields["contacts"])}
        case _:
            return fields


# generating such objects is slow beside other tests, which says nothing about them
@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_whatever_the_tables_accept_is_valid_at_meta(sent: tuple[str, dict[str, Any]]) -> None:
    type_name, content = sent
    try:
        made = composed(type_name, content)
    except Refused as refused:
        assert refused.details["errors"]
        return
    if type_name == "interactive" and made["type"] not in KINDS:
        # of a kind that Meta added later only the outline is known
        return
    assert complaint(build(message(type_name, made), IDS)) is None


@settings(max_examples=examples(80))
@given(
    st.sampled_from([*sorted(CONTENTS), "edit", "delete", "forward", "carousel", ""]),
    st.dictionaries(st.text(max_size=9), JUNK, max_size=4),
)
def test_any_content_is_encoded_or_refused(type_name: str, content: dict[str, Any]) -> None:
    row = message(type_name, content)
    try:
        files(row)
        json.loads(build(row, IDS))
    except PayloadRefused as refused:
        assert refused.code in {"invalid_content", "unsupported_type", "media_unknown", "target_missing"}
        assert str(refused)


def deep(depth: int) -> Any:
    node: Any = {}
    for _ in range(depth):
        node = {"data": node}
    return node


@pytest.mark.parametrize("depth", [70, 100, 100_000])
def test_deep_content_is_refused_and_nothing_worse(depth: int) -> None:
    content = {
        "type": "flow",
        "body": {"text": "x"},
        "action": {"name": "flow", "parameters": {"flow_action_payload": deep(depth)}},
    }
    with pytest.raises(PayloadRefused):
        build(message("interactive", content))


def test_a_file_that_was_not_uploaded_is_refused() -> None:
    with pytest.raises(PayloadRefused, match="not uploaded"):
        build(message("image", {"media": {"sha256": "cd" * 32}}))


def test_kinds_that_meta_adds_later_pass_when_their_outline_is_right() -> None:
    content = {"type": "hologram", "body": {"text": "x"}, "action": {"name": "hologram", "parameters": {"depth": 3}}}
    assert json.loads(build(message("interactive", content)))["interactive"] == content
    with pytest.raises(Refused):
        composed("interactive", content | {"footer": {"text": "x" * 61}})
