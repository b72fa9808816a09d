"""Bodies of the operations that send, as JSON schemas: made from the table of message types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.compose.types import FILE_SOURCES, FORM_FIELDS, TYPES, MessageType
from shared.fields import Field, exactly_one, json_schema


def body_schema(row: MessageType) -> Mapping[str, Any]:
    """Return the JSON schema of a type's body."""
    return {**json_schema(row.fields), **(exactly_one(FILE_SOURCES) if row.has_file else {})}


def form_schema(row: MessageType) -> Mapping[str, Any]:
    """Return the schema of the form that a type with a file takes too."""
    # the form brings the file itself: no other source can be named
    return _form([field for field in row.fields if field.name not in FILE_SOURCES])


def typed_form_schema() -> Mapping[str, Any]:
    """Return the schema of a form that names its type itself."""
    # one schema for all types, since the type is a field too
    kind = Field(
        name="type",
        kind=str,
        purpose="What the file is sent as.",
        required=True,
        choices=tuple(row.name for row in TYPES.values() if row.has_file),
    )
    return _form([kind, *FORM_FIELDS])


def _form(fields: Sequence[Field]) -> Mapping[str, Any]:
    schema = json_schema(fields)
    file = {
        "type": "string",
        "format": "binary",
        "minLength": 1,
        "description": "The file; fields before it are known while it arrives.",
    }
    return {**schema, "required": [*schema["required"], "file"], "properties": {**schema["properties"], "file": file}}


def typed_schema() -> Mapping[str, Any]:
    """Return the JSON schema of a body that names its type itself."""
    choices = []
    for row in TYPES.values():
        schema = body_schema(row)
        choices.append(
            {
                **schema,
                "required": ["type", *schema["required"]],
                # the constant makes exactly one choice fit; without it, one body could fit several types
                "properties": {"type": {"type": "string", "const": row.name}, **schema["properties"]},
            }
        )
    return {"oneOf": choices}
