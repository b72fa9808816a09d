"""Building blocks of the response schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
NUMBER: Final[Schema] = {"type": "number"}
NUMBER_OR_NULL: Final[Schema] = {"type": ["number", "null"]}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
YES_NO: Final[Schema] = {"type": "boolean"}
# RFC 3339, as `timestamps.iso` writes it
AT: Final[Schema] = {"type": "string", "format": "date-time"}
AT_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}


def named(name: str, schema: Schema) -> Schema:
    """Return a schema with a name of its own; one without is named by its place (`api.http.components`)."""
    return {"title": name, **schema}


def choice(name: str, *values: str) -> Schema:
    """Return the schema of an enumeration of texts."""
    return {"title": name, "type": "string", "enum": [str(value) for value in values]}


# closed: a field that is missing in the schema fails the tests, which keeps the document complete
def closed_object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def named_object(name: str, required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with a name of its own."""
    return named(name, closed_object(required, optional))


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """Return a reference to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}
