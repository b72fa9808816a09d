"""What Meta takes as an interactive message, by its kind: as data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meta.sending.shapes import Check, anything, choice, link, listing, mapping, number, record, text, wrong

_MEDIA: Final = record({"id": text(255), "link": link}, exactly_one=("id", "link"))
_HEADER: Final = record(
    {
        "type": choice("text", "image", "video", "document"),
        "text": text(60),
        "sub_text": text(60),
        "image": _MEDIA,
        "video": _MEDIA,
        "document": _MEDIA,
    },
    needed=("type",),
)
_FOOTER: Final = record({"text": text(60)}, needed=("text",))
_REPLY: Final = record({"id": text(256), "title": text(20)}, needed=("id", "title"))
_BUTTON: Final = record({"type": choice("reply"), "reply": _REPLY}, needed=("type", "reply"))
_ROW: Final = record({"id": text(200), "title": text(24), "description": text(72, 0)}, needed=("id", "title"))
_PRODUCT: Final = record({"product_retailer_id": text(255)}, needed=("product_retailer_id",))
_URL_BUTTON: Final = record({"display_text": text(20), "url": link}, needed=("display_text", "url"))
_CARD: Final = record(
    {"card_index": number(0, 9), "type": text(40), "header": _HEADER, "action": mapping},
    needed=("card_index", "type", "action"),
)
_FLOW: Final = record(
    {
        "flow_message_version": choice("3"),
        "flow_cta": text(30),
        "flow_id": text(255),
        "flow_name": text(255),
        "flow_token": text(1024),
        "flow_action": choice("navigate", "data_exchange"),
        "flow_action_payload": record({"screen": text(255), "data": mapping}),
        "mode": choice("draft", "published"),
    },
    needed=("flow_message_version", "flow_cta"),
    exactly_one=("flow_id", "flow_name"),
)
_MOST_ROWS: Final = 10
_MOST_PRODUCTS: Final = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of interactive message.

    Attributes:
        action: what stands there. body: most characters; 0: it has none. needs_body, needs_header: whether they must be there. header: its types; none:
            it has none. whole: looks at the checked message for what its parts alone do not show.
    """

    action: Check
    body: int = 1024
    needs_body: bool = True
    header: tuple[str, ...] = ()
    needs_header: bool = False
    whole: Callable[[Mapping[str, Any], str], None] = lambda _message, _place: None


def _named(name: str, parameters: Check | None = None, *, needs_parameters: bool = True) -> Check:
    if parameters is None:
        return record({"name": choice(name)}, needed=("name",), more=False)
    return record(
        {"name": choice(name), "parameters": parameters},
        needed=("name", "parameters") if needs_parameters else ("name",),
        more=False,
    )


