"""The HTTP servers of one child: its own loopback endpoint, and the kind's public port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from shared.clock import monotonic
from shared.process.endpoints import beside
from shared.process.server import HttpServer


class Servers:
    """Started in the order of the calls, closed in the reverse order.

    Args:
        routes: makes the process's own routes, anew for each server.
    """

    def __init__(self, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self._routes = routes
        self._admin: HttpServer | None = None
        self._public: HttpServer | None = None

    async def serve_admin(self, port: int) -> None:
        """Serve the process's own routes on the loopback address. Raises `OSError` when the port is taken."""
        listener = socket.create_server(("127.0.0.1", port))
        self._admin = HttpServer(Starlette(routes=[*self._routes()]), [listener], "admin")
        await self._admin.start()

    async def serve_public(self, listeners: Sequence[socket.socket], app: ASGIApp | None) -> None:
        """Serve `app` and the process's own routes on the kind's port; without listeners the kind has none."""
        if listeners:
            own = Starlette(routes=[*self._routes()])
            self._public = HttpServer(own if app is None else beside(own, app), [*listeners], "public")
            await self._public.start()

    async def drain(self, by: float) -> bool:
        """Take no new request on the public port, and finish those under way until `by`. Returns whether none is left."""
        return await self._public.stop(by) if self._public is not None else True

    async def close(self) -> None:
        """Stop all servers now."""
        for server in (self._public, self._admin):
            if server is not None:
                await server.stop(monotonic())
