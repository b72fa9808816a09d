"""The pages of the API's reference, one for each group of operations, made from the OpenAPI document: docs/api/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from api.http.openapi import KEY_PROBLEMS, SHARED_PROBLEMS
from script.openapi import openapi_document

FOLDER: Final = "docs/api"
INDEX: Final = "docs/api-reference.md"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_WIDTH: Final = 110
"""Columns of an example; what is wider is broken into lines."""
_EVERYWHERE: Final = frozenset({*KEY_PROBLEMS, *SHARED_PROBLEMS, "company_unknown", "installation_only"})
"""Problems that the introduction names once."""
_METHODS: Final = ("get", "post", "put", "patch", "delete")


@cache
def _document() -> dict[str, Any]:
    return openapi_document()


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the repository."""
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in _document()["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    made = {page_of(group): _page(group, operations) for group, operations in groups.items()}
    return {INDEX: _index(groups), **made}


def page_of(group: str) -> str:
    """Return the path of a group's page."""
    return f"{FOLDER}/{group.lower().replace(' ', '-')}.md"


def _index(groups: Mapping[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    lines = [
        "# API reference",
        "",
        "For developers of API clients: every operation, made from the OpenAPI document that a running installation "
        "serves (`/openapi.json`, as a page: `/docs`). What holds for all of them: [api.md](api.md).",
        "",
    ]
    for group, operations in groups.items():
        page = page_of(group).removeprefix("docs/")
        lines += [f"## [{group}]({page})", "", "| operation | scope | |", "|---|---|---|"]
        for method, path, operation in operations:
            anchor = operation["operationId"].lower()
            lines.append(
                f"| [`{method} {path}`]({page}#{anchor}) | {_scope(operation)} | {_cell(operation['summary'])} |"
            )
        lines.append("")
    names = [page_of(group).removeprefix("docs/").removesuffix(".md") for group in groups]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *names, "```"]) + "\n"


def _page(group: str, operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    lines = [
        f"# {group}",
        "",
        "For developers of API clients. Made from the OpenAPI document. All groups: "
        "[API reference](../api-reference.md); what holds for all operations: [api.md](../api.md).",
        "",
    ]
    for method, path, operation in operations:
        lines += [*_operation(method, path, operation), ""]
    return "\n".join(lines).rstrip() + "\n"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {operation['operationId']}"
    yield ""
    yield f"`{method} {path}` · {_scope(operation)}"
    yield ""
    yield f"{_text(operation['summary'])}."
    if operation.get("parameters"):
        yield ""
        yield "| parameter | in | values | |"
        yield "|---|---|---|---|"
        for one in operation["parameters"]:
            needed = "" if one["in"] == "path" or not one.get("required") else " Needed."
            values, meaning = _cell(_values(one["schema"])), _cell(one["description"])
            yield f"| `{one['name']}` | {one['in']} | {values} | {meaning}{needed} |"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from _body(media_type, content)
    for status, answer in operation["responses"].items():
        if status < "400":
            yield from _answer(status, answer)
    if problems := _problems(operation):
        yield ""
        yield f"Problems of its own: {', '.join(f'`{name}`' for name in problems)} ([problems](../problems.md))."


def _body(media_type: str, content: Mapping[str, Any]) -> Iterator[str]:
    schema = _resolved(content["schema"])
    yield ""
    if "oneOf" in schema:
        field = schema["discriminator"]
        names = ", ".join(f"`{name}`" for name in field["mapping"])
        deciding = field["propertyName"]
        yield f"Body (`{media_type}`): `{deciding}` ({names}), and the fields of that type's own operation."
    elif "properties" not in schema:
        yield f"Body (`{media_type}`): the bytes."
    else:
        yield f"Body (`{media_type}`):"
        yield ""
        yield from _fields(schema)
    # the example of a form is no text that is ever sent
    for example in _examples(content) if media_type == _JSON else ():
        yield from _block("Body", example)


def _answer(status: str, answer: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    kinds = ", ".join(f"`{name}`" for name in answer.get("content", {}) if name not in (_JSON, _PROBLEM))
    yield f"{status}: {_text(answer['description'])}{f' {kinds}' if kinds else ''}"
    content = answer.get("content", {}).get(_JSON)
    if content is None:
        return
    for example in _examples(content):
        yield from _block(f"Answer {status}", example)
    described = _resolved(content["schema"])
    if "properties" in described and any("description" in one for one in described["properties"].values()):
        yield ""
        yield from _fields(described, only_described=True)


def _fields(schema: Mapping[str, Any], *, only_described: bool = False) -> Iterator[str]:
    yield "| field | values | |"
    yield "|---|---|---|"
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        if only_described and "description" not in field:
            continue
        meaning = field.get("description", "")
        needed = " Needed." if name in required and not only_described else ""
        yield f"| `{name}` | {_cell(_values(field))} | {_cell(meaning)}{needed} |"


def _block(label: str, example: Any) -> Iterator[str]:
    yield ""
    yield f"<!-- {label} -->"
    yield "```json"
    yield from _written(example, "").split("\n")
    yield "```"


def _examples(content: Mapping[str, Any]) -> Iterator[Any]:
    if "example" in content:
        yield content["example"]
    for one in content.get("examples", {}).values():
        yield one["value"]


def _problems(operation: Mapping[str, Any]) -> list[str]:
    return [
        name
        for answer in operation["responses"].values()
        for name in answer.get("content", {}).get(_PROBLEM, {}).get("examples", {})
        if name not in _EVERYWHERE
    ]


def _scope(operation: Mapping[str, Any]) -> str:
    if not operation["security"]:
        return "open"
    scopes = operation["security"][0]["bearer"]
    what = f"`{scopes[0]}`" if scopes else "any key"
    return f"{what}, installation" if operation.get("x-owner") == "installation" else what


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = _document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _values(schema: Mapping[str, Any]) -> str:
    """Return what values a schema takes, in words."""
    found = _resolved(schema)
    if "const" in found:
        return f"`{json.dumps(found['const'])}`"
    if "enum" in found:
        return ", ".join(f"`{one}`" if one is not None else "null" for one in found["enum"])
    if variants := found.get("anyOf") or found.get("oneOf"):
        return " or ".join(dict.fromkeys(_values(one) for one in variants))
    types = found.get("type", "any")
    named = [types] if isinstance(types, str) else list(types)
    return " or ".join(_plain(name, found) for name in named)


def _plain(name: str, schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    words = name
    if name == "array":
        words = f"list of {_values(schema['items'])}" if schema.get("items") else "list"
    elif name in ("integer", "number") and low is not None:
        words = f"{name}, {low:,} to {high:,}" if high is not None else f"{name}, at least {low:,}"
    elif name == "string" and schema.get("format") == "binary":
        words = "bytes"
    elif name == "string" and longest is not None:
        words = f"string, {shortest or 0:,} to {longest:,} characters"
    return words


def _written(value: Any, indent: str) -> str:
    """Return JSON in as few lines as its width allows."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= _WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner = f"{indent}  "
    parts = (
        [f"{json.dumps(name, ensure_ascii=False)}: {_written(one, inner)}" for name, one in value.items()]
        if isinstance(value, dict)
        else [_written(one, inner) for one in value]
    )
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{opening}\n" + ",\n".join(f"{inner}{part}" for part in parts) + f"\n{indent}{closing}"


def _text(text: str) -> str:
    # what looks like a placeholder of HTML stays text
    return re.sub(r"<(\w)", r"&lt;\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
