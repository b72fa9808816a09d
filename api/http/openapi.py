"""`/openapi.json`: an OpenAPI 3.1 document made from the operations, so that it always matches the router."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from api.http.components import Components, capitalized
from api.http.examples import EXAMPLES, PARAMETER_EXAMPLES, problem_example
from api.http.operations import Operation
from api.http.parameters import Parameter
from api.http.problems import MEDIA_TYPE, PROBLEM_TYPES
from api.http.schemas import SCHEMAS
from shared.events.catalogue import PUBLIC_TYPES, PublicType
from shared.events.schemas import SCHEMA_OF, example

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
# a path parameter without a row here is a KeyError, which the tests of the document would find
_PURPOSES: Final = {
    "companyId": "The company.",
    "chatId": "A phone number with country code in any usual spelling, or the channel's own chat id (`…@g.us`, "
    "`…@lid`, `US.…`).",
    "messageId": "Our id of the message; the provider's is taken too where one message is read, edited or deleted.",
    "contactId": "Id of the contact, or any of its aliases.",
    "conversationId": "Id of the conversation.",
    "phoneIndex": "Index of the connection within the company.",
    "keyId": "Id of the key, not the key itself.",
    "hookId": "Id of the webhook.",
    "silenceId": "Id of the silence.",
    "exportId": "Id of the export, from the task that made it.",
    "documentId": "A document, as its upload or the list named it.",
    "serviceId": "Id of the service.",
    "taskId": "Id of the task, from the `Location` header of the answer that began it.",
    "process": "A process kind, or where a single process is meant its slot (`meta-0`).",
    "file": "Name of the file.",
    "rawEventId": "Id of the raw event.",
    "name": "Name of the template, the secret or the function.",
    "sha256": "The file's SHA-256 in lower hex.",
}
# 18 digits fit PostgreSQL's bigint, whatever they are
_ID: Final = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_FORMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "companyId": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "chatId": {"type": "string", "minLength": 1, "maxLength": 128},
    "messageId": {"type": "string", "pattern": "^[A-Za-z0-9][!-.0-~]{0,511}$"},
    "contactId": {"type": "string", "minLength": 1, "maxLength": 128},
    "conversationId": _ID,
    "taskId": _ID,
    "hookId": _ID,
    "silenceId": _ID,
    "rawEventId": _ID,
    "serviceId": _ID,
    "phoneIndex": {"type": "integer", "minimum": 0, "maximum": 9999},
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
"""Schemas of path parameters; the others are plain strings."""
HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "X-Request-Id": ("The request's correlation id: the one that was sent, or a new one.", "5f0c2b8e9d1a4c37"),
    "Location": ("Path of what was accepted or made.", "/api/v2/messages/demo/15550100200/41"),
    "Idempotency-Replayed": ("`true`: the message was accepted by an earlier request with this key.", "true"),
    "Preference-Applied": ("How long the answer waited, where `Prefer: wait` was sent.", "wait=30"),
    "WWW-Authenticate": ("How to show a key.", 'Bearer realm="bulkhead"'),
    "RateLimit-Policy": (
        "Limits of the key and its company, if there are any (draft-ietf-httpapi-ratelimit-headers): `q` at most at "
        "once, which come again in `w` seconds.",
        '"key-requests";q=20;w=1',
    ),
    "RateLimit": ("What is left of each limit: `r` now, full again in `t` seconds.", '"key-requests";r=19;t=1'),
    "Retry-After": ("Seconds after which the request can be sent again.", "2"),
    "ETag": ("The version of the content, for `If-Match`, `If-None-Match` and `If-Range`.", f'"{"e3b0c442" * 8}"'),
    "Accept-Ranges": ("`bytes`: parts can be requested.", "bytes"),
    "Content-Range": ("Which bytes these are, and of how many.", "bytes 0-99/51234"),
    "Content-Disposition": ("The file's name.", "attachment; filename=\"parcel.jpg\"; filename*=UTF-8''parcel.jpg"),
}
"""Headers of answers: purpose and example."""
# headers of certain statuses; operations that accept messages have `_ACCEPTING` instead
_BY_STATUS: Final = {
    "201": ("Location",),
    "401": ("WWW-Authenticate",),
    "416": ("Content-Range",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
_ACCEPTING: Final = ("Location", "Idempotency-Replayed", "Preference-Applied")
_OF_TASKS: Final = (
    Parameter(
        name="Prefer",
        place="header",
        purpose="`wait=N`: answer when it is finished, or after N (at most 60) seconds; `respond-async`: at once.",
    ),
)
_BYTES: Final = {"type": "string", "format": "binary"}
SHARED_PROBLEMS: Final = ("query_invalid", "internal_error", "database_unavailable")
"""Problems of every operation that requires the key, in addition to those of the key."""
KEY_PROBLEMS: Final = ("key_missing", "key_invalid", "company_suspended", "scope_missing", "limit_exceeded")
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
    components = Components()
    for name, schema in SCHEMAS.items():
        components.add(name, schema)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, components)
    webhooks = {row.name: {"post": _webhook(row, components)} for row in PUBLIC_TYPES}
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
        "webhooks": webhooks,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "examples": {
                name: {"summary": kind.title, "value": problem_example(name)} for name, kind in PROBLEM_TYPES.items()
            },
            "headers": {
                name: {
                    "description": purpose,
                    "schema": {"type": "string"},
                    "example": example,
                    **({"required": True} if name == "X-Request-Id" else {}),
                }
                for name, (purpose, example) in HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _webhook(row: PublicType, components: Components) -> dict[str, Any]:
    """Return the content of a type's webhook; the feed shows the same events."""
    data = {"$ref": f"#/components/schemas/{SCHEMA_OF[row.shape]}"}
    event = SCHEMAS["Event"]
    schema = components.add(
        f"{row.shape.capitalize()}Event", {**event, "properties": {**event["properties"], "data": data}}
    )
    words = re.findall(r"[^\W_]+", row.name)
    return {
        "operationId": "on" + "".join(word.capitalize() for word in words),
        "summary": row.purpose,
        "tags": ["Events"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": dict(example(row))}},
        },
        "responses": {"2XX": {"description": "Taken. Any other answer, and none within 15 seconds, is a failure."}},
    }


