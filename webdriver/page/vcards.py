"""Contacts as vCards, the form in which WhatsApp carries them, and back. Pure.

Only what the API's shape has is written and read: names, phones, e-mail addresses, organisation, addresses of the web.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

# As in RFC 2426 (vCard 3.0): a backslash before special characters, long lines folded (section 2.6). No NUL, which
# PostgreSQL's text does not hold.
_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "", ",": "\\,", ";": "\\;", "\0": ""})
_UNESCAPE: Final = re.compile(r"\\(.)")
_PART: Final = re.compile(r"((?:[^\\;]|\\.|\\$)*)(?:;|$)")
"""What stands before a semicolon that is not escaped."""
_FOLDED: Final = re.compile(r"\r?\n[ \t]")
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_NAMES: Final = ("last_name", "first_name", "middle_name", "prefix", "suffix")
"""Parts of N, in its order."""
_MOST: Final = 100
"""Cards that are read out of one message."""


def display_name(contact: Mapping[str, Any]) -> str:
    """Return the name of a contact as it is shown."""
    return str(contact.get("name", {}).get("formatted_name", ""))


def vcard(contact: Mapping[str, Any]) -> str:
    """Return a contact as a vCard 3.0.

    Args:
        contact: {name: {formatted_name, …}, phones?, emails?, org?, urls?}, as Meta spells them.
    """
    name = contact.get("name", {})
    lines = [
        "BEGIN:VCARD",
        "VERSION:3.0",
        f"N:{';'.join(_escaped(name.get(part)) for part in _NAMES)}",
        f"FN:{_escaped(display_name(contact))}",
    ]
    if organisation := contact.get("org", {}).get("company"):
        lines.append(f"ORG:{_escaped(organisation)}")
    for row in contact.get("phones", ()):
        phone = str(row.get("phone", ""))
        # WhatsApp makes a contact that can be written to of a number with a waid
        account = _NOT_DIGIT.sub("", str(row.get("wa_id") or phone))
        lines.append(f"TEL;type={_parameter(row.get('type'))};waid={account}:{_escaped(phone or f'+{account}')}")
    lines += [
        f"EMAIL;type={_parameter(row.get('type'))}:{_escaped(row.get('email'))}" for row in contact.get("emails", ())
    ]
    lines += [f"URL:{_escaped(row.get('url'))}" for row in contact.get("urls", ())]
    return "\n".join([*lines, "END:VCARD"])


def contacts(cards: Iterable[str]) -> list[dict[str, Any]]:
    """Return what stands in vCards, in the shape that `vcard` takes; what has no place in it is left out."""
    return [_contact(card) for card in list(cards)[:_MOST]]


def _contact(card: str) -> dict[str, Any]:
    name: dict[str, str] = {"formatted_name": ""}
    found: dict[str, Any] = {"name": name, "phones": []}
    # not splitlines(), which also splits at characters that a name may hold
    for line in _FOLDED.sub("", card).replace("\r", "\n").split("\n"):
        head, colon, value = line.partition(":")
        if not colon:
            continue
        property_, *rows = head.split(";")
        # "item1.TEL" is a TEL with a label elsewhere
        kind = property_.rpartition(".")[2].upper()
        parameters = {key.lower(): text for key, _, text in (row.partition("=") for row in rows)}
        match kind:
            case "FN":
                name["formatted_name"] = _plain(value)
            case "N":
                name |= {part: _plain(text) for part, text in zip(_NAMES, _PART.findall(value), strict=False) if text}
            case "TEL":
                phone = {
                    "phone": _plain(value),
                    "type": parameters.get("type", "").upper(),
                    "wa_id": parameters.get("waid", ""),
                }
                found["phones"].append({key: text for key, text in phone.items() if text})
            case "EMAIL":
                found.setdefault("emails", []).append({"email": _plain(value)})
            case "ORG":
                found["org"] = {"company": _plain(_PART.findall(value)[0])}
            case "URL":
                found.setdefault("urls", []).append({"url": _plain(value)})
    return found


def _escaped(value: object) -> str:
    return "" if value is None else str(value).translate(_ESCAPED)


def _parameter(value: object) -> str:
    return re.sub(r"[^A-Za-z-]", "", str(value or "")) or "CELL"


def _plain(value: str) -> str:
    return _UNESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], value).replace("\0", "").strip()
