"""Templates of WhatsApp's Cloud API: their parameters, as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.compose.objects.media import media_field
from shared.compose.objects.nulls import without_nulls
from shared.fields import Field, FieldsInvalid, wrong_fields

Wrong = Iterator[tuple[str, str]]

_TEXT_MOST: Final = 4096
"""Characters of a parameter: no message that WhatsApp shows has more."""
_HEADER_TEXT_MOST: Final = 60
"""Characters of a text in a template's header, by Meta's page on templates."""
_UNPLAIN: Final = re.compile(r"[\r\n\t]| {5,}")
"""Meta refuses parameters with line breaks, tabs or more than four blanks in a row."""


def _text(name: str, longest: int, *, required: bool = True, purpose: str = "") -> Field:
    return Field(
        name=name, kind=str, purpose=purpose, required=required, shortest=1 if required else 0, longest=longest
    )


def _object(name: str, *fields: Field) -> Field:
    return Field(name=name, kind=dict, required=True, open=True, fields=fields)


_TYPE: Final = Field(
    name="type",
    kind=str,
    required=True,
    choices=("header", "body", "button", "carousel", "limited_time_offer", "order_status", "tap_target_configuration"),
    any_case=True,
    purpose="In small letters or capitals.",
)
PARAMETERS: Final[Mapping[str, tuple[Field, ...]]] = {
    "text": (_text("text", _TEXT_MOST),),
    "currency": (
        _object(
            "currency",
            _text("fallback_value", _TEXT_MOST),
            _text("code", 3),
            Field(name="amount_1000", kind=int, required=True),
        ),
    ),
    "date_time": (_object("date_time", _text("fallback_value", _TEXT_MOST)),),
    "image": (media_field("image", required=True),),
    "video": (media_field("video", required=True),),
    "document": (media_field("document", required=True),),
    "payload": (_text("payload", 256),),
    "coupon_code": (_text("coupon_code", 255),),
    "action": (_object("action"),),
    "limited_time_offer": (_object("limited_time_offer", Field(name="expiration_time_ms", kind=int, required=True)),),
}
"""Fields that a parameter must have, by its type; of a type that Meta adds later nothing is checked."""

_PARAMETERS_FIELD: Final = Field(
    name="parameters",
    kind=list,
    # a bound against abuse; a template has far fewer placeholders
    most=100,
    items=Field(
        kind=dict,
        title="TemplateParameter",
        open=True,
        fields=(_text("type", 64), _text("parameter_name", 512, required=False)),
    ),
)
_BUTTON: Final = (
    _text("sub_type", 64),
    Field(
        name="index",
        kind=int,
        required=True,
        # a template has at most ten buttons; Meta spells the index as a text, clients often as a number
        low=0,
        high=9,
        others=(Field(kind=str, choices=tuple(map(str, range(10)))),),
    ),
)
_CARDS: Final = Field(
    name="cards",
    kind=list,
    required=True,
    fewest=1,
    most=10,
    items=Field(
        kind=dict,
        open=True,
        fields=(
            Field(name="card_index", kind=int, required=True, low=0, high=9),
            Field(
                name="components", kind=list, required=True, most=20, items=Field(kind=dict, open=True, fields=(_TYPE,))
            ),
        ),
    ),
)
TEMPLATE_FIELDS: Final = (
    Field(
        name="name",
        kind=str,
        required=True,
        shortest=1,
        longest=512,
        # the provider has no other names: one with capitals would be refused when it is sent
        form="template",
        purpose="The template's name.",
    ),
    Field(name="language", kind=str, required=True, form="language", purpose="Its language, `en_US` or `de`."),
    Field(
        name="components",
        kind=list,
        purpose="What is filled in, as Meta spells it.",
        most=20,
        items=Field(
            kind=dict,
            title="TemplateComponent",
            open=True,
            fields=(_TYPE, _text("sub_type", 64, required=False), _PARAMETERS_FIELD),
        ),
    ),
)


def template_content(outline: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template as it is kept. `outline`: checked by `TEMPLATE_FIELDS`. Raises `FieldsInvalid`."""
    given: dict[str, Any] = without_nulls({name: outline[name] for name in ("name", "language", "components")})
    if wrong := list(_wrong_components(given.get("components", ()), "/components")):
        raise FieldsInvalid(wrong)
    return given


def _wrong_components(components: Sequence[Mapping[str, Any]], at: str) -> Wrong:
    for index, component in enumerate(components):
        # Meta takes both spellings of types, here and in parameters
        place, kind = f"{at}/{index}", component["type"].lower()
        if kind == "button":
            yield from wrong_fields(component, _BUTTON, place, open_=True)
        elif kind == "carousel":
            # cards hold components of their own, which are checked when the cards' outline is right
            wrong = list(wrong_fields(component, (_CARDS,), place, open_=True))
            yield from wrong
            for card, given in enumerate(() if wrong else component["cards"]):
                yield from _wrong_components(given["components"], f"{place}/cards/{card}/components")
        yield from _wrong_parameters(component, kind, place)


def _wrong_parameters(component: Mapping[str, Any], kind: str, at: str) -> Wrong:
    wrong = list(wrong_fields(component, (_PARAMETERS_FIELD,), at, open_=True))
    if wrong:
        # those of a card's component: the outline has been checked for the others
        yield from wrong
        return
    for index, parameter in enumerate(component.get("parameters") or ()):
        place, type_ = f"{at}/parameters/{index}", parameter["type"].lower()
        yield from wrong_fields(parameter, PARAMETERS.get(type_, ()), place, open_=True)
        text = parameter.get("text")
        if type_ != "text" or not isinstance(text, str):
            continue
        # the limit of a header is lower than the general one, which the table has checked
        if kind == "header" and len(text) > _HEADER_TEXT_MOST:
            yield f"{place}/text", f"has {len(text)} characters; at most {_HEADER_TEXT_MOST} are allowed in a header"
        if _UNPLAIN.search(text):
            yield f"{place}/text", "must not hold line breaks, tabs or more than four blanks in a row"