def _require_distinct(names: Iterable[str], place: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise wrong(place, "names the same id twice")
        seen.add(name)


def _buttons(message: Mapping[str, Any], place: str) -> None:
    _require_distinct((button["reply"]["id"] for button in message["action"]["buttons"]), f"{place}.action.buttons")


def _rows(message: Mapping[str, Any], place: str) -> None:
    rows = _in_sections(message, "rows", _MOST_ROWS, place)
    _require_distinct((row["id"] for row in rows), f"{place}.action.sections")


def _products(message: Mapping[str, Any], place: str) -> None:
    _in_sections(message, "product_items", _MOST_PRODUCTS, place)


def _in_sections(message: Mapping[str, Any], name: str, most: int, place: str) -> list[Mapping[str, Any]]:
    sections = message["action"]["sections"]
    for index, section in enumerate(sections):
        if len(sections) > 1 and not section.get("title"):
            raise wrong(f"{place}.action.sections[{index}]", "title is missing; among several sections each needs one")
    found = [one for section in sections for one in section[name]]
    if len(found) > most:
        raise wrong(f"{place}.action.sections", f"have {len(found)} {name} in all; at most {most} are allowed")
    return found


_ANY_HEADER: Final = ("text", "image", "video", "document")
_PICTURED: Final = ("image", "video", "document")

KINDS: Final[Mapping[str, Kind]] = {
    "button": Kind(
        action=record({"buttons": listing(_BUTTON, 1, 3)}, needed=("buttons",), more=False),
        header=_ANY_HEADER,
        whole=_buttons,
    ),
    "list": Kind(
        action=record(
            {
                "button": text(20),
                "sections": listing(
                    record({"title": text(24), "rows": listing(_ROW, 1, _MOST_ROWS)}, needed=("rows",)), 1, 10
                ),
            },
            needed=("button", "sections"),
            more=False,
        ),
        body=4096,
        header=("text",),
        whole=_rows,
    ),
    "cta_url": Kind(action=_named("cta_url", _URL_BUTTON), header=_ANY_HEADER),
    "flow": Kind(action=_named("flow", _FLOW), header=_ANY_HEADER),
    "product": Kind(
        action=record(
            {"catalog_id": text(255), "product_retailer_id": text(255)},
            needed=("catalog_id", "product_retailer_id"),
            more=False,
        ),
        needs_body=False,
    ),
    "product_list": Kind(
        action=record(
            {
                "catalog_id": text(255),
                "sections": listing(
                    record(
                        {"title": text(24), "product_items": listing(_PRODUCT, 1, _MOST_PRODUCTS)},
                        needed=("product_items",),
                    ),
                    1,
                    10,
                ),
            },
            needed=("catalog_id", "sections"),
            more=False,
        ),
        header=("text",),
        needs_header=True,
        whole=_products,
    ),
    "catalog_message": Kind(
        action=_named("catalog_message", record({"thumbnail_product_retailer_id": text(255)}), needs_parameters=False)
    ),
    "location_request_message": Kind(action=_named("send_location")),
    "call_permission_request": Kind(action=_named("call_permission_request"), needs_body=False),
    "request_contact_info": Kind(action=_named("request_contact_info")),
    "voice_call": Kind(action=_named("voice_call", mapping, needs_parameters=False), needs_body=False),
    "carousel": Kind(action=record({"cards": listing(_CARD, 2, 10)}, needed=("cards",), more=False)),
    "order_details": Kind(action=_named("review_and_pay", mapping), header=_PICTURED),
    "order_status": Kind(action=_named("review_order", mapping)),
}
"""Every kind that is checked in full. Of one that Meta adds later only the outline is checked, and Meta judges the rest."""

_OUTLINE: Final = record(
    {
        "type": text(64),
        "header": anything,
        "body": record({"text": text(4096)}, needed=("text",)),
        "footer": _FOOTER,
        "action": mapping,
    }
)


def interactive(value: Any, place: str) -> dict[str, Any]:
    """Check an interactive message. Raises `PayloadRefused`."""
    message: dict[str, Any] = record(
        {"type": text(64), "action": mapping, "footer": _FOOTER}, needed=("type", "action")
    )(value, place)
    kind = KINDS.get(message["type"])
    if kind is None:
        checked: dict[str, Any] = _OUTLINE(message, place)
        return checked
    message["action"] = kind.action(message["action"], f"{place}.action")
    if "body" in message:
        message["body"] = record({"text": text(kind.body)}, needed=("text",))(message["body"], f"{place}.body")
    elif kind.needs_body:
        raise wrong(place, "body is missing")
    if "header" in message:
        message["header"] = _header(message["header"], kind, f"{place}.header")
    elif kind.needs_header:
        raise wrong(place, "header is missing")
    kind.whole(message, place)
    return message


def _header(value: Any, kind: Kind, place: str) -> dict[str, Any]:
    header: dict[str, Any] = _HEADER(value, place)
    shown = header["type"]
    if shown not in kind.header:
        raise wrong(
            place,
            f"must be of type {' or '.join(kind.header)} here"
            if kind.header
            else "has no place in this kind of message",
        )
    if shown not in header:
        raise wrong(place, f"{shown} is missing")
    return header
