"""Query parameters are read by the schemas that describe them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import pytest
from starlette.requests import Request

from api.http.parameters import Parameter, QueryReader, cursor, limit, query_of
from api.http.problems import Problem

PARAMETERS: Final = (
    limit("How many.", default=50, most=200),
    cursor(),
    Parameter(name="held", place="query", purpose="Held ones.", schema={"type": "boolean"}),
    Parameter(
        name="for",
        place="query",
        purpose="For whom.",
        schema={"type": "string", "enum": ["everyone", "me"], "default": "everyone"},
    ),
    Parameter(name="code", place="query", purpose="Of this code.", schema={"type": "string", "maxLength": 10}),
    Parameter(name="Prefer", place="header", purpose="No part of the query."),
)
DEFAULTS: Final = {"limit": 50, "cursor": None, "held": None, "for": "everyone", "code": None}


def read(query: str, parameters: Iterable[Parameter] = PARAMETERS) -> dict[str, Any]:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    QueryReader(parameters).read(request)
    return dict(query_of(request))


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("limit=1", {"limit": 1}),
        ("limit=0200", {"limit": 200}),
        ("held=TRUE", {"held": True}),
        ("held=0", {"held": False}),
        ("for=me&code=131049", {"for": "me", "code": "131049"}),
        ("cursor=&code=", {}),
        ("cursor=999999999999999999", {"cursor": "9" * 18}),
    ],
)
def test_values(query: str, values: dict[str, Any]) -> None:
    assert read(query) == DEFAULTS | values


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=", "limit"),
        ("limit=%C2%B2", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1e2", "limit"),
        ("limit=+5", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("limit=1&limit=2", "limit"),
        ("held=yes", "held"),
        ("held=", "held"),
        ("for=", "for"),
        ("for=Me", "for"),
        ("For=me", "For"),
        ("prefer=x", "prefer"),
        ("cursor=-1", "cursor"),
        ("cursor=1%0A", "cursor"),
        (f"cursor={'9' * 19}", "cursor"),
        ("code=a%00b", "code"),
        (f"code={'x' * 11}", "code"),
        ("x" * 5000, "x" * 60),
    ],
)
def test_refusals(query: str, name: str) -> None:
    with pytest.raises(Problem) as refused:
        read(query)
    assert (refused.value.name, refused.value.members["parameter"]) == ("query_invalid", name)
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("query", ["", "q=", "limit=1"])
def test_one_that_must_be_there(query: str) -> None:
    text = {"type": "string", "minLength": 1}
    must = Parameter(name="q", place="query", purpose="A question.", schema=text, rule="a question", required=True)
    parameters = (limit("How many.", default=50, most=200), must)
    assert read("q=x", parameters) == {"limit": 50, "q": "x"}
    with pytest.raises(Problem) as refused:
        read(query, parameters)
    assert refused.value.detail == "q must be a question."
