"""The text of an API key: a prefix that says what it is, 256 random bits, and a checksum.

The checksum is no secret. It refuses typing errors and most guesses without a query, and lets scanners of source code
find keys that were committed by mistake.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final, NamedTuple

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Letters and digits only: a double click selects the whole key, and no tool breaks a line in it."""
_SECRET_LENGTH: Final = 43
"""Characters for 256 bits: 62^43 is just above 2^256."""
_SUM_LENGTH: Final = 6
"""Characters for a CRC-32."""
_SHOWN: Final = 6
"""Characters of the random part that are kept for people: 36 of its bits, so 220 stay unknown."""
_FORM: Final = re.compile(rb"bh_(?:live|test)_[0-9A-Za-z]{49}")


class KeyText(NamedTuple):
    """A new key.

    Attributes:
        text: the key; shown once and kept nowhere. prefix: its first characters, for people. digest: SHA-256.
    """

    text: str
    prefix: str
    digest: bytes


def make_key(*, sandbox: bool) -> KeyText:
    """Return a new key; `sandbox`: marked as one of an installation that sends to stand-ins only."""
    begin = f"bh_{'test' if sandbox else 'live'}_"
    body = begin + _base62(int.from_bytes(secrets.token_bytes(32)), _SECRET_LENGTH)
    text = body + _checksum(body.encode())
    return KeyText(text, text[: len(begin) + _SHOWN], digest(text.encode()))


def is_well_formed(text: bytes) -> bool:
    """Whether a text can be a key of `make_key`: its form and its checksum are right."""
    return _FORM.fullmatch(text) is not None and _checksum(text[:-_SUM_LENGTH]).encode() == text[-_SUM_LENGTH:]


def digest(text: bytes) -> bytes:
    """Return what is kept of a key."""
    # no salt and no slow hash: those are for passwords, which can be guessed; 256 random bits cannot
    return hashlib.sha256(text).digest()


def _checksum(body: bytes) -> str:
    return _base62(zlib.crc32(body), _SUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
