"""Parameters of operations as data: a query parameter is validated by the same schema that the documents show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from api.http.problems import Problem

_QUERY: Final = "query_values"
"""Name of the parsed query in the ASGI scope."""
# nineteen digits fit PostgreSQL's bigint; the conversion of a long number takes quadratic time
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_LONGEST: Final = 1000
"""Characters of a text whose schema names no other limit: as many as the longest name of a file."""
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
"""Spellings of booleans: those of JSON, and 1 and 0, which some HTTP libraries write."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A header or a query parameter.

    Attributes:
        place: `header` or `query`. rule: requirement on the value, for refusals; empty: derived from the schema.
        required: a request without it is refused; only for the query.
    """

    name: str
    place: str
    purpose: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    rule: str = ""
    required: bool = False

    @property
    def may_be_empty(self) -> bool:
        """Whether an empty value means none: clients that page send an empty cursor first."""
        return self.schema["type"] == "string" and "enum" not in self.schema and not self.required

    def value(self, text: str) -> Any:
        """Return the value of a text. Raises `Problem` when it does not fit the schema."""
        value = _READERS[self.schema["type"]](text, self.schema)
        if value is None:
            raise self.refusal()
        return value

    def refusal(self) -> Problem:
        """Return the refusal of a value that does not fit, or is missing."""
        further = {"limit": self.schema["maximum"]} if "maximum" in self.schema else {}
        return query_invalid(self.name, f"{self.name} must be {self.rule or _rule(self.schema)}.", **further)


def cursor(pattern: str = "^[0-9]{1,18}$") -> Parameter:
    """Return the parameter for the start of a page. `pattern`: of the cursors of this list."""
    return Parameter(
        name="cursor",
        place="query",
        purpose="`next` of the page before.",
        schema={"type": "string", "pattern": pattern},
        rule="`next` of an earlier page",
    )


def limit(purpose: str, *, default: int, most: int) -> Parameter:
    """Return the parameter for the length of a page."""
    return Parameter(
        name="limit",
        place="query",
        purpose=purpose,
        schema={"type": "integer", "minimum": 1, "maximum": most, "default": default},
    )


class QueryReader:
    """Reads the query of requests by the parameters of their operation; `query_of` returns the values."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._known = {parameter.name: parameter for parameter in parameters if parameter.place == "query"}
        self._required = [parameter for parameter in self._known.values() if parameter.required]
        self._defaults = {name: parameter.schema.get("default") for name, parameter in self._known.items()}

    def read(self, request: Request) -> None:
        """Read the query of one request. Raises `Problem` when a name is unknown, stands twice or is missing, or a
        value does not fit its schema.
        """
        values = dict(self._defaults)
        seen = set()
        for name, text in request.query_params.multi_items() if request.scope["query_string"] else ():
            parameter = self._known.get(name)
            # otherwise a misspelled name would be ignored
            if parameter is None:
                takes = f"it takes {', '.join(sorted(self._known))}" if self._known else "it takes none"
                raise query_invalid(name, f"This operation has no such query parameter; {takes}.")
            # proxies and frameworks differ in which of two values counts
            if name in seen:
                raise query_invalid(name, f"{name} stands twice in the query.")
            seen.add(name)
            if text or not parameter.may_be_empty:
                values[name] = parameter.value(text)
        for parameter in self._required:
            if parameter.name not in seen:
                raise parameter.refusal()
        request.scope[_QUERY] = values


def query_of(request: Request) -> Mapping[str, Any]:
    """Return the values of the query's parameters, with defaults; None for one that is absent and has none."""
    values: Mapping[str, Any] = request.scope[_QUERY]
    return values


def query_invalid(name: str, sentence: str, **further: Any) -> Problem:
    """Return the refusal of a query parameter."""
    # the client's text, truncated: the problem must not grow with the request
    return Problem("query_invalid", sentence, parameter=name[:60], **further)


def _integer(text: str, schema: Mapping[str, Any]) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if schema["minimum"] <= number <= schema["maximum"] else None


def _boolean(text: str, _: Mapping[str, Any]) -> bool | None:
    return _BOOLEANS.get(text.lower())


def _text(text: str, schema: Mapping[str, Any]) -> str | None:
    # PostgreSQL's texts hold no NUL, and its driver refuses one
    if "\0" in text or not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", _LONGEST):
        return None
    if text not in schema.get("enum", (text,)):
        return None
    # in schemas `$` is the end; in Python it also stands before a last line break
    pattern = schema.get("pattern", "").removesuffix("$") + r"\Z"
    return text if re.search(pattern, text) else None


_READERS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], Any]]] = {
    "integer": _integer,
    "boolean": _boolean,
    "string": _text,
}


def _rule(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "boolean":
        return "true or false"
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    return f"a text of at most {schema.get('maxLength', _LONGEST)} characters without NUL"
