"""Verification of deliveries: by the specification's own example, and against what an attacker would send."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest

from bulkhead_client import WebhookRejected, verify
from bulkhead_client import webhooks as webhooks_module
from bulkhead_client.webhooks import sign
from hooks.signature import keys_of, signature

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
BODY = json.dumps({"id": "1-1", "type": "hook.test"}).encode()
NOW = 1_764_579_600


def headers(secret: str = SECRET, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return {"Webhook-Id": "1-1", "Webhook-Timestamp": str(at), "Webhook-Signature": sign(secret, "1-1", at, body)}


def test_the_example_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    assert (
        sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_signed_delivery_is_an_event() -> None:
    assert verify(headers(), BODY, SECRET, now=NOW)["type"] == "hook.test"
    assert verify({**headers(), "Webhook-Signature": f"v1,no {headers()['Webhook-Signature']}"}, BODY, SECRET, now=NOW)


def test_during_a_rotation_either_secret_fits() -> None:
    for secret in (SECRET, OTHER):
        assert verify(headers(secret), BODY, [SECRET, OTHER], now=NOW)


@pytest.mark.parametrize(
    ("given", "body", "secret", "now"),
    [
        (headers(), BODY + b" ", SECRET, NOW),
        (headers(), BODY, OTHER, NOW),
        (headers(), BODY, [], NOW),
        (headers(), BODY, SECRET, NOW + 301),
        (headers(), BODY, SECRET, NOW - 301),
        ({**headers(), "Webhook-Id": "1-2"}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Timestamp": str(NOW + 1)}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Timestamp": "soon"}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Timestamp": "9" * 5000}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Timestamp": "١٧٦٤٥٧٩٦٠٠"}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Signature": ""}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Signature": "v1,é"}, BODY, SECRET, NOW),
        ({**headers(), "Webhook-Signature": "v1,\ud800", "Webhook-Id": "\ud800"}, BODY, SECRET, NOW),
        ({}, BODY, SECRET, NOW),
        (headers(body=b"no"), b"no", SECRET, NOW),
    ],
)
def test_anything_else_is_rejected(given: dict[str, str], body: bytes, secret: str | list[str], now: float) -> None:
    with pytest.raises(WebhookRejected):
        verify(given, body, secret, now=now)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_é", "no base64"])
def test_no_key_can_be_forgotten(secret: str) -> None:
    """With an empty one, as of a setting that is missing, anyone can sign."""
    forged = "v1," + base64.b64encode(hmac.digest(b"", f"1-1.{NOW}.".encode() + BODY, "sha256")).decode()
    with pytest.raises(ValueError, match="secret is whsec_ and base64"):
        verify({**headers(), "Webhook-Signature": forged}, BODY, secret, now=NOW)


def test_the_program_signs_what_the_client_verifies() -> None:
    both = signature(keys_of([SECRET, OTHER]), "1-1", NOW, BODY)
    for secret in (SECRET, OTHER):
        assert verify({**headers(), "Webhook-Signature": both}, BODY, secret, now=NOW)


def test_every_secret_is_compared_with_every_signature_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, real = [], hmac.compare_digest

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    module: Any = webhooks_module
    monkeypatch.setattr(module.hmac, "compare_digest", compare_digest)
    both = {**headers(), "Webhook-Signature": f"{headers()['Webhook-Signature']} v1,no"}
    assert verify(both, BODY, [SECRET, OTHER], now=NOW)
    assert len(compared) == 4, "also those after the one that fits"
