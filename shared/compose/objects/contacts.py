"""Contact cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.fields import Field

_MOST_ENTRIES: Final = 20
"""Entries of one kind in a card: a bound against abuse; Meta names none."""
_TYPE: Final = Field(name="type", kind=str, longest=60, purpose="Any word, for example HOME, WORK or Mobile.")


def _text(name: str, longest: int, *, required: bool = False) -> Field:
    return Field(name=name, kind=str, required=required, shortest=1 if required else 0, longest=longest)


def _texts(*names: str) -> tuple[Field, ...]:
    return tuple(_text(name, 1000) for name in names)


def _entries(name: str, item: Field) -> Field:
    return Field(name=name, kind=list, most=_MOST_ENTRIES, items=item)


def _record(title: str, *fields: Field) -> Field:
    return Field(kind=dict, fields=fields, title=title)


_NAME: Final = (
    _text("formatted_name", 300, required=True),
    *_texts("first_name", "middle_name", "last_name", "prefix", "suffix"),
)
_PHONE: Final = Field(
    kind=dict,
    title="CardPhone",
    fields=(_text("phone", 60, required=True), _TYPE, _text("wa_id", 32)),
    # a plain text too, for clients that know nothing of Meta's spelling
    others=(Field(kind=str, shortest=1, longest=60),),
)
CONTACTS_FIELD: Final = Field(
    name="contacts",
    kind=list,
    purpose=(
        "Up to 5: `name` and `phones` as plain texts, or each as Meta spells it (`formatted_name`, `phone`, `type`,"
        " `wa_id`), with `emails`, `org`, …."
    ),
    required=True,
    fewest=1,
    # as many as the channels' rows allow (`contacts`)
    most=5,
    items=_record(
        "ContactCard",
        Field(
            name="name",
            kind=dict,
            title="CardName",
            required=True,
            fields=_NAME,
            others=(Field(kind=str, shortest=1, longest=300),),
        ),
        _entries("phones", _PHONE),
        _entries(
            "emails",
            _record("CardEmail", Field(name="email", kind=str, required=True, longest=320, form="email"), _TYPE),
        ),
        _entries("urls", _record("CardUrl", _text("url", 2000, required=True), _TYPE)),
        _entries(
            "addresses",
            _record("CardAddress", *_texts("street", "city", "state", "zip", "country", "country_code"), _TYPE),
        ),
        Field(name="org", kind=dict, title="CardOrganization", fields=_texts("company", "department", "title")),
        Field(name="birthday", kind=str, form="date", purpose="`2000-12-31`"),
    ),
)


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
    # Meta requires at least one part besides the whole name
    first, _, last = formatted.strip().partition(" ")
    return {
        "formatted_name": formatted,
        "first_name": first or formatted,
        **({"last_name": last.strip()} if last.strip() else {}),
    }
