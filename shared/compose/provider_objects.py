"""Objects that are sent as the provider spells them: contacts, interactive messages, templates. Their structure and limits as tables.

Meta adds fields and kinds: what a table does not name passes, what it names is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.fields import Field, pointer, wrong_fields

Wrong = Iterator[tuple[str, str]]


def _text(name: str, longest: int, *, required: bool = True, purpose: str = "") -> Field:
    return Field(
        name=name, kind=str, purpose=purpose, required=required, shortest=1 if required else 0, longest=longest
    )


def _any(name: str, *, required: bool = True) -> Field:
    return Field(name=name, kind=dict, required=required)


def _list(name: str, most: int, *fields: Field, required: bool = True) -> Field:
    return Field(
        name=name, kind=list, required=required, fewest=1, most=most, items=Field(kind=dict, fields=fields, open=True)
    )


def _record(*fields: Field) -> Field:
    return Field(kind=dict, fields=fields)


def _words(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name=name, kind=str, longest=1000) for name in names)


def _many(name: str, item: Field) -> Field:
    return Field(name=name, kind=list, most=20, items=item)


_WHERE: Final = Field(name="type", kind=str, choices=("HOME", "WORK"))
_NAME: Final = (_text("formatted_name", 300), *_words("first_name", "middle_name", "last_name", "prefix", "suffix"))
_PHONE: Final = Field(
    kind=dict,
    fields=(
        _text("phone", 60),
        Field(name="type", kind=str, choices=("CELL", "MAIN", "IPHONE", "HOME", "WORK")),
        _text("wa_id", 32, required=False),
    ),
    others=(Field(kind=str, shortest=1, longest=60),),
)
CONTACTS_FIELD: Final = Field(
    name="contacts",
    kind=list,
    purpose="Up to 5: `name` and `phones` as plain texts, or each as Meta spells it (`formatted_name`, `phone`, `type`, `wa_id`), with `emails`, `org`, ….",
    required=True,
    fewest=1,
    most=5,
    items=_record(
        Field(name="name", kind=dict, required=True, fields=_NAME, others=(Field(kind=str, shortest=1, longest=300),)),
        _many("phones", _PHONE),
        _many("emails", _record(_text("email", 320), _WHERE)),
        _many("urls", _record(_text("url", 2000), _WHERE)),
        _many("addresses", _record(*_words("street", "city", "state", "zip", "country", "country_code"), _WHERE)),
        Field(name="org", kind=dict, fields=_words("company", "department", "title")),
        _text("birthday", 10, required=False, purpose="`2000-12-31`"),
    ),
)
INTERACTIVE_FIELD: Final = Field(
    name="interactive",
    kind=dict,
    purpose="As Meta spells it: `type`, `header`, `body`, `footer`, `action`.",
    required=True,
    open=True,
    fields=(
        _text("type", 40),
        Field(
            name="header",
            kind=dict,
            open=True,
            fields=(
                Field(name="type", kind=str, required=True, choices=("text", "image", "video", "document", "gif")),
                _text("text", 60, required=False),
            ),
        ),
        Field(name="body", kind=dict, open=True, fields=(_text("text", 4096),)),
        Field(name="footer", kind=dict, open=True, fields=(_text("text", 60),)),
        _any("action"),
    ),
)
TEMPLATE_FIELDS: Final = (
    _text("name", 512, purpose="The template's name."),
    _text("language", 20, purpose="Its language, `en_US` or `de`."),
    Field(
        name="components",
        kind=list,
        purpose="What is filled in, as Meta spells it.",
        most=20,
        items=Field(
            kind=dict,
            open=True,
            fields=(
                Field(name="type", kind=str, required=True, shortest=1, longest=40),
                Field(name="sub_type", kind=str, longest=40),
                Field(
                    name="parameters",
                    kind=list,
                    most=100,
                    items=Field(kind=dict, open=True, fields=(_text("type", 40),)),
                ),
            ),
        ),
    ),
)

_ROW: Final = (_text("id", 200), _text("title", 24), _text("description", 72, required=False))
_ACTIONS: Final[Mapping[str, tuple[Field, ...]]] = {
    "button": (
        _list(
            "buttons",
            3,
            Field(name="type", kind=str, required=True, choices=("reply",)),
            Field(name="reply", kind=dict, required=True, open=True, fields=(_text("id", 256), _text("title", 20))),
        ),
    ),
    "list": (_text("button", 20), _list("sections", 10, _text("title", 24, required=False), _list("rows", 10, *_ROW))),
    "cta_url": (
        Field(name="name", kind=str, required=True, choices=("cta_url",)),
        Field(
            name="parameters",
            kind=dict,
            required=True,
            open=True,
            fields=(_text("display_text", 20), _text("url", 2000)),
        ),
    ),
    "flow": (
        Field(name="name", kind=str, required=True, choices=("flow",)),
        Field(
            name="parameters",
            kind=dict,
            required=True,
            open=True,
            fields=(
                _text("flow_message_version", 10),
                _text("flow_cta", 30),
                _text("flow_id", 100, required=False),
                _text("flow_name", 300, required=False),
                Field(name="flow_action", kind=str, choices=("navigate", "data_exchange")),
                Field(name="mode", kind=str, choices=("draft", "published")),
            ),
        ),
    ),
    "product": (_text("catalog_id", 100), _text("product_retailer_id", 200)),
    "product_list": (
        _text("catalog_id", 100),
        _list(
            "sections",
            10,
            _text("title", 24, required=False),
            _list("product_items", 30, _text("product_retailer_id", 200)),
        ),
    ),
    "catalog_message": (Field(name="name", kind=str, required=True, choices=("catalog_message",)),),
    "location_request_message": (Field(name="name", kind=str, required=True, choices=("send_location",)),),
}
"""What stands in `action`, by type of the interactive message; of other types only that it is an object is checked."""
_BODY_MOST: Final = {
    "button": 1024,
    "cta_url": 1024,
    "flow": 1024,
    "location_request_message": 1024,
    "product_list": 1024,
    "product": 1024,
}
"""Characters of the body; 4,096 where Meta says nothing else."""
_BODILESS: Final = ("product",)


def wrong_interactive(given: Mapping[str, Any], at: str = "/interactive") -> Wrong:
    """Give what is wrong with an interactive message whose outline is right."""
    kind, action = given["type"], given["action"]
    yield from wrong_fields(action, _ACTIONS.get(kind, ()), f"{at}/action", open_=True)
    if kind not in _BODILESS and "body" not in given:
        yield f"{at}/body", "is missing"
    said, most = given.get("body", {}).get("text", ""), _BODY_MOST.get(kind, 0)
    if most and len(said) > most:
        yield f"{at}/body/text", f"has {len(said)} characters; at most {most} are allowed"
    header = given.get("header")
    if header is not None:
        what = header["type"]
        if what not in header:
            yield f"{at}/header/{what}", "is missing"
        if kind in ("list", "product_list") and what != "text":
            yield f"{at}/header/type", "must be text here"
    elif kind == "product_list":
        yield f"{at}/header", "is missing"
    yield from _wrong_whole(kind, action, at)


def _wrong_whole(kind: str, action: Mapping[str, Any], at: str) -> Wrong:
    """Give what is wrong with parts that are each right."""
    if kind == "button":
        yield from _twice(action.get("buttons"), ("reply", "id"), f"{at}/action/buttons")
    elif (
        kind == "flow"
        and isinstance(parameters := action.get("parameters"), dict)
        and ("flow_id" in parameters) == ("flow_name" in parameters)
    ):
        yield f"{at}/action/parameters", "must have exactly one of flow_id and flow_name"
    elif kind in ("list", "product_list"):
        inner, most = ("rows", 10) if kind == "list" else ("product_items", 30)
        sections = [section for section in _listed(action.get("sections")) if isinstance(section, dict)]
        rows = [row for section in sections for row in _listed(section.get(inner))]
        if len(rows) > most:
            yield f"{at}/action/sections", f"have {len(rows)} {inner} in all; at most {most} are allowed"
        if len(sections) > 1:
            yield from (
                (f"{at}/action/sections/{index}/title", "is missing")
                for index, section in enumerate(sections)
                if not section.get("title")
            )
        if kind == "list":
            yield from _twice(rows, ("id",), f"{at}/action/sections")


def _twice(items: Any, path: Sequence[str], at: str) -> Wrong:
    seen: set[str] = set()
    for item in _listed(items):
        value: Any = item
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str) and value in seen:
            yield at, f"name the same {path[-1]} twice"
        seen.add(str(value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def spelled_contacts(given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return contacts as Meta spells them."""
    return [
        {
            **contact,
            "name": _name(contact["name"]) if isinstance(contact["name"], str) else contact["name"],
            **(
                {"phones": [{"phone": phone} if isinstance(phone, str) else phone for phone in contact["phones"]]}
                if "phones" in contact
                else {}
            ),
        }
        for contact in given
    ]


def _name(formatted: str) -> Mapping[str, str]:
    # Meta wants at least one part beside the whole
    first, _, last = formatted.strip().partition(" ")
    return {
        "formatted_name": formatted,
        "first_name": first or formatted,
        **({"last_name": last.strip()} if last.strip() else {}),
    }


def own_files(node: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every object within a provider's object that names a file in our storage by `sha256`, with its JSON pointer."""
    if isinstance(node, dict):
        if isinstance(node.get("sha256"), str):
            yield at, node
            return
        for name, value in node.items():
            yield from own_files(value, at + pointer(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from own_files(value, f"{at}/{index}")
