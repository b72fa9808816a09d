"""JSON schemas of responses, for `/openapi.json`; tests compare real responses with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.key_schemas import KEY_SCHEMAS
from api.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from api.http.shapes import AT as _AT
from api.http.shapes import AT_OR_NULL as _AT_OR_NULL
from api.http.shapes import COUNT as _COUNT
from api.http.shapes import NUMBER as _NUMBER
from api.http.shapes import NUMBER_OR_NULL as _NUMBER_OR_NULL
from api.http.shapes import TEXT as _TEXT
from api.http.shapes import TEXT_OR_NULL as _TEXT_OR_NULL
from api.http.shapes import YES_NO as _YES_NO
from api.http.shapes import Schema
from api.http.shapes import array as _list
from api.http.shapes import closed_object as _object
from api.http.shapes import ref as _ref
from shared.events.schemas import EVENT_SCHEMAS
from shared.states import DesiredSession, MessageState

_STATUS: Final[Schema] = {"type": "string", "enum": [state.value for state in MessageState]}


_DEPENDENCY: Final = _object({"reachable": _YES_NO, "askedAt": _AT, "tookMs": _NUMBER}, {"reason": _TEXT})
_FILE: Final = _object(
    {"status": {"type": "string", "enum": ["stored", "linked", "uploaded", "pending", "refused", "failed", "unknown"]}},
    {
        "sha256": _TEXT,
        "mimetype": _TEXT,
        "size": _COUNT,
        "filename": _TEXT,
        "url": {
            "type": "string",
            "description": "Where it is to be had: here, once it is stored; else the address that was given.",
        },
        "mediaId": {"type": "string", "description": "The provider's id of it."},
        "reason": {"type": "string", "description": "Why it could not be fetched."},
    },
)
# all optional: the type of the message decides which of them it has
_CONTENT: Final = {
    "message": {"type": "string", "description": "Of a text, and of an edit."},
    "preview": _YES_NO,
    "media": _FILE,
    "caption": _TEXT,
    "tag": _TEXT,
    "filename": _TEXT,
    "voice": _YES_NO,
    "latitude": _NUMBER,
    "longitude": _NUMBER,
    "name": _TEXT,
    "address": _TEXT,
    "contacts": _list({"type": "object"}),
    "emoji": _TEXT,
    "interactive": {
        "type": "object",
        "description": "What was sent, or `kind`, `id`, `title`, `description`, `response` of what was chosen.",
    },
    "language": {},
    "components": _list({"type": "object"}),
    "text": _TEXT,
    "payload": {},
    "messageId": {**_TEXT_OR_NULL, "description": "Our id of the message that it is about, if it is one of ours."},
    "targetProviderId": {**_TEXT_OR_NULL, "description": "The provider's id of the message that it is about."},
    "sourceChatId": _TEXT_OR_NULL,
    "for": {"type": "string", "enum": ["everyone", "me"]},
    "state": {"type": "string", "enum": ["on", "off"]},
    "lastsSeconds": _NUMBER,
    "content": {"description": "Of every other type, as it is kept."},
    "quotedMessageId": {"type": "string", "description": "The provider's id of the message that it replies to."},
    "context": {"type": "object", "description": "What came with it: forwarded, referral, …."},
    "edited": _YES_NO,
    "editedAt": _AT,
    "deleted": {
        "type": "boolean",
        "description": "What was deleted for everyone has no content any more: type, times and ids stay.",
    },
    "deletedFor": {"type": "string", "enum": ["everyone", "me"]},
    "deletedAt": {**_AT, "description": "When, by the provider's clock; absent for what was cancelled."},
    "reactions": _list(
        _object({"from": {**_TEXT_OR_NULL, "description": "Null: the company itself."}, "emoji": _TEXT})
    ),
}
_LIMITS: Final[Schema] = {"type": "object", "additionalProperties": {"anyOf": [_COUNT, _list(_TEXT)]}}
_EITHER_STATUS: Final[Schema] = {"type": "string", "enum": [*(state.value for state in MessageState), "received"]}

_SCHEMAS: Final[Mapping[str, Schema]] = {
    **KEY_SCHEMAS,
    # open, unlike other schemas: each type has extension members of its own
    "Problem": {
        "type": "object",
        "description": "RFC 9457, with extension members by type (docs/problems.md).",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": {
                "type": "string",
                "format": "uri",
                "description": f"Stable, and the thing to decide by; `{TYPE_PREFIX}` and one of "
                f"{', '.join(PROBLEM_TYPES)}. Types may be added.",
            },
            "title": _TEXT,
            # repeats the HTTP status, so that a problem that is logged or passed on keeps it (RFC 9457 3.1.2)
            "status": {"type": "integer"},
            "detail": _TEXT,
            "instance": {
                "type": "string",
                "description": "The request's correlation id, as in the header X-Request-Id.",
            },
        },
    },
    # ids are texts: a bigint can exceed 2^53, from where on JavaScript's numbers skip integers
    "AcceptedMessage": _object(
        {
            "id": _TEXT,
            "status": _STATUS,
            "companyId": _TEXT,
            "chatId": {"type": "string", "description": "The chat's canonical id."},
            "phoneIndex": _COUNT,
            "connectionType": _TEXT,
            "type": _TEXT,
            "held": {
                "type": "boolean",
                "description": "The connection is paused: the message waits until it is resumed.",
            },
            "createdAt": _AT,
        },
        {"sendAt": {**_AT, "description": "When it will be sent, if that is later."}},
    ),
    # a DELETE that cancels shows the message; one that deletes at the provider is a new message itself
    "MessageOrAccepted": {"anyOf": [_ref("Message"), _ref("AcceptedMessage")]},
    "StoredFile": _object(
        {"sha256": _TEXT, "size": _COUNT, "mimetype": _TEXT, "filename": _TEXT_OR_NULL, "url": _TEXT}
    ),
    "Message": _object(
        {
            "id": _TEXT,
            "direction": {"type": "string", "enum": ["in", "out"]},
            "status": _EITHER_STATUS,
            "companyId": _TEXT,
            "chatId": _TEXT,
            "phoneIndex": _COUNT,
            "connectionType": _TEXT,
            "type": _TEXT,
            "attempt": _COUNT,
            "sender": _TEXT_OR_NULL,
            "senderName": _TEXT_OR_NULL,
            "providerMessageId": _TEXT_OR_NULL,
            "error": {
                "type": ["object", "null"],
                "required": ["code", "detail"],
                "properties": {"code": _TEXT, "detail": _TEXT},
            },
            "sendAt": {**_AT_OR_NULL, "description": "Requested time of sending, if not at once."},
            "notBefore": {**_AT_OR_NULL, "description": "When the next attempt is due."},
            "inDoubtPolicy": {"type": ["string", "null"], "enum": ["auto", "resend", "hold", None]},
            "heldForHumanAt": {**_AT_OR_NULL, "description": "When policy left a message in doubt to a human."},
            "createdAt": _AT,
            "sentAt": _AT_OR_NULL,
            "updatedAt": _AT,
            "history": _list(
                _object(
                    {
                        "state": _STATUS,
                        "at": _AT,
                        "providerAt": _AT_OR_NULL,
                        "attempt": _COUNT,
                        "incarnation": _TEXT_OR_NULL,
                        "code": _TEXT_OR_NULL,
                        "detail": _TEXT_OR_NULL,
                        "extra": {"type": ["object", "null"]},
                    }
                )
            ),
        },
        {
            **_CONTENT,
            "requestId": {**_TEXT_OR_NULL, "description": "Of the request that asked for it; also in log lines."},
            "traceparent": {**_TEXT_OR_NULL, "description": "The W3C trace of that request."},
        },
    ),
    "DeadLetters": _object(
        {
            "letters": _list(
                _object(
                    {
                        "id": _TEXT,
                        "status": {"type": "string", "enum": [MessageState.FAILED.value, MessageState.IN_DOUBT.value]},
                        "chatId": _TEXT,
                        "phoneIndex": _COUNT,
                        "connectionType": _TEXT,
                        "type": _TEXT,
                        "attempt": _COUNT,
                        "error": _object({"code": _TEXT, "detail": _TEXT}),
                        "reason": {"type": "string", "description": "Why a human decides, in a sentence."},
                        # so that a client can show buttons without knowing the rules
                        "choices": {
                            **_list({"type": "string", "enum": ["redrive", "sent", "resend", "failed"]}),
                            "description": "What can be done: `redrive`, or a value of `as` of the operation "
                            "`resolve`; empty while the message cannot be sent.",
                        },
                        "heldForHumanAt": _AT_OR_NULL,
                        "createdAt": _AT,
                        "updatedAt": _AT,
                    }
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Redriven": _object(
        {"redriven": _COUNT, "more": {"type": "boolean", "description": "As many as asked for: there may be others."}}
    ),
    "ChatPage": _object(
        {
            "messages": _list(
                _object(
                    {
                        "id": _TEXT,
                        "direction": {"type": "string", "enum": ["in", "out"]},
                        "status": _EITHER_STATUS,
                        "chatId": _TEXT,
                        "phoneIndex": _COUNT,
                        "connectionType": _TEXT,
                        "type": _TEXT,
                        "sender": _TEXT_OR_NULL,
                        "senderName": _TEXT_OR_NULL,
                        "providerMessageId": _TEXT_OR_NULL,
                        "errorCode": _TEXT_OR_NULL,
                        "at": {
                            **_AT,
                            "description": "When it was written, by the provider's clock; of ours, when it was "
                            "accepted.",
                        },
                        "createdAt": _AT,
                    },
                    _CONTENT,
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Connections": _object({"companyId": _TEXT, "connections": _list(_ref("Connection"))}),
    "Connection": _object(
        {
            "phoneIndex": _COUNT,
            "connectionType": _TEXT,
            "process": _TEXT,
            "status": {"type": "string", "enum": ["active", "paused"]},
            "statusReason": _TEXT_OR_NULL,
            "desired": {"type": "string", "enum": [state.value for state in DesiredSession]},
            "state": _TEXT,
            "detail": _TEXT_OR_NULL,
            "accountId": _TEXT_OR_NULL,
            "account": {
                "type": ["string", "null"],
                "description": "The number that a browser session is linked as, or was last.",
            },
            "sandbox": {
                "type": "boolean",
                "description": "Whether the sandbox answers in the provider's place.",
            },
            "wabaId": _TEXT_OR_NULL,
            "options": {"type": "object", "description": "Rates and how it is reached, as they were given."},
            "warning": {
                **_TEXT_OR_NULL,
                "description": "What an operator should act on: a token that ends soon, a number in bad quality.",
            },
            "facts": {
                "type": "object",
                "description": "Last known facts from the provider: `number`, `token`, `webhooks`, `page`.",
            },
            "checkedAt": {**_AT_OR_NULL, "description": "When the provider was asked last."},
            "templatesSyncedAt": _AT_OR_NULL,
            "provedAt": _AT_OR_NULL,
            "lastEventAt": _AT_OR_NULL,
            "observedAt": _AT_OR_NULL,
            # by name of an operation or message type; those that the channel lacks are listed too, with the reason
            "capabilities": {
                "type": "object",
                "additionalProperties": _object(
                    {"supported": _YES_NO},
                    {
                        "reason": {"type": "string", "enum": ["channel", "not_yet"]},
                        "limits": _LIMITS,
                    },
                ),
            },
        }
    ),
    "RemovedConnection": _object({"companyId": _TEXT, "phoneIndex": _COUNT, "failedMessages": _COUNT}),
    "Company": _object(
        {"companyId": _TEXT, "name": _TEXT, "inDoubtPolicy": _TEXT_OR_NULL, "connections": _COUNT}, {"createdAt": _AT}
    ),
    "Companies": _object(
        {
            "companies": _list(_ref("Company")),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Templates": _object(
        {
            "templates": _list(
                _object(
                    {
                        "id": _TEXT_OR_NULL,
                        "name": _TEXT,
                        "language": _TEXT,
                        "category": _TEXT_OR_NULL,
                        "status": _TEXT,
                        "reason": _TEXT_OR_NULL,
                        "quality": _TEXT_OR_NULL,
                        "components": _list({"type": "object"}),
                        "updatedAt": _AT,
                    }
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
            "syncedAt": {**_AT_OR_NULL, "description": "When all of them were read last; null: never."},
        }
    ),
    "Task": _object(
        {
            "id": _TEXT,
            "operation": _TEXT,
            "status": {"type": "string", "enum": ["queued", "running", "done", "failed"]},
            # open: each operation has a result of its own
            "result": {"type": ["object", "null"], "description": "The outcome; its form depends on the operation."},
            "problem": {
                "type": ["object", "null"],
                "required": ["code", "detail"],
                "properties": {"code": _TEXT, "detail": _TEXT},
            },
            "createdAt": _AT,
            "expiresAt": _AT,
            "finishedAt": _AT_OR_NULL,
        }
    ),
    "Session": _object(
        {
            "companyId": _TEXT,
            "phoneIndex": _COUNT,
            "connectionType": _TEXT,
            "desired": {"type": "string", "enum": [state.value for state in DesiredSession]},
            "state": _TEXT,
            "detail": _TEXT_OR_NULL,
            "account": {
                "type": ["string", "null"],
                "description": "The number that is linked, or was last; null until one was.",
            },
            "provedAt": {**_AT_OR_NULL, "description": "When the session was last proved to work."},
            "observedAt": _AT_OR_NULL,
            "qr": {**_TEXT_OR_NULL, "description": "Content of the code to scan; null when there is none."},
            "browser": {
                "type": ["object", "null"],
                "description": "What its browser uses, as last measured; null while none runs.",
                "properties": {
                    "rssMb": {**_NUMBER, "description": "Memory in megabytes, shared pages counted for each process."},
                    # RSS counts shared memory once for each process, and is far above the real cost of a browser
                    "pssMb": {
                        **_NUMBER,
                        "description": "Shared pages divided among those who share them: what to plan with.",
                    },
                    "ussMb": {**_NUMBER, "description": "What would be free again without it."},
                    "cpu": {**_NUMBER, "description": "Processors in use, lately."},
                    "processes": _COUNT,
                    "ageSeconds": _NUMBER,
                    "readyAfterSeconds": {
                        **_NUMBER_OR_NULL,
                        "description": "From its start until it was ready; null until then.",
                    },
                    "connectsLastHour": _COUNT,
                    "restarts": _COUNT,
                },
            },
        }
    ),
    "Sessions": _object({"companyId": _TEXT, "sessions": _list(_ref("Session"))}),
    "SessionEvents": _object(
        {
            "events": _list(
                _object(
                    {
                        "id": _TEXT,
                        "at": _AT,
                        "event": {"type": "string", "description": "docs/browser.md lists them."},
                        "state": {**_TEXT_OR_NULL, "description": "The session's state after it."},
                        "detail": _TEXT_OR_NULL,
                        "incarnation": {
                            **_TEXT_OR_NULL,
                            "description": "Life of the process that saw it; null for a client's wish.",
                        },
                    }
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "SystemHealth": _object(
        {
            "status": {"type": "string", "enum": ["healthy", "degraded", "down"]},
            "at": _AT,
            "answeredBy": _TEXT,
            "database": _DEPENDENCY,
            "redis": _DEPENDENCY,
            "orchestrator": _object(
                {
                    "state": {"type": "string", "enum": ["running", "stopping", "stale", "missing"]},
                    "at": _AT_OR_NULL,
                    "ageSeconds": _NUMBER_OR_NULL,
                }
            ),
            "processes": _list(
                _object(
                    {
                        "process": _TEXT,
                        "instance": _COUNT,
                        "status": {"type": "string", "enum": ["healthy", "degraded", "down", "stopped", "unknown"]},
                        "sources": _list({"type": "string", "enum": ["orchestrator", "heartbeat"]}),
                        "state": _TEXT_OR_NULL,
                        "reason": _TEXT_OR_NULL,
                        "pid": {"type": ["integer", "null"]},
                        "incarnation": _TEXT_OR_NULL,
                        "host": _TEXT_OR_NULL,
                        "uptimeSeconds": _NUMBER_OR_NULL,
                        "memoryMb": _NUMBER_OR_NULL,
                        "restarts": {"type": ["integer", "null"]},
                        "errorCount": {"type": ["integer", "null"]},
                        "lastError": _TEXT_OR_NULL,
                        "lastHeartbeatAt": _AT_OR_NULL,
                        "silentSeconds": _NUMBER_OR_NULL,
                    }
                )
            ),
            "sessions": {
                "type": ["object", "null"],
                "description": "Browser sessions by state, as proved lately; null while the database is away.",
                "additionalProperties": _COUNT,
            },
        }
    ),
    "ProcessMetrics": _object(
        {
            "process": _TEXT,
            "instances": _list(
                _object({"instance": _COUNT, "at": _AT, "metrics": {"type": "object", "additionalProperties": _NUMBER}})
            ),
        }
    ),
    "Liveness": _object({"live": _YES_NO, "stalled": _list(_TEXT)}),
    "Readiness": _object({"ready": _YES_NO, "missing": {"type": "object", "additionalProperties": _TEXT}}),
    # open: each kind of process adds facts of its own
    "ProcessHealth": {
        "type": "object",
        "required": ["process", "instance", "status", "state", "missing", "pid", "uptimeSeconds", "memoryMb"],
    },
}

# an event shows a message without its history, of which it is a part
_EVENT_MESSAGE: Final = {
    **_SCHEMAS["Message"],
    "required": [name for name in _SCHEMAS["Message"]["required"] if name != "history"],
    "properties": {name: shape for name, shape in _SCHEMAS["Message"]["properties"].items() if name != "history"},
}
SCHEMAS: Final[Mapping[str, Schema]] = {**_SCHEMAS, **EVENT_SCHEMAS, "EventMessage": _EVENT_MESSAGE}
