"""Interactive messages of WhatsApp's Cloud API: what each kind may hold, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.compose.objects.media import media_field
from shared.compose.objects.nulls import without_nulls
from shared.fields import Field, FieldsInvalid, wrong_fields

Wrong = Iterator[tuple[str, str]]

BODY_MOST: Final = 4096
"""Characters of the body of a list, and of a kind that has no row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InteractiveKind:
    """One kind of interactive message.

    Attributes:
        action: fields of `action`. body: most characters of the body. needs_body, needs_header: whether they must be
            there.
        headers: types that a header may have; none: no header.
        items: (list in each section, most in all sections); sections need titles when there is more than one.
        distinct: (list of `action`, or of its sections when `items` names it; path of what may stand there once).
    """

    action: tuple[Field, ...]
    body: int = 1024
    needs_body: bool = True
    headers: tuple[str, ...] = ()
    needs_header: bool = False
    items: tuple[str, int] | None = None
    distinct: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _text(name: str, longest: int, *, required: bool = True) -> Field:
    return Field(name=name, kind=str, required=required, shortest=1 if required else 0, longest=longest)


def _choice(name: str, *choices: str, required: bool = True) -> Field:
    return Field(name=name, kind=str, required=required, choices=choices)


def _object(name: str, *fields: Field, required: bool = True, one_of: tuple[str, ...] = ()) -> Field:
    return Field(name=name, kind=dict, required=required, open=True, fields=fields, one_of=one_of)


def _list(name: str, fewest: int, most: int, *fields: Field) -> Field:
    items = Field(kind=dict, fields=fields, open=True)
    return Field(name=name, kind=list, required=True, fewest=fewest, most=most, items=items)


def _header(*types: str) -> tuple[Field, ...]:
    return (
        _choice("type", *types),
        _text("text", 60, required=False),
        _text("sub_text", 60, required=False),
        media_field("image"),
        media_field("video"),
        media_field("document"),
    )


# the limits below are those of Meta's pages about each kind of interactive message
_MEDIA: Final = ("image", "video", "document")
_ANY: Final = ("text", *_MEDIA)
_SECTION_TITLE: Final = _text("title", 24, required=False)
_ROW: Final = (_text("id", 200), _text("title", 24), _text("description", 72, required=False))
_FLOW: Final = _object(
    "parameters",
    _choice("flow_message_version", "3"),
    _text("flow_cta", 30),
    _text("flow_id", 255, required=False),
    _text("flow_name", 255, required=False),
    _text("flow_token", 1024, required=False),
    _choice("flow_action", "navigate", "data_exchange", required=False),
    Field(
        name="flow_action_payload",
        kind=dict,
        open=True,
        fields=(_text("screen", 255, required=False), Field(name="data", kind=dict)),
    ),
    _choice("mode", "draft", "published", required=False),
    one_of=("flow_id", "flow_name"),
)
KINDS: Final[Mapping[str, InteractiveKind]] = {
    # Meta refuses two buttons with one id, or with one title
    "button": InteractiveKind(
        action=(
            _list("buttons", 1, 3, _choice("type", "reply"), _object("reply", _text("id", 256), _text("title", 20))),
        ),
        headers=_ANY,
        distinct=(("buttons", ("reply", "id")), ("buttons", ("reply", "title"))),
    ),
    "list": InteractiveKind(
        action=(_text("button", 20), _list("sections", 1, 10, _SECTION_TITLE, _list("rows", 1, 10, *_ROW))),
        body=BODY_MOST,
        headers=("text",),
        items=("rows", 10),
        distinct=(("rows", ("id",)),),
    ),
    "cta_url": InteractiveKind(
        action=(
            _choice("name", "cta_url"),
            _object(
                "parameters",
                _text("display_text", 20),
                Field(name="url", kind=str, required=True, longest=2000, form="url"),
            ),
        ),
        headers=_ANY,
    ),
    "flow": InteractiveKind(action=(_choice("name", "flow"), _FLOW), headers=_ANY),
    "product": InteractiveKind(action=(_text("catalog_id", 255), _text("product_retailer_id", 255)), needs_body=False),
    "product_list": InteractiveKind(
        action=(
            _text("catalog_id", 255),
            _list("sections", 1, 10, _SECTION_TITLE, _list("product_items", 1, 30, _text("product_retailer_id", 255))),
        ),
        headers=("text",),
        needs_header=True,
        items=("product_items", 30),
    ),
    "catalog_message": InteractiveKind(
        action=(
            _choice("name", "catalog_message"),
            _object("parameters", _text("thumbnail_product_retailer_id", 255, required=False), required=False),
        )
    ),
    "location_request_message": InteractiveKind(action=(_choice("name", "send_location"),)),
    "call_permission_request": InteractiveKind(action=(_choice("name", "call_permission_request"),), needs_body=False),
    "request_contact_info": InteractiveKind(action=(_choice("name", "request_contact_info"),)),
    "voice_call": InteractiveKind(
        action=(_choice("name", "voice_call"), Field(name="parameters", kind=dict)), needs_body=False
    ),
    "carousel": InteractiveKind(
        action=(
            _list(
                "cards",
                2,
                10,
                Field(name="card_index", kind=int, required=True, low=0, high=9),
                _text("type", 40),
                Field(name="header", kind=dict, open=True, fields=_header(*_ANY)),
                Field(name="action", kind=dict, required=True),
            ),
        )
    ),
    "order_details": InteractiveKind(
        action=(_choice("name", "review_and_pay"), Field(name="parameters", kind=dict, required=True)), headers=_MEDIA
    ),
    "order_status": InteractiveKind(
        action=(_choice("name", "review_order"), Field(name="parameters", kind=dict, required=True))
    ),
}
"""Kinds that are checked in full. Of one that Meta adds later only the outline is checked, and Meta judges the rest."""

