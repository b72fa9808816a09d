"""Stand-in for 360dialog under `/d360/…`: Meta's messages with a key in place of version and number, and errors of
360dialog's form.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import media_calls, messages
from sandbox.graph_errors import GraphError
from sandbox.request_bodies import read_body
from sandbox.state import Sandbox
from sandbox.templates import Shop
from shared.process.endpoints import NUMBER

_METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH"]
_NAME: Final = re.compile(r"[A-Za-z0-9-]+")


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _own_error(http_status: int, words: str) -> Response:
    return JSONResponse({"meta": {"developer_message": words, "http_code": http_status, "success": False}}, http_status)


def d360_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of 360dialog. Without a number of channel `d360` every key is unknown."""
    # at 360dialog the key identifies the number; no path has it
    number = next((number for number in sandbox.config.numbers if number.channel == "d360"), None)
    key = sandbox.config.d360_api_key.encode()

    def known(request: Request) -> bool:
        # compared in constant time, as every secret that can be guessed at from outside
        return number is not None and hmac.compare_digest(request.headers.get("d360-api-key", "").encode(), key)

    async def send(request: Request) -> Response:
        if not known(request) or number is None:
            return _own_error(401, "Invalid api key")
        try:
            return await messages.take(sandbox, "d360", number, request)
        except GraphError as error:
            return messages.error_response(error)

    async def webhook(request: Request) -> Response:
        if not known(request):
            return _own_error(401, "Invalid api key")
        target = sandbox.outbox.target("d360")
        if request.method == "GET":
            return JSONResponse({"url": target.url, "headers": dict(target.headers)})
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
        sandbox.set_d360_webhook(url, headers)
        sandbox.ledger.append("d360", "webhook_set", url=url, headers=sorted(headers))
        return JSONResponse({"url": url, "headers": headers})

    async def upload(request: Request) -> Response:
        if not known(request) or number is None:
            return _own_error(401, "Invalid api key")
        try:
            return await media_calls.upload(sandbox, "d360", number, request)
        except GraphError as error:
            return messages.error_response(error)

    async def node(request: Request) -> Response:
        if not known(request):
            return _own_error(401, "Invalid api key")
        # the address is Meta's: clients replace its host by 360dialog's to fetch the file
        answer = await media_calls.of_node(
            sandbox,
            "d360",
            request,
            str(request.path_params["id"]),
            f"{request.base_url}lookaside/{media_calls.ATTACHMENTS}",
        )
        return answer or _own_error(404, "Not found")

    async def download(request: Request) -> Response:
        return (
            await media_calls.download(sandbox, "d360", request)
            if known(request)
            else _own_error(401, "Invalid api key")
        )

    async def template_list(request: Request) -> Response:
        if not known(request) or number is None:
            return _own_error(401, "Invalid api key")
        shop, query = Shop(sandbox, number.waba_id), request.query_params
        try:
            if request.method == "POST":
                return JSONResponse(shop.create(await read_body(request)), 201)
            if request.method == "DELETE":
                # 360dialog deletes a name in all its languages
                shop.delete(request.path_params["name"], "")
                return JSONResponse({"meta": {"success": True, "http_code": 200}})
        except GraphError as error:
            return messages.error_response(error)
        offset, limit = (
            # a value that is not a number counts as 0
            int(query.get(name, default)) if re.fullmatch("[0-9]{1,9}", query.get(name, default)) else 0
            for name, default in (("offset", "0"), ("limit", "1000"))
        )
        return JSONResponse(
            {
                "count": len(shop.listed),
                "limit": limit,
                "offset": offset,
                "total": len(shop.listed),
                "waba_templates": shop.listed[offset : offset + limit],
            }
        )

    async def other(request: Request) -> Response:
        return _own_error(404, "Not found") if known(request) else _own_error(401, "Invalid api key")

    return [
        Route("/d360/messages", send, methods=["POST"]),
        Route("/d360/media", upload, methods=["POST"]),
        Route(f"/d360/{media_calls.ATTACHMENTS}", download, methods=["GET"]),
        Route(f"/d360/{{id:{NUMBER}}}", node, methods=["GET", "DELETE"]),
        Route("/d360/v1/configs/templates", template_list, methods=["GET", "POST"]),
        Route("/d360/v1/configs/templates/{name}", template_list, methods=["DELETE"]),
        Route("/d360/v1/configs/webhook", webhook, methods=["GET", "POST"]),
        Route("/d360/{path:path}", other, methods=_METHODS),
    ]
