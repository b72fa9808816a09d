"""Reads and cleans single JSON values. No type is trusted: anything that JSON can express may arrive."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from meta.errors import PROVIDER_ID_MOST
from shared.channels import chat_ids
from shared.errors import BulkheadError

TEXT_MOST: Final = 65_536
"""Characters of a text that are kept, 16 times what WhatsApp allows; the raw body in the journal has all of them."""
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")
_DEEPEST: Final = 32
"""Levels of nesting that are kept: far more than any provider sends, and far below Python's limit of recursion."""
_PART: Final = re.compile(r"#[0-9]{1,3}$")
_WHOLE_MOST: Final = 10**18
"""Below 2^63, so that PostgreSQL's bigint holds every number that is accepted."""


class Unreadable(BulkheadError):
    """Raised when one part of an event lacks what it must have. Its text names the field, never its value."""


def mapping(value: object) -> dict[str, Any]:
    """Return an object, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; what else stands in it, or is no list, is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def name(value: object) -> str:
    """Return a text or whole number that may name something, cleaned and cut; anything else as the empty text."""
    # some payloads have ids as JSON numbers. `bool` is a subclass of `int`
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _WHOLE_MOST:
        return str(value)
    return cleaned_text(value)[:PROVIDER_ID_MOST].strip() if isinstance(value, str) else ""


def text(value: object) -> str:
    """Return a text that may be kept; anything else as the empty text."""
    return cleaned_text(value)[:TEXT_MOST] if isinstance(value, str) else ""


def word(value: object) -> str:
    """Return a text that is one plain word, for outcomes and logs; anything else as the empty text."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def whole(value: object) -> int | None:
    """Return a whole number that is written as one or in digits, None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _WHOLE_MOST else None


def number(value: object) -> float | None:
    """Return a finite number, also one written as a text; None for anything else."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    # the comparison also refuses NaN and infinity, which `float` reads from a text
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _WHOLE_MOST:
        return value
    return None


def present(**fields: Any) -> dict[str, Any]:
    """Return those fields that have a value: not None, not the empty text."""
    return {key: value for key, value in fields.items() if value is not None and value != ""}


def identifier(part: Mapping[str, Any], field: str) -> str:
    """Return the provider's id of a part; where none can be used its content names it, so that a second arrival is
    still known.

    Raises:
        Unreadable: something stands there that is no text at all.
    """
    given = part.get(field)
    if isinstance(given, str) and given and len(given) <= PROVIDER_ID_MOST and given.isprintable():
        return given
    if given is not None and not isinstance(given, str):
        raise Unreadable(f"{field}: not a text")
    # an id that is empty, too long or not printable: the same part repeated has the same digest, and is stored once
    return digest(part)


def digest(part: Any) -> str:
    """Return a name made of the content of a part: the same for the same content."""
    return "sha256:" + hashlib.sha256(json.dumps(clean(part), sort_keys=True).encode()).hexdigest()


def instant(value: object, otherwise: datetime) -> datetime:
    """Return an instant as `known_instant` reads it; `otherwise` when it cannot be read."""
    return known_instant(value) or otherwise


def known_instant(value: object) -> datetime | None:
    """Return an instant given in seconds or milliseconds since 1970, as a number or in digits; None when it cannot be
    read.
    """
    # 13 digits are milliseconds up to the year 2286; more is no instant
    given = int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 13 else value
    if not isinstance(given, int) or isinstance(given, bool) or not 0 < given < 10**13:
        return None
    # seconds; Messenger and some samples have milliseconds
    return datetime.fromtimestamp(given / 1000 if given > 10**11 else given, UTC)


def canonical(chat: str) -> str:
    """Return the one spelling of a chat; a group's id, or a form that is new, names the chat as it is."""
    return chat_ids.admitted(chat)


def phone(value: object) -> str:
    """Return a phone number in digits, the empty text for anything that is none."""
    given = name(value)
    if not given or "." in given or "@" in given:
        return ""
    spelled = canonical(given)
    return spelled if spelled.isascii() and spelled.isdecimal() else ""


def part_id(provider_id: str, number: int) -> str:
    """Return our name of one part of a message that the provider knows as one: a message with several files is one line
    for each.
    """
    return provider_id if number == 1 else f"{provider_id}#{number}"


def whole_id(provider_id: str) -> str:
    """Return the provider's own id of the message that a part belongs to; other ids as they are."""
    return _PART.sub("", provider_id)


def cleaned_text(value: str) -> str:
    """Return a text as PostgreSQL can hold it: without NUL and without halves of characters."""
    # jsonb and text refuse NUL, and UTF-8 has no lone surrogates, which JSON's escapes can express
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean(value: Any, depth: int = 0) -> Any:
    """Return a JSON value as PostgreSQL can hold it; what is nested beyond all reason is cut off."""
    if isinstance(value, str):
        return cleaned_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST:
        return None
    if isinstance(value, dict):
        return {cleaned_text(key): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    return value
