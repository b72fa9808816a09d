"""Appointments: find a free slot, hold it, confirm or cancel it. All of it is rows; a hold that lived only in the
model's words would be worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from pydantic import Field

from ai.tools.tool import Tool, ToolArguments, ToolContext, ToolFailed
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings

HOLD_S: Final = 600.0
"""Seconds for which a slot is held for a customer who has not confirmed yet."""
_LISTED: Final = 10


class FindArguments(ToolArguments):
    """What to look for."""

    service: str = Field(default="", max_length=100, description="Name of the service; empty: any.")
    day: date | None = Field(default=None, description="Day, such as 2026-12-24; none: any.")


class SlotArguments(ToolArguments):
    """Which slot."""

    slot_id: int = Field(ge=1, lt=2**63, description="Number of the slot, from find_slots.")


class BookingArguments(ToolArguments):
    """Which booking."""

    booking_id: int = Field(ge=1, lt=2**63, description="Number of the booking, from book_slot.")


def _find(transaction: Transaction, context: ToolContext, asked: FindArguments) -> Mapping[str, Any]:
    rows = transaction.rows(
        "free_slots", company_id=context.company_id, service=asked.service, day=asked.day, most=_LISTED
    )
    if not rows:
        return {"message": "No slot is free.", "slots": []}
    listed = [{"slot_id": row["id"], "service": row["service"], "starts_at": _at(row["starts_at"])} for row in rows]
    words = "; ".join(f"slot {one['slot_id']}: {one['service']}, {one['starts_at']}" for one in listed)
    return {"message": f"Free: {words}.", "slots": listed}


def _hold(transaction: Transaction, context: ToolContext, asked: SlotArguments) -> Mapping[str, Any]:
    slot = transaction.row("slot_to_book", company_id=context.company_id, slot_id=asked.slot_id)
    if slot is None:
        raise ToolFailed(f"there is no slot {asked.slot_id} that lies ahead; find_slots lists the free ones")
    whose = {
        "company_id": context.company_id,
        "connection_id": context.connection_id,
        "customer": context.customer,
        "slot_id": asked.slot_id,
    }
    place = _text(slot["place"])
    held = transaction.row("own_hold", **whose)
    if held is None:
        transaction.rows("expire_holds", company_id=context.company_id, place=place)
        held = transaction.row("hold_slot", **whose, place=place, hold_s=HOLD_S)
    if held is None:
        raise ToolFailed(f"slot {asked.slot_id} is taken; offer another one from find_slots")
    what = f"Slot {slot['id']} ({slot['service']}, {_at(slot['starts_at'])})"
    return {
        "booking_id": held["id"],
        "message": f"{what} is held as booking {held['id']} until {held['held_until']:%H:%M} UTC. It is booked when "
        f"the customer confirms booking {held['id']}.",
    }


def _confirm(transaction: Transaction, context: ToolContext, asked: BookingArguments) -> Mapping[str, Any]:
    row = transaction.row("confirm_booking", booking_id=asked.booking_id, **_whose(context))
    if row is None:
        raise ToolFailed(f"booking {asked.booking_id} is not held for this customer any more; book the slot again")
    return {"message": f"Booking {row['id']} is confirmed: {row['service']}, {_at(row['starts_at'])}."}


def _cancel(transaction: Transaction, context: ToolContext, asked: BookingArguments) -> Mapping[str, Any]:
    row = transaction.row("cancel_booking", booking_id=asked.booking_id, **_whose(context))
    if row is None:
        raise ToolFailed(f"this customer has no booking {asked.booking_id}")
    return {"message": f"Booking {row['id']} is cancelled."}


def _whose(context: ToolContext) -> dict[str, Any]:
    return {
        "company_id": context.company_id,
        "connection_id": context.connection_id,
        "customer": context.customer,
    }


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _text(place: Any) -> str:
    """Return a range as PostgreSQL reads it; the driver has made it an object."""
    return f"[{place.lower},{place.upper})"


BOOKING: Final[Sequence[Tool]] = (
    Tool(
        name="find_slots",
        description="Lists free appointments.",
        arguments=FindArguments,
        in_rows=_find,
    ),
    Tool(
        name="book_slot",
        description="Holds a free appointment for the customer for ten minutes, until it is confirmed.",
        arguments=SlotArguments,
        in_rows=_hold,
    ),
    Tool(
        name="confirm_booking",
        description="Confirms an appointment that is held, when the customer has agreed to it.",
        arguments=BookingArguments,
        in_rows=_confirm,
    ),
    Tool(
        name="cancel_booking",
        description="Cancels an appointment of the customer.",
        arguments=BookingArguments,
        in_rows=_cancel,
    ),
)


class BookingTools:
    """The tools of companies that have services (`ai.tools.registry.ToolSource`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, _: CompanySettings, company_id: str) -> Sequence[Tool]:
        """Return them; none without services."""
        found = await self._store.call(lambda transaction: transaction.row("has_services", company_id=company_id))
        return BOOKING if found else ()
