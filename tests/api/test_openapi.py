"""Rules for `/openapi.json`, so that code generators make good clients of it. Each names the place and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.http.components import Components
from api.http.openapi import HEADERS
from script import api_pages
from script.openapi import openapi_document
from tests.support.environment import REPOSITORY

JSON = "application/json"
PROBLEM = "application/problem+json"
PAGES = {"text/html", "text/css", "text/javascript"}
"""Media types of pages for people, which have no example."""


class Described(NamedTuple):
    """One operation of the document, or one webhook."""

    name: str
    content: dict[str, Any]

    def bodies(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Give every content: where it stands, its media type, and what is said of it."""
        for media_type, content in self.content.get("requestBody", {}).get("content", {}).items():
            yield f"{self.name}, body", media_type, content
        for status, answer in self.content["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                yield f"{self.name}, answer {status}", media_type, content


@cache
def document() -> dict[str, Any]:
    """The document; made once."""
    return openapi_document()


def operations() -> list[Described]:
    return [
        Described(f"{method.upper()} {path}", operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def everything() -> list[Described]:
    webhooks = document()["webhooks"].items()
    return [*operations(), *(Described(f"webhook {name}", one["post"]) for name, one in webhooks)]


def require_none(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(wrong)


def of_schema(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a schema and all that are in it, each with its place."""
    if isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from of_schema(inner, f"{place}/{number}")
    if isinstance(schema, dict):
        yield place, schema
        for name, inner in schema.get("properties", {}).items():
            yield from of_schema(inner, f"{place}/{name}")
        for word in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
            yield from of_schema(schema.get(word), f"{place}/{word}")


def test_the_document_is_valid() -> None:
    errors = OpenAPIV31SpecValidator(document()).iter_errors()
    require_none([f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in errors])


def test_every_operation_is_named_by_an_action_and_described() -> None:
    wrong = [
        f"{one.name}: {what}"
        for one in everything()
        for what, is_right in {
            "`operation_id` is one word in camelCase, such as listHooks": re.fullmatch(
                r"[a-z]+([A-Z][a-z0-9]*)+|signUp", one.content["operationId"]
            ),
            "needs one tag (`group`)": len(one.content.get("tags", ())) == 1,
            "needs a `summary` without a full stop": one.content["summary"].strip().rstrip(".")
            == one.content["summary"]
            or one.name.startswith("webhook"),
            "needs an answer": one.content["responses"],
        }.items()
        if not is_right
    ]
    names = [one.content["operationId"] for one in everything()]
    wrong += [f"operation_id {name} is used twice" for name in {name for name in names if names.count(name) > 1}]
    require_none(wrong)


def test_every_parameter_is_described() -> None:
    for one in operations():
        names = [parameter["name"] for parameter in one.content.get("parameters", ()) if parameter["in"] == "path"]
        assert re.findall(r"\{(\w+)\}", one.name) == names
    require_none(
        [
            f"{one.name}: parameter {parameter['name']} needs {what}"
            for one in operations()
            for parameter in one.content.get("parameters", ())
            for what, is_right in {
                "a purpose": parameter.get("description"),
                "a schema with a type": {"type", "$ref", "anyOf"} & parameter["schema"].keys(),
                "an example in PARAMETER_EXAMPLES (api/http/examples.py)": parameter["in"] != "path"
                or "example" in parameter,
            }.items()
            if not is_right
        ]
    )


def test_every_enumeration_and_every_object_is_a_component() -> None:
    """A generator names a component's class as we do, and makes one class of it, wherever it is used."""
    schemas = document()["components"]["schemas"]
    outside = [
        found for one in everything() for where, _, body in one.bodies() for found in of_schema(body["schema"], where)
    ]
    outside += [
        found
        for one in operations()
        for parameter in one.content.get("parameters", ())
        for found in of_schema(parameter["schema"], f"{one.name}, {parameter['name']}")
    ]
    inside = [found for name, schema in schemas.items() for found in list(of_schema(schema, name))[1:]]
    require_none(
        [
            f"{place}: an enumeration or object without a name; all schemas go through api.http.components"
            for place, schema in [*outside, *inside]
            if "enum" in schema or "properties" in schema
        ]
    )


def test_components_are_named_for_what_they_are() -> None:
    schemas = document()["components"]["schemas"]
    wrong = [
        f"{name}: named by its place; give the schema a `title` (`named`, `choice` or `Field.title`)"
        for name in schemas
        if re.search(r"Item|\d", name) or not re.fullmatch(r"[A-Z][A-Za-z]*", name)
    ]
    # bodies are named by their operation, and may well have the same fields
    bodies = {
        body["schema"].get("$ref", "").rsplit("/", 1)[-1]
        for one in operations()
        for body in one.content.get("requestBody", {}).get("content", {}).values()
    } | {reference["$ref"].rsplit("/", 1)[-1] for reference in schemas["SendMessage"]["oneOf"]}
    by_content: dict[str, list[str]] = {}
    for name, schema in schemas.items():
        if name not in bodies:
            alike = {**schema, "enum": sorted(schema["enum"])} if "enum" in schema else schema
            by_content.setdefault(json.dumps(alike, sort_keys=True), []).append(name)
    # of two things, by chance the same today
    apart = {("ConnectionStatus", "HookSwitch"), ("InteractiveHeader", "NewTemplateComponent")}
    wrong += [
        f"{' and '.join(names)} have the same content: give both schemas the same `title`"
        for names in by_content.values()
        if len(names) > 1 and tuple(names) not in apart
    ]
    require_none(wrong)


def test_every_component_is_used_and_none_is_missing() -> None:
    text = json.dumps(document())
    for kind in ("schemas", "examples", "headers"):
        used = set(re.findall(rf'"#/components/{kind}/([\w-]+)"', text))
        defined = set(document()["components"][kind])
        # every path may answer with it, so that no operation lists it
        unlisted = {"method_not_allowed"} if kind == "examples" else set()
        assert used == defined - unlisted, f"{kind}: {used ^ (defined - unlisted)}"


def test_a_choice_of_bodies_names_the_field_that_decides() -> None:
    body = document()["components"]["schemas"]["SendMessage"]
    assert body["discriminator"]["propertyName"] == "type"
    assert set(body["discriminator"]["mapping"].values()) == {one["$ref"] for one in body["oneOf"]}


def test_every_body_and_every_answer_has_a_right_example() -> None:
    wrong = []
    for one in everything():
        for where, media_type, content in one.bodies():
            examples = [content["example"]] if "example" in content else []
            for example in content.get("examples", {}).values():
                named = example.get("$ref", "").rsplit("/", 1)[-1]
                examples.append((document()["components"]["examples"][named] if named else example)["value"])
            is_binary = content["schema"] == {"type": "string", "format": "binary"}
            if not examples and not is_binary and media_type not in PAGES:
                wrong.append(f"{where}: {media_type} needs an example (`examples=` or api/http/examples.py)")
            schema = Draft202012Validator(content["schema"] | {"components": document()["components"]})
            wrong += [
                f"{where}: the example is wrong at {error.json_path}: {error.message[:200]}"
                for example in examples
                for error in schema.iter_errors(example)
            ]
    require_none(wrong)


def test_every_example_of_the_reference_fits_its_schema() -> None:
    """In the pages themselves, which people copy from."""
    found = {one.content["operationId"]: one for one in operations()}
    wrong, seen = [], set()
    for page in (REPOSITORY / api_pages.FOLDER).glob("*.md"):
        name = ""
        for heading, label, text in re.findall(
            r"^## (\w+)$|^<!-- (Body|Answer \d+) -->\n```json\n(.*?)\n```$", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            name = heading or name
            seen.add(name)
            if heading:
                continue
            contents = {
                where.rpartition(", ")[2]: content for where, kind, content in found[name].bodies() if kind == JSON
            }
            schema = contents[label.lower()]["schema"] | {"components": document()["components"]}
            errors = Draft202012Validator(schema).iter_errors(json.loads(text))
            wrong += [f"{page.name}, {name}, {label}: {error.message[:200]}" for error in errors]
    assert seen == set(found), "every operation has its place"
    require_none(wrong)


def test_every_answer_of_the_api_has_its_headers() -> None:
    wrong = []
    for one in operations():
        # every process answers these itself
        if one.name in ("GET /livez", "GET /readyz", "GET /health", "GET /metrics"):
            continue
        needs_key = bool(one.content["security"])
        for status, answer in one.content["responses"].items():
            expected = {"X-Request-Id"} | ({"RateLimit", "RateLimit-Policy"} if needs_key else set())
            expected |= {"Retry-After"} if status in ("429", "503") else {"Location"} if status == "201" else set()
            if missing := expected - answer.get("headers", {}).keys():
                wrong.append(f"{one.name}, answer {status}: no header {', '.join(sorted(missing))}")
    require_none(wrong)
    assert set(HEADERS) == set(document()["components"]["headers"])
    assert all(
        {"description", "schema", "example"} <= one.keys() for one in document()["components"]["headers"].values()
    )


def test_every_refusal_is_the_one_problem() -> None:
    # what health answers with 503 is health, and no refusal
    wrong = []
    for one in operations():
        if (
            one.content["security"]
            and not {"400", "401", "403", "429", "500", "503"} <= one.content["responses"].keys()
        ):
            wrong.append(f"{one.name}: lacks problems that every operation with a key has")
        for status, answer in one.content["responses"].items():
            if status >= "400" and PROBLEM not in answer.get("content", {}) and not one.name.endswith(("z", "health")):
                wrong.append(f"{one.name}: answer {status} is no problem")
        wrong += [
            f"{where}: has another schema than Problem"
            for where, media_type, content in one.bodies()
            if media_type == PROBLEM and content["schema"] != {"$ref": "#/components/schemas/Problem"}
        ]
    require_none(wrong)


@pytest.mark.parametrize("name", ["SendImage", "SendMessageDocument"])
def test_a_file_has_exactly_one_source(name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    validator = Draft202012Validator(schema)
    type_ = {"type": "document"} if name == "SendMessageDocument" else {}
    sources = {"url": "https://example.com/a", "data": "aGVsbG8=", "sha256": "0" * 64, "mediaId": "1"}
    assert not validator.is_valid(type_)
    for first, one in sources.items():
        assert validator.is_valid({first: one, **type_})
        assert not any(
            validator.is_valid({first: one, other: sources[other], **type_}) for other in sources if other != first
        )


def test_two_schemas_never_share_a_name() -> None:
    components = Components()
    components.add("Thing", {"properties": {"state": {"enum": ["on"], "title": "Switch", "type": "string"}}})
    with pytest.raises(ValueError, match="two schemas are called Switch"):
        components.add("Other", {"properties": {"state": {"enum": ["off"], "title": "Switch", "type": "string"}}})


def test_a_nullable_choice_is_the_choice_or_null() -> None:
    components = Components()
    schema = {"type": ["string", "null"], "enum": ["a", None], "description": "Which."}
    assert components.lifted(schema, "Which") == {
        "anyOf": [{"$ref": "#/components/schemas/Which"}, {"type": "null"}],
        "description": "Which.",
    }
    assert components.schemas == {"Which": {"type": "string", "enum": ["a"]}}
