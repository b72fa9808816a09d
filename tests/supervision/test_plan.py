"""What should run, and in which order; over the real registry and over wrong ones."""

from __future__ import annotations

import pytest

from shared.kinds import KINDS, ProcessKind
from shared.settings import Settings, load
from supervision.decisions.plan import (
    KindUnknown,
    RegistryInvalid,
    check,
    desired_slots,
    followers,
    select,
    start_order,
)
from tests.supervision.decide_env import kind


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ((kind("a"), kind("a")), "listed twice"),
        ((kind("a", after=("b",)),), "do not exist: b"),
        ((kind("a", after=("b",)), kind("b", after=("a",), admin_offset=1)), "wait for each other: a, b"),
        ((kind("a", instances_most=2), kind("b", admin_offset=1)), "b-0 has the admin port of a-1"),
        ((kind("a", needed="rain"),), "needs that do not exist: rain; known: always"),
        ((kind("a", settings=("colour",)),), "kind a lists settings that do not exist: colour"),
    ],
)
def test_contradicting_rows_are_refused(rows: tuple[ProcessKind, ...], problem: str) -> None:
    with pytest.raises(RegistryInvalid, match=problem):
        check(rows)


def test_the_registry_is_sound_and_stops_in_the_reverse_order() -> None:
    check(KINDS)
    order = start_order(KINDS)
    assert all(order.index(before) < order.index(row.name) for row in KINDS for before in row.after)
    assert followers(KINDS, "postgres") == {"recorder", "api", "meta", "webdriver", "hooks", "index", "ai"}
    assert followers(KINDS, "api") == frozenset()


def test_what_runs_follows_from_the_settings() -> None:
    servers = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h", "SANDBOX": "off"}
    settings = load(servers | {"API_INSTANCES": "3"})
    external = desired_slots(settings.kinds, settings)
    assert external == {
        "api": 3,
        "webdriver": 1,
        "meta": 2,
        "recorder": 1,
        "sandbox": 0,
        "postgres": 0,
        "redis": 0,
        "model": 0,
        "hooks": 1,
        "index": 1,
        "ai": 1,
    }
    only = desired_slots(KINDS, Settings(only="api"))
    assert only == {
        "api": 2,
        "webdriver": 0,
        "meta": 0,
        "recorder": 1,
        "sandbox": 0,
        "postgres": 1,
        "redis": 1,
        "model": 0,
        "hooks": 0,
        "index": 0,
        "ai": 0,
    }
    with pytest.raises(KindUnknown, match="apo"):
        desired_slots(KINDS, Settings(only="apo"))


def test_targets_are_slots_kinds_or_everything() -> None:
    slots = ("api-0", "api-1", "meta-0")
    assert select(slots, "api", {}) == ("api-0", "api-1")
    assert select(slots, "api-1", {}) == ("api-1",)
    assert select(slots, "", {}) == slots
    with pytest.raises(KindUnknown, match="kinds: api; slots: api-0"):
        select(slots, "ap", {"api": 2})
