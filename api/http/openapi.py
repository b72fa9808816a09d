"""`/openapi.json`: an OpenAPI 3.1 document made from the operations, so that it cannot say anything else than the router does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from api.http.operations import Operation
from api.http.problems import MEDIA_TYPE, PROBLEM_TYPES, TYPE_PREFIX
from api.http.schemas import SCHEMAS

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PURPOSES: Final = {
    "companyId": "The company.",
    "chatId": "A phone number with country code in any usual spelling, or the channel's own chat id (`…@g.us`, `…@lid`, `US.…`).",
    "messageId": "Our id of the message.",
    "phoneIndex": "Index of the connection within the company.",
    "taskId": "Id of the task, from the `Location` header of the answer that began it.",
    "name": "Name of the template.",
    "process": "A process kind.",
    "sha256": "The file's SHA-256 in lower hex.",
}
SHARED_PROBLEMS: Final = ("query_invalid", "internal_error", "database_unavailable")
"""Ways in which every operation that needs the key can be refused, beside the key itself."""
KEY_PROBLEMS: Final = ("key_missing", "key_invalid")


def problems_of(operation: Operation) -> tuple[str, ...]:
    """Return every way in which an operation can be refused."""
    return (*KEY_PROBLEMS, *operation.problems, *SHARED_PROBLEMS) if operation.needs_key else operation.problems


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the document. `version`: of the program."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead",
            "version": version,
            "description": "Business messaging that stays afloat. A message is accepted when its row is committed, and then sent once. "
            "Errors are problem details (RFC 9457) with a stable `type`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": group} for group in dict.fromkeys(operation.group for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    path_parameters = [
        {"name": name, "in": "path", "required": True, "description": _PURPOSES[name], "schema": {"type": "string"}}
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
        "security": [{"bearer": []}, {"header": []}] if operation.needs_key else [],
        "responses": _responses(operation),
    }
    if path_parameters or other_parameters:
        described["parameters"] = path_parameters + other_parameters
    bodies = {
        **({"application/json": {"schema": operation.body}} if operation.body is not None else {}),
        **({"multipart/form-data": {"schema": operation.form}} if operation.form is not None else {}),
        **({"application/octet-stream": {"schema": {}}} if operation.raw else {}),
    }
    if bodies:
        described["requestBody"] = {"required": True, "content": bodies}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (meaning, shape) in operation.answers.items():
        content = (
            {}
            if not shape
            else {shape: {}}
            if "/" in shape
            else {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
        )
        responses[str(status)] = {"description": meaning, **({"content": content} if content else {})}
    by_status: dict[int, list[str]] = {}
    for name in problems_of(operation):
        by_status.setdefault(PROBLEM_TYPES[name].status, []).append(name)
    for status, names in sorted(by_status.items()):
        types = [TYPE_PREFIX + name for name in names]
        schema: dict[str, Any] = {
            "allOf": [
                {"$ref": "#/components/schemas/Problem"},
                {"type": "object", "properties": {"type": {"enum": types}}},
            ]
        }
        responses[str(status)] = {
            "description": "; ".join(f"{PROBLEM_TYPES[name].title} (`{name}`)" for name in names) + ".",
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
    return responses


def _identifier(operation: Operation) -> str:
    words = [operation.method.lower(), *re.findall(r"\w+", operation.path)]
    return "_".join(word for word in words if word not in ("api", "v2"))
