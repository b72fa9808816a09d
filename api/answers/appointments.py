"""Appointments that a company's assistant books: services, their slots, bookings."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http import cursors
from api.http.bodies import BODY_PROBLEMS, read_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter
from api.http.problems import Problem
from api.tenants.companies import PATH
from shared.clock import read_timestamp
from shared.compose.directory import Directory
from shared.fields import Field, FieldsInvalid, checked, json_schema
from shared.store import functions
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.audit import recorded
from shared.timestamps import iso

SERVICES_MOST: Final = 100
_SLOTS_MOST: Final = 500
_PAGE: Final = 100
_ID: Final = re.compile(r"[0-9]{1,18}")
_SERVICE: Final = (
    Field(name="name", kind=str, required=True, shortest=1, longest=100, purpose="What customers call it."),
)
_SLOTS: Final = (
    Field(
        name="startsAt",
        kind=list,
        required=True,
        items=Field(kind=str, shortest=1, longest=40, documented=(("format", "date-time"),)),
        fewest=1,
        most=_SLOTS_MOST,
        purpose="Instants of ISO 8601 with a time zone.",
    ),
    Field(name="minutes", kind=int, default=30, low=1, high=24 * 60, purpose="How long each of them is."),
)


class AppointmentOperations:
    """The operations on services, slots and bookings."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="listServices",
                method="GET",
                path=f"{PATH}/services",
                scope="read",
                group="Assistant",
                summary="Services that customers can book",
                handler=self.show,
                answers={200: (f"By name; at most {SERVICES_MOST}.", "Services")},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="addService",
                method="POST",
                path=f"{PATH}/services",
                scope="manage",
                group="Assistant",
                summary="Add a service that customers can book",
                handler=self.add,
                body=json_schema(_SERVICE),
                examples=({"name": "Haircut"},),
                answers={200: ("It is there.", "Service")},
                problems=("company_unknown", *BODY_PROBLEMS, "too_many_services"),
            ),
            Operation(
                operation_id="addSlots",
                method="POST",
                path=f"{PATH}/services/{{serviceId}}/slots",
                scope="manage",
                group="Assistant",
                summary="Add times at which a service can be booked",
                handler=self.add_slots,
                body=json_schema(_SLOTS),
                examples=({"startsAt": ["2026-12-24T09:00:00Z", "2026-12-24T09:30:00Z"], "minutes": 30},),
                answers={200: ("The new ones; those that were there already are left out.", "Slots")},
                problems=("company_unknown", *BODY_PROBLEMS, "service_unknown"),
            ),
            Operation(
                operation_id="listBookings",
                method="GET",
                path=f"{PATH}/bookings",
                scope="read",
                group="Assistant",
                summary="Bookings of a company, the oldest first",
                handler=self.bookings,
                parameters=(
                    Parameter(
                        name="cursor",
                        place="query",
                        purpose="`next` of the page before.",
                        schema={"type": "string", "pattern": cursors.PATTERN},
                    ),
                ),
                answers={200: ("A page.", "Bookings")},
                problems=("company_unknown", "query_invalid"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with the services."""
        company_id = await self._company(request)
        rows = await self._store.as_company(company_id).call(functions.services, company_id)
        return JSONResponse({"companyId": company_id, "services": [_service(row) for row in rows]})

    async def add(self, request: Request) -> Response:
        """Add a service."""
        company_id = await self._company(request)
        name = checked(await read_json(request), _SERVICE)["name"].strip()
        row = await self._store.as_company(company_id).call(
            recorded(act_of(request), functions.add_service, after=lambda made: {"name": made["name"]} if made else {}),
            company_id,
            name,
            most=SERVICES_MOST,
        )
        if row is None:
            raise Problem("too_many_services", f"The company has {SERVICES_MOST} services.", limit=SERVICES_MOST)
        return JSONResponse(_service(row))

    async def add_slots(self, request: Request) -> Response:
        """Add slots."""
        company_id, service_id = await self._company(request), request.path_params["serviceId"]
        given = checked(await read_json(request), _SLOTS)
        slots = [_slot(text, given["minutes"], f"/startsAt/{index}") for index, text in enumerate(given["startsAt"])]
        added = recorded(act_of(request), functions.add_slots, after=lambda made: {"slots": len(made or ())})
        rows = (
            await self._store.as_company(company_id).call(added, company_id, int(service_id), slots)
            if _ID.fullmatch(service_id)
            else None
        )
        if rows is None:
            raise Problem("service_unknown", "The company has no such service.")
        shown = [
            {"id": str(row["id"]), "startsAt": iso(row["starts_at"]), "endsAt": iso(row["ends_at"])}
            for row in sorted(rows, key=lambda row: (row["starts_at"], row["id"]))
        ]
        return JSONResponse({"serviceId": service_id, "slots": shown})

    async def bookings(self, request: Request) -> Response:
        """Answer with a page of bookings."""
        company_id, given = await self._company(request), request.query_params.get("cursor")
        (after,) = cursors.decode(given, int)[1:] if given else (0,)
        rows = await self._store.as_company(company_id).call(
            functions.bookings, company_id, after=after, most=_PAGE + 1
        )
        page = rows[:_PAGE]
        following = cursors.encode(page[-1]["created_at"], page[-1]["id"]) if len(rows) > _PAGE else None
        return JSONResponse({"bookings": [_booking(row) for row in page], "next": following})

    async def _company(self, request: Request) -> str:
        company_id: str = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        return company_id


def _slot(text: str, minutes: int, at: str) -> tuple[datetime, datetime]:
    try:
        start = read_timestamp(text)
    except ValueError:
        raise FieldsInvalid([(at, "must be an instant of ISO 8601 with a time zone")]) from None
    # beyond it the seconds of a booking's place do not fit
    if start.year > 2200:
        raise FieldsInvalid([(at, "must lie before the year 2200")])
    return start, start + timedelta(minutes=minutes)


def _service(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "freeSlots": row["free_slots"],
        "createdAt": iso(row["created_at"]),
    }


def _booking(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "service": row["service"],
        "slotId": str(row["slot_id"]),
        "startsAt": iso(row["starts_at"]),
        "endsAt": iso(row["ends_at"]),
        "state": row["state"],
        "heldUntil": iso(row["held_until"]),
        "chatId": row["customer"],
        "createdAt": iso(row["created_at"]),
    }
