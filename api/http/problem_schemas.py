"""Shape of problems (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from api.http.shapes import TEXT, Schema, array, named_object

_MEMBERS: Final[Mapping[str, Schema]] = {
    "errors": {
        **array(named_object("FieldError", {"pointer": TEXT, "reason": TEXT})),
        "description": "Each wrong place of a body, as a JSON pointer.",
    },
    "field": {"type": "string", "description": "The field that is wrong."},
    "parameter": {"type": "string", "description": "The query parameter that is wrong."},
    "header": {"type": "string", "description": "The header that is wrong."},
    "limit": {"type": "number", "description": "The limit that was exceeded."},
    "state": {"type": "string", "description": "The state that does not allow it."},
    "reason": {"type": "string", "description": "Why, in a word for programs."},
    "scope": {"type": "string", "description": "The scope that the key lacks."},
    "policy": {"type": "string", "description": "The limit that is used up, as in the header RateLimit."},
    "messageId": {"type": "string", "description": "The message that it is about."},
    "taskId": {"type": "string", "description": "The task that found it."},
}
"""Extension members that programs decide by; a problem has those of its type, and may have others."""

PROBLEM_SCHEMAS: Final[Mapping[str, Schema]] = {
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
                # no `enum`: generated clients refuse a value that they do not know
                "x-extensible-enum": [TYPE_PREFIX + name for name in PROBLEM_TYPES],
            },
            "title": TEXT,
            # repeats the HTTP status, so that a problem that is logged or passed on keeps it (RFC 9457 3.1.2)
            "status": {"type": "integer"},
            "detail": TEXT,
            "instance": {
                "type": "string",
                "description": "The request's correlation id, as in the header X-Request-Id.",
            },
            **_MEMBERS,
        },
    },
}
