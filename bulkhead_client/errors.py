"""Errors of the client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_PREFIX: Final = "urn:bulkhead:problem:"


class BulkheadError(Exception):
    """Every error of this package."""


class Unreachable(BulkheadError):
    """The installation could not be reached, or its answer was lost; whether the request was carried out is unknown."""


class WebhookRejected(BulkheadError):
    """A delivery that Bulkhead did not sign, or an old one; answer it with 400 and do nothing."""


class Problem(BulkheadError):
    """A refusal (RFC 9457).

    Attributes:
        status: HTTP status. type: name of the problem type (docs/problems.md), the thing to decide by; `about:blank`
            for a refusal by a server in between. detail: what is wrong with this request. request_id: names it in the
            installation's log. retry_after_s: seconds after which it can be sent again, None when that is not said.
        members: the whole problem, with the members of its type, for example `errors`.
    """

    def __init__(
        self,
        status: int,
        type_: str,
        detail: str,
        *,
        request_id: str,
        retry_after_s: float | None,
        members: Mapping[str, Any],
    ) -> None:
        super().__init__(f"{status} {type_}: {detail}")
        self.status, self.type, self.detail, self.request_id = status, type_, detail, request_id
        self.retry_after_s, self.members = retry_after_s, members

    @property
    def errors(self) -> list[dict[str, str]]:
        """Each wrong place of a body: `pointer` and `reason`."""
        found: list[dict[str, str]] = self.members.get("errors", [])
        return found


class Unauthorized(Problem):
    """401: no key, or one that is not valid."""


class Forbidden(Problem):
    """403: the key may not do this."""


class NotFound(Problem):
    """404: what the path names does not exist, or belongs to another company."""


class Conflict(Problem):
    """409: the state does not allow it."""


class Invalid(Problem):
    """400 and 422: the request is wrong; `errors` lists the places in its body."""


class LimitExceeded(Problem):
    """429: a limit of the key or its company is used up."""


class Unavailable(Problem):
    """500 and above: the installation, or the provider, cannot do it now."""


_CLASSES: Final[Mapping[int, type[Problem]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: LimitExceeded,
}


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Return the error of a refusal, by Bulkhead or by a proxy."""
    try:
        given = json.loads(body)
    except ValueError:
        # a proxy in between, with a page for people
        given = {}
    members: dict[str, Any] = given if isinstance(given, dict) else {}
    after = headers.get("retry-after", "")
    kind = _CLASSES.get(status, Unavailable if status >= 500 else Problem)
    return kind(
        status,
        str(members.get("type", "about:blank")).removeprefix(_PREFIX),
        str(members.get("detail") or members.get("title") or f"HTTP status {status}"),
        request_id=headers.get("x-request-id", ""),
        retry_after_s=float(after) if after.isdecimal() else None,
        members=members,
    )
