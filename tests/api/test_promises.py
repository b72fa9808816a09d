"""What `/openapi.json` promises about bodies and answers: its examples are right, what it calls right is answered
without an error of ours, and each problem that it names is provoked by some test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api.http.problems import PROBLEM_TYPES
from shared.compose.types import TYPES
from shared.store import companies
from tests.api.api_env import ApiEnv, problem
from tests.api.test_amendments import received
from tests.api.test_files import PNG

QUICK = settings(
    max_examples=25,
    # without shrinking, which took minutes of a failing run
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
OF_THE_DAY: Final = {"internal_error"}
"""Problems that cannot be provoked from outside."""
NOT_FUZZED: Final = re.compile(r"/api/(v2/(connections|signup|templates|sessions|tasks)|v1/ai)\b")
"""Operations that would change the environment of other tests, or wait for processes that are not here; they
have tests of their own.
"""
CHAT: Final = "15550100900"
FUZZED: Final = "fuzzed"


@pytest.fixture(scope="module")
def described(api_env: ApiEnv) -> dict[str, Any]:
    """The OpenAPI document as clients get it."""
    document: dict[str, Any] = api_env.call("GET", "/openapi.json", key=None).json()
    return document


def bodies(described: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the JSON of each operation's body, its schema and examples, by method and path."""
    return {
        (method, path): operation["requestBody"]["content"]["application/json"]
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }


def require_shape(described: Mapping[str, Any], method: str, path: str, answer: requests.Response) -> None:
    """Compare an answer with what the document promises for its status."""
    promised = described["paths"][path][method.lower()]["responses"][str(answer.status_code)]["content"]
    schema = promised[answer.headers["Content-Type"].split(";")[0]]["schema"] | {"components": described["components"]}
    Draft202012Validator(schema).validate(answer.json())


def test_every_example_is_what_its_schema_says(described: dict[str, Any]) -> None:
    seen = 0
    for (method, path), body in bodies(described).items():
        validator = Draft202012Validator({**body["schema"], "components": described["components"]})
        for example in body.get("examples", {}).values():
            assert validator.is_valid(example["value"]), f"{method} {path}: {example}"
            seen += 1
    assert seen > 2 * len(TYPES)


@pytest.mark.parametrize("type_", TYPES)
def test_every_example_of_a_message_is_taken(api_env: ApiEnv, described: dict[str, Any], type_: str) -> None:
    chat = f"{CHAT}{len(type_) % 10}"
    quoted = received(api_env, chat, f"in-example-{type_}", index=1)
    known = api_env.call("POST", "/api/v2/media/alpha", data=PNG).json()["sha256"]
    path = f"/api/v2/messages/{type_}/{{companyId}}/{{chatId}}"
    for index, example in enumerate(TYPES[type_].examples):
        body = {**example, "phoneIndex": 0 if type_ in ("interactive", "template") else 1}
        if "messageId" in body:
            body["messageId"] = quoted
        if "sha256" in body:
            body["sha256"] = known
        answer = api_env.call(
            "POST",
            path.format(companyId="alpha", chatId=chat),
            json=body,
            headers={"Idempotency-Key": f"example-{type_}-{index}"},
        )
        assert answer.status_code == 202, answer.text
        require_shape(described, "POST", path, answer)
        typed = api_env.call("POST", f"/api/v2/messages/alpha/{chat}", json={"type": type_, **body})
        assert typed.status_code == 202, typed.text
        require_shape(described, "POST", "/api/v2/messages/{companyId}/{chatId}", typed)
        require_shape(
            described,
            "GET",
            "/api/v2/messages/{companyId}/{chatId}/{messageId}",
            api_env.call("GET", answer.headers["Location"]),
        )
    require_shape(
        described, "GET", "/api/v2/messages/{companyId}/{chatId}", api_env.call("GET", f"/api/v2/messages/alpha/{chat}")
    )


def test_real_answers_about_files_have_the_shape_that_is_promised(api_env: ApiEnv, described: dict[str, Any]) -> None:
    require_shape(described, "POST", "/api/v2/media/{companyId}", api_env.call("POST", "/api/v2/media/alpha", data=PNG))
    require_shape(
        described, "GET", "/api/v2/media/{companyId}/{sha256}", api_env.call("GET", f"/api/v2/media/alpha/{'0' * 64}")
    )


def test_every_problem_is_provoked_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("*.py"))
    unnamed = [name for name in PROBLEM_TYPES if name not in tests]
    assert set(unnamed) <= OF_THE_DAY


