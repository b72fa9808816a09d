"""Two customers and one slot, holds that end, and whose booking it is: the tools against the database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ai.tools.booking import BOOKING
from ai.tools.tool import Tool, ToolContext, ToolFailed
from tests.ai.env import empty
from tests.store.env import StoreEnv, side_by_side
from tests.support.database import query

_TOOLS = {tool.name: tool for tool in BOOKING}


@pytest.fixture
def slot(env: StoreEnv) -> int:
    env.connect()
    empty(env.url)
    (row,) = query(
        env.url,
        "WITH s AS (INSERT INTO services (company_id, name) VALUES ('acme', 'Haircut') RETURNING id) "
        "INSERT INTO slots (company_id, service_id, starts_at, ends_at) "
        "SELECT 'acme', id, now() + interval '1 day', now() + interval '1 day 30 minutes' FROM s RETURNING id",
    )
    number: int = row["id"]
    return number


def _use(env: StoreEnv, name: str, customer: str, **arguments: Any) -> dict[str, Any]:
    tool: Tool = _TOOLS[name]
    context = ToolContext(company_id="acme", connection_id=None, customer=customer, key="k")
    assert tool.in_rows is not None
    return dict(env.store.run(tool.in_rows, context, tool.read(json.dumps(arguments))))


def test_of_two_customers_at_once_one_gets_it(env: StoreEnv, slot: int) -> None:
    def book(customer: str) -> Any:
        try:
            return _use(env, "book_slot", customer, slot_id=slot)["booking_id"]
        except ToolFailed as failure:
            return str(failure)

    for _ in range(5):
        results = side_by_side(lambda: book("a"), lambda: book("b"))
        assert sorted(type(one).__name__ for one in results) == ["int", "str"], results
        assert any("is taken" in str(one) for one in results)
        query(env.url, "DELETE FROM bookings")


def test_an_overlapping_slot_of_the_same_service_is_taken_too(env: StoreEnv, slot: int) -> None:
    (other,) = query(
        env.url,
        "INSERT INTO slots (company_id, service_id, starts_at, ends_at) "
        "SELECT company_id, service_id, starts_at + interval '10 minutes', ends_at + interval '10 minutes' FROM slots "
        "RETURNING id",
    )
    _use(env, "book_slot", "a", slot_id=slot)
    with pytest.raises(ToolFailed, match="taken"):
        _use(env, "book_slot", "b", slot_id=other["id"])


def test_a_hold_ends_and_is_confirmed_by_its_own_customer_alone(env: StoreEnv, slot: int) -> None:
    held = _use(env, "book_slot", "a", slot_id=slot)["booking_id"]
    # asking again is no second booking
    assert _use(env, "book_slot", "a", slot_id=slot)["booking_id"] == held
    assert "No slot" in _use(env, "find_slots", "b")["message"]
    with pytest.raises(ToolFailed, match="not held"):
        _use(env, "confirm_booking", "b", booking_id=held)
    query(env.url, "UPDATE bookings SET held_until = now() - interval '1 second'")
    with pytest.raises(ToolFailed, match="not held"):
        _use(env, "confirm_booking", "a", booking_id=held)
    assert _use(env, "find_slots", "b", service="haircut")["slots"][0]["slot_id"] == slot
    second = _use(env, "book_slot", "b", slot_id=slot)["booking_id"]
    assert "confirmed" in _use(env, "confirm_booking", "b", booking_id=second)["message"]
    states = query(env.url, "SELECT state FROM bookings ORDER BY id")
    assert [row["state"] for row in states] == ["expired", "confirmed"]
    assert "cancelled" in _use(env, "cancel_booking", "b", booking_id=second)["message"]
    with pytest.raises(ToolFailed, match="no booking"):
        _use(env, "cancel_booking", "b", booking_id=second)
    assert _use(env, "find_slots", "c", day="2020-01-01")["slots"] == []


def test_a_slot_that_is_none_or_has_passed_is_not_booked(env: StoreEnv, slot: int) -> None:
    query(env.url, "UPDATE slots SET starts_at = now() - interval '1 hour', ends_at = now()")
    for number in (slot, 10**12):
        with pytest.raises(ToolFailed, match="no slot"):
            _use(env, "book_slot", "a", slot_id=number)
