"""How far apart claims and settlements start."""

from __future__ import annotations

import pytest

from shared.delivery.batch_policy import chat_wait_s, claim_interval_s, settle_interval_s


def test_few_messages_wait_for_nothing() -> None:
    for in_flight in range(9):
        assert claim_interval_s(in_flight) == 0.0
        assert chat_wait_s(in_flight, offered=0) == 0.0


def test_intervals_grow_with_the_load_to_a_limit() -> None:
    claims = [claim_interval_s(in_flight) for in_flight in range(9, 200)]
    assert claims == sorted(claims)
    assert claims[0] == pytest.approx(0.02 * 9 / 48)
    assert claims[-1] == 0.02
    settlements = [settle_interval_s(in_flight, answered=0) for in_flight in range(1, 200)]
    assert settlements == sorted(settlements)
    assert (settlements[0], settlements[-1]) == (0.02, 0.04)


def test_a_settlement_waits_for_no_outcome_that_cannot_come() -> None:
    assert settle_interval_s(60, answered=59) > 0.0
    assert settle_interval_s(60, answered=60) == 0.0


def test_a_free_place_is_used_at_once_when_a_row_waits_for_it() -> None:
    assert chat_wait_s(40, offered=1) == 0.0
    assert chat_wait_s(40, offered=0) == 0.02