INTERACTIVE_FIELD: Final = Field(
    name="interactive",
    kind=dict,
    title="Interactive",
    purpose="As Meta spells it: `type`, `header`, `body`, `footer`, `action`.",
    required=True,
    open=True,
    fields=(
        _text("type", 40),
        Field(name="header", kind=dict, title="InteractiveHeader", open=True, fields=(_text("type", 40),)),
        Field(name="body", kind=dict, title="InteractiveBody", open=True, fields=(_text("text", BODY_MOST),)),
        Field(name="footer", kind=dict, title="InteractiveFooter", open=True, fields=(_text("text", 60),)),
        Field(name="action", kind=dict, required=True),
    ),
)
"""The outline, the same for every kind."""


_NAMES: Final = {field.name for kind in KINDS.values() for field in kind.action}
"""Fields of actions that some kind has."""


def interactive_content(outline: Mapping[str, Any]) -> dict[str, Any]:
    """Return an interactive message as it is kept. `outline`: checked by `INTERACTIVE_FIELD`. Raises
    `FieldsInvalid`.
    """
    given: dict[str, Any] = without_nulls(outline)
    if wrong := list(_wrong(given, "/interactive")):
        raise FieldsInvalid(wrong)
    return given


def _wrong(given: Mapping[str, Any], at: str) -> Wrong:
    kind = KINDS.get(given["type"])
    # a kind that Meta added later: only Meta can judge it
    if kind is None:
        return
    wrong = list(wrong_fields(given["action"], kind.action, f"{at}/action", open_=True))
    yield from wrong
    # an unknown field may be new at Meta and passes; one of another kind is surely a mistake
    for name in sorted(given["action"].keys() & (_NAMES - {field.name for field in kind.action})):
        yield f"{at}/action/{name}", "belongs to another kind of interactive message"
    # body and header are independent of the action: all that is wrong is reported at once
    yield from _wrong_body(given, kind, at)
    yield from _wrong_header(given, kind, at)
    if not wrong:
        # checks across parts assume that each part is right
        yield from _wrong_sections(given["action"], kind, at)
        yield from _wrong_repetitions(given["action"], kind, at)


def _wrong_body(given: Mapping[str, Any], kind: InteractiveKind, at: str) -> Wrong:
    body = given.get("body")
    if body is None:
        if kind.needs_body:
            yield f"{at}/body", "is missing"
    elif len(body["text"]) > kind.body:
        yield f"{at}/body/text", f"has {len(body['text'])} characters; at most {kind.body} are allowed"


def _wrong_header(given: Mapping[str, Any], kind: InteractiveKind, at: str) -> Wrong:
    header = given.get("header")
    if header is None:
        if kind.needs_header:
            yield f"{at}/header", "is missing"
        return
    if not kind.headers:
        yield f"{at}/header", "has no place in this kind of message"
        return
    yield from wrong_fields(header, _header(*kind.headers), f"{at}/header", open_=True)
    shown = header["type"]
    # the type is also the name of the field that holds the header
    if shown in kind.headers and not header.get(shown):
        yield f"{at}/header/{shown}", "is missing"


def _wrong_sections(action: Mapping[str, Any], kind: InteractiveKind, at: str) -> Wrong:
    if kind.items is None:
        return
    name, most = kind.items
    sections = action["sections"]
    count = sum(len(section[name]) for section in sections)
    if count > most:
        yield f"{at}/action/sections", f"have {count} {name} in all; at most {most} are allowed"
    # Meta demands titles only where there are several sections
    if len(sections) > 1:
        for index, section in enumerate(sections):
            if not section.get("title"):
                yield f"{at}/action/sections/{index}/title", "is missing"


def _wrong_repetitions(action: Mapping[str, Any], kind: InteractiveKind, at: str) -> Wrong:
    for name, path in kind.distinct:
        in_sections = kind.items is not None and kind.items[0] == name
        # ids must differ across sections: the answer names the id alone
        found = [item for section in action["sections"] for item in section[name]] if in_sections else action[name]
        seen: set[str] = set()
        for item in found:
            value: Any = item
            for step in path:
                value = value[step]
            if value in seen:
                yield f"{at}/action/{'sections' if in_sections else name}", f"name the same {path[-1]} twice"
            seen.add(value)
