"""Fields of JSON objects as a table: what checks an object, and what describes it as JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from math import isfinite
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from shared.errors import Refused

# `bool` before `int`: in Python it is one
_TYPE_NAMES: Final = (
    (bool, "true or false"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a number"),
    (list, "an array"),
    (dict, "an object"),
)
_SCHEMA_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_DEEPEST: Final = 16
"""Levels of what is not described by a table."""


Form = Literal["", "url", "date", "email", "language", "locale", "template"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a body.

    Attributes:
        kind: `str`, `int`, `float`, `bool`, `list` or `dict`; a field that takes several has `others`.
        low, high: for numbers; when they are equal: any. shortest, longest: for strings, in characters; longest 0:
            checked elsewhere. choices: allowed strings.
        fields: of an object; none: any object is taken. open: an object may have more than those, as the provider's
            own objects may.
        items: what an array holds; None: anything. fewest, most: how many of them; most 0: any number.
        title: name of its schema in `/openapi.json`, of `choices` and of an object that stands in several places;
            empty: named by its place.
        documented: keywords of its schema for what is checked elsewhere, for example `pattern`.
        form: what a string must be (`url`, `date`, `email`, `language`, `locale`, name of a `template`).
            any_case: capitals do not matter for `choices`.
        one_of: fields of an object of which exactly one must be given.
    """

    name: str = ""
    kind: type
    purpose: str = ""
    required: bool = False
    default: Any = None
    low: float = 0
    high: float = 0
    shortest: int = 0
    longest: int = 0
    choices: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    open: bool = False
    items: Field | None = None
    fewest: int = 0
    most: int = 0
    others: tuple[Field, ...] = ()
    form: Form = ""
    any_case: bool = False
    one_of: tuple[str, ...] = ()
    title: str = ""
    documented: tuple[tuple[str, Any], ...] = ()


_ANY_TEXT: Final = Field(kind=str)
_NESTED: Final = (dict, list)
_MOST_LISTED: Final = 50
"""Wrong places that a refusal lists: an object with a million of them costs no more than one with fifty."""


class FieldsInvalid(Refused):
    """Raised when an object does not fit its table.

    Attributes:
        wrong: pairs of a JSON pointer and what is wrong there.
    """

    def __init__(self, wrong: Iterable[tuple[str, str]]) -> None:
        self.wrong = tuple(islice(wrong, _MOST_LISTED))
        sentences = "; ".join(f"{place or 'the body'} {reason}" for place, reason in self.wrong[:3])
        errors = [{"pointer": place, "reason": reason} for place, reason in self.wrong]
        super().__init__("body_invalid", f"{sentences}.", errors=errors)


