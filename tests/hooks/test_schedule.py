"""When deliveries are tried again, and how they are signed."""

from __future__ import annotations

import pytest

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


def test_signatures_are_those_of_the_standard_library_of_the_standard() -> None:
    """The value was made by the package `standardwebhooks` 1.1.0."""
    body = b'{"id":"81234-9917","type":"message.received"}'
    made = signature(keys_of(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]), "81234-9917", 1764579600, body)
    assert made == "v1,Kr2JISwk5dPW7Vbn33tYHlUf6FacHkQqj8Qb9eAhZuA="


def test_during_a_rotation_both_secrets_sign() -> None:
    one, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
    both = signature(keys_of([one, other]), "1-1", 1, b"{}")
    assert both.split(" ") == [signature(keys_of([one]), "1-1", 1, b"{}"), signature(keys_of([other]), "1-1", 1, b"{}")]
