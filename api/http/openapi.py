"""`/openapi.json`: an OpenAPI 3.1 document made from the operations, so that it always matches the router."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.http.examples import EXAMPLES
from api.http.operations import Operation
from api.http.problems import MEDIA_TYPE, PROBLEM_TYPES, TYPE_PREFIX
from api.http.schemas import SCHEMAS
from shared.events.catalogue import PUBLIC_TYPES, PublicType
from shared.events.schemas import SCHEMA_OF, example

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
# a path parameter without a row here is a KeyError, which the tests of the document would find
_PURPOSES: Final = {
    "companyId": "The company.",
    "chatId": "A phone number with country code in any usual spelling, or the channel's own chat id (`…@g.us`, "
    "`…@lid`, `US.…`).",
    "messageId": "Our id of the message.",
    "phoneIndex": "Index of the connection within the company.",
    "keyId": "Id of the key, not the key itself.",
    "hookId": "Id of the webhook.",
    "taskId": "Id of the task, from the `Location` header of the answer that began it.",
    "name": "Name of the template.",
    "process": "A process kind.",
    "sha256": "The file's SHA-256 in lower hex.",
}
# 18 digits fit PostgreSQL's bigint, whatever they are
_ID: Final = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_FORMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "companyId": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "chatId": {"type": "string", "minLength": 1, "maxLength": 128},
    "messageId": _ID,
    "taskId": _ID,
    "hookId": _ID,
    "phoneIndex": {"type": "integer", "minimum": 0, "maximum": 9999},
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
"""Schemas of path parameters; the others are plain strings."""
_HEADERS: Final = {
    "X-Request-Id": "The request's correlation id: the one that was sent, or a new one.",
    "Location": "Path of what was accepted or made.",
    "Idempotency-Replayed": "`true`: the message was accepted by an earlier request with this key.",
    "Preference-Applied": "How long the answer waited, where `Prefer: wait` was sent.",
    "WWW-Authenticate": "How to show a key.",
    "RateLimit-Policy": "Limits of the key and its company, if there are any "
    "(draft-ietf-httpapi-ratelimit-headers): `q` at most at once, which come again in `w` seconds.",
    "RateLimit": "What is left of each limit: `r` now, full again in `t` seconds.",
    "Retry-After": "Seconds after which the request can be sent again.",
}
# headers of certain statuses; operations that accept messages have `_ACCEPTING` instead
_BY_STATUS: Final = {
    "201": ("Location",),
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
_ACCEPTING: Final = ("Location", "Idempotency-Replayed", "Preference-Applied")
_BYTES: Final = {"type": "string", "format": "binary"}
SHARED_PROBLEMS: Final = ("query_invalid", "internal_error", "database_unavailable")
"""Problems of every operation that requires the key, in addition to those of the key."""
KEY_PROBLEMS: Final = ("key_missing", "key_invalid", "scope_missing", "limit_exceeded")
"""Problems of every operation that requires a key."""
_OWNER_PROBLEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "path": ("company_unknown",),
    "principal": (),
    "installation": ("installation_only",),
}
"""Problems by `Operation.owner`."""


def problems_of(operation: Operation) -> tuple[str, ...]:
    """Return every problem type of an operation."""
    if not operation.needs_key:
        return operation.problems
    # in this order in the documents: the key is checked first
    named = (*KEY_PROBLEMS, *_OWNER_PROBLEMS[operation.owner], *operation.problems, *SHARED_PROBLEMS)
    return tuple(dict.fromkeys(named))


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the document. `version`: of the program."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        # 3.1, since its schemas are JSON Schema: `type` may be a list with null
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead",
            "version": version,
            "description": "Business messaging that stays afloat. A message is accepted when its row is committed, "
            "and then sent once. "
            "Errors are problem details (RFC 9457) with a stable `type`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        # relative to the document's address, so that it is right behind any proxy
        "servers": [{"url": "/"}],
        "tags": [{"name": group} for group in dict.fromkeys(operation.group for operation in operations)],
        "paths": paths,
        "webhooks": {row.name: {"post": _webhook(row)} for row in PUBLIC_TYPES},
        "components": {
            "schemas": dict(SCHEMAS),
            "examples": {name: {"value": _problem(name)} for name in PROBLEM_TYPES},
            "headers": {
                name: {"description": purpose, "schema": {"type": "string"}} for name, purpose in _HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _webhook(row: PublicType) -> dict[str, Any]:
    """Return the content of a type's webhook; the feed shows the same events."""
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"properties": {"data": {"$ref": f"#/components/schemas/{SCHEMA_OF[row.shape]}"}}},
        ]
    }
    return {
        "operationId": "event_" + re.sub(r"\W+", "_", row.name.removesuffix(".*")),
        "summary": row.purpose,
        "tags": ["Events"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": dict(example(row))}},
        },
        "responses": {"2XX": {"description": "Taken. Any other answer, and none within 15 seconds, is a failure."}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    path_parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PURPOSES[name],
            "schema": _FORMS.get(name, {"type": "string"}),
        }
        for name in _PATH_PARAMETER.findall(operation.path)
    ]
    other_parameters = [
        {
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.purpose,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.parameters
    ]
    described: dict[str, Any] = {
        "operationId": _identifier(operation),
        "tags": [operation.group],
        "summary": operation.summary,
        # alternatives: either of the two suffices; an empty list means no key. The names are those of the scope that
        # the key needs, as OpenAPI 3.1 allows for every kind of scheme
        "security": [{"bearer": [operation.scope]}, {"header": [operation.scope]}] if operation.needs_key else [],
        **({"x-owner": operation.owner} if operation.needs_key else {}),
        **({"x-audit": f"audit.{operation.audited_as}"} if operation.audited_as else {}),
        "responses": _responses(operation),
    }
    if path_parameters or other_parameters:
        described["parameters"] = path_parameters + other_parameters
    bodies = {
        **({"application/json": {"schema": operation.body}} if operation.body is not None else {}),
        **({"multipart/form-data": {"schema": operation.form}} if operation.form is not None else {}),
        **({"application/octet-stream": {"schema": _BYTES}} if operation.raw else {}),
    }
    if bodies:
        described["requestBody"] = {"required": True, "content": bodies}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    is_accepting = any(parameter.name == "Idempotency-Key" for parameter in operation.parameters)
    for status, (meaning, shape) in operation.answers.items():
        # the header Idempotency-Key marks the operations that accept messages
        headers = _ACCEPTING if is_accepting else _BY_STATUS.get(str(status), ())
        responses[str(status)] = {
            "description": meaning,
            **({"content": _content(shape)} if shape else {}),
            **_headers(operation, headers),
        }
    # OpenAPI has one response per status: problems that share one are named in its description and examples
    by_status: dict[int, list[str]] = {}
    for name in problems_of(operation):
        by_status.setdefault(PROBLEM_TYPES[name].status, []).append(name)
    for status, names in sorted(by_status.items()):
        # one schema for all of them: with types enumerated by operation, code generators would make a class for each
        # response
        responses[str(status)] = {
            "description": "; ".join(f"{PROBLEM_TYPES[name].title} (`{name}`)" for name in names) + ".",
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {name: {"$ref": f"#/components/examples/{name}"} for name in names},
                }
            },
            **_headers(operation, _BY_STATUS.get(str(status), ())),
        }
    return responses


def _content(shape: str) -> dict[str, Any]:
    """Return the content of an answer, by its media type or the name of its schema."""
    # a media type has a slash, the name of a schema has none
    if "/" in shape:
        text = shape.startswith("text/") or "javascript" in shape
        return {shape: {"schema": {"type": "string"} if text else {} if "json" in shape else _BYTES}}
    described: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    if shape in EXAMPLES:
        described["example"] = EXAMPLES[shape]
    return {"application/json": described}


def _headers(operation: Operation, names: Sequence[str]) -> dict[str, Any]:
    # every process answers these itself, before the middleware that adds the headers
    if operation.handler is None:
        return {}
    limits = ("RateLimit-Policy", "RateLimit") if operation.needs_key else ()
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *limits, *names)}}


def _problem(name: str) -> dict[str, Any]:
    kind = PROBLEM_TYPES[name]
    return {
        "type": TYPE_PREFIX + name,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": "5f0c2b8e9d1a4c37",
    }


def _identifier(operation: Operation) -> str:
    # from method and path, so unique and stable: code generators name functions by it
    words = [operation.method.lower(), *re.findall(r"\w+", operation.path)]
    return "_".join(word for word in words if word not in ("api", "v2"))
