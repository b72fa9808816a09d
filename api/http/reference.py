"""`/docs`: the operations and problems as one readable page without any outside asset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from api.http.openapi import problems_of
from api.http.operations import Operation
from api.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from api.http.schemas import SCHEMAS


def page(operations: Sequence[Operation]) -> str:
    """Return the page as HTML."""
    return "\n".join(_page(operations))


def _page(operations: Sequence[Operation]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Bulkhead API</title>'
    # the empty icon keeps browsers from asking for /favicon.ico
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    yield '<link rel="stylesheet" href="/dashboard/base.css"><link rel="stylesheet" href="/dashboard/reading.css">'
    yield "</head><body>"
    yield (
        '<header><h1>Bulkhead <span>API</span></h1><nav><a href="/dashboard">Dashboard</a> '
        '<a href="/openapi.json">OpenAPI document</a></nav></header>'
    )
    yield (
        "<main class='reading'><p>Show the key as <code>Authorization: Bearer KEY</code> or "
        "<code>X-API-Key: KEY</code>. "
    )
    yield (
        "Errors are <code>application/problem+json</code>; each <code>type</code> is listed "
        "<a href='#problems'>below</a>. "
    )
    yield "Every answer carries <code>X-Request-Id</code>: yours, if you send one.</p>"
    groups = list(dict.fromkeys(operation.group for operation in operations))
    links = [f"<a href='#{_anchor(group)}'>{escape(group)}</a>" for group in groups]
    yield f"<nav class='groups'>{' '.join(links)} <a href='#problems'>Problems</a></nav>"
    for group in groups:
        yield f"<h2 id='{_anchor(group)}'>{escape(group)}</h2>"
        for operation in operations:
            if operation.group == group:
                yield from _operation(operation)
    yield (
        "<h2 id='problems'>Problems</h2><table><thead><tr><th>type</th><th>status</th><th>title</th>"
        "<th>what to do</th></tr></thead><tbody>"
    )
    for name, kind in PROBLEM_TYPES.items():
        cells = (
            f"<td><code>{TYPE_PREFIX}{name}</code></td><td>{kind.status}</td><td>{escape(kind.title)}</td>"
            f"<td>{_marked(kind.remedy)}</td>"
        )
        yield f"<tr id='{name}'>{cells}</tr>"
    yield "</tbody></table></main></body></html>"


def _operation(operation: Operation) -> Iterator[str]:
    lock = f" <span class='badge'>{operation.scope if operation.needs_key else 'no key'}</span>"
    yield (
        f"<details class='operation'><summary><span class='method'>{operation.method}</span> "
        f"<code>{escape(operation.path)}</code>{lock}"
    )
    yield f"<span class='quiet'>{_marked(operation.summary)}</span></summary>"
    rows = [
        *((name, "body", _type(schema), schema.get("description", "")) for name, schema in _fields(operation).items()),
        *(
            (parameter.name, parameter.place, _type(parameter.schema), parameter.purpose)
            for parameter in operation.parameters
        ),
    ]
    if rows:
        yield "<table><thead><tr><th>name</th><th>in</th><th>type</th><th>meaning</th></tr></thead><tbody>"
        for name, place, kind, purpose in rows:
            yield (
                f"<tr><td><code>{escape(name)}</code></td><td>{place}</td><td>{escape(kind)}</td>"
                f"<td>{_marked(purpose)}</td></tr>"
            )
        yield "</tbody></table>"
    for example in operation.examples:
        yield f"<pre><code>{escape(json.dumps(example, ensure_ascii=False))}</code></pre>"
    yield "<ul>"
    for status, (meaning, *shapes) in operation.answers.items():
        fields = " or ".join(
            ", ".join(SCHEMAS[shape].get("properties", {})) if shape in SCHEMAS else shape for shape in shapes
        )
        yield f"<li><strong>{status}</strong> {_marked(meaning)} <span class='quiet'>{escape(fields)}</span></li>"
    names = problems_of(operation)
    if names:
        links = " ".join(f"<a href='#{name}'>{PROBLEM_TYPES[name].status}&nbsp;{name}</a>" for name in names)
        yield f"<li class='quiet'>refused: {links}</li>"
    yield "</ul></details>"


def _fields(operation: Operation) -> Mapping[str, Any]:
    """Return the fields of a body, in JSON and in a form."""
    fields: dict[str, Any] = {}
    for schema in (operation.body or {}, operation.form or {}):
        # a field that both have is shown once, as in JSON
        fields |= {name: field for name, field in schema.get("properties", {}).items() if name not in fields}
    return fields


def _type(schema: Any) -> str:
    if choices := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    words = [str(schema.get("type", "any"))]
    if "enum" in schema:
        words = [" | ".join(str(value) for value in schema["enum"])]
    # OpenAPI's way to describe a file: a string of this format
    if schema.get("format") == "binary":
        words = ["file"]
    if "maximum" in schema:
        words.append(f"{schema.get('minimum', 0)} to {schema['maximum']}")
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']} characters")
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(words)


def _anchor(group: str) -> str:
    return group.lower().replace(" ", "-")


def _marked(text: str) -> str:
    """Escape a sentence, and mark text in backticks as code."""
    # escaped first: the tags that are added afterwards must stay tags
    parts = escape(text).split("`")
    # parts at odd places stood between two backticks
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
