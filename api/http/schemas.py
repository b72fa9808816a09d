"""JSON schemas of responses, for `/openapi.json`; tests compare real responses with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from api.http.answer_schemas import ANSWER_SCHEMAS
from api.http.company_schemas import COMPANY_SCHEMAS
from api.http.conversation_schemas import CONVERSATION_SCHEMAS
from api.http.key_schemas import KEY_SCHEMAS
from api.http.knowledge_schemas import KNOWLEDGE_SCHEMAS
from api.http.problem_schemas import PROBLEM_SCHEMAS
from api.http.process_schemas import PROCESS_SCHEMAS
from api.http.reading_schemas import READING_SCHEMAS
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
from api.http.shapes import choice as _choice
from api.http.shapes import closed_object as _object
from api.http.shapes import named as _named
from api.http.shapes import named_object as _named_object
from api.http.shapes import ref as _ref
from shared.events.schemas import EVENT_SCHEMAS
from shared.messages import Policy
from shared.states import DesiredSession, MessageState
from shared.store.interventions import Resolution

_STATUS: Final = _choice("MessageStatus", *MessageState)
_DIRECTION: Final = _choice("Direction", "in", "out")
_WHOM: Final = _choice("DeletedFor", "everyone", "me")
_DESIRED: Final = _choice("DesiredSession", *DesiredSession)
_FILE_STATUS: Final = _choice("FileStatus", "stored", "linked", "uploaded", "pending", "refused", "failed", "unknown")
_ERROR: Final = _named("MessageError", _object({"code": _TEXT, "detail": _TEXT_OR_NULL}))
_ERROR_OR_NULL: Final[Schema] = {**_ERROR, "type": ["object", "null"]}
_FILE: Final = _object(
    {"status": _FILE_STATUS},
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
    "media": _named("MessageFile", _FILE),
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
    "for": _WHOM,
    "state": _choice("TypingState", "on", "off"),
    "lastsSeconds": _NUMBER,
    "content": {"description": "Of every other type, as it is kept."},
    "quotedMessageId": {"type": "string", "description": "The provider's id of the message that it replies to."},
    "quotedMessage": _ref("QuotedMessage"),
    "context": {"type": "object", "description": "What came with it: forwarded, referral, …."},
    "edited": _YES_NO,
    "editedAt": _AT,
    "deleted": {
        "type": "boolean",
        "description": "What was deleted for everyone has no content any more: type, times and ids stay.",
    },
    "deletedFor": _WHOM,
    "deletedAt": {**_AT, "description": "When, by the provider's clock; absent for what was cancelled."},
    "reactions": _list(
        _named(
            "Reaction",
            _object({"from": {**_TEXT_OR_NULL, "description": "Null: the company itself."}, "emoji": _TEXT}),
        )
    ),
}
_LIMITS: Final[Schema] = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [_COUNT, _list(_TEXT), {"type": "object", "additionalProperties": _COUNT}],
    },
}
_EITHER_STATUS: Final = _choice("AnyMessageStatus", *MessageState, "received")

_SCHEMAS: Final[Mapping[str, Schema]] = {
    **COMPANY_SCHEMAS,
    **CONVERSATION_SCHEMAS,
    **KNOWLEDGE_SCHEMAS,
    **ANSWER_SCHEMAS,
    **KEY_SCHEMAS,
    **PROBLEM_SCHEMAS,
    **PROCESS_SCHEMAS,
    **READING_SCHEMAS,
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
            "direction": _DIRECTION,
            "status": _EITHER_STATUS,
            "companyId": _TEXT,
            "chatId": _TEXT,
            "phoneIndex": _COUNT,
            "connectionType": _TEXT,
            "type": _TEXT,
            "attempt": _COUNT,
            "sender": _TEXT_OR_NULL,
            "senderName": _TEXT_OR_NULL,
            "senderUsername": {**_TEXT_OR_NULL, "description": "WhatsApp's, where the person has one."},
            "providerMessageId": _TEXT_OR_NULL,
            "error": _ERROR_OR_NULL,
            "sendAt": {**_AT_OR_NULL, "description": "Requested time of sending, if not at once."},
            "notBefore": {**_AT_OR_NULL, "description": "When the next attempt is due."},
            "inDoubtPolicy": {
                "title": "InDoubtPolicy",
                "type": ["string", "null"],
                "enum": [*get_args(Policy), None],
            },
            "heldForHumanAt": {**_AT_OR_NULL, "description": "When policy left a message in doubt to a human."},
            "createdAt": _AT,
            "sentAt": _AT_OR_NULL,
            "updatedAt": _AT,
            "history": _list(
                _named_object(
                    "HistoryStep",
                    {
                        "state": _STATUS,
                        "at": _AT,
                        "providerAt": _AT_OR_NULL,
                        "attempt": _COUNT,
                        "incarnation": _TEXT_OR_NULL,
                        "code": _TEXT_OR_NULL,
                        "detail": _TEXT_OR_NULL,
                        "extra": {"type": ["object", "null"]},
                    },
                )
            ),
        },
        {
            **_CONTENT,
            "requestId": {**_TEXT_OR_NULL, "description": "Of the request that asked for it; also in log lines."},
            "traceparent": {**_TEXT_OR_NULL, "description": "The W3C trace of that request."},
            "held": {
                "type": "boolean",
                "description": "It waits because its connection is paused or its company is suspended.",
            },
        },
    ),
    "DeadLetters": _object(
        {
            "letters": _list(
                _named_object(
                    "DeadLetter",
                    {
                        "id": _TEXT,
                        "status": _choice("DeadLetterStatus", MessageState.FAILED, MessageState.IN_DOUBT),
                        "chatId": _TEXT,
                        "phoneIndex": _COUNT,
                        "connectionType": _TEXT,
                        "type": _TEXT,
                        "attempt": _COUNT,
                        "error": _ERROR,
                        "reason": {"type": "string", "description": "Why a human decides, in a sentence."},
                        # so that a client can show buttons without knowing the rules
                        "choices": {
                            **_list(_choice("DeadLetterChoice", "redrive", *get_args(Resolution))),
                            "description": "What can be done: `redrive`, or a value of `as` of the operation "
                            "`resolve`; empty while the message cannot be sent.",
                        },
                        "heldForHumanAt": _AT_OR_NULL,
                        "createdAt": _AT,
                        "updatedAt": _AT,
                    },
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "LetterReasons": _object(
        {
            "reasons": _list(
                _named_object(
                    "LetterReason",
                    {
                        "held": {"type": "boolean", "description": "In doubt and held; else they failed."},
                        "code": _TEXT,
                        "phoneIndex": _COUNT,
                        "letters": _COUNT,
                        "firstAt": _AT,
                        "lastAt": _AT,
                    },
                )
            ),
            "complete": {"type": "boolean", "description": "False: there are older ones that were not counted."},
        }
    ),
    "Redriven": _object(
        {"redriven": _COUNT, "more": {"type": "boolean", "description": "As many as asked for: there may be others."}}
    ),
    "QuotedMessage": _object(
        {
            "id": {**_TEXT_OR_NULL, "description": "Ours; null: the chat has no such message here."},
            "providerMessageId": _TEXT,
            "direction": {"anyOf": [_DIRECTION, {"type": "null"}]},
            "type": _TEXT_OR_NULL,
            "text": {**_TEXT_OR_NULL, "description": "Its first 200 characters; null: none, or deleted."},
        }
    ),
    "ChatPage": _object(
        {
            "messages": _list(
                _named_object(
                    "ChatMessage",
                    {
                        "id": _TEXT,
                        "direction": _DIRECTION,
                        "status": _EITHER_STATUS,
                        "chatId": _TEXT,
                        "phoneIndex": _COUNT,
                        "connectionType": _TEXT,
                        "type": _TEXT,
                        "sender": _TEXT_OR_NULL,
                        "senderName": _TEXT_OR_NULL,
                        "senderUsername": _TEXT_OR_NULL,
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
            "status": _choice("ConnectionStatus", "active", "paused"),
            "statusReason": _TEXT_OR_NULL,
            "desired": _DESIRED,
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
                "additionalProperties": _named_object(
                    "Capability",
                    {"supported": _YES_NO},
                    {
                        "reason": _choice("UnsupportedReason", "channel", "not_yet"),
                        "limits": _LIMITS,
                    },
                ),
            },
        }
    ),
    "RemovedConnection": _object({"companyId": _TEXT, "phoneIndex": _COUNT, "failedMessages": _COUNT}),
    "Templates": _object(
        {
            "templates": _list(
                _named_object(
                    "Template",
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
                    },
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
            "status": _choice("TaskStatus", "queued", "running", "done", "failed"),
            # open: each operation has a result of its own
            "result": {"type": ["object", "null"], "description": "The outcome; its form depends on the operation."},
            "progress": {
                "type": ["object", "null"],
                "description": "How far it is, while it runs; its form depends on the operation.",
            },
            "problem": {
                "title": "TaskProblem",
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
            "desired": _DESIRED,
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
                "title": "BrowserUsage",
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
                _named_object(
                    "SessionLogEntry",
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
                    },
                )
            ),
            "next": {**_TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
}

# an event shows a message without its history, of which it is a part
_EVENT_MESSAGE: Final = {
    **_SCHEMAS["Message"],
    "required": [name for name in _SCHEMAS["Message"]["required"] if name != "history"],
    "properties": {name: shape for name, shape in _SCHEMAS["Message"]["properties"].items() if name != "history"},
}
SCHEMAS: Final[Mapping[str, Schema]] = {**_SCHEMAS, **EVENT_SCHEMAS, "EventMessage": _EVENT_MESSAGE}
