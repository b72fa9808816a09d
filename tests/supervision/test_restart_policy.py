"""The restart policy: bounds, jitter, reset, intensity, quarantine and probes, as properties and as stories."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shared.kinds import KINDS, ProcessKind, kind_named
from supervision.decisions.restart_policy import Policy, RestartDecision, RestartHistory, after_death, has_recovered

POLICY = Policy()
ROW = ProcessKind(
    name="x", entry="x.py", restart_base_s=1.0, first_restart_s=0.0, intensity=5, period_s=60.0, min_uptime_s=10.0
)
rows = st.sampled_from(KINDS)
lives = st.lists(st.floats(0, 400), min_size=1, max_size=60)


def longest(low: float, high: float) -> float:
    return high


def live_through(row: ProcessKind, healthy: list[float]) -> list[RestartDecision]:
    """Deaths after these healthy times, each restart after exactly the delay that was given."""
    now, history, decisions = 0.0, RestartHistory(), []
    for healthy_s in healthy:
        now += healthy_s
        decision = after_death(history, row, POLICY, now=now, healthy_s=healthy_s, uniform=longest)
        decisions.append(decision)
        history = RestartHistory() if has_recovered(history, row, healthy_s=healthy_s) else decision.history
        now += decision.delay_s
    return decisions


@given(rows, lives, st.floats(0, 1))
def test_delays_are_bounded_and_jittered(row: ProcessKind, healthy: list[float], draw: float) -> None:
    now, history = 0.0, RestartHistory()
    for healthy_s in healthy:
        now += healthy_s
        asked: list[tuple[float, float]] = []

        def uniform(low: float, high: float, asked: list[tuple[float, float]] = asked) -> float:
            asked.append((low, high))
            return low + (high - low) * draw

        decision = after_death(history, row, POLICY, now=now, healthy_s=healthy_s, uniform=uniform)
        if decision.quarantined:
            ((low, high),) = asked
            assert 0 < low == high / 2 and POLICY.probe_first_s <= high <= POLICY.probe_cap_s
        elif decision.history.failures < 2:
            assert asked == [] and decision.delay_s == row.first_restart_s
        else:
            ((low, high),) = asked
            assert low == 0.0 and row.restart_base_s <= high <= POLICY.cap_s
        history = decision.history
        now += decision.delay_s


@given(rows)
def test_first_restart_has_the_first_delay(row: ProcessKind) -> None:
    decision = after_death(RestartHistory(), row, POLICY, now=1000.0, healthy_s=0.0)
    assert (decision.delay_s, decision.quarantined) == (row.first_restart_s, False)


def test_the_users_numbers() -> None:
    """api and meta at once, webdriver from 5 s; 10 and 20 restarts."""
    assert kind_named("api").first_restart_s == kind_named("meta").first_restart_s == 0
    webdriver = kind_named("webdriver")
    assert (webdriver.restart_base_s, webdriver.intensity, webdriver.min_uptime_s) == (5.0, 10, 10.0)
    assert [decision.delay_s for decision in live_through(webdriver, [0.0] * 5)] == [1.0, 5.0, 10.0, 20.0, 30.0]
    assert [decision.delay_s for decision in live_through(kind_named("meta"), [0.0] * 7)] == [
        0.0,
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
        30.0,
    ]
    assert kind_named("meta").intensity == 20


@given(rows, st.integers(1, 200))
def test_becoming_ready_proves_nothing(row: ProcessKind, deaths: int) -> None:
    """Dying for ever just before the shortest life that counts is exactly as bad as dying at once."""
    almost = row.min_uptime_s - 0.001
    at_once, late = live_through(row, [0.0] * deaths), live_through(row, [almost] * deaths)
    assert [decision.history.failures for decision in late] == [decision.history.failures for decision in at_once]
    assert late[-1].quarantined == (deaths > row.intensity)


@given(rows, st.integers(1, 100), st.floats(0, 10_000))
def test_healthy_time_and_nothing_else_forgives(row: ProcessKind, deaths: int, healthy_s: float) -> None:
    before = RestartHistory(failures=float(deaths))
    after = after_death(before, row, POLICY, now=1e6, healthy_s=healthy_s).history.failures
    if healthy_s < row.min_uptime_s:
        assert after == deaths + 1
    else:
        assert 1.0 <= after < deaths + 1
    if healthy_s >= POLICY.half_life_s * 10:
        assert after < 1.1


@given(rows)
def test_a_crash_each_minute_is_restarted_at_the_first_delay_for_ever(row: ProcessKind) -> None:
    sparse = replace(row, period_s=min(row.period_s, 300.0))
    for decision in live_through(sparse, [60.0] * 300):
        assert decision.delay_s == row.first_restart_s and not decision.quarantined


def test_more_than_intensity_in_a_period_is_quarantine_even_of_long_lives() -> None:
    row = replace(ROW, min_uptime_s=0.0, period_s=1000.0)
    decisions = live_through(row, [100.0] * 7)
    assert [decision.quarantined for decision in decisions] == [False] * 5 + [True] * 2


@given(st.integers(1, 40))
def test_restarts_in_a_period_never_exceed_the_intensity(intensity: int) -> None:
    row = replace(ROW, intensity=intensity, restart_base_s=0.001)
    now, history, restarts = 0.0, RestartHistory(), []
    for _ in range(intensity * 3):
        decision = after_death(history, row, POLICY, now=now, healthy_s=0.0, uniform=lambda low, high: low)
        now += decision.delay_s
        if not decision.quarantined:
            restarts.append(now)
        history = decision.history
    assert all(len([at for at in restarts if start <= at < start + row.period_s]) <= intensity for start in restarts)


def test_probes_slow_down_and_one_success_ends_quarantine() -> None:
    history, delays = RestartHistory(failures=6, failed_probes=1), []
    for probe in range(6):
        decision = after_death(history, ROW, POLICY, now=1000.0 * probe, healthy_s=9.9, uniform=longest)
        assert decision.quarantined
        history = decision.history
        delays.append(decision.delay_s)
    assert delays == [60.0, 120.0, 240.0, 300.0, 300.0, 300.0]
    assert not has_recovered(history, ROW, healthy_s=9.9)
    assert has_recovered(history, ROW, healthy_s=10.0)
    assert not has_recovered(RestartHistory(), ROW, healthy_s=10.0)


@given(lives, lives)
def test_old_restarts_are_forgotten(first: list[float], second: list[float]) -> None:
    """The window is a window: the history stays small."""
    for decision in live_through(ROW, first + second):
        assert all(at > decision.history.restarts[-1] - ROW.period_s for at in decision.history.restarts)
