"""When deliveries are tried again, and how they are signed."""

from __future__ import annotations

import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from hooks.schedule import GIVEN_UP_S, PROBE_S, WAITS_S, wait_s
from hooks.signature import keys_of, signature


def exact(low: float, high: float) -> float:
    return (low + high) / 2


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    elapsed, seen = 0.0, []
    for attempts in range(1, 20):
        wait = wait_s(attempts, elapsed, uniform=exact)
        if wait is None:
            break
        elapsed += wait
        seen.append(elapsed)
    assert seen == pytest.approx(list(WAITS_S))
    assert wait_s(9, GIVEN_UP_S) is None


def test_a_wait_that_is_asked_for_is_kept() -> None:
    assert wait_s(1, 0.0, retry_after_s=120.0, uniform=exact) == 120.0
    assert wait_s(4, 0.0, retry_after_s=1.0, uniform=exact) == WAITS_S[3] - WAITS_S[2], "but is never shorter"
    assert wait_s(1, 0.0, retry_after_s=1e9) == GIVEN_UP_S


def test_a_subscriber_that_is_down_is_probed() -> None:
    assert wait_s(6, 0.0, is_down=True, uniform=exact) == PROBE_S
    assert wait_s(1, 0.0, is_down=True, uniform=exact) == 5.0


def test_waits_are_spread() -> None:
    assert len({wait_s(2, 0.0) for _ in range(50)}) > 40


SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"]
BODY = '{"id":"81234-9917","type":"message.received","data":{"text":"Grüße"}}'


def delivered(secrets: list[str]) -> dict[str, str]:
    """Return the headers of a delivery."""
    now = int(time.time())
    signed = signature(keys_of(secrets), "81234-9917", now, BODY.encode())
    return {"webhook-id": "81234-9917", "webhook-timestamp": str(now), "webhook-signature": signed}


def test_the_standards_own_library_takes_our_signatures() -> None:
    for secret in SECRETS:
        assert Webhook(secret).verify(BODY, delivered([secret])) == json.loads(BODY)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(BODY + " ", delivered([secret]))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[0]).verify(BODY, delivered([SECRETS[1]]))


def test_during_a_rotation_both_secrets_sign() -> None:
    for secret in SECRETS:
        Webhook(secret).verify(BODY, delivered(SECRETS))
