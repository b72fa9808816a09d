"""Signatures of deliveries, as Standard Webhooks 1.0.0 defines them."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
"""First characters of a secret; the rest is base64."""


def keys_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Return the keys that secrets hold. Raises `ValueError` for what is no secret."""
    return tuple(base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets)


def signature(keys: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`: one signature for each key. `timestamp`: in seconds."""
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    # the name and not the function: OpenSSL then computes it in one call
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
