"""Stand-in for 360dialog under `/d360/…`: Meta's messages with a key in place of version and number, and errors of
360dialog's form.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import media_calls, messages
from sandbox.config import Number
from sandbox.graph_errors import GraphError
from sandbox.request_bodies import read_body
from sandbox.state import Sandbox
from sandbox.templates import Shop
from shared.process.endpoints import NUMBER

_METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH"]
_Endpoint = Callable[[Request], Awaitable[Response]]
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _own_error(http_status: int, words: str) -> Response:
    return JSONResponse({"meta": {"developer_message": words, "http_code": http_status, "success": False}}, http_status)


def d360_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of 360dialog. Without a number of channel `d360` every key is unknown."""
    calls = _Calls(sandbox)
    return [
        Route("/d360/messages", calls.authenticated(calls.send), methods=["POST"]),
        Route("/d360/media", calls.authenticated(calls.upload), methods=["POST"]),
        Route(f"/d360/{media_calls.ATTACHMENTS}", calls.authenticated(calls.download), methods=["GET"]),
        Route(f"/d360/{{id:{NUMBER}}}", calls.authenticated(calls.node), methods=["GET", "DELETE"]),
        Route("/d360/v1/configs/templates", calls.authenticated(calls.list_templates), methods=["GET"]),
        Route("/d360/v1/configs/templates", calls.authenticated(calls.create_template), methods=["POST"]),
        Route("/d360/v1/configs/templates/{name}", calls.authenticated(calls.delete_template), methods=["DELETE"]),
        Route("/d360/v1/configs/webhook", calls.authenticated(calls.show_webhook), methods=["GET"]),
        Route("/d360/v1/configs/webhook", calls.authenticated(calls.set_webhook), methods=["POST"]),
        Route("/d360/{path:path}", calls.authenticated(calls.other), methods=_METHODS),
    ]


class _Calls:
    """The calls of 360dialog. Each is reached with the right key only; at 360dialog the key identifies the number, and
    no path has it.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._number = next((number for number in sandbox.config.numbers if number.channel == "d360"), None)
        self._key = sandbox.config.d360_api_key.encode()

    def authenticated(self, call: Callable[[Request, Number], Awaitable[Response]]) -> _Endpoint:
        """Return the endpoint that refuses a wrong key, and reports errors of messages in Meta's form."""

        async def endpoint(request: Request) -> Response:
            given = request.headers.get("d360-api-key", "").encode()
            # compared in constant time, as every secret that can be guessed at from outside
            if self._number is None or not hmac.compare_digest(given, self._key):
                return _own_error(401, "Invalid api key")
            try:
                return await call(request, self._number)
            except GraphError as error:
                return messages.error_response(error)

        return endpoint

    async def send(self, request: Request, number: Number) -> Response:
        return await messages.take(self._sandbox, "d360", number, request)

    async def upload(self, request: Request, number: Number) -> Response:
        return await media_calls.upload(self._sandbox, "d360", number, request)

    async def download(self, request: Request, _: Number) -> Response:
        return await media_calls.download(self._sandbox, "d360", request)

    async def node(self, request: Request, _: Number) -> Response:
        # the address is Meta's: clients replace its host by 360dialog's to fetch the file
        answer = await media_calls.of_node(
            self._sandbox,
            "d360",
            request,
            str(request.path_params["id"]),
            f"{request.base_url}lookaside/{media_calls.ATTACHMENTS}",
        )
        return answer or _own_error(404, "Not found")

    async def show_webhook(self, _: Request, __: Number) -> Response:
        target = self._sandbox.outbox.target("d360")
        return JSONResponse({"url": target.url, "headers": dict(target.headers)})

    async def set_webhook(self, request: Request, _: Number) -> Response:
        try:
            body = await read_body(request)
        # an unreadable body is refused in 360dialog's own form; errors of messages are Meta's, passed on
        except GraphError:
            return _own_error(400, "The body is not a JSON object")
        url, headers = body.get("url"), body.get("headers", {})
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            return _own_error(400, "url must be an http or https address")
        # the headers go on every webhook: a line break in one would split the request
        if not isinstance(headers, dict) or not all(
            _NAME.fullmatch(name) and _is_header(value) for name, value in headers.items()
        ):
            return _own_error(400, "headers must be texts by name")
        self._sandbox.set_d360_webhook(url, headers)
        self._sandbox.ledger.append("d360", "webhook_set", url=url, headers=sorted(headers))
        return JSONResponse({"url": url, "headers": headers})

    async def list_templates(self, request: Request, number: Number) -> Response:
        listed, query = Shop(self._sandbox, number.waba_id).listed, request.query_params
        offset, limit = (
            # a value that is not a number counts as 0
            int(query.get(name, default)) if re.fullmatch("[0-9]{1,9}", query.get(name, default)) else 0
            for name, default in (("offset", "0"), ("limit", "1000"))
        )
        return JSONResponse(
            {
                "count": len(listed),
                "limit": limit,
                "offset": offset,
                "total": len(listed),
                "waba_templates": listed[offset : offset + limit],
            }
        )

    async def create_template(self, request: Request, number: Number) -> Response:
        return JSONResponse(Shop(self._sandbox, number.waba_id).create(await read_body(request)), 201)

    async def delete_template(self, request: Request, number: Number) -> Response:
        # 360dialog deletes a name in all its languages
        Shop(self._sandbox, number.waba_id).delete(request.path_params["name"], "")
        return JSONResponse({"meta": {"success": True, "http_code": 200}})

    async def other(self, _: Request, __: Number) -> Response:
        return _own_error(404, "Not found")
