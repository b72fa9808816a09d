"""Stand-in for Meta's Graph API under `/graph/{version}/…`.

A further endpoint is a function `async (call: GraphCall) -> Response` in a file of its own and one row in `_EDGES`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox import media_calls, messages
from sandbox.config import Number
from sandbox.graph_errors import GraphError, trace_id
from sandbox.state import Sandbox

_VERSION: Final = re.compile(r"v(\d{1,2})\.0")
_KNOWN_VERSIONS: Final = range(17, 27)
"""Versions that Meta serves now, v17.0 to v26.0; any other is an unknown path."""
_METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class GraphCall(NamedTuple):
    """A call with a known version, a valid token and a configured number."""

    sandbox: Sandbox
    request: Request
    number: Number


Edge = Callable[[GraphCall], Awaitable[Response]]


async def _send(call: GraphCall) -> Response:
    if not call.sandbox.accounts.is_registered(call.number.phone_number_id):
        # a refusal before the body is read: the callback is not known
        call.sandbox.ledger.append(
            "graph", "refused", phone_number_id=call.number.phone_number_id, code=133010, callback=""
        )
        raise GraphError(133010)
    return await messages.take(call.sandbox, "graph", call.number, call.request)


async def _upload(call: GraphCall) -> Response:
    return await media_calls.upload(call.sandbox, "graph", call.number, call.request)


_EDGES: Final[Mapping[tuple[str, str], Edge]] = {("POST", "messages"): _send, ("POST", "media"): _upload}
"""Served edges of a phone number, by method and name."""


def graph_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of the Graph API, the most frequent one first."""
    numbers = {number.phone_number_id: number for number in sandbox.config.numbers if number.channel == "graph"}

    async def edge(request: Request) -> Response:
        version, object_id, name = (request.path_params[part] for part in ("version", "object_id", "edge"))
        if not _is_known(version):
            raise GraphError(2500, message=f"Unknown path components: /{object_id}/{name}")
        await sandbox.accounts.require_token(request)
        # after the token check: without a token, a client does not learn which numbers exist
        number = numbers.get(object_id)
        if number is None:
            raise _unsupported(request.method, object_id)
        serve = _EDGES.get((request.method, name))
        if serve is None:
            # the number exists and the token works: only the edge is wrong
            raise GraphError(2500, message=f"Unknown path components: /{name}")
        return await serve(GraphCall(sandbox, request, number))

    async def node(request: Request) -> Response:
        version, object_id = request.path_params["version"], request.path_params["object_id"]
        if not _is_known(version):
            raise GraphError(2500, message=f"Unknown path components: /{object_id}")
        await sandbox.accounts.require_token(request)
        answer = await media_calls.of_node(
            sandbox, "graph", request, object_id, f"{request.base_url}lookaside/{media_calls.ATTACHMENTS}"
        )
        if answer is None:
            raise _unsupported(request.method, object_id)
        return answer

    async def download(request: Request) -> Response:
        await sandbox.accounts.require_token(request)
        return await media_calls.download(sandbox, "graph", request)

    async def other(request: Request) -> Response:
        await sandbox.accounts.require_token(request)
        raise _unsupported(request.method, request.path_params["path"].partition("/")[0])

    return [
        # routes are tried in order, and nearly every call is a message
        Route("/graph/{version}/{object_id}/{edge}", _answered(edge), methods=_METHODS),
        Route("/graph/{version}/{object_id}", _answered(node), methods=_METHODS),
        Route(f"/lookaside/{media_calls.ATTACHMENTS}", _answered(download), methods=["GET"]),
        Route("/graph/{version}/{path:path}", _answered(other), methods=_METHODS),
        Route("/graph/{path:path}", _answered(other), methods=_METHODS),
    ]


def _answered(serve: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Convert what `serve` raises to Meta's response, and add Meta's headers to every response."""

    async def endpoint(request: Request) -> Response:
        try:
            answer = await serve(request)
        except GraphError as error:
            # every call's errors have Meta's form
            answer = messages.error_response(error)
        return _with_headers(answer, request.path_params.get("version", ""))

    return endpoint


def _is_known(version: str) -> bool:
    match = _VERSION.fullmatch(version)
    return match is not None and int(match[1]) in _KNOWN_VERSIONS


def _unsupported(method: str, object_id: str) -> GraphError:
    return GraphError(
        100,
        subcode=33,
        type="GraphMethodException",
        message=(
            f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot be loaded due "
            f"to missing permissions, or does not "
            "support this operation. Please read the Graph API documentation at "
            "https://developers.facebook.com/docs/graph-api"
        ),
    )


def _with_headers(answer: Response, version: str) -> Response:
    """Add those headers of Meta's that clients log."""
    trace = trace_id().encode()
    answer.raw_headers += [
        (b"facebook-api-version", version.encode() if _is_known(version) else b"v23.0"),
        # Meta's support asks for these; the product logs them with an error
        (b"x-fb-request-id", trace),
        (b"x-fb-trace-id", trace[:11]),
        (b"x-app-usage", b'{"call_count":0,"total_cputime":0,"total_time":0}'),
    ]
    return answer
