"""Operations of the API as data, one for each method of a path. Routing, authentication and the documents derive from
them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, Final, Literal

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.keys import KeyCheck, while_valid
from api.http.limits import EVENT_STREAM, RequestLimits
from api.http.parameters import Parameter, QueryReader
from api.http.problems import Problem
from shared.errors import StoreUnavailable
from shared.logs import correlation_id, logger
from shared.origin import origin
from shared.store.store import Store
from shared.tenancy.audit import Act
from shared.tenancy.known_companies import company_unknown
from shared.tenancy.principals import SCOPES, KeyScope, Principal

log = logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
Owner = Literal["path", "principal", "installation"]
"""The owner of an operation's data. `path`: the path's `{companyId}`. `principal`: the company of the request's
principal, which the handler enforces. `installation`: no company, so that keys of companies are refused.
"""
_COMPANY: Final = "{companyId}"
_OPERATION_ID: Final = re.compile(r"[a-z]+([A-Z][a-z0-9]*)*")
_ACTS: Final = {"POST": "created", "PUT": "changed", "PATCH": "changed", "DELETE": "removed"}
"""Names of acts by method, for paths whose last word names a thing."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that a client can request.

    Attributes:
        operation_id: its name, which client generators call functions by: stable, in camelCase, an action and a thing.
        path: template with `{name}` for each path parameter. handler: None when every process answers it itself
            (`shared.process.endpoints`).
        scope: the scope that a key needs; `any`: any key will do; `public`: no key is needed. owner: of the data.
        act: name of what it does in the audit; empty: made from the path and the method (`audited_as`).
        body: JSON schema of the body; None: no body. form: schema of the form that may be sent instead. raw: whether
            any other bytes may be sent. examples: bodies that are right.
        answers: by status, its meaning, and the name of a schema (`api.http.schemas`) or a media type; several where
            the client chooses. problems: its problem types, in addition to what every operation shares.
        headers: by status, of an answer that has further ones (rows of `HEADERS` in `api.http.openapi`).
    """

    operation_id: str
    method: str
    path: str
    summary: str
    handler: Handler | None
    answers: Mapping[int, tuple[str, ...]]
    group: str
    scope: KeyScope | Literal["any", "public"]
    owner: Owner = "path"
    act: str = ""
    body: Mapping[str, Any] | None = None
    examples: tuple[Mapping[str, Any], ...] = ()
    form: Mapping[str, Any] | None = None
    raw: bool = False
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    headers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `ValueError` for a name that is none, or when owner and path contradict each other; the API then does
        not start.
        """
        if not _OPERATION_ID.fullmatch(self.operation_id):
            raise ValueError(f"{self.method} {self.path}: {self.operation_id!r} is no operation id, such as listHooks")
        if self.scope not in ("any", "public", *SCOPES):
            raise ValueError(f"{self.method} {self.path}: {self.scope!r} is no scope")
        has_company = _COMPANY in self.path
        # an operation of the installation may be about a company
        if self.needs_key and self.owner != "installation" and (self.owner == "path") != has_company:
            raise ValueError(f"{self.method} {self.path}: owner {self.owner!r} does not fit the path")

    @property
    def needs_key(self) -> bool:
        """Whether the request must show a key."""
        return self.scope != "public"

    @cached_property
    def accepts_messages(self) -> bool:
        """Whether it sends a message: such operations accept the header Idempotency-Key."""
        return any(parameter.name == "Idempotency-Key" for parameter in self.parameters)

    @property
    def takes_files(self) -> bool:
        """Whether its body may hold a file."""
        return self.form is not None or self.raw

    @cached_property
    def audited_as(self) -> str:
        """Name of the act in the audit; empty for operations that only read, and for those that send, whose messages
        have events.
        """
        if self.method == "GET" or self.scope not in ("manage", "operate"):
            return ""
        words = re.findall(r"(?<=/)[a-z-]+(?=/|$)", self.path.removeprefix("/api/v2"))
        # `…/{phoneIndex}/pause` is an act by itself; without such a word the method is the act
        return self.act or f"{words[0]}.{words[-1] if len(words) > 1 else _ACTS[self.method]}"


@dataclass(frozen=True, kw_only=True)
class EntryChecks:
    """The checks before a handler.

    Attributes:
        keys: authenticates requests. limits: refuses requests beyond a limit. store: for the audit.
    """

    keys: KeyCheck
    limits: RequestLimits
    store: Store


