"""One canonical form for each chat, so that order within a chat holds whatever spelling a client or a provider uses.

| form | canonical | reached by |
|---|---|---|
| phone number, `…@c.us`, `…@s.whatsapp.net` | its digits, with country code | every channel |
| `…@g.us`, `…@lid`, `…@newsletter`, `…@broadcast` | itself, in lower case | browser sessions |
| business-scoped user id, `US.…` | itself, country in capitals | Meta's WhatsApp channels |
| page-scoped or Instagram-scoped user id, digits | itself | Messenger and Instagram, which know no phone numbers |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from shared.errors import BulkheadError

LONGEST: Final = 160
"""Characters of the longest chat id: a business-scoped user id of a parent account has up to 135."""


class ChatInvalid(BulkheadError):
    """Raised when a chat id has no form that we know, or one that the channel cannot reach. Its text says why, without repeating the id."""


class Form(StrEnum):
    """What a chat id is."""

    PHONE = "phone"
    GROUP = "group"
    LID = "lid"
    NEWSLETTER = "newsletter"
    BROADCAST = "broadcast"
    BUSINESS_SCOPED = "business_scoped"
    PAGE_SCOPED = "page_scoped"


_BROWSER: Final = frozenset({Form.PHONE, Form.GROUP, Form.LID, Form.NEWSLETTER, Form.BROADCAST})
_META: Final = frozenset({Form.PHONE, Form.BUSINESS_SCOPED})
_PAGE: Final = frozenset({Form.PAGE_SCOPED})
_REACH: Final[Mapping[str, frozenset[Form]]] = {
    "wwebjs": _BROWSER,
    "meta_direct": _META,
    "meta_embedded": _META,
    "360dialog": _META,
    "messenger": _PAGE,
    "instagram": _PAGE,
}
"""Forms that a connection type can reach; one that is not listed can reach phone numbers."""

_FORMS: Final = (
    (Form.GROUP, re.compile(r"[0-9]{5,20}(-[0-9]{5,20})?@g\.us")),
    (Form.LID, re.compile(r"[0-9]{5,20}@lid")),
    (Form.NEWSLETTER, re.compile(r"[0-9]{5,20}@newsletter")),
    (Form.BROADCAST, re.compile(r"([0-9]{5,20}|status)@broadcast")),
)
_PHONE_ADDRESS: Final = re.compile(r"([0-9]+)(?::[0-9]{1,3})?@(?:c\.us|s\.whatsapp\.net)")
_BUSINESS_SCOPED: Final = re.compile(r"([A-Za-z]{2})\.(ENT\.)?([A-Za-z0-9]{1,128})")
_PAGE_SCOPED: Final = re.compile(r"[1-9][0-9]{4,31}")
_PHONE_SPELLING: Final = re.compile(r"\+?[0-9 ().\-\u00a0]*")
_NO_DIGIT: Final = re.compile(r"[^0-9]")
_FEWEST_DIGITS: Final = 7
_MOST_DIGITS: Final = 15


def canonical(chat_id: str) -> str:
    """Return the one spelling of a chat, whatever channel it belongs to.

    Raises:
        ChatInvalid: it has no form that we know.
    """
    return _read(chat_id)[1]


def normalise(connection_type: str, chat_id: str) -> str:
    """Return the one spelling of a chat on a channel.

    Args:
        connection_type: of the connection that is to reach the chat. chat_id: as a client or a provider spelled it.
    Raises:
        ChatInvalid: it has no form that we know, or one that this channel cannot reach.
    """
    reach = _REACH.get(connection_type, frozenset({Form.PHONE}))
    if reach == _PAGE and _PAGE_SCOPED.fullmatch(chat_id.strip()):
        # as many digits as a phone number may have, and yet none
        return chat_id.strip()
    form, spelling = _read(chat_id)
    if form is Form.PAGE_SCOPED:
        # elsewhere it is a phone number with too many digits
        _phone(spelling)
    if form not in reach:
        raise ChatInvalid(f"a connection of type {connection_type} cannot reach a chat of form {form}")
    return spelling


def _read(chat_id: str) -> tuple[Form, str]:
    text = chat_id.strip()
    if not text:
        raise ChatInvalid("the chat id is empty")
    if len(text) > LONGEST:
        raise ChatInvalid(f"the chat id has {len(text)} characters; none has more than {LONGEST}")
    if "@" in text:
        return _address(text.lower())
    if found := _BUSINESS_SCOPED.fullmatch(text):
        return Form.BUSINESS_SCOPED, f"{found[1].upper()}.{found[2] or ''}{found[3]}"
    if len(text) > _MOST_DIGITS and _PAGE_SCOPED.fullmatch(text):
        return Form.PAGE_SCOPED, text
    if not _PHONE_SPELLING.fullmatch(text):
        raise ChatInvalid(
            "the chat id is neither a phone number (digits with country code), nor an id like …@g.us or …@lid, nor a business-scoped user id"
        )
    return Form.PHONE, _phone(_NO_DIGIT.sub("", text))


def _address(text: str) -> tuple[Form, str]:
    if found := _PHONE_ADDRESS.fullmatch(text):
        return Form.PHONE, _phone(found[1])
    for form, pattern in _FORMS:
        if pattern.fullmatch(text):
            return form, text
    raise ChatInvalid(
        "what stands around the @ of the chat id is not one of digits@c.us, digits@g.us, digits@lid, digits@newsletter and digits@broadcast"
    )


def _phone(digits: str) -> str:
    if digits.startswith("0"):
        raise ChatInvalid("a phone number starts with its country code, not with 0")
    if not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS:
        raise ChatInvalid(
            f"a phone number has {_FEWEST_DIGITS} to {_MOST_DIGITS} digits with its country code; this one has {len(digits)}"
        )
    return digits
