"""Chat ids: one definition of their forms and one canonical spelling of each, for clients and for what providers
deliver.

Order within a chat holds whatever spelling is used, and every chat that inbound stores can be read through the API.

| form | canonical id |
|---|---|
| phone number, `…@c.us`, `…@s.whatsapp.net` | its digits, with country code |
| short code, 3 to 6 digits | itself |
| `…@g.us`, `…@lid`, `…@newsletter`, `…@broadcast` | itself, in lower case |
| business-scoped user id, `US.…` | itself, country in capitals |
| more digits than a phone number has: a page-scoped id, or a group of Meta | itself |
| anything else that a provider uses as a name: a group of Meta, a `user_ref`, a form that is new | itself |

Which forms a connection can write to stands on its channel's row (`ConnectionType.reaches`, `ConnectionType.answers`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from shared.errors import BulkheadError

LONGEST: Final = 160
"""Characters of the longest chat id: a business-scoped user id of a parent account has up to 135."""


class ChatInvalid(BulkheadError):
    """Raised when a chat id has no known form, or one that the channel cannot write to. Its text gives the reason,
    without the id.

    Attributes:
        answerable: canonical id of a chat that can be written to once a message came from there; empty for all others.
    """

    def __init__(self, problem: str, *, answerable: str = "") -> None:
        self.answerable = answerable
        super().__init__(problem)


class ChatIdForm(StrEnum):
    """What a chat id is."""

    PHONE = "phone"
    SHORT_CODE = "short_code"
    GROUP = "group"
    LID = "lid"
    NEWSLETTER = "newsletter"
    BROADCAST = "broadcast"
    BUSINESS_SCOPED = "business_scoped"
    NUMERIC = "numeric"
    """Digits that are no phone number: a page-scoped or Instagram-scoped user id, a group of Meta."""
    ADDRESS = "address"
    """An id around an `@` that is none of those above: WhatsApp Web adds some from time to time."""
    OPAQUE = "opaque"
    """The provider's own name, whatever it looks like: a group of Meta, a `user_ref`."""


@dataclass(frozen=True, slots=True)
class ChatId:
    """A chat id as it was read.

    Attributes:
        id: canonical spelling. problem: of short codes and opaque ids, why the id is none of the other forms.
    """

    form: ChatIdForm
    id: str
    problem: str = ""


_ADDRESSES: Final = (
    (ChatIdForm.GROUP, re.compile(r"[0-9]{5,20}(-[0-9]{5,20})?@g\.us")),
    (ChatIdForm.LID, re.compile(r"[0-9]{5,20}@lid")),
    (ChatIdForm.NEWSLETTER, re.compile(r"[0-9]{5,20}@newsletter")),
    (ChatIdForm.BROADCAST, re.compile(r"([0-9]{5,20}|status)@broadcast")),
)
# WhatsApp's own spelling of a number; the part after the colon is one of the person's devices
_PHONE_ADDRESS: Final = re.compile(r"([0-9]+)(?::[0-9]{1,3})?@(?:c\.us|s\.whatsapp\.net)")
# Meta: country code, a dot, `ENT.` for ids of a parent account, then letters and digits
_BUSINESS_SCOPED: Final = re.compile(r"([A-Za-z]{2})\.(ENT\.)?([A-Za-z0-9]{1,128})")
_NUMERIC: Final = re.compile(r"[1-9][0-9]{4,31}")
# three to six digits: fewer than any number with a country code has
_SHORT_CODE: Final = re.compile(r"[1-9][0-9]{2,5}")
_USUAL_PHONE: Final = re.compile(r"[1-9][0-9]{6,14}")
_PHONE_SPELLING: Final = re.compile(r"\+?[0-9 ().\-\u00a0]*")
# RFC 3966, and the form of a library that many clients use
_URI: Final = re.compile(r"^(tel|whatsapp):(?=\+)", re.IGNORECASE)
_TYPED: Final[Mapping[str, str]] = {"Cf": "", "Pd": "-", "Zs": " "}
"""By category of Unicode: what is typed for format characters, dashes and spaces."""
_PLAIN_NUMBER: Final = re.compile(r"\+?([0-9]*)")
_NO_DIGIT: Final = re.compile(r"[^0-9]")
_TRUNK_PREFIX: Final = re.compile(r"([17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[235689][0-9]{2})0")
"""A zero right after a country code: a trunk prefix in most countries, part of the number in a few."""
# E.164: at most 15 digits; the shortest numbers with a country code in use have 7
_FEWEST_DIGITS: Final = 7
_MOST_DIGITS: Final = 15
_BY_ITSELF: Final = "id:"
"""Put before a provider's name that would be read as a misspelled phone number."""


def canonical(chat_id: str) -> str:
    """Return the one spelling of a chat, whatever channel it belongs to.

    Raises:
        ChatInvalid: it is empty, too long, not printable, or a phone number that cannot be one.
    """
    return read(chat_id).id


