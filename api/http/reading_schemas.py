"""JSON schemas of chats, people and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import (
    AT,
    AT_OR_NULL,
    COUNT,
    TEXT,
    TEXT_OR_NULL,
    YES_NO,
    Schema,
    array,
    closed_object,
    named_object,
    ref,
)

_NEXT: Final = {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."}
_LATENCY: Final = {
    "anyOf": [
        named_object(
            "Latency",
            {
                "messages": {**COUNT, "description": "How many were timed."},
                "p50": {**COUNT, "description": "Milliseconds; half of them were not slower. Within 5 %."},
                "p95": {**COUNT, "description": "Milliseconds; 95 of 100 were not slower. Within 5 %."},
            },
        ),
        {"type": "null"},
    ],
}
_FIGURES: Final[Mapping[str, Schema]] = {
    "accepted": {**COUNT, "description": "All that were to be sent."},
    "open": {**COUNT, "description": "Not sent so far: queued, being sent, or in doubt."},
    "sent": {**COUNT, "description": "Taken by the provider; those that were delivered or read included."},
    "delivered": {**COUNT, "description": "Delivered; those that were read included."},
    "read": COUNT,
    "failed": COUNT,
    "cancelled": {**COUNT, "description": "Deleted before they were sent."},
    "received": {**COUNT, "description": "Came in."},
    "echoed": {**COUNT, "description": "Written on the company's own phone, or in the provider's app."},
    "sentLatencyMs": {**_LATENCY, "description": "From when they were due until they were sent; null: none was."},
    "deliveredLatencyMs": {**_LATENCY, "description": "From when they were due until they were delivered."},
}

READING_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Chats": closed_object({"chats": array(ref("Chat")), "next": _NEXT}),
    "Chat": closed_object(
        {
            "chatId": {**TEXT, "description": "The id that was used last."},
            "aliases": {**array(TEXT), "description": "Every id of the chat, this one included."},
            "contact": {"anyOf": [ref("ChatContact"), {"type": "null"}], "description": "Null: nothing is known."},
            "phoneIndex": {**COUNT, "description": "Of the connection that was used last."},
            "connectionType": TEXT,
            "lastMessage": {
                "anyOf": [ref("ChatMessage"), {"type": "null"}],
                "description": "Null: it is not kept any more.",
            },
            "lastAt": {**AT, "description": "When it was written in last, by the provider's clock."},
            "unread": {
                **COUNT,
                "description": "Messages that came in after `readAt`, of the newest 100; 100: that many or more.",
            },
            "readAt": {
                **AT_OR_NULL,
                "description": "When it was marked as read, or the company wrote there last; null: never.",
            },
        }
    ),
    "ChatContact": closed_object({"id": TEXT, "name": TEXT_OR_NULL, "username": TEXT_OR_NULL}),
    "Contacts": closed_object({"contacts": array(ref("Contact")), "next": _NEXT}),
    "Contact": closed_object(
        {
            "id": {**TEXT, "description": "Ours; aliases are taken in its place."},
            "name": {**TEXT_OR_NULL, "description": "`givenName`, or else `profileName`."},
            "givenName": {**TEXT_OR_NULL, "description": "What the company calls it."},
            "profileName": {**TEXT_OR_NULL, "description": "What the person calls itself."},
            "username": TEXT_OR_NULL,
            "aliases": {**array(TEXT), "description": "Every id of it, over all connections: each is a chat id."},
            "phones": {**array(TEXT), "description": "Those of them that are numbers."},
            "tags": array(TEXT),
            "customFields": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
            "marketing": {
                **array(named_object("MarketingChoice", {"phoneIndex": COUNT, "accepts": YES_NO, "at": AT_OR_NULL})),
                "description": "What it said about marketing messages, to which connection.",
            },
            "merges": {
                **array(
                    named_object(
                        "ContactMerge", {"mergeId": TEXT, "contactId": TEXT, "aliases": array(TEXT), "mergedAt": AT}
                    )
                ),
                "description": "Contacts that were merged into it and can be split off, the newest first.",
            },
            "firstSeenAt": AT,
            "lastSeenAt": AT,
            "createdAt": AT,
            "updatedAt": AT,
        }
    ),
    "ChatRead": closed_object({"chatId": TEXT, "readAt": AT}),
    "Analytics": closed_object(
        {
            "companyId": TEXT,
            "since": {"type": "string", "format": "date"},
            "until": {"type": "string", "format": "date"},
            "asOf": {**AT, "description": "Everything that happened before is counted."},
            "total": ref("Figures"),
            "rows": array(ref("FiguresRow")),
        }
    ),
    "Figures": closed_object(_FIGURES),
    "FiguresRow": closed_object(
        _FIGURES,
        {
            "day": {"type": "string", "format": "date", "description": "UTC, of acceptance or arrival."},
            "phoneIndex": COUNT,
            "connectionType": TEXT,
            "type": TEXT,
        },
    ),
}
