"""Requests that schemathesis makes from the OpenAPI document, and what their answers are compared with.

A module of its own: importing schemathesis takes seconds, which every worker of a parallel run would pay to know the
names of the tests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from api.answers.process_message import OPERATION
from script.openapi import openapi_document
from shared.store import tasks
from tests.api.api_env import CHAT, KEY, ApiEnv

# not: `ignored_auth`, since wrong keys are answered ever more slowly (tests/tenants/test_walk.py walks them)
CHOSEN = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "allow_header_conformance",
)
ASKS_THE_ASSISTANT = "POST /api/v1/ai/process-message"
"""Waits for kind `ai`, which does not run here; `assistant` stands in for it."""
DOWN_IS_AN_ANSWER = {
    "GET /health/all",
    "GET /api/health",
    "GET /api/v2/installation/doctor",
    "POST /api/v2/installation/doctor",
    "POST /api/v2/processes/{process}/restart",
    "POST /api/v2/processes/{process}/drain",
}
"""Operations whose 503 says that the service is down, or that there is no orchestrator: here there is neither."""
ABOUT_THE_FORM = {"body_invalid", "body_not_json", "query_invalid", "header_invalid", "form_invalid", "path_unknown"}
"""Problems that a request which is right by the document must not get; the others are about what is there."""
BEYOND_SCHEMAS = re.compile(
    # by pointer and reason: what depends on other fields, on other rows or on the clock, or is a language of its own
    r"/accessToken|/apiKey|/webhookSecret|/accountId|/wabaId|/options|/types no types of events|/data is not base64|"
    r"/labels|/expiresAt|/emoji must be one emoji|/since|/until|/by|the body must have|must name the file by|"
    r"(cursor|since|until|types|by) must be|after is beyond|/headers|/url|/interactive|/contacts|"
    r"/tag is nothing|/sha256 is no file|confirm must be|/components|"
    r"half of a surrogate pair|character NUL|/eventIds|/phone|/sendAt|/startsAt|Last-Event-ID"
)
THERE = {
    "companyId": "alpha",
    "chatId": CHAT,
    "phoneIndex": 0,
    "messageId": "1",
    "keyId": "1",
    "hookId": "1",
    "taskId": "1",
    "file": "app.js",
}
"""What a path names in half of the requests: it exists, so that more than the path is looked at."""
UNHURRIED = {"Authorization": f"Bearer {KEY}", "Prefer": "respond-async"}
"""A task is not waited for: no process carries it out here."""


@cache
def described() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    """Return the operations by name."""
    load_all_checks()
    # no keys of its own: wrong ones are answered ever more slowly
    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    schema = schemathesis.openapi.from_dict(openapi_document(), config=config)
    read = list(schema.get_all_operations())
    found = [one.ok() for one in read if isinstance(one, Ok)]
    assert len(found) == len(read), "schemathesis cannot read an operation"
    return {one.label: one for one in found}


def require_conformity(env: ApiEnv, label: str, mode: str, *, examples: int) -> None:
    """Make requests of an operation, and check their answers."""
    operation = described()[label]
    known = {one.name: THERE[one.name] for one in operation.path_parameters if one.name in THERE}
    is_right = mode == "positive"
    strategy = operation.as_strategy(GenerationMode(mode), path_parameters=known if is_right else None)

    @seed(1)
    @settings(
        max_examples=examples,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def conforms(case: Case[Any]) -> None:
        # what the case brings itself would win
        case.headers.update(UNHURRIED)
        answer = case.call(base_url=env.url, timeout=30)
        chosen = [name for name in CHOSEN if name != "not_a_server_error" or label not in DOWN_IS_AN_ANSWER]
        checks: Any = CHECKS.get_by_names(chosen)
        case.validate_response(answer, checks=checks, headers=UNHURRIED)
        if is_right and answer.status_code in (400, 404, 422):
            problem = json.loads(answer.content)
            name = problem["type"].rsplit(":", 1)[-1]
            is_form = name in ABOUT_THE_FORM and not BEYOND_SCHEMAS.search(problem["detail"])
            assert not is_form, f"{label}: {problem} for {case.as_curl_command()}"

    try:
        with assistant(env) if label == ASKS_THE_ASSISTANT else nullcontext():
            conforms()
    except Unsatisfiable:
        # it takes nothing that could be wrong
        assert not is_right


@contextmanager
def assistant(env: ApiEnv) -> Iterator[None]:
    """Answer what is asked meanwhile, as kind `ai` would."""
    done, who = threading.Event(), "ai-0.a"

    def work() -> None:
        while not done.wait(0.1):
            for task in env.run(tasks.take, kind="ai", incarnation=who, operations=[OPERATION], most=10):
                env.run(tasks.finish, task_id=task.id, incarnation=who, result={"content": "Yes.", "toolCalls": []})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
