"""Waits that providers ask for, on a clock that the test turns."""

from __future__ import annotations

import pytest

from meta.errors import ThrottlePolicy
from meta.sending.throttle import Throttle

POLICY = ThrottlePolicy(base_s=1, growth=4, cap_s=20)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_waits_grow_up_to_the_cap_and_start_again_after_a_success(clock: Clock) -> None:
    throttle = Throttle(clock)
    waits = []
    for _ in range(4):
        waits.append(throttle.refused("a", POLICY))
        clock.now += waits[-1]
    assert waits == [1, 4, 16, 20]
    throttle.passed("a")
    assert throttle.refused("a", POLICY) == 1


def test_refusals_of_one_burst_count_once(clock: Clock) -> None:
    throttle = Throttle(clock)
    assert [throttle.refused("a", POLICY) for _ in range(50)] == [1] * 50
    clock.now += 1
    assert throttle.refused("a", POLICY) == 4


def test_a_success_of_the_same_burst_does_not_end_the_wait(clock: Clock) -> None:
    throttle = Throttle(clock)
    throttle.refused("a", POLICY)
    throttle.passed("a")
    assert throttle.remaining_s("a") == 1
    clock.now += 0.25
    assert throttle.remaining_s("b", "a") == 0.75


def test_the_providers_own_wait_wins(clock: Clock) -> None:
    throttle = Throttle(clock)
    assert throttle.refused("a", POLICY, 180.0) == 180
    assert throttle.refused("a", POLICY, 200.0) == 200
    assert throttle.refused("a", POLICY) == 200


def test_keys_do_not_know_each_other_and_are_forgotten_in_time(clock: Clock) -> None:
    throttle = Throttle(clock)
    throttle.refused("a", POLICY)
    assert throttle.remaining_s("b") == 0
    for number in range(30_000):
        clock.now += 1
        throttle.refused(number, POLICY)
    assert len(throttle._refusals) <= 10_001
    assert throttle.remaining_s("a") == 0