def admitted(chat_id: str) -> str:
    """Return the one spelling of a chat that a provider named: never refused, and always readable by `canonical`;
    empty for none."""
    if not chat_id.strip():
        return ""
    try:
        return canonical(chat_id)
    except ChatInvalid:
        # control characters cannot stand in a path; the replacement keeps the id's length and the rest of it
        printable = "".join(character if character.isprintable() else "\ufffd" for character in chat_id.strip())
        return (_BY_ITSELF + printable)[:LONGEST].rstrip()


def read(chat_id: str, *, numeric_ids: bool = False) -> ChatId:
    """Return form and canonical spelling of a chat id.

    Args:
        numeric_ids: the channel knows no phone numbers: digits are ids, also when a phone number could have as many.
    Raises:
        ChatInvalid: see `canonical`.
    """
    text = chat_id.strip()
    if _USUAL_PHONE.fullmatch(text) and not numeric_ids and not _TRUNK_PREFIX.match(text):
        # nearly every id, on the path of every message
        return ChatId(ChatIdForm.PHONE, text)
    return _read(text, numeric_ids=numeric_ids)


def _read(text: str, *, numeric_ids: bool) -> ChatId:
    text = _as_typed(text)
    if not text:
        raise ChatInvalid("the chat id is empty")
    if len(text) > LONGEST:
        raise ChatInvalid(f"the chat id has {len(text)} characters; none has more than {LONGEST}")
    # longer than E.164 allows: it cannot be a phone number
    if _NUMERIC.fullmatch(text) and (numeric_ids or len(text) > _MOST_DIGITS):
        return ChatId(ChatIdForm.NUMERIC, text, "" if numeric_ids else _digits_problem(text))
    # before the other forms: what looks like a number is judged as one, so that a mistake in it is named
    if _PHONE_SPELLING.fullmatch(text):
        if _SHORT_CODE.fullmatch(text):
            return ChatId(ChatIdForm.SHORT_CODE, text, _digits_problem(text))
        return ChatId(ChatIdForm.PHONE, _phone(text))
    if "@" in text:
        return _address(text)
    if found := _BUSINESS_SCOPED.fullmatch(text):
        return ChatId(ChatIdForm.BUSINESS_SCOPED, f"{found[1].upper()}.{found[2] or ''}{found[3]}")
    return _opaque(
        ChatIdForm.OPAQUE,
        text,
        "the chat id is neither a phone number (digits with country code), nor an id like …@g.us or …@lid, nor a"
        " business-scoped user id",
    )


def _as_typed(text: str) -> str:
    """Return a phone number as it is typed, without what pages and address books put around it; anything else as it
    is."""
    # the direction marks around a copied number, and its dashes and spaces that do not break
    plain = text if text.isascii() else "".join(_TYPED.get(unicodedata.category(one), one) for one in text)
    plain = _URI.sub("", plain).strip()
    return plain if _PHONE_SPELLING.fullmatch(plain) else text


def _address(text: str) -> ChatId:
    # addresses of WhatsApp have no capitals; a client's spelling must not make a second chat
    lower = text.lower()
    if found := _PHONE_ADDRESS.fullmatch(lower):
        return ChatId(ChatIdForm.PHONE, _phone(found[1]))
    for form, pattern in _ADDRESSES:
        if pattern.fullmatch(lower):
            return ChatId(form, lower)
    return _opaque(
        ChatIdForm.ADDRESS,
        text,
        "what stands around the @ of the chat id is not one of digits@c.us, digits@g.us, digits@lid, digits@newsletter"
        " and digits@broadcast",
    )


def _opaque(form: ChatIdForm, text: str, problem: str) -> ChatId:
    if not text.isprintable() or all(not character.isalpha() for character in text):
        # control characters, or a number in another script or with signs that no number has
        raise ChatInvalid(problem)
    return ChatId(form, text, problem)


def _phone(text: str) -> str:
    plain = _PLAIN_NUMBER.fullmatch(text)
    digits = plain[1] if plain else _NO_DIGIT.sub("", text)
    if digits.startswith("0"):
        raise ChatInvalid("a phone number starts with its country code, not with 0")
    if _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS + 1 and _TRUNK_PREFIX.match(digits):
        digits = _without_trunk_prefix(digits)
    if not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS:
        raise ChatInvalid(_digits_problem(digits))
    return digits


def _digits_problem(digits: str) -> str:
    return (
        f"a phone number has {_FEWEST_DIGITS} to {_MOST_DIGITS} digits with its country code; this one has"
        f" {len(digits)}"
    )


@lru_cache(maxsize=10_000)
def _without_trunk_prefix(digits: str) -> str:
    """Return the digits without a trunk prefix after the country code, as in `+49 (0)30 …`; a zero that belongs to the
    number stays."""
    # loaded for such numbers alone: the metadata of all countries is large
    import phonenumbers  # noqa: PLC0415

    try:
        number = phonenumbers.parse(f"+{digits}")
    # no country has such a code, or not such a number: the digits stay as they were given
    except phonenumbers.NumberParseException:
        return digits
    rest = digits[len(str(number.country_code)) :]
    national = phonenumbers.national_significant_number(number)
    # nothing but the zero is taken off: other prefixes that a country once had are part of WhatsApp's ids
    return f"{number.country_code}{national}" if rest == f"0{national}" else digits
