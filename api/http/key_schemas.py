"""Shapes of keys, their limits and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import AT, AT_OR_NULL, TEXT, TEXT_OR_NULL, Schema, array, choice, closed_object, named, ref
from shared.tenancy.principals import SCOPES

_LIMIT: Final[Schema] = {"type": ["number", "null"], "minimum": 0}
_LIMITS: Final = named(
    "LimitValues",
    closed_object(
        {
            "requestsPerSecond": _LIMIT,
            "messagesPerSecond": _LIMIT,
            "fileMegabytesPerHour": _LIMIT,
            "openWaits": {"type": ["integer", "null"], "minimum": 0},
        }
    ),
)
_KEY: Final[Mapping[str, Schema]] = {
    "id": TEXT,
    "name": TEXT,
    "companyId": {**TEXT_OR_NULL, "description": "The only company that it reaches; null: all of them."},
    "prefix": {"type": "string", "description": "The key's first characters, by which people recognise it."},
    "scopes": array(choice("KeyScope", *SCOPES)),
    "createdAt": AT,
    "expiresAt": AT_OR_NULL,
    "rotatedAt": AT_OR_NULL,
    "previousUntil": {**AT_OR_NULL, "description": "Until when the text from before the last rotation is taken."},
    "lastUsedAt": {**AT_OR_NULL, "description": "Some seconds late, since it is written in batches."},
    "revokedAt": AT_OR_NULL,
    "limits": {**_LIMITS, "description": "Null: the setting decides; 0: none."},
}

_AUDIT_DATA: Final = closed_object(
    {
        "operation": {"type": "string", "description": "Method and path template."},
        "key": closed_object({"id": TEXT_OR_NULL, "name": TEXT, "companyId": TEXT_OR_NULL}),
        "address": {
            **TEXT_OR_NULL,
            "description": "Where the request came from; null of a key of the installation, for keys of companies.",
        },
        "requestId": TEXT,
        "subject": {"type": "object", "additionalProperties": TEXT},
        "before": {"type": ["object", "null"]},
        "after": {"type": ["object", "null"]},
    }
)
_AUDIT_EVENT: Final = named(
    "AuditEvent",
    closed_object(
        {
            "id": TEXT,
            "type": {"type": "string", "description": "`audit.` and what was done (docs/keys.md)."},
            "at": AT,
            "companyId": TEXT_OR_NULL,
            "data": _AUDIT_DATA,
        }
    ),
)

KEY_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Limits": closed_object({"limits": _LIMITS}),
    "OwnKey": closed_object(
        {
            "id": {**TEXT_OR_NULL, "description": "Null: the key of the settings, which is no row."},
            "name": TEXT,
            "companyId": {**TEXT_OR_NULL, "description": "The only company that it reaches; null: all of them."},
            "scopes": array(choice("KeyScope", *SCOPES)),
            "expiresAt": AT_OR_NULL,
            "sandbox": {"type": "boolean", "description": "Whether the sandbox answers in place of every provider."},
        }
    ),
    "Key": closed_object(_KEY),
    "Keys": closed_object(
        {
            "keys": array(ref("Key")),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "Audit": closed_object(
        {
            "events": array(_AUDIT_EVENT),
            "next": {"type": "string", "description": "Position from which to read on, now or later."},
        }
    ),
    "NewKey": closed_object(
        {**_KEY, "key": {"type": "string", "description": "The key. It is kept nowhere and shown this once."}}
    ),
}
