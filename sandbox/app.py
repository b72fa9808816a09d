"""The sandbox as one ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.account_calls import account_routes
from sandbox.config import SandboxConfig
from sandbox.control import Control, LoopbackOnly
from sandbox.d360 import d360_routes
from sandbox.graph import graph_routes
from sandbox.messenger import messenger_routes
from sandbox.model import model_routes
from sandbox.state import Sandbox
from sandbox.templates import template_routes
from sandbox.web import web_routes


class NamedAnswers:
    """Marks every answer as the sandbox's, so that none is taken for a provider's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; `receive` is handed on as it is."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-bulkhead-sandbox", b"1")]
            await send(message)

        await self._app(scope, receive, marked)


def build_app(config: SandboxConfig) -> Starlette:
    """Return the application; its `state.sandbox` is the `Sandbox`, to be started in the event loop that serves it and
    closed after.

    Raises:
        OSError: the data directory cannot be used.
    """
    sandbox = Sandbox(config)
    accounts = [*account_routes(sandbox), *template_routes(sandbox), *messenger_routes(sandbox)]
    routes = [
        # before the routes of messages, whose `/graph/{version}/{object_id}/{edge}` would match them too
        *accounts,
        *graph_routes(sandbox),
        *d360_routes(sandbox),
        *model_routes(sandbox),
        *Control(sandbox).routes(),
        *web_routes(sandbox.phones),
    ]
    # the middleware does not wrap `receive`: connection faults reach the connection through it (`connection.py`)
    app = Starlette(routes=routes, middleware=[Middleware(NamedAnswers), Middleware(LoopbackOnly)])
    app.state.sandbox = sandbox
    return app