class _Resource:
    """One path: routes each method to its operation.

    Attributes:
        path: the template, for metrics and logs.
    """

    def __init__(self, path: str, operations: Iterable[Operation], entry: EntryChecks) -> None:
        self.path, self._store, self._limits = path, entry.store, entry.limits
        self._operations = {operation.method: operation for operation in operations}
        self._queries = {method: QueryReader(operation.parameters) for method, operation in self._operations.items()}
        self._keys = entry.keys
        # RFC 9110 15.5.6: a 405 lists the methods in `Allow`
        self._allow = ", ".join(sorted(self._operations | ({"HEAD": None} if "GET" in self._operations else {})))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # RFC 9110 9.3.2: HEAD is GET without the content, which the server leaves out
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = self._operations.get(method)
        # without a handler: GET is answered before the router (`endpoints.beside`), so that only other methods get here
        if operation is None or operation.handler is None:
            raise Problem(
                "method_not_allowed", f"This path does not take {scope['method']}.", headers={"Allow": self._allow}
            )
        request = Request(scope, receive)
        if operation.needs_key:
            # first, so that a client without a key learns nothing about the operation
            principal = scope["principal"] = await self._keys.require(request)
            scope["revalidate"] = partial(self._keys.require, request)
            if (asked := origin.get()) is not None and principal.key_id is not None:
                origin.set(replace(asked, key_id=principal.key_id))
            with self._limits.admitted(operation, principal, request) as admitted:
                _require_allowed(operation, principal, request)
                self._queries[method].read(request)
                if name := operation.audited_as:
                    scope["act"] = _act(name, operation, principal, request)
                # inside: a stream counts as an open wait until its last byte
                await self._answer(operation.handler, admitted, send)
        else:
            await self._answer(operation.handler, request, send)

    async def _answer(self, handler: Handler, request: Request, send: Send) -> None:
        response = await handler(request)
        act: Act | None = request.scope.get("act")
        # a change that is no transaction with an event of its own
        if act is not None and not act.is_settled and response.status_code < HTTPStatus.BAD_REQUEST:
            await self._write_after(act)
        # It may take hours. A stream of events looks at its key by itself, and ends in order.
        if (
            isinstance(response, StreamingResponse)
            and response.media_type != EVENT_STREAM
            and "revalidate" in request.scope
        ):
            send = while_valid(request, send)
        await response(request.scope, request.receive, send)

    async def _write_after(self, act: Act) -> None:
        try:
            await self._store.as_company_or_all(act.company_id).call(act.write)
        except StoreUnavailable as error:
            # the change is committed: a refusal would be wrong
            log.error("audit_not_written", act=act.name, reason=str(error))


def _require_allowed(operation: Operation, principal: Principal, request: Request) -> None:
    """Raise `Problem` or `Refused` unless the principal may use the operation on what the path names."""
    # this refusal depends only on key and operation, so that it reveals nothing
    if operation.scope != "public" and not principal.may_use(operation.scope):
        raise Problem("scope_missing", f"The key has not the scope {operation.scope}.", scope=operation.scope)
    if operation.owner == "installation" and not principal.is_admin:
        raise Problem("installation_only", "The key belongs to one company, and this operation to none.")
    # before any query: not even the timing reveals whether the other company exists
    if operation.owner == "path" and not principal.may_reach(request.path_params["companyId"]):
        raise company_unknown()


def _act(name: str, operation: Operation, principal: Principal, request: Request) -> Act:
    # without chats, since they are people: the audit then need not be searched when one must be erased
    subject = {key: value for key, value in request.path_params.items() if key not in ("companyId", "chatId")}
    return Act(
        name=name,
        operation=f"{operation.method} {operation.path}",
        principal=principal,
        address=request.client.host if request.client else "",
        request_id=correlation_id.get(),
        company_id=request.path_params.get("companyId", principal.company_id),
        subject=subject,
    )


def routes(operations: Iterable[Operation], entry: EntryChecks) -> list[Route]:
    """Return one route for each path, in the order in which the paths come first."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    # an object and not a function: Starlette then routes every method to it, and leaves 405 to `_Resource`
    return [Route(path, _Resource(path, group, entry)) for path, group in by_path.items()]