def _operation(operation: Operation, components: Components) -> dict[str, Any]:
    name = operation.operation_id[:1].upper() + operation.operation_id[1:]
    path_parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PURPOSES[name],
            "schema": _FORMS.get(name, {"type": "string"}),
            "example": PARAMETER_EXAMPLES[name],
        }
        for name in _PATH_PARAMETER.findall(operation.path)
    ]
    other_parameters = [
        {
            "name": parameter.name,
            "in": parameter.place,
            **({"required": True} if parameter.required else {}),
            "description": parameter.purpose,
            "schema": components.lifted(_documented(parameter), name + capitalized(parameter.name)),
            **({"example": PARAMETER_EXAMPLES[parameter.name]} if parameter.name in PARAMETER_EXAMPLES else {}),
        }
        for parameter in (*operation.parameters, *(_OF_TASKS if _is_task(operation) else ()))
    ]
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "tags": [operation.group],
        "summary": operation.summary,
        # alternatives: either of the two suffices; an empty list means no key. The names are those of the scope that
        # the key needs, as OpenAPI 3.1 allows for every kind of scheme
        "security": _security(operation),
        **({"x-owner": operation.owner} if operation.needs_key else {}),
        **({"x-audit": f"audit.{operation.audited_as}"} if operation.audited_as else {}),
        "responses": _responses(operation),
    }
    if path_parameters or other_parameters:
        described["parameters"] = path_parameters + other_parameters
    if bodies := _bodies(operation, name, components):
        described["requestBody"] = {"required": True, "content": bodies}
    return described


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if not operation.needs_key:
        return []
    scopes: list[str] = [] if operation.scope == "any" else [operation.scope]
    return [{"bearer": scopes}, {"header": scopes}]


