"""Examples for `/openapi.json`: of answers by schema, of problems and of parameters; a test validates each against its
schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from api.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from shared.events.catalogue import PUBLIC_TYPES
from shared.events.schemas import example
from shared.tenancy.company_settings import complete

# fixed, so that the document is the same each time it is made
_AT: Final = "2026-12-01T09:00:00.000Z"
_SILENCE: Final = {
    "id": "2",
    "name": "ProcessDown",
    "labels": {"slot": "meta-0"},
    "reason": "upgrade",
    "until": _AT,
    "createdBy": "operators",
    "createdAt": _AT,
}
_ACCEPTED: Final = {
    "id": "41",
    "status": "queued",
    "companyId": "demo",
    "chatId": "15550100200",
    "phoneIndex": 0,
    "connectionType": "meta_direct",
    "type": "text",
    "held": False,
    "createdAt": _AT,
}
_DOCUMENT: Final = {
    "id": "12",
    "status": "indexed",
    "title": "terms.pdf",
    "mimetype": "application/pdf",
    "size": 48210,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "chunks": 14,
    "pages": 5,
    "model": "wordllama-256",
    "attempts": 1,
    "code": None,
    "reason": None,
    "createdAt": _AT,
    "updatedAt": _AT,
    "indexedAt": _AT,
}
_CONNECTION: Final = {
    "phoneIndex": 1,
    "connectionType": "wwebjs",
    "process": "webdriver",
    "status": "active",
    "statusReason": None,
    "desired": "linked",
    "state": "ready",
    "detail": None,
    "accountId": None,
    "account": "15550100999",
    "sandbox": False,
    "wabaId": None,
    "options": {},
    "warning": None,
    "facts": {},
    "checkedAt": None,
    "templatesSyncedAt": None,
    "provedAt": _AT,
    "lastEventAt": None,
    "observedAt": _AT,
    "capabilities": {"text": {"supported": True, "limits": {"characters": 65536}}},
}
_FUNCTION: Final = {
    "name": "order_status",
    "description": "Looks up where an order is.",
    "parameters": [{"name": "order_number", "type": "string", "required": True}],
    "url": "https://shop.example.com/functions/order-status",
    "hasEffects": False,
    "secret": None,
    "createdAt": _AT,
    "updatedAt": _AT,
}
_SERVICE: Final = {"id": "1", "name": "Haircut", "freeSlots": 4, "createdAt": _AT}
_COMPANY: Final = {
    "companyId": "demo",
    "name": "Demo",
    "inDoubtPolicy": None,
    "state": "active",
    "stateReason": None,
    "stateAt": _AT,
    "settings": complete({"brandName": "Demo", "locale": ["en", "pt-BR"]}),
    "connections": 4,
    "version": 2,
    "createdAt": _AT,
    "updatedAt": _AT,
}

_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_MESSAGE: Final = {
    "id": "41",
    "direction": "out",
    "status": "delivered",
    "companyId": "demo",
    "chatId": "15550100200",
    "phoneIndex": 0,
    "connectionType": "meta_direct",
    "type": "text",
    "message": "Your parcel is on its way.",
    "attempt": 1,
    "providerMessageId": "wamid.HBgLMTU1NTAxMDAyMDA",
    **dict.fromkeys(
        ("sender", "senderName", "senderUsername", "error", "sendAt", "notBefore", "inDoubtPolicy", "heldForHumanAt")
    ),
    "createdAt": _AT,
    "sentAt": _AT,
    "updatedAt": _AT,
    "requestId": "5f0c2b8e9d1a4c37",
    "traceparent": None,
    "history": [
        {
            "state": state,
            "at": _AT,
            "providerAt": _AT if state == "delivered" else None,
            "attempt": attempt,
            "incarnation": "meta-0.7f3a",
            "code": None,
            "detail": None,
            "extra": None,
        }
        for state, attempt in (("queued", 0), ("sending", 1), ("sent", 1), ("delivered", 1))
    ],
}
_CHAT_MESSAGE: Final = {
    **{name: _MESSAGE[name] for name in ("id", "direction", "status", "chatId", "phoneIndex", "connectionType")},
    **{name: _MESSAGE[name] for name in ("type", "message", "sender", "senderName", "senderUsername")},
    **{name: _MESSAGE[name] for name in ("providerMessageId", "createdAt")},
    "errorCode": None,
    "at": _AT,
}
_SESSION: Final = {
    "companyId": "demo",
    "phoneIndex": 1,
    "connectionType": "wwebjs",
    "desired": "linked",
    "state": "ready",
    "detail": None,
    "account": "15550100999",
    "provedAt": _AT,
    "observedAt": _AT,
    "qr": None,
    "browser": {
        "rssMb": 812.4,
        "pssMb": 403.9,
        "ussMb": 377.0,
        "cpu": 0.02,
        "processes": 7,
        "ageSeconds": 86400.0,
        "readyAfterSeconds": 4.2,
        "connectsLastHour": 0,
        "restarts": 1,
    },
}
_TEMPLATE: Final = {
    "id": "594425479261596",
    "name": "parcel_sent",
    "language": "en_US",
    "category": "UTILITY",
    "status": "APPROVED",
    "reason": None,
    "quality": None,
    "components": [{"type": "BODY", "text": "Parcel {{1}} is on its way."}],
    "updatedAt": _AT,
}
_INSTANCE: Final = {
    "process": "meta",
    "instance": 0,
    "status": "healthy",
    "sources": ["orchestrator", "heartbeat"],
    "state": "ready",
    "reason": None,
    "pid": 4711,
    "incarnation": "meta-0.7f3a",
    "host": "host-1",
    "uptimeSeconds": 86400.0,
    "memoryMb": 96.5,
    "memoryLimitMb": 1024,
    "stateSeconds": 86395.0,
    "restarts": 0,
    "errorCount": 0,
    "lastError": None,
    "lastHeartbeatAt": _AT,
    "silentSeconds": 1.2,
}
_TROUBLE: Final = {
    "code": "session_link_lost",
    "about": "connection",
    "impact": "down",
    "sentence": "Session 1 of demo lost its link to the phone; its messages wait.",
    "mend": "Scan the code with the same phone: `bulkhead sessions link --company demo 1`.",
    "sinceSeconds": 840.0,
    "process": None,
    "companyId": "demo",
    "phoneIndex": 1,
}
_DEPENDENCY: Final = {"reachable": True, "askedAt": _AT, "tookMs": 0.6}
_HOOK: Final = {
    "id": "3",
    "url": "https://example.com/hook",
    "types": ["message.*"],
    "phoneIndexes": [],
    "headers": ["Authorization"],
    "state": "active",
    "stateReason": None,
    "position": "81234-9917",
    "waiting": 0,
    "deadLetters": 0,
    "failingSince": None,
    "formerSecretUntil": None,
    "createdAt": _AT,
    "updatedAt": _AT,
}
_LATENCY: Final = {"messages": 1170, "p50": 240, "p95": 910}
_FIGURES: Final = {
    "accepted": 1207,
    "open": 3,
    "sent": 1190,
    "delivered": 1170,
    "read": 801,
    "failed": 12,
    "cancelled": 2,
    "received": 640,
    "echoed": 0,
    "sentLatencyMs": _LATENCY,
    "deliveredLatencyMs": None,
}
_EVENT: Final = example(PUBLIC_TYPES[0])
_LIMITS: Final = {
    "requestsPerSecond": 20,
    "messagesPerSecond": None,
    "fileMegabytesPerHour": None,
    "openWaits": None,
}

_KEY: Final = {
    "id": "3",
    "name": "shop",
    "companyId": "demo",
    "prefix": "bh_live_4Jq8Zw",
    "scopes": ["send", "read"],
    "createdAt": _AT,
    "expiresAt": None,
    "rotatedAt": None,
    "previousUntil": None,
    "lastUsedAt": None,
    "revokedAt": None,
    "limits": _LIMITS,
}

_CONTACT: Final = {
    "id": "p17",
    "name": "Ada Lovelace",
    "givenName": "Ada Lovelace",
    "profileName": "Ada",
    "username": None,
    "aliases": ["15550100200", "US.13491208655302741918"],
    "phones": ["15550100200"],
    "tags": ["vip"],
    "customFields": {"customerNumber": "4711"},
    "marketing": [{"phoneIndex": 0, "accepts": False, "at": _AT}],
    "merges": [],
    "firstSeenAt": _AT,
    "lastSeenAt": _AT,
    "createdAt": _AT,
    "updatedAt": _AT,
}

_CONVERSATION: Final = {
    "id": "12",
    "chatId": "15550100200",
    "aliases": ["15550100200"],
    "contact": {"id": "p17", "name": "Ada", "username": None},
    "phoneIndex": 0,
    "connectionType": "meta_direct",
    "state": "waiting",
    "reason": "keyword",
    "stateAt": _AT,
    "waitingS": 41.5,
    "assignee": None,
    "humanUntil": None,
    "lastInboundAt": _AT,
    "version": 2,
    "formerIds": [],
    "createdAt": _AT,
    "updatedAt": _AT,
}

_RAW_EVENT: Final = {
    "id": "17",
    "source": "meta",
    "receivedAt": _AT,
    "processedAt": _AT,
    "attempts": 5,
    "outcome": "failed: entry has no changes",
    "bytes": 52,
}

EXAMPLES: Final[Mapping[str, Any]] = {
    "Conversation": _CONVERSATION,
    "ConversationWithMessages": {**_CONVERSATION, "messages": [_CHAT_MESSAGE]},
    "Conversations": {"conversations": [_CONVERSATION], "next": None},
    "Message": _MESSAGE,
    "ChatPage": {"messages": [_CHAT_MESSAGE], "next": None},
    "Chats": {
        "chats": [
            {
                "chatId": "15550100200",
                "aliases": ["15550100200"],
                "contact": {"id": "p17", "name": "Ada", "username": None},
                "phoneIndex": 0,
                "connectionType": "meta_direct",
                "lastMessage": _CHAT_MESSAGE,
                "lastAt": _AT,
                "unread": 0,
                "readAt": _AT,
            }
        ],
        "next": None,
    },
    "Contact": _CONTACT,
    "Contacts": {"contacts": [_CONTACT], "next": None},
    "ChatRead": {"chatId": "15550100200", "readAt": _AT},
    "Analytics": {
        "companyId": "demo",
        "since": "2026-11-25",
        "until": "2026-12-01",
        "asOf": _AT,
        "total": _FIGURES,
        "rows": [{**_FIGURES, "day": "2026-12-01"}],
    },
    "Session": _SESSION,
    "Sessions": {"companyId": "demo", "sessions": [_SESSION]},
    "SessionEvents": {
        "events": [
            {
                "id": "812",
                "at": _AT,
                "event": "session.state",
                "state": "ready",
                "detail": None,
                "incarnation": "webdriver-0.51c2",
            }
        ],
        "next": None,
    },
    "Templates": {"templates": [_TEMPLATE], "next": None, "syncedAt": _AT},
    "ServiceHealth": {
        "status": "healthy",
        "canAccept": True,
        "canSend": True,
        "checks": {"postgresql": "healthy", "redis": "healthy"},
    },
    "CompanyHealth": {
        "companyId": "demo",
        "status": "degraded",
        "at": _AT,
        "troubles": [],
        "connections": [
            {"phoneIndex": 1, "connectionType": "wwebjs", "status": "down", "troubles": [_TROUBLE]},
        ],
        "next": None,
    },
    "SystemHealth": {
        "status": "degraded",
        "canAccept": True,
        "canSend": True,
        "troubles": [_TROUBLE],
        "troublesLeftOff": 0,
        "companies": [{"companyId": "demo", "status": "degraded", "troubles": 1}],
        "at": _AT,
        "answeredBy": "api-0",
        "database": _DEPENDENCY,
        "redis": _DEPENDENCY,
        "orchestrator": {"state": "running", "at": _AT, "ageSeconds": 0.4},
        "processes": [_INSTANCE],
        "sessions": {"ready": 1},
    },
    "Alerts": {
        "alerts": [
            {
                "id": "5",
                "name": "ProcessDown",
                "state": "on",
                "severity": "critical",
                "summary": "meta-0 has not been ready for a minute.",
                "labels": {"kind": "meta", "slot": "meta-0"},
                "value": 0.0,
                "host": "host-1",
                "firedAt": _AT,
                "endedAt": None,
                "silenced": False,
                "runbook": "docs/runbook/ProcessDown.md",
                "trouble": "process_not_ready",
            }
        ],
        "next": None,
    },
    "AlertSilence": _SILENCE,
    "AlertSilences": {"silences": [_SILENCE]},
    "ProcessMetrics": {
        "process": "meta",
        "sessionsActive": None,
        "botsActive": 3,
        "messagesSent": 1207,
        "messagesReceived": 1310,
        "errors": 0,
        "apiErrors": 4,
        "avgResponseTime": 0.1312,
        "instances": [{"host": "bulkhead-1", "instance": 0, "at": _AT, "metrics": {"messages_in_flight": 3.0}}],
    },
    "Problem": {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "Health and metrics are for this machine; ask the process on its loopback port (ADMIN_PORT).",
        "instance": "5f0c2b8e9d1a4c37",
    },
    "Liveness": {"live": True, "stalled": []},
    "Readiness": {"ready": True, "missing": {}},
    "ProcessHealth": {
        "process": "api",
        "instance": 0,
        "status": "healthy",
        "state": "ready",
        "missing": {},
        "pid": 4712,
        "uptimeSeconds": 86400.0,
        "memoryMb": 81.2,
    },
    "text/plain": "# HELP messages_sent_total Messages that the provider took\nmessages_sent_total 1207.0\n",
    "text/csv": "contactId,aliases,name,profileName,username,tags,customFields\r\np17,15550100200,Ada,,,vip,\r\n",
    "text/vcard": "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:p17\r\nFN:Ada\r\nTEL;VALUE=uri:tel:+15550100200\r\nEND:VCARD\r\n",
    "text/event-stream": f"id: 81234-9917\nevent: message.received\ndata: {json.dumps(_EVENT)}\n\n",
    "OpenApiDocument": {"openapi": "3.1.0", "info": {"title": "Bulkhead", "version": "2.0"}, "paths": {}},
    "ProcessesAsked": {"slots": {"meta-0": "meta-0.7f3a"}},
    "ProcessLog": {"process": "meta-0", "stream": "err", "lines": ["Traceback (most recent call last):", "…"]},
    "Doctor": {
        "host": "host-a",
        "state": "done",
        "startedAt": "2026-12-01T08:59:58.000Z",
        "finishedAt": _AT,
        "problem": None,
        "checks": [
            {"check": "python", "result": "ok", "finding": "Python 3.11.7 on Linux 6.1.0", "mend": ""},
            {
                "check": "redis",
                "result": "fail",
                "finding": "Error 111 connecting to 127.0.0.1:6379. Connection refused.",
                "mend": "Start Redis, or correct REDIS_URL.",
            },
        ],
    },
    "ProcessHistory": {
        "since": "2026-12-01T08:00:00.000Z",
        "until": _AT,
        "stepSeconds": 60,
        "slots": [
            {
                "slot": "meta-0",
                "states": [{"state": "ready", "from": "2026-12-01T08:00:00.000Z", "until": _AT}],
                "exits": [{"at": "2026-12-01T08:12:00.000Z", "event": "exited", "reason": "signal 9"}],
                "memoryMb": [96.5, None],
                "errors": [0, None],
                "sent": [61, None],
                "received": [12, None],
            }
        ],
        "queues": [{"queue": "meta", "waiting": [3.0, None], "oldestSeconds": [0.4, None]}],
    },
    "RawEvents": {"events": [_RAW_EVENT], "next": None},
    "RawEvent": {**_RAW_EVENT, "body": '{"object": "whatsapp_business_account", "entry": []}'},
    "RawEventsReplayed": {"replayed": 1, "next": None},
    "Queues": {
        "queues": [{"process": "meta", "state": "queued", "messages": 3, "oldestSeconds": 0.4}],
        "connections": [
            {
                "companyId": "demo",
                "phoneIndex": 0,
                "connectionType": "meta_direct",
                "process": "meta",
                "paused": False,
                "due": 3,
                "oldestSeconds": 0.4,
                "held": 0,
                "dead": 0,
            }
        ],
    },
    "AllConnections": {
        "connections": [
            {
                **{name: _CONNECTION[name] for name in ("phoneIndex", "connectionType", "process", "status")},
                **{name: _CONNECTION[name] for name in ("statusReason", "desired", "state", "detail", "account")},
                **{name: _CONNECTION[name] for name in ("provedAt", "observedAt", "warning", "checkedAt")},
                "companyId": "demo",
                "name": "Front desk",
                "browser": None,
                "quality": None,
                "tier": None,
            }
        ],
        "next": None,
    },
    "Changes": {
        "changes": [
            {
                "id": "1207",
                "at": _AT,
                "type": "process.ready",
                "companyId": None,
                "phoneIndex": None,
                "process": "meta-0",
                "state": None,
                "detail": None,
                "key": None,
                "facts": {"after_s": 1.2},
            }
        ],
        "next": None,
    },
    "EventPage": {"events": [_EVENT], "next": "81240-0"},
    "Hook": _HOOK,
    "NewHook": {**_HOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    "Hooks": {"hooks": [_HOOK]},
    "HookTest": {"eventId": "81250-9921"},
    "HookReplay": {"events": 12, "after": None},
    "HookDeliveries": {
        "deliveries": [
            {
                "eventId": "81234-9917",
                "type": "message.received",
                "at": _AT,
                "attempt": 1,
                "outcome": "taken",
                "statusCode": 204,
                "error": None,
                "tookMs": 12,
            }
        ],
        "next": None,
    },
    "Limits": {"limits": _LIMITS},
    "Audit": {
        "events": [
            {
                "id": "1207",
                "type": "audit.hooks.created",
                "at": _AT,
                "companyId": "demo",
                "data": {
                    "operation": "POST /api/v2/hooks/{companyId}",
                    "key": {"id": "3", "name": "shop", "companyId": "demo"},
                    "address": "192.0.2.7",
                    "requestId": "5f0c2b8e9d1a4c37",
                    "subject": {},
                    "before": None,
                    "after": {"url": "https://example.com/hook"},
                },
            }
        ],
        "next": "81234.1207",
    },
    "Key": _KEY,
    "Keys": {"keys": [_KEY], "next": None},
    "OwnKey": {
        **{name: _KEY[name] for name in ("id", "name", "companyId", "scopes", "expiresAt")},
        "sandbox": True,
    },
    "NewKey": {**_KEY, "key": "bh_live_4Jq8ZwExampleOfAKeyThatIsNotOneAndNeverWas00000000"},
    "AcceptedMessage": _ACCEPTED,
    "MessageOrAccepted": _ACCEPTED,
    "StoredFile": {
        "sha256": _SHA256,
        "size": 51234,
        "mimetype": "image/jpeg",
        "filename": "parcel.jpg",
        "url": f"/api/v2/media/demo/{_SHA256}",
    },
    "LetterReasons": {
        "reasons": [
            {"held": False, "code": "131026", "phoneIndex": 0, "letters": 17, "firstAt": _AT, "lastAt": _AT},
        ],
        "complete": True,
    },
    "DeadLetters": {
        "letters": [
            {
                "id": "41",
                "status": "failed",
                "chatId": "15550100200",
                "phoneIndex": 0,
                "connectionType": "meta_direct",
                "type": "text",
                "attempt": 5,
                "error": {"code": "131026", "detail": "131026: the message is undeliverable"},
                "reason": "131026: the message is undeliverable",
                "choices": ["redrive"],
                "heldForHumanAt": None,
                "createdAt": _AT,
                "updatedAt": _AT,
            }
        ],
        "next": None,
    },
    "Redriven": {"redriven": 12, "more": False},
    "Connection": _CONNECTION,
    "Connections": {"companyId": "demo", "connections": [_CONNECTION]},
    "RemovedConnection": {"companyId": "demo", "phoneIndex": 1, "failedMessages": 0},
    "Company": _COMPANY,
    "Secret": {"name": "openai", "createdAt": _AT, "updatedAt": _AT},
    "Secrets": {"companyId": "demo", "secrets": [{"name": "openai", "createdAt": _AT, "updatedAt": _AT}]},
    "Companies": {"companies": [_COMPANY], "next": None},
    "Document": _DOCUMENT,
    "Documents": {"documents": [_DOCUMENT], "next": None},
    "DocumentSearch": {
        "results": [
            {
                "documentId": "12",
                "title": "terms.pdf",
                "source": "terms.pdf, page 3",
                "text": "Returns are accepted within 30 days.",
                "score": 0.82,
            }
        ],
        "legs": ["keyword", "vector"],
        "why": None,
    },
    "ProcessedMessage": {
        "success": True,
        "response": {"content": "Returns are accepted within 30 days. (Source: terms.pdf, page 3)", "toolCalls": []},
    },
    "Function": _FUNCTION,
    "Functions": {"companyId": "demo", "functions": [_FUNCTION]},
    "ModelSpend": {
        "companyId": "demo",
        "monthlyBudget": 50.0,
        "months": [
            {
                "month": "2026-11",
                "spent": 4.2,
                "reserved": 0.001,
                "calls": 5210,
                "tokensIn": 9120400,
                "tokensOut": 412300,
            }
        ],
    },
    "Service": _SERVICE,
    "Services": {"companyId": "demo", "services": [_SERVICE]},
    "Slots": {"serviceId": "1", "slots": [{"id": "12", "startsAt": _AT, "endsAt": _AT}]},
    "Bookings": {
        "bookings": [
            {
                "id": "5",
                "service": "Haircut",
                "slotId": "12",
                "startsAt": _AT,
                "endsAt": _AT,
                "state": "confirmed",
                "heldUntil": _AT,
                "chatId": "15550100200",
                "createdAt": _AT,
            }
        ],
        "next": None,
    },
    "Task": {
        "id": "7",
        "operation": "test_connection",
        "status": "done",
        "result": {},
        "progress": None,
        "problem": None,
        "createdAt": _AT,
        "expiresAt": _AT,
        "finishedAt": _AT,
    },
}
"""By name of the schema, or media type."""

PARAMETER_EXAMPLES: Final[Mapping[str, Any]] = {
    "companyId": "demo",
    "chatId": "15550100200",
    "messageId": "41",
    "phoneIndex": 0,
    "keyId": "3",
    "hookId": "3",
    "silenceId": "2",
    "exportId": "3",
    "documentId": "12",
    "contactId": "p17",
    "conversationId": "12",
    "taskId": "7",
    "serviceId": "1",
    "name": "parcel_sent",
    "rawEventId": "17",
    "process": "meta",
    "file": "base.css",
    "sha256": _SHA256,
    "Idempotency-Key": "order-1001-shipped",
    "Prefer": "wait=10",
    "types": "message.*",
    "limit": 50,
}
"""Values of parameters by name; every one of a path has one."""

_MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "body_invalid": {"errors": [{"pointer": "/message", "reason": "is missing"}]},
    "query_invalid": {"parameter": "limit"},
    "header_invalid": {"header": "Idempotency-Key"},
    "scope_missing": {"scope": "send"},
    "text_too_long": {"field": "message", "limit": 4096},
    "body_too_large": {"limit": 1048576},
    "limit_exceeded": {"policy": "key-requests"},
    "idempotency_key_reused": {"messageId": "41"},
    "message_id_reused": {"taskId": "17"},
    "message_not_queued": {"state": "sent"},
    "database_unavailable": {"reason": "unreachable"},
}


def problem_example(name: str) -> dict[str, Any]:
    """Return a problem of a type, as it could be. Raises `KeyError` for an unknown type."""
    kind = PROBLEM_TYPES[name]
    return {
        "type": TYPE_PREFIX + name,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": "5f0c2b8e9d1a4c37",
        **_MEMBERS.get(name, {}),
    }
