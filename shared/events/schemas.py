"""JSON schemas and examples of public events, for `/openapi.json` and the documents; tests compare real events with
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.events.catalogue import PUBLIC_TYPES, PublicType, Shape

_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_COUNT_OR_NULL: Final = {"type": ["integer", "null"], "minimum": 0}
_NAMES: Final = [row.name for row in PUBLIC_TYPES if not row.name.endswith(".*")]


def _object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


_CONNECTION: Final = {
    "phoneIndex": {**_COUNT_OR_NULL, "description": "Null: the connection is gone from the database."},
    "connectionType": _TEXT_OR_NULL,
}

_AT: Final = {"type": "string", "format": "date-time"}
_AT_OR_NULL: Final = {"type": ["string", "null"], "format": "date-time"}
_HOOK: Final = {
    "id": _TEXT,
    "url": _TEXT,
    "types": {"type": "array", "items": _TEXT, "description": "Empty: all."},
    "phoneIndexes": {"type": "array", "items": {"type": "integer"}, "description": "Empty: all connections."},
    "headers": {"type": "array", "items": _TEXT, "description": "Names; the values are not shown."},
    "state": {"title": "HookState", "type": "string", "enum": ["active", "paused", "disabled"]},
    "stateReason": {**_TEXT_OR_NULL, "description": "Of a disabled one: `gone` (410) or `failing`."},
    "position": {"type": "string", "description": "Everything up to here was delivered, or waits to be tried again."},
    "waiting": {"type": "integer", "description": "Events that wait to be tried again."},
    "deadLetters": {"type": "integer", "description": "Events that were given up."},
    "failingSince": {**_AT_OR_NULL, "description": "Since when nothing was taken."},
    "formerSecretUntil": {**_AT_OR_NULL, "description": "Until when the secret before the last also signs."},
    "createdAt": _AT,
    "updatedAt": _AT,
}

EVENT_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Event": {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "type", "at", "companyId", "data"],
        "properties": {
            "id": {
                "type": "string",
                "pattern": "^[0-9]{1,19}-[0-9]{1,19}$",
                "description": "Its place in the stream, usable as `after`; the same in the feed and in every delivery "
                "of a webhook.",
            },
            "type": {
                "type": "string",
                "description": f"One of {', '.join(_NAMES)}, or `process.…`. Types may be added.",
            },
            "at": {
                "type": "string",
                "format": "date-time",
                "description": "When it happened; of what a provider reports, by its clock.",
            },
            "companyId": {**_TEXT_OR_NULL, "description": "Null: it concerns the installation."},
            "data": {"type": "object", "description": "By type; see the webhooks of this document."},
        },
    },
    "EventPage": _object(
        {
            "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
            "next": {"type": "string", "description": "`after` of the next page, also when this one is empty."},
        }
    ),
    "MessageEventData": _object(
        {
            "messageId": _TEXT,
            "status": {**_TEXT_OR_NULL, "description": "Its state after the event; null where the event is no state."},
            "attempt": _COUNT_OR_NULL,
            "error": {
                "title": "MessageError",
                **_object({"code": _TEXT, "detail": _TEXT_OR_NULL}),
                "type": ["object", "null"],
            },
            "message": {
                "anyOf": [{"$ref": "#/components/schemas/EventMessage"}, {"type": "null"}],
                "description": "The message as it is when the event is read; null: it is not kept any more.",
            },
        }
    ),
    "SessionEventData": _object({**_CONNECTION, "state": _TEXT_OR_NULL, "detail": _TEXT_OR_NULL}),
    "ConnectionEventData": _object({**_CONNECTION, "detail": _TEXT_OR_NULL}),
    "TemplateEventData": _object(
        {
            **_CONNECTION,
            "name": _TEXT,
            "language": _TEXT,
            "status": {**_TEXT_OR_NULL, "description": "The provider's word."},
            "reason": _TEXT_OR_NULL,
            "quality": _TEXT_OR_NULL,
            "category": _TEXT_OR_NULL,
        }
    ),
    "Hook": _object(_HOOK),
    "NewHook": _object({**_HOOK, "secret": {"type": "string", "description": "Signs deliveries; not shown again."}}),
    "Hooks": _object({"hooks": {"type": "array", "items": {"$ref": "#/components/schemas/Hook"}}}),
    "HookTest": _object({"eventId": _TEXT}),
    "HookReplay": _object(
        {
            "events": {**_COUNT_OR_NULL, "description": "How many; null: everything after `after`."},
            "after": _TEXT_OR_NULL,
        }
    ),
    "HookDeliveries": _object(
        {
            "deliveries": {
                "type": "array",
                "items": {
                    "title": "HookDelivery",
                    **_object(
                        {
                            "eventId": _TEXT,
                            "type": _TEXT,
                            "at": _AT,
                            "attempt": _COUNT_OR_NULL,
                            "outcome": {
                                "title": "DeliveryOutcome",
                                "type": "string",
                                "enum": ["taken", "failed", "dead"],
                                "description": "`dead`: it was given up, and can be replayed.",
                            },
                            "statusCode": _COUNT_OR_NULL,
                            "error": _TEXT_OR_NULL,
                            "tookMs": _COUNT_OR_NULL,
                        }
                    ),
                },
            },
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "ContactEventData": _object(
        {
            "contactId": _TEXT,
            "otherContactId": {**_TEXT_OR_NULL, "description": "Who was merged into it, or split off from it."},
            "aliases": {"type": "array", "items": _TEXT, "description": "Every id of the contact, after the event."},
            "changed": {"type": "array", "items": _TEXT, "description": "Names of the fields that were changed."},
        }
    ),
    "ConversationEventData": _object(
        {
            "conversationId": _TEXT,
            "chatId": _TEXT,
            **_CONNECTION,
            "state": {
                "title": "ConversationState",
                "type": "string",
                "enum": ["bot", "waiting", "human", "closed"],
                "description": "After the event.",
            },
            "reason": {**_TEXT_OR_NULL, "description": "Why it has the state; conversations.md lists the reasons."},
            "assignee": {**_TEXT_OR_NULL, "description": "Who looks after it."},
            "version": {"type": "integer", "minimum": 1, "description": "Counts the changes of the conversation."},
            "formerIds": {
                "type": "array",
                "items": _TEXT,
                "description": "Conversations of the same person that were merged into it.",
            },
        }
    ),
    "AlertEventData": _object(
        {
            "alertId": _TEXT,
            "name": {**_TEXT_OR_NULL, "description": "Of the rule."},
            "labels": {"type": "object", "description": "What it is about."},
            "severity": {**_TEXT_OR_NULL, "description": "`critical` or `warning`."},
            "value": {"type": ["number", "null"], "description": "What was measured."},
            "summary": _TEXT_OR_NULL,
        }
    ),
    "DocumentEventData": _object(
        {
            "documentId": _TEXT,
            "title": _TEXT,
            "status": _TEXT_OR_NULL,
            "chunks": {**_COUNT_OR_NULL, "description": "Pieces that are searched."},
            "code": {**_TEXT_OR_NULL, "description": "Why it cannot be indexed, for programs."},
            "reason": {**_TEXT_OR_NULL, "description": "The same for people, with what to do."},
        }
    ),
    "HookEventData": _object({"hookId": _TEXT, "reason": _TEXT_OR_NULL}),
    "ProcessEventData": _object(
        {"kind": _TEXT_OR_NULL, "slot": _TEXT_OR_NULL, "incarnation": _TEXT_OR_NULL, "detail": {"type": "object"}}
    ),
}
"""Schemas by the name of their component. `EventMessage` is the API's `Message` without its history."""