def _documented(parameter: Parameter) -> Mapping[str, Any]:
    """Return the schema of a parameter, with the empty text where it is as good as absent."""
    if parameter.place != "query" or not parameter.may_be_empty or "pattern" not in parameter.schema:
        return parameter.schema
    return {**parameter.schema, "pattern": f"^$|{parameter.schema['pattern']}"}


def _is_task(operation: Operation) -> bool:
    """Whether the answer may come before the operation is finished (`api.connections.tasks`)."""
    return "Task" in operation.answers.get(202, ())


def _bodies(operation: Operation, name: str, components: Components) -> dict[str, Any]:
    bodies: dict[str, Any] = {}
    if operation.body is not None:
        schema = components.add(operation.body.get("title", name), operation.body)
        examples = {f"example{number}": {"value": one} for number, one in enumerate(operation.examples, 1)}
        bodies["application/json"] = {"schema": schema, **({"examples": examples} if examples else {})}
    if operation.form is not None:
        schema = components.add(f"{name}Form", operation.form)
        bodies["multipart/form-data"] = {"schema": schema, "example": _form_example(operation.form)}
    if operation.raw:
        bodies["application/octet-stream"] = {"schema": _BYTES}
    return bodies


def _form_example(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a form must have, as they could be."""
    # what stands for the bytes of a file is never sent: tools let their user choose one
    return {name: form["properties"][name].get("enum", ["(the file)"])[0] for name in form["required"]}


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    # an operation that may not be finished when it is answered names the task, which goes on
    task = ("Location",) if _is_task(operation) else ()
    for status, (meaning, *shapes) in operation.answers.items():
        # the header Idempotency-Key marks the operations that accept messages
        headers = _ACCEPTING if operation.accepts_messages else task or _BY_STATUS.get(str(status), ())
        content = {media_type: described for shape in shapes if shape for media_type, described in _content(shape)}
        responses[str(status)] = {
            "description": meaning,
            **({"content": content} if content else {}),
            **_headers(operation, (*headers, *operation.headers.get(status, ()))),
        }
    # OpenAPI has one response per status: problems that share one are named in its description and examples
    by_status: dict[int, list[str]] = {}
    for name in problems_of(operation):
        by_status.setdefault(PROBLEM_TYPES[name].status, []).append(name)
    for status, names in sorted(by_status.items()):
        # one schema for all of them: with types enumerated by operation, code generators would make a class for each
        # response
        described = "; ".join(f"{PROBLEM_TYPES[name].title} (`{name}`)" for name in names) + "."
        # an operation may answer with the same status itself: health that is down
        own = responses.get(str(status), {})
        responses[str(status)] = {
            "description": f"{own['description']} {described}" if own else described,
            "content": {
                **own.get("content", {}),
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {name: {"$ref": f"#/components/examples/{name}"} for name in names},
                },
            },
            **_headers(operation, _BY_STATUS.get(str(status), ())),
        }
    return responses


def _content(shape: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the media type of an answer and what it holds. `shape`: a media type, or the name of a schema."""
    example = {"example": EXAMPLES[shape]} if shape in EXAMPLES else {}
    # a media type has a slash, the name of a schema has none
    if "/" in shape:
        yield shape, {"schema": {"type": "string"} if shape.startswith("text/") else _BYTES, **example}
    else:
        media_type = MEDIA_TYPE if shape == "Problem" else "application/json"
        yield media_type, {"schema": {"$ref": f"#/components/schemas/{shape}"}, **example}


def _headers(operation: Operation, names: Sequence[str]) -> dict[str, Any]:
    # every process answers these itself, before the middleware that adds the headers
    if operation.handler is None:
        return {}
    limits = ("RateLimit-Policy", "RateLimit") if operation.needs_key else ()
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *limits, *names)}}
