"""Compiled validators of what may be sent to `/messages`; the only door to jsonschema-rs.

Why jsonschema-rs: it validates a text message in under a microsecond (jsonschema: about sixty), supports Draft 2020-12,
which OpenAPI 3.1 uses, and reports the violated keyword and its place, from which Meta's wording is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import jsonschema_rs

from sandbox.openapi.amendments import AMENDMENTS, READ_RECEIPT, Amendment

DOCUMENT: Final = Path(__file__).with_name("business_messaging_v23.json")


class Violation(NamedTuple):
    """What is wrong with a body.

    Attributes:
        keyword: the JSON Schema keyword, for example `required`; empty when the body cannot be validated at all (nested
            too deeply, invalid text).
        path: where in the body.
        limit: what the keyword requires: a number, the missing name, the unexpected names, the allowed values or types.
    """

    keyword: str
    path: tuple[str | int, ...]
    limit: Any


def document() -> dict[str, Any]:
    """Return the extracted part of Meta's document, unchanged."""
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_bytes())
    return loaded


def amended(schemas: Mapping[str, Any], amendments: tuple[Amendment, ...] = AMENDMENTS) -> dict[str, Any]:
    """Return a copy of `components.schemas` with `amendments` made.

    Raises:
        KeyError, IndexError: an amendment's place is not in the document.
    """
    # the document in memory stays unchanged; tests compare with it
    copy = deepcopy(dict(schemas))
    for at, becomes, _why in amendments:
        *way, last = at
        node: Any = copy
        for key in way:
            node = node[key]
        # an index one past the end of a list adds an alternative
        if isinstance(node, list) and last == len(node):
            node.append(becomes)
        else:
            node[last] = becomes
    return copy


def message_schemas(schemas: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return one whole schema for each message type.

    Meta writes a message as `allOf: [base, {…, additionalProperties: false}]`. By JSON Schema the second part then
    forbids everything that the first part requires, and no message at all would be valid. Meta means one object with
    the properties of both.
    """
    local = _with_local_references(schemas)
    base = local["BaseMessageProperties"]
    found = {}
    for type_name, reference in schemas["Message"]["discriminator"]["mapping"].items():
        _, own = local[reference.rpartition("/")[2]]["allOf"]
        found[type_name] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": base["properties"] | own["properties"],
            "required": base["required"] + own["required"],
            "additionalProperties": False,
            # each schema gets all of them: they refer to each other, and the compiler ignores unreachable ones
            "$defs": local,
        }
    return found


def _with_local_references(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: value.replace("#/components/schemas/", "#/$defs/") if key == "$ref" else _with_local_references(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_with_local_references(value) for value in node]
    return node


class MessageValidator:
    """Validates the body of a call to `/messages`; compiled once, in about ten milliseconds."""

    def __init__(self) -> None:
        self._by_type = {
            name: jsonschema_rs.Draft202012Validator(schema)
            for name, schema in message_schemas(amended(document()["components"]["schemas"])).items()
        }
        self._read_receipt = jsonschema_rs.Draft202012Validator(READ_RECEIPT)
        self.types = tuple(sorted(self._by_type))

    def violation(self, body: Mapping[str, Any]) -> Violation | None:
        """Return the first violation in `body`, None when it is valid. A body with `status` is a read receipt, any
        other a message.
        """
        # Meta's document has no schema for read receipts, and they have no `type`
        if "status" in body:
            validator = self._read_receipt
        else:
            type_name = body.get("type", "text")
            if not isinstance(type_name, str) or type_name not in self._by_type:
                return Violation("enum", ("type",), list(self.types))
            validator = self._by_type[type_name]
        return _first(validator, body)


class SchemaValidator:
    """Validates a body by a schema of our own, where Meta's document has none."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema_rs.Draft202012Validator(dict(schema))

    def violation(self, body: Mapping[str, Any]) -> Violation | None:
        """Return the first thing that is wrong with `body`, None when it is right."""
        return _first(self._validator, body)


class BodyValidator:
    """Validates the body of a POST to one of the document's other paths.

    Args:
        path: a path of the document. more: keywords that are added to the body's schema, for what Meta's pages require
            beyond it.
    """

    def __init__(self, path: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        whole = document()
        schema = whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        local = _with_local_references({"body": schema, "schemas": whole["components"]["schemas"]})
        # `$ref` beside other keywords is one more condition (Draft 2020-12)
        self._validator = jsonschema_rs.Draft202012Validator(
            {"allOf": [local["body"], dict(more)], "$defs": local["schemas"]}
        )

    def violation(self, body: Mapping[str, Any]) -> Violation | None:
        """Return the first thing that is wrong with `body`, None when it is right."""
        return _first(self._validator, body)


def _first(validator: jsonschema_rs.Draft202012Validator, body: Mapping[str, Any]) -> Violation | None:
    try:
        # the fast check first: listing errors costs much more, and nearly every body is valid
        if validator.is_valid(body):
            return None
        # missing parameters are reported first, as Meta does
        error = min(
            validator.iter_errors(body), key=lambda error: (error.kind.name != "required", len(error.instance_path))
        )
    # half of a surrogate pair, or deep nesting: the body cannot be validated, and is refused
    except (ValueError, RecursionError):
        return Violation("", (), None)
    return Violation(error.kind.name, tuple(error.instance_path), error.kind.value)