SCHEMA_OF: Final[Mapping[Shape, str]] = {
    "message": "MessageEventData",
    "session": "SessionEventData",
    "connection": "ConnectionEventData",
    "template": "TemplateEventData",
    "contact": "ContactEventData",
    "conversation": "ConversationEventData",
    "process": "ProcessEventData",
    "hook": "HookEventData",
    "document": "DocumentEventData",
    "alert": "AlertEventData",
}

_MESSAGE: Final = {
    "id": "41",
    "direction": "in",
    "status": "received",
    "companyId": "demo",
    "chatId": "15550100200",
    "phoneIndex": 0,
    "connectionType": "meta_direct",
    "type": "text",
    "message": "Hello",
    "attempt": 0,
    "sender": "15550100200",
    "senderName": "Ada",
    "senderUsername": None,
    "providerMessageId": "wamid.HBgLMTU1NTAxMDAyMDA",
    **dict.fromkeys(("error", "sendAt", "notBefore", "inDoubtPolicy", "heldForHumanAt")),
    "createdAt": "2026-12-01T09:00:00.412Z",
    "sentAt": "2026-12-01T09:00:00.000Z",
    "updatedAt": "2026-12-01T09:00:00.412Z",
}
_DATA: Final[Mapping[Shape, Mapping[str, Any]]] = {
    "message": {"messageId": "41", "status": None, "attempt": None, "error": None, "message": _MESSAGE},
    "session": {"phoneIndex": 1, "connectionType": "wwebjs", "state": "ready", "detail": None},
    "connection": {"phoneIndex": 0, "connectionType": "meta_direct", "detail": "paused by an operator"},
    "template": {
        "phoneIndex": 0,
        "connectionType": "meta_direct",
        "name": "order_shipped",
        "language": "en_US",
        "status": "APPROVED",
        "reason": None,
        "quality": None,
        "category": "UTILITY",
    },
    "contact": {"contactId": "p17", "otherContactId": None, "aliases": ["15550100200"], "changed": []},
    "conversation": {
        "conversationId": "12",
        "chatId": "15550100200",
        "phoneIndex": 0,
        "connectionType": "meta_direct",
        "state": "waiting",
        "reason": "keyword",
        "assignee": None,
        "version": 2,
        "formerIds": [],
    },
    "hook": {"hookId": "3", "reason": "failing"},
    "document": {
        "documentId": "12",
        "title": "terms.pdf",
        "status": "indexed",
        "chunks": 14,
        "code": None,
        "reason": None,
    },
    "alert": {
        "alertId": "5",
        "name": "ProcessDown",
        "labels": {"kind": "meta", "slot": "meta-0"},
        "severity": "critical",
        "value": 0,
        "summary": "meta-0 has not been ready for a minute.",
    },
    "process": {"kind": "meta", "slot": "meta-0", "incarnation": "meta-0.7f3a", "detail": {}},
}


def example(row: PublicType) -> Mapping[str, Any]:
    """Return an event of a type, as it could be."""
    return {
        "id": "81234-9917",
        "type": row.name.replace("*", "ready"),
        "at": "2026-12-01T09:00:00.000Z",
        "companyId": None if row.is_installations else "demo",
        "data": _DATA[row.shape],
    }
