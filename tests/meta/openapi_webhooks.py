"""Webhooks made from the schemas of Meta's OpenAPI document: right in shape, with whatever values the types allow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

SCHEMAS: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parent / "fixtures" / "webhook_schemas.json").read_text()
)

NUMBER: Final = "100000000000001"
_KNOWN: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "object": st.just("whatsapp_business_account") | st.text(max_size=5),
    "phone_number_id": st.just(NUMBER) | st.text(max_size=5),
    "timestamp": st.integers(0, 2**40).map(str) | st.text(max_size=5),
}
"""Values by name, where any text would seldom be one that matters."""
_DEEPEST: Final = 6


def made(name: str = "WebhookPayload") -> st.SearchStrategy[Any]:
    """Return a strategy for values of the schema called `name`."""
    return _of(SCHEMAS[name], 0)


def _of(schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return st.deferred(lambda: _of(SCHEMAS[schema["$ref"]], depth + 1))
    if "oneOf" in schema:
        return st.one_of([_of(one, depth) for one in schema["oneOf"]])
    if "allOf" in schema:
        return st.tuples(*[_of(one, depth) for one in schema["allOf"]]).map(_merged)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _plain(schema, depth)


def _plain(schema: Mapping[str, Any], depth: int) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "array":
            return st.lists(_of(schema["items"], depth), max_size=2 if depth < _DEEPEST else 0)
        case "integer":
            return st.integers()
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "string":
            return st.text(max_size=12)
    properties = {
        name: _KNOWN[name] if name in _KNOWN else _of(one, depth) for name, one in schema.get("properties", {}).items()
    }
    required = {name: one for name, one in properties.items() if name in schema.get("required", ())}
    return st.fixed_dictionaries(
        required, optional={name: one for name, one in properties.items() if name not in required}
    )


def _merged(parts: tuple[Any, ...]) -> Any:
    whole: dict[str, Any] = {}
    for part in parts:
        whole |= part
    return whole
