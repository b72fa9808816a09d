"""Calls about accounts, numbers and templates: everything at the providers that sends no message. Each answers with an
object, or fails a task.

None of them is repeated here: only the task knows whether a repetition is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from meta import errors
from meta.errors import SANDBOX_HEADER, Refusal, describe
from meta.graph import GraphAnswer, GraphClient, RequestUnwritten
from shared.clock import monotonic
from shared.store.tasks import TaskFailed

CALL_S: Final = 15.0
"""Longest time for one call, in seconds. More than for a send, since a page of templates is large."""
_BUSY: Final = "temporary trouble at the provider"


class ProviderRefused(TaskFailed):
    """Raised when the provider refuses.

    Attributes:
        provider_code: its code (`190`, `http_404`, `360dialog_401`). rule: what the code means, from the same table as
            for sends.
    """

    def __init__(self, refusal: Refusal, what: str) -> None:
        self.provider_code, self.rule, self.words = refusal.code, refusal.rule, refusal.detail
        words = f": {refusal.detail}" if refusal.detail else ""
        super().__init__("refused", f"{what}: {refusal.code}, {refusal.rule.meaning}{words}", providerCode=refusal.code)


class ProviderCalls:
    """Makes them, each with its own deadline."""

    def __init__(self, graph: GraphClient) -> None:
        self._graph = graph

    async def get(self, what: str, url: str, headers: Mapping[str, str], **query: str) -> Mapping[str, Any]:
        """GET an object. Arguments and errors as for `call`."""
        return await self.call("GET", what, url, headers, query=query)

    async def post(self, what: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Mapping[str, Any]:
        """POST an object. Arguments and errors as for `call`."""
        return await self.call("POST", what, url, headers, body=body)

    async def call(
        self,
        method: str,
        what: str,
        url: str,
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Make one call and return the object that it answers with.

        Args:
            what: the action in a few words, for the description of a failure.
        Raises:
            ProviderRefused: it was refused.
            TaskFailed: no answer (`unreachable`), or one that does not show the outcome (`unclear`).
        """
        reply = await self._graph.call(
            method,
            url,
            {**headers, "Content-Type": "application/json"},
            monotonic() + CALL_S,
            data=None if body is None else json.dumps(body).encode(),
            params=query or {},
        )
        if not isinstance(reply, GraphAnswer):
            # a GET changes nothing, so that a missing answer is never unclear
            raise TaskFailed(
                "unreachable" if isinstance(reply, RequestUnwritten) or method == "GET" else "unclear",
                f"{what}: no answer ({reply.reason})",
            )
        # not `errors.read` alone: these answers name no message, and Graph reports some failures as 200 with `success:
        # false`
        found = _object(reply.body)
        if (
            200 <= reply.status < 300
            and found is not None
            and "error" not in found
            and found.get("success") is not False
        ):
            return found
        reading = errors.read(reply)
        if isinstance(reading, Refusal):
            raise ProviderRefused(reading, what)
        if found is not None and found.get("success") is False:
            who = "the sandbox" if SANDBOX_HEADER in reply.headers else "the provider"
            raise TaskFailed("refused", f"{what}: {who} answered that it had no success")
        detail = describe(getattr(reading, "detail", "")) or _BUSY
        raise TaskFailed("unreachable" if method == "GET" else "unclear", f"{what}: HTTP {reply.status}, {detail}")


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    # no JSON: the caller reports it as unclear, with the HTTP status
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def text(found: Mapping[str, Any], name: str) -> str:
    """Return a text of an answer; empty when there is none."""
    value = found.get(name)
    return value if isinstance(value, str) else ""
