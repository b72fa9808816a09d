"""Checks signatures of webhooks: HMAC over the raw bytes, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

SHA256: Final = "x-hub-signature-256"
SHA1: Final = "x-hub-signature"
"""Header of old webhooks of Messenger's; it counts only where the other one is absent, and an operator allows it."""

_LENGTHS: Final = {"sha256": 64, "sha1": 40}
"""Hexadecimal digits of each digest. `bytes.fromhex` alone would also take digits with spaces between them."""


def is_signed(header: str, body: bytes, app_secret: bytes, algorithm: str = "sha256") -> bool:
    """Whether `header` (the algorithm's name, `=` and hex digits) is the HMAC of the raw `body` under `app_secret`;
    never with an empty secret.
    """
    digits = header.removeprefix(f"{algorithm}=")
    try:
        given = bytes.fromhex(digits) if digits != header and len(digits) == _LENGTHS[algorithm] else b""
    # no digits: compared all the same, so that a malformed header takes as long as a wrong one
    except ValueError:
        given = b""
    return hmac.compare_digest(given, hmac.digest(app_secret, body, algorithm)) and bool(app_secret)


def is_weakly_signed(headers: Mapping[str, str], body: bytes, app_secret: bytes) -> bool:
    """Whether a body carries SHA-1 alone, and a right one. Its content decides whether that is enough."""
    # a post with both headers is judged by the strong one, also when that one is wrong
    return SHA256 not in headers and is_signed(headers.get(SHA1, ""), body, app_secret, "sha1")