def values(schema: Mapping[str, Any], named: Mapping[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Return values that a schema of this document calls right, and sometimes others.

    Args:
        named: the document's schemas that have names.
    """
    while "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    choices = schema.get("anyOf") or schema.get("oneOf")
    kind = schema.get("type")
    if isinstance(kind, list):
        choices = [{**schema, "type": one} for one in kind]
    if choices:
        return st.one_of([values(one, named, depth) for one in choices])
    if "const" in schema or "enum" in schema:
        return st.sampled_from([schema["const"]] if "const" in schema else [*schema["enum"], "other"])
    if kind == "object" and depth < 8:
        properties = schema.get("properties", {})
        fields = {name: values(one, named, depth + 1) for name, one in properties.items()}
        required = {name: fields[name] for name in schema.get("required", ()) if name in fields}
        fixed = st.fixed_dictionaries(
            required, optional={name: one for name, one in fields.items() if name not in required}
        )
        if schema.get("additionalProperties", True):
            return st.builds(
                lambda one, more: {**more, **one}, fixed, st.dictionaries(st.text(max_size=5), _SCALARS, max_size=2)
            )
        return fixed
    if kind == "array":
        return st.lists(values(schema.get("items", {}), named, depth + 1), max_size=min(4, schema.get("maxItems", 4)))
    least = int(schema.get("minimum", -5))
    return {
        "string": st.text(st.characters(), max_size=min(30, schema.get("maxLength", 30))),
        "integer": st.integers(least, min(int(schema.get("maximum", least + 10)), least + 10)),
        "number": st.floats(allow_nan=False) | st.integers(-200, 200),
        "boolean": st.booleans(),
        "null": st.none(),
    }.get(kind or "", _SCALARS)


_SCALARS: Final = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=10)
)


@pytest.fixture(scope="module")
def right_bodies(api_env: ApiEnv, described: dict[str, Any]) -> dict[tuple[str, str], st.SearchStrategy[Any]]:
    """What is sent to each operation, by method and path."""
    # what is done to a company is done to one that no other test looks at: it may be suspended, or allowed nothing
    api_env.run(companies.ensure, FUZZED)
    named = described["components"]["schemas"]
    return {
        (method, path): values(body["schema"], named)
        for (method, path), body in bodies(described).items()
        if not NOT_FUZZED.match(path)
    }


@QUICK
@given(st.data())
def test_whatever_the_document_calls_right_is_answered(
    api_env: ApiEnv,
    described: dict[str, Any],
    right_bodies: dict[tuple[str, str], st.SearchStrategy[Any]],
    data: st.DataObject,
) -> None:
    for (method, path), right in right_bodies.items():
        body = data.draw(right, label=path)
        place = path.format(
            companyId=FUZZED if path.startswith("/api/v2/companies/") else "alpha",
            chatId=CHAT,
            messageId=1,
            contactId=CHAT,
            phoneIndex=1,
            keyId=1,
            hookId=1,
            conversationId=1,
            documentId=1,
            serviceId=1,
            name="fuzzed",
        )
        answer = api_env.call(
            method.upper(), place, data=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code < 500, f"{path} {body!r}: {answer.text}"
        require_shape(described, method, path, answer)


@QUICK
@given(st.data(), st.binary(max_size=300), st.sampled_from(["form", "raw"]))
def test_whatever_file_comes_is_answered(api_env: ApiEnv, data: st.DataObject, content: bytes, way: str) -> None:
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
    path = data.draw(
        st.sampled_from(
            [f"/api/v2/messages/{type_}/alpha/{CHAT}" for type_ in TYPES]
            + ["/api/v2/media/alpha", f"/api/v2/messages/alpha/{CHAT}"]
        )
    )
    if way == "form":
        fields = data.draw(
            st.dictionaries(
                st.sampled_from(["type", "phoneIndex", "caption", "filename", "mimetype", "voice", "sendAt"]) | texts,
                texts,
                max_size=4,
            )
        )
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()] + [
            ("file", (data.draw(texts), content, data.draw(texts)))
        ]
        answer = api_env.call("POST", path, files=data.draw(st.permutations(parts)))
    else:
        headers = {
            "Content-Type": data.draw(
                st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "image/png", ""])
            )
        }
        answer = api_env.call("POST", path, data=b"--x\r\n" + content + b"\r\n--x--\r\n", headers=headers)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert problem(answer)["type"] in PROBLEM_TYPES
