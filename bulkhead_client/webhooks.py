"""Verification of webhook deliveries (Standard Webhooks); pure."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from bulkhead_client.errors import WebhookRejected
from bulkhead_client.models import Event

_MOMENT: Final = re.compile("[0-9]{1,12}")
_FEWEST_BYTES: Final = 16
"""Of a secret. Standard Webhooks asks for 24; shorter than this it can be guessed, or is none."""
TOLERANCE_S: Final = 300.0
"""Seconds that a delivery may be old, and that clocks may differ."""


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Iterable[str],
    tolerance_s: float = TOLERANCE_S,
    *,
    now: float | None = None,
) -> Event:
    """Return the event of a delivery.

    Args:
        headers: of the delivery, in any case. body: as it came, not parsed and written again. secrets: of the webhook;
            several during a rotation. now: seconds since 1970, for tests.

    Raises:
        WebhookRejected: no secret signed it, or it is older or newer than `tolerance_s`.
        ValueError: a secret is none, for example empty.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not given.get(name)]
    if missing:
        raise WebhookRejected(f"The delivery has no {', '.join(missing)}.")
    moment = given["webhook-timestamp"]
    if not _MOMENT.fullmatch(moment):
        raise WebhookRejected("The header webhook-timestamp is no number.")
    if abs((time.time() if now is None else now) - int(moment)) > tolerance_s:
        raise WebhookRejected(f"The delivery is more than {tolerance_s:g} seconds old.")
    known = [secrets] if isinstance(secrets, str) else list(secrets)
    # as bytes: texts are compared only when both are ASCII, and a sender may write anything
    signatures = [one.encode("utf-8", "replace") for one in given["webhook-signature"].split()]
    expected = [sign(secret, given["webhook-id"], int(moment), body).encode() for secret in known]
    # every pair is compared, so that the time does not depend on which one fits
    fits = [hmac.compare_digest(one, other) for one in expected for other in signatures]
    if not any(fits):
        raise WebhookRejected("No secret fits the signature.")
    try:
        event: Any = json.loads(body)
    except ValueError as error:
        raise WebhookRejected("The body is not JSON.") from error
    return cast("Event", event)


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a delivery, as `webhook-signature` holds it. Raises `ValueError` for no secret."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ValueError("a webhook's secret is whsec_ and base64") from error
    # a setting that is missing is an empty text: with an empty key anyone can sign
    if len(key) < _FEWEST_BYTES:
        raise ValueError(f"a webhook's secret is whsec_ and base64 of {_FEWEST_BYTES} bytes or more")
    signed = f"{webhook_id}.{timestamp}.".encode("utf-8", "replace") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
