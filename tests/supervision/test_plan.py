"""What should run, and in which order; over the real registry and over wrong ones."""

from __future__ import annotations

import pytest

from shared.kinds import KINDS, ProcessKind
from shared.settings import Settings
from supervision.plan import KindUnknown, RegistryInvalid, check, desired_slots, followers, select, start_order
from tests.supervision.world import kind


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ((kind("a"), kind("a")), "listed twice"),
        ((kind("a", after=("b",)),), "do not exist: b"),
        ((kind("a", after=("b",)), kind("b", after=("a",))), "wait for each other: a, b"),
    ],
)
def test_contradicting_rows_are_refused(rows: tuple[ProcessKind, ...], problem: str) -> None:
    with pytest.raises(RegistryInvalid, match=problem):
        check(rows)


def test_the_registry_is_sound_and_stops_in_the_reverse_order() -> None:
    check(KINDS)
    order = start_order(KINDS)
    assert all(order.index(before) < order.index(row.name) for row in KINDS for before in row.after)
    assert followers(KINDS, "postgres") == {"recorder", "api", "meta", "webdriver"}
    assert followers(KINDS, "api") == frozenset()


def test_what_runs_follows_from_the_settings() -> None:
    external = desired_slots(
        KINDS, Settings(api_instances=3), embedded_postgres=False, embedded_redis=False, sandbox=False
    )
    assert external == {"api": 3, "webdriver": 1, "meta": 2, "recorder": 1, "sandbox": 0, "postgres": 0, "redis": 0}
    only = desired_slots(KINDS, Settings(only="api"), embedded_postgres=True, embedded_redis=True, sandbox=True)
    assert only == {"api": 2, "webdriver": 0, "meta": 0, "recorder": 1, "sandbox": 0, "postgres": 1, "redis": 1}
    with pytest.raises(KindUnknown, match="apo"):
        desired_slots(KINDS, Settings(only="apo"), embedded_postgres=True, embedded_redis=True, sandbox=True)


def test_targets_are_slots_kinds_or_everything() -> None:
    slots = ("api-0", "api-1", "meta-0")
    assert select(slots, "api", {}) == ("api-0", "api-1")
    assert select(slots, "api-1", {}) == ("api-1",)
    assert select(slots, "", {}) == slots
    with pytest.raises(KindUnknown, match="kinds: api; slots: api-0"):
        select(slots, "ap", {"api": 2})
