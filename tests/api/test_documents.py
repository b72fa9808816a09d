"""What the API says about itself is what it does: docs/problems.md, other documents, /openapi.json, /docs, and the
shapes of real answers.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from api.http.problems import PROBLEM_TYPES, TYPE_PREFIX
from tests.api.api_env import CHAT, ApiEnv
from tests.support.environment import REPOSITORY


@pytest.fixture(scope="module")
def described(api_env: ApiEnv) -> dict[str, Any]:
    """The OpenAPI document as clients get it."""
    document: dict[str, Any] = api_env.call("GET", "/openapi.json", key=None).json()
    return document


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def test_the_table_of_problems_is_the_documents() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (.+?) \| (.+) \|$", (REPOSITORY / "docs" / "problems.md").read_text(), re.MULTILINE
    )
    assert rows == [(name, str(kind.status), kind.title, kind.remedy) for name, kind in PROBLEM_TYPES.items()]


def test_the_documents_speak_of_operations_that_are_there(described: dict[str, Any]) -> None:
    """The reference is made from the document itself (tests/architecture/test_documents.py)."""
    for page in (REPOSITORY / "docs").glob("*.md"):
        for path in re.findall(r"`(?:GET|POST|PUT|PATCH|DELETE) (/api/v2/[^`?…<]*)`", page.read_text()):
            # a name of a secret or a company in place of its parameter
            known = [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one)) for one in described["paths"]]
            assert any(re.fullmatch(one, path) for one in known), f"{page.name} speaks of {path}, which is not there"


def test_the_router_takes_what_the_document_says_and_nothing_else(api_env: ApiEnv, described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        # a connection that is not there: what is allowed is really done
        place = path.format(
            companyId="alpha",
            chatId=CHAT,
            messageId=1,
            phoneIndex=9,
            process="api",
            taskId=1,
            keyId=1,
            hookId=1,
            silenceId=1,
            rawEventId=1,
            file="app.js",
            exportId=1,
            contactId="p1",
            conversationId=1,
            documentId=1,
            serviceId=1,
            name="hello",
            sha256="0" * 64,
        )
        allowed = {method.upper() for method in methods}
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            assert (api_env.call(method, place).status_code == 405) == (method not in allowed), f"{method} {place}"


def test_every_type_is_promised_by_some_operation(described: dict[str, Any]) -> None:
    promised = set(re.findall(r"#/components/examples/(\w+)", str(described["paths"])))
    assert promised == set(PROBLEM_TYPES) - {"method_not_allowed"}


REAL = (
    ("GET", "/api/v2/connections/{companyId}", "/api/v2/connections/alpha"),
    ("GET", "/api/v2/sessions/{companyId}/{phoneIndex}", "/api/v2/sessions/alpha/1"),
    ("GET", "/api/v2/messages/{companyId}/{chatId}", f"/api/v2/messages/alpha/{CHAT}"),
    ("GET", "/health/all", "/health/all"),
    ("GET", "/metrics/{process}", "/metrics/api"),
    ("GET", "/api/v2/whoami", "/api/v2/whoami"),
    ("GET", "/api/v2/queues", "/api/v2/queues"),
    ("GET", "/api/v2/connections", "/api/v2/connections"),
    ("GET", "/api/v2/changes", "/api/v2/changes"),
    ("GET", "/api/v2/processes/history", "/api/v2/processes/history?span=day"),
    ("GET", "/api/v2/processes/{process}/log", "/api/v2/processes/api-0/log"),
    ("GET", "/api/v2/raw-events", "/api/v2/raw-events"),
    ("GET", "/api/v2/dead-letters/{companyId}/reasons", "/api/v2/dead-letters/alpha/reasons"),
    ("GET", "/livez", "/livez"),
    ("GET", "/readyz", "/readyz"),
    ("GET", "/health", "/health"),
    ("GET", "/api/v2/connections/{companyId}", "/api/v2/connections/nobody"),
    ("GET", "/api/v2/sessions/{companyId}/{phoneIndex}/qr", "/api/v2/sessions/alpha/1/qr"),
)


def require_shape(described: dict[str, Any], method: str, path: str, answer: requests.Response) -> None:
    """Compare an answer with what the document promises for its status."""
    promised = operations(described)[method, path]["responses"][str(answer.status_code)]["content"]
    media_type = answer.headers["Content-Type"].split(";")[0]
    schema = promised[media_type]["schema"] | {"components": described["components"]}
    Draft202012Validator(schema).validate(answer.json())


@pytest.mark.parametrize(("method", "path", "place"), REAL)
def test_a_real_answer_has_the_shape_that_is_promised(
    api_env: ApiEnv, described: dict[str, Any], method: str, path: str, place: str
) -> None:
    api_env.send("something to show", headers={"Idempotency-Key": "something"})
    require_shape(described, method, path, api_env.call(method, place))


def test_real_messages_have_the_shape_that_is_promised(api_env: ApiEnv, described: dict[str, Any]) -> None:
    sent = api_env.send("shapely")
    require_shape(described, "POST", "/api/v2/messages/text/{companyId}/{chatId}", sent)
    require_shape(described, "POST", "/api/v2/messages/text/{companyId}/{chatId}", api_env.send(""))
    one = "/api/v2/messages/{companyId}/{chatId}/{messageId}"
    require_shape(described, "GET", one, api_env.call("GET", sent.headers["Location"]))
    require_shape(described, "PUT", one, api_env.call("PUT", sent.headers["Location"], json={"message": "x"}))


def test_the_pages_load_nothing_from_elsewhere_and_run_nothing_of_theirs(api_env: ApiEnv) -> None:
    for path in ("/docs", "/dashboard"):
        page = api_env.call("GET", path, key=None)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.text)
        assert "style=" not in page.text
        assert not re.search(r"<script(?![^>]*src=)", page.text)
    text = api_env.call("GET", "/docs", key=None).text
    for name in PROBLEM_TYPES:
        assert f"{TYPE_PREFIX}{name}" in text
