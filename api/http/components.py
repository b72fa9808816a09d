"""Named components of `/openapi.json`: lifts every enumeration and object out of the schemas that hold it.

Code generators make a class for each component, and name it as we do; of a schema that stands inside another one, they
invent a name, or make one class for each place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.http.shapes import Schema

_PLACE: Final = "#/components/schemas/"
_ABOUT_A_PLACE: Final = ("description", "default", "examples", "deprecated")
"""Keywords that are about the place where a schema is used: they stay beside the reference."""
_ALTERNATIVES: Final = ("oneOf", "anyOf", "allOf")


class Components:
    """The schemas that have names.

    A schema is called by its `title`; one without is called by the place where it stands: `Hook` and `state` make
    `HookState`.

    Attributes:
        schemas: by name.
    """

    def __init__(self) -> None:
        self.schemas: dict[str, dict[str, Any]] = {}

    def add(self, name: str, schema: Schema) -> Schema:
        """Name a schema, and what it holds; return the reference to it. Raises `ValueError` when the name is taken by
        another schema.
        """
        content = self._inside(schema, name)
        content.pop("title", None)
        if self.schemas.setdefault(name, content) != content:
            raise ValueError(f"two schemas are called {name}: give one of them another `title`")
        return {"$ref": _PLACE + name}

    def lifted(self, schema: Schema, name: str) -> dict[str, Any]:
        """Return a schema with references in place of the enumerations and objects in it, itself included.

        Args:
            name: for a schema without a `title`.
        """
        if not _needs_name(schema):
            return self._inside(schema, name)
        beside = {word: schema[word] for word in _ABOUT_A_PLACE if word in schema}
        alone = {word: value for word, value in schema.items() if word not in beside}
        types = alone.get("type")
        is_nullable = isinstance(types, list) and "null" in types
        if isinstance(types, list) and is_nullable:
            (alone["type"],) = (one for one in types if one != "null")
            alone |= {"enum": [one for one in alone["enum"] if one is not None]} if "enum" in alone else {}
        reference = self.add(schema.get("title", name), alone)
        return {**({"anyOf": [reference, {"type": "null"}]} if is_nullable else reference), **beside}

    def _inside(self, schema: Schema, name: str) -> dict[str, Any]:
        """Return a schema with references in place of what it holds."""
        found = dict(schema)
        if "properties" in found:
            found["properties"] = {
                field: self.lifted(_without_default(inner), name + capitalized(field))
                for field, inner in found["properties"].items()
            }
        if isinstance(inner := found.get("items"), Mapping):
            found["items"] = self.lifted(inner, f"{name}Item")
        if isinstance(inner := found.get("additionalProperties"), Mapping):
            found["additionalProperties"] = self.lifted(inner, f"{name}Value")
        for word in _ALTERNATIVES:
            if word in found:
                found[word] = [
                    self.lifted(inner, name + _of_alternative(inner, number))
                    for number, inner in enumerate(found[word], 1)
                ]
        if discriminator := _discriminator(schema.get("oneOf", ()), found.get("oneOf", ())):
            found["discriminator"] = discriminator
        return found


def _without_default(schema: Schema) -> Schema:
    """Return the schema of a field with its default in words: openapi-typescript makes a field with one required."""
    if "default" not in schema:
        return schema
    sentence = f"Default: {json.dumps(schema['default'])}."
    description = f"{schema['description']} {sentence}" if "description" in schema else sentence
    return {word: value for word, value in schema.items() if word != "default"} | {"description": description}


def _needs_name(schema: Schema) -> bool:
    return "enum" in schema or "properties" in schema


def _discriminator(alternatives: Sequence[Schema], references: Sequence[Schema]) -> dict[str, Any] | None:
    """Return the field that distinguishes the alternatives, where each has a constant in the same field."""
    fields = [_constant(one) for one in alternatives]
    if not fields or len({field for field, _ in fields}) != 1 or fields[0][0] == "":
        return None
    mapping = {value: reference["$ref"] for (_, value), reference in zip(fields, references, strict=True)}
    return {"propertyName": fields[0][0], "mapping": mapping}


def _constant(schema: Schema) -> tuple[str, str]:
    """Return the first field with a constant, and the constant; empty texts when there is none."""
    constants = (
        (field, str(inner["const"])) for field, inner in schema.get("properties", {}).items() if "const" in inner
    )
    return next(constants, ("", ""))


def _of_alternative(schema: Schema, number: int) -> str:
    """Return the part of a name that distinguishes one alternative from the others."""
    return capitalized(_constant(schema)[1] or str(number))


def capitalized(name: str) -> str:
    """Return a field's name as a part of a component's name."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", name))
