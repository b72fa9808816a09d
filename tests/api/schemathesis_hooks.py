"""Hooks of schemathesis' own command (`SCHEMATHESIS_HOOKS`): which refusals of the API no schema can foresee."""

from __future__ import annotations

import itertools
import json
from typing import Any

import schemathesis
from schemathesis.core.failures import ServerError
from schemathesis.openapi.checks import RejectedPositiveData

from tests.api.conformity import ABOUT_THE_FORM, BEYOND_SCHEMAS, DOWN_IS_AN_ANSWER

_ADDRESSES = itertools.count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let each request come from its own address, since wrong keys are slowed by address, and wait for nothing."""
    number = next(_ADDRESSES)
    headers = dict(case.headers or {})
    # what is for this machine alone is asked from it
    if case.operation.path not in ("/health", "/metrics"):
        headers |= {"X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}
    headers["Prefer"] = "respond-async"
    case.headers = headers


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether a failure is one: not for what depends on other fields, on rows or on the clock."""
    if isinstance(failure, ServerError):
        return not (response.status_code == 503 and case.operation.label in DOWN_IS_AN_ANSWER)
    if isinstance(failure, RejectedPositiveData):
        problem = json.loads(response.content)
        name = problem["type"].rsplit(":", 1)[-1]
        return name in ABOUT_THE_FORM and not BEYOND_SCHEMAS.search(problem["detail"])
    return True
