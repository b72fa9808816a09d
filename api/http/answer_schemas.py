"""Shapes of the assistant's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import (
    AT,
    COUNT,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    array,
    choice,
    closed_object,
    named_object,
    ref,
)

_FUNCTION_PARAMETER: Final = named_object(
    "FunctionParameterDefinition",
    {"name": TEXT, "type": {**TEXT, "description": "string, integer, number or boolean"}},
    {"description": TEXT, "required": {"type": "boolean"}, "choices": array(TEXT)},
)

ANSWER_SCHEMAS: Final[Mapping[str, Schema]] = {
    "ProcessedMessage": closed_object(
        {
            "success": {"type": "boolean"},
            "response": named_object(
                "AssistantResponse",
                {
                    "content": {**TEXT, "description": "What to send to the customer."},
                    "toolCalls": {
                        **array(
                            named_object(
                                "AssistantToolCall",
                                {"name": TEXT, "arguments": {"type": "object", "additionalProperties": True}},
                            )
                        ),
                        "description": "What the assistant did on the way, for the caller's records: it is done.",
                    },
                },
            ),
        }
    ),
    "Function": closed_object(
        {
            "name": TEXT,
            "description": TEXT,
            "parameters": array(_FUNCTION_PARAMETER),
            "url": TEXT,
            "hasEffects": {"type": "boolean"},
            "secret": {**TEXT_OR_NULL, "description": "Name of the company's secret that is sent as bearer token."},
            "createdAt": AT,
            "updatedAt": AT,
        }
    ),
    "Functions": closed_object({"companyId": TEXT, "functions": array(ref("Function"))}),
    "ModelSpend": closed_object(
        {
            "companyId": TEXT,
            "monthlyBudget": {"type": ["number", "null"], "description": "US dollars; null: no limit."},
            "months": array(
                named_object(
                    "ModelSpendMonth",
                    {
                        "month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
                        "spent": {**NUMBER, "description": "US dollars."},
                        "reserved": {**NUMBER, "description": "US dollars that calls under way may cost."},
                        "calls": COUNT,
                        "tokensIn": COUNT,
                        "tokensOut": COUNT,
                    },
                )
            ),
        }
    ),
    "Service": closed_object({"id": TEXT, "name": TEXT, "freeSlots": COUNT, "createdAt": AT}),
    "Services": closed_object({"companyId": TEXT, "services": array(ref("Service"))}),
    "Slots": closed_object(
        {"serviceId": TEXT, "slots": array(named_object("Slot", {"id": TEXT, "startsAt": AT, "endsAt": AT}))}
    ),
    "Bookings": closed_object(
        {
            "bookings": array(
                named_object(
                    "Booking",
                    {
                        "id": TEXT,
                        "service": TEXT,
                        "slotId": TEXT,
                        "startsAt": AT,
                        "endsAt": AT,
                        "state": choice("BookingState", "held", "confirmed", "cancelled", "expired"),
                        "heldUntil": {**AT, "description": "Until when a hold counts."},
                        "chatId": {**TEXT, "description": "Of the customer."},
                        "createdAt": AT,
                    },
                )
            ),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
}
