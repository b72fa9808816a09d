"""Operations of the API, as data: one for each method of a path. Routing, authentication and the documents are made
from them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.keys import KeyCheck
from api.http.problems import Problem

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A header or a query parameter."""

    name: str
    place: str
    """`header` or `query`."""
    purpose: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that a client can request.

    Attributes:
        path: template with `{name}` for each path parameter. handler: None when every process answers it itself
            (`shared.process.endpoints`).
        needs_key: whether the request must show the API key. body: JSON schema of the body; None: it takes none. form:
            schema of the form that may be sent in its place. raw: whether any other bytes may.
        answers: by status, its meaning and the name of a schema (`api.http.schemas`) or a media type. problems: its
            problem types, in addition to what every operation shares.
    """

    method: str
    path: str
    summary: str
    handler: Handler | None
    answers: Mapping[int, tuple[str, str]]
    group: str
    needs_key: bool = True
    body: Mapping[str, Any] | None = None
    form: Mapping[str, Any] | None = None
    raw: bool = False
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()


class _Resource:
    """One path: gives each method to its operation.

    Attributes:
        path: the template, for metrics and logs.
    """

    def __init__(self, path: str, operations: Iterable[Operation], keys: KeyCheck) -> None:
        self.path = path
        self._operations = {operation.method: operation for operation in operations}
        self._query_names = {
            method: {parameter.name for parameter in operation.parameters if parameter.place == "query"}
            for method, operation in self._operations.items()
        }
        self._keys = keys
        # RFC 9110 15.5.6: a 405 lists the methods in `Allow`
        self._allow = ", ".join(sorted(self._operations | ({"HEAD": None} if "GET" in self._operations else {})))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # RFC 9110 9.3.2: HEAD is GET without the content, which the server leaves out
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self._operations.get(method)
        # without a handler: GET is answered before the router (`endpoints.beside`), so only other methods get here
        if operation is None or operation.handler is None:
            raise Problem(
                "method_not_allowed", f"This path does not take {scope['method']}.", headers={"Allow": self._allow}
            )
        request = Request(scope, receive)
        if operation.needs_key:
            # first, so that a client without a key learns nothing about the operation
            await self._keys.require(request)
            self._require_known(request, self._query_names[method])
        response = await operation.handler(request)
        await response(scope, receive, send)

    def _require_known(self, request: Request, known: Collection[str]) -> None:
        """Refuse names in the query that the operation does not take: a misspelled one would be ignored, and something
        else done.
        """
        for name in request.query_params if request.scope["query_string"] else ():
            if name not in known:
                takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
                raise Problem(
                    "query_invalid",
                    f"This operation has no such query parameter; {takes}.",
                    # the client's own text, cut: the problem must not grow with the request
                    parameter=name[:60],
                )


def routes(operations: Iterable[Operation], keys: KeyCheck) -> list[Route]:
    """Return one route for each path, in the order in which the paths come first."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    # an object and not a function: Starlette then routes every method to it, and leaves 405 to `_Resource`
    return [Route(path, _Resource(path, group, keys)) for path, group in by_path.items()]