# a table of our own and no library: a refusal names every wrong place and no value, which may be a phone number or a
# text (docs/adr/0040-one-language-for-the-fields-of-objects.md)
def checked(value: Any, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of an object, with defaults for those that are not given; null is as good as absent.

    Raises:
        FieldsInvalid: with every wrong place, up to a bound.
    """
    if not isinstance(value, dict):
        raise FieldsInvalid([("", f"must be an object, not {type_named(value)}")])
    # the generator is stopped at the bound: what is wrong costs no more than what is listed
    if wrong := list(islice(wrong_fields(value, fields, "", open_=False), _MOST_LISTED)):
        raise FieldsInvalid(wrong)
    found = {}
    for field in fields:
        given = value.get(field.name)
        if given is None:
            given = field.default
        elif type(given) in _NESTED:
            given = _without_nulls(given, field)
        # null is as good as absent: clients in typed languages send it for what is not set
        found[field.name] = given
    return found


def _without_nulls(value: Any, field: Field) -> Any:
    """Return a checked value without the nulls that mean absent; what no table describes stays as it is."""
    kind = type(value)
    if kind not in _NESTED:
        return value
    field = next((other for other in field.others if kind is other.kind), field)
    if kind is list:
        items = field.items
        return value if items is None else [_without_nulls(item, items) for item in value]
    if not field.fields:
        return value
    known = {one.name: one for one in field.fields}
    return {
        name: _without_nulls(item, known[name]) if name in known else item
        for name, item in value.items()
        if item is not None
    }


def wrong_fields(
    value: Mapping[str, Any], fields: Sequence[Field], at: str, *, open_: bool
) -> Iterator[tuple[str, str]]:
    """Give what is wrong with an object, each with its JSON pointer. `at`: the object's own; `open_`: what `fields` do
    not name may stand there too."""
    known = {field.name for field in fields}
    # one set operation decides for right objects; sentences are made for wrong ones only
    if not open_ and not known.issuperset(value):
        takes = ", ".join(field.name for field in fields)
        yield from (
            (at + pointer(name), f"is not a field of this {'object' if at else 'operation'}; it takes {takes}")
            for name in value
            if name not in known
        )
    for field in fields:
        name = field.name
        given = value.get(name)
        if given is not None:
            if type(given) is field.kind and field.kind not in _NESTED:
                # most fields are: nothing more is made of what is right
                if reason := _wrong_scalar(given, field):
                    yield f"{at}/{name}", reason
            else:
                yield from _wrong(given, field, f"{at}/{name}")
        elif field.required:
            yield f"{at}/{name}", "is missing" if name not in value else f"must be {_kinds(field)}, not null"
    if open_:
        for name in value:
            if name not in known:
                yield from _wrong_anywhere(name, at, 1)
                yield from _wrong_anywhere(value[name], at + pointer(name), 1)


def _wrong(value: Any, field: Field, at: str) -> Iterator[tuple[str, str]]:
    kind = type(value)
    field = next((other for other in field.others if kind is other.kind), field)
    # exact types: JSON's `true` is no number here; an integer passes as a number
    if kind is not field.kind and not (field.kind is float and kind is int):
        yield at, f"must be {_kinds(field)}, not {type_named(value)}"
    elif kind is dict:
        yield from wrong_fields(value, field.fields, at, open_=field.open or not field.fields)
        if field.one_of and sum(value.get(name) is not None for name in field.one_of) != 1:
            yield at, f"must have exactly one of {', '.join(field.one_of)}"
    elif kind is list:
        yield from _wrong_list(value, field, at)
    elif reason := _wrong_scalar(value, field):
        yield at, reason


def _wrong_scalar(value: Any, field: Field) -> str:
    """Return what is wrong with a string, a number or a boolean of a right type; empty when nothing is."""
    kind = type(value)
    if kind is str:
        return _wrong_text(value, field)
    if kind is float and not isfinite(value):
        return "must be a number that is not infinite"
    if kind is not bool and field.low != field.high and not field.low <= value <= field.high:
        return f"must be from {field.low:.12g} to {field.high:.12g}"
    return ""


def _wrong_list(value: Sequence[Any], field: Field, at: str) -> Iterator[tuple[str, str]]:
    if len(value) < field.fewest or (field.most and len(value) > field.most):
        number = f"{field.fewest} to {field.most}" if field.most else f"at least {field.fewest}"
        # an array of the wrong length is not looked into: it may be very long
        yield at, f"must have {number} items; it has {len(value)}"
        return
    for index, item in enumerate(value):
        if field.items is None:
            yield from _wrong_anywhere(item, f"{at}/{index}", 1)
        else:
            yield from _wrong(item, field.items, f"{at}/{index}")


def _wrong_anywhere(value: Any, at: str, depth: int) -> Iterator[tuple[str, str]]:
    """Check what has no table of its own: only that it can be kept."""
    # deeper objects would exhaust the stack here, or later in PostgreSQL's jsonb
    if depth > _DEEPEST:
        yield at, f"is nested more than {_DEEPEST} deep"
    elif isinstance(value, str):
        if reason := _wrong_text(value, _ANY_TEXT):
            yield at, reason
    elif isinstance(value, float):
        if not isfinite(value):
            yield at, "must be a number that is not infinite"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _wrong_anywhere(name, at, depth + 1)
            yield from _wrong_anywhere(item, at + pointer(name), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _wrong_anywhere(item, f"{at}/{index}", depth + 1)


def _wrong_text(value: str, field: Field) -> str:
    # PostgreSQL's jsonb and text have no NUL
    if "\0" in value:
        return "must not hold the character NUL"
    if not value.isascii():
        # JSON can spell half of a pair (`\ud83d`), which neither PostgreSQL nor a provider can store
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is no character"
    if field.longest and len(value) > field.longest:
        return f"has {len(value)} characters; at most {field.longest} are allowed"
    # what must not be empty must not be blank either
    if field.shortest and (not value.strip() or len(value) < field.shortest):
        given = f"has {len(value)} characters; at least {field.shortest} are needed" if value.strip() else "is blank"
        return given if value else "is empty"
    if field.choices and (value.lower() if field.any_case else value) not in field.choices:
        return f"must be one of {', '.join(field.choices)}"
    return _FORMS[field.form](value) if field.form else ""


def _wrong_url(value: str) -> str:
    try:
        # `urlsplit` removes line breaks and tabs silently (bpo-43882), so that they are refused before
        parts = urlsplit(value) if value.isprintable() and " " not in value else None
        is_right = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_right = False
    return "" if is_right else "must be an http or https address"


def _wrong_date(value: str) -> str:
    try:
        # `fromisoformat` also takes 20001231 and week dates, which providers do not
        is_right = bool(_DATE.fullmatch(value)) and date.fromisoformat(value) is not None
    except ValueError:
        is_right = False
    return "" if is_right else "must be a date like 1815-12-10"


def _wrong_email(value: str) -> str:
    # only the outline: what a mail server takes beyond that is the provider's to judge
    return "" if _EMAIL.fullmatch(value) else "must be an e-mail address"


def _wrong_language(value: str) -> str:
    return "" if _LANGUAGE.fullmatch(value) else "must be a language like de or en_US"


def _wrong_locale(value: str) -> str:
    return "" if _LOCALE.fullmatch(value) else "must be a BCP 47 language tag like de or pt-BR"


def _wrong_template(value: str) -> str:
    return "" if _TEMPLATE.fullmatch(value) else "must be lower case letters, digits and underscores"


_TEMPLATE: Final = re.compile(r"[a-z0-9_]+")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?")
# the shape of RFC 5646 2.1 without grandfathered tags: language, script, region, variants, extensions, private use
_LOCALE: Final = re.compile(
    r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-([A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*"
    r"(-[A-WY-Za-wy-z0-9](-[A-Za-z0-9]{2,8})+)*(-[Xx](-[A-Za-z0-9]{1,8})+)?"
)
_FORMS: Final[Mapping[Form, Callable[[str], str]]] = {
    "url": _wrong_url,
    "date": _wrong_date,
    "email": _wrong_email,
    "language": _wrong_language,
    "locale": _wrong_locale,
    "template": _wrong_template,
}
_SCHEMA_FORMS: Final[Mapping[Form, Mapping[str, str]]] = {
    "url": {"format": "uri"},
    "date": {"format": "date"},
    "email": {"format": "email"},
    "language": {"pattern": f"^{_LANGUAGE.pattern}$"},
    "locale": {"pattern": f"^{_LOCALE.pattern}$"},
    "template": {"pattern": f"^{_TEMPLATE.pattern}$"},
}


def pointer(name: str) -> str:
    """Return the step of a JSON pointer that leads to `name`."""
    # a name can be anything; what cannot be shown is replaced
    shown = name[:60].encode("utf-8", "replace").decode()
    return "/" + shown.replace("~", "~0").replace("/", "~1")


def _kinds(field: Field) -> str:
    return " or ".join(dict(_TYPE_NAMES)[one.kind] for one in (field, *field.others))


def type_named(value: Any) -> str:
    """Return what a JSON value is, for sentences."""
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "null")


def json_schema(fields: Sequence[Field], *, open_: bool = False) -> Mapping[str, Any]:
    """Return the fields as a JSON schema, for `/openapi.json`. `open_`: further fields are allowed."""
    return {
        "type": "object",
        **({} if open_ else {"additionalProperties": False}),
        "required": [field.name for field in fields if field.required],
        "properties": {field.name: _schema(field) for field in fields},
    }


def exactly_one(names: Sequence[str]) -> Mapping[str, Any]:
    """Return what a JSON schema of an object says when exactly one of these fields must be given.

    Not `oneOf`, of which code generators would make one class for each alternative; they pass over `if`.
    """
    name, *others = names
    if not others:
        return {"required": [name]}
    absent = {"not": {"anyOf": [{"required": [other]} for other in others]}}
    return {"if": {"required": [name]}, "then": absent, "else": exactly_one(others)}


def _schema(field: Field) -> Mapping[str, Any]:
    if field.others:
        alone = replace(field, others=(), purpose="", default=None)
        return {
            "anyOf": [_schema(one) for one in (alone, *field.others)],
            **({"description": field.purpose} if field.purpose else {}),
        }
    schema: dict[str, Any] = {"type": _SCHEMA_TYPES[field.kind]}
    if field.title:
        schema["title"] = field.title
    if field.purpose:
        schema["description"] = field.purpose
    if field.kind is dict and field.fields:
        schema |= json_schema(field.fields, open_=field.open)
        if field.one_of:
            schema |= exactly_one(field.one_of)
    if field.kind is list:
        schema |= {"items": _schema(field.items) if field.items else {}, "minItems": field.fewest}
    named = (
        ("minLength", field.shortest),
        ("maxLength", field.longest),
        ("maxItems", field.most),
        ("enum", list(field.choices)),
    )
    schema |= {name: value for name, value in named if value}
    if field.any_case:
        # JSON schema has no enumeration without regard to case
        del schema["enum"]
    if field.form:
        schema |= _SCHEMA_FORMS[field.form]
    schema |= dict(field.documented)
    if field.low != field.high:
        schema |= {"minimum": field.low, "maximum": field.high}
    if field.default is not None:
        schema["default"] = field.default
    return schema
