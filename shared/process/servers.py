"""The HTTP servers of one child: its own loopback endpoint, and the kind's public port."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.clock import monotonic
from shared.origin import random_id
from shared.process.endpoints import beside
from shared.process.server import HttpServer

_PRIVATE: Final = ("/health", "/metrics")
"""Paths that on the public port only this machine may read: they name incarnations, limits and traffic."""
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
"""Headers by which a proxy on this machine says that the request comes from elsewhere."""


def private_to_this_machine(app: ASGIApp) -> ASGIApp:
    """Return an application that answers 403 to requests from other machines for `/health` and `/metrics`."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _PRIVATE or _is_local(scope):
            return await app(scope, receive, send)
        detail = "Health and metrics are for this machine; ask the process on its loopback port (ADMIN_PORT)."
        refusal = JSONResponse(
            {
                **{"type": "about:blank", "title": "Forbidden", "status": 403, "detail": detail},
                # a problem as all are, although no middleware has given the request an id
                "instance": random_id(8),
            },
            status_code=403,
            media_type="application/problem+json",
        )
        return await refusal(scope, receive, send)

    return guarded


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        is_loopback = client is None or ip_address(client[0]).is_loopback
    # No IP address, so not provably this machine.
    except ValueError:
        return False
    # A proxy on this machine connects from the loopback address for clients elsewhere.
    return is_loopback and not any(name.lower() in _FORWARDED for name, _ in scope["headers"])


class ProcessRoutes(Protocol):
    """Makes the process's own routes, anew for each server; `public`: for the kind's port, which instances share."""

    def __call__(self, *, public: bool) -> Sequence[BaseRoute]:
        """Return them."""


class Servers:
    """Started in the order of the calls, closed in the reverse order.

    Args:
        routes: makes the process's own routes.
    """

    def __init__(self, routes: ProcessRoutes) -> None:
        self._routes = routes
        self._admin: HttpServer | None = None
        self._public: HttpServer | None = None

    async def serve_admin(self, address: str, port: int) -> None:
        """Serve the process's own routes. Raises `OSError` when the port is taken.

        Args:
            address: loopback, unless something else closes the port: the endpoint has no authentication.
        """
        listener = socket.create_server((address, port))
        self._admin = HttpServer(Starlette(routes=[*self._routes(public=False)]), [listener], "admin")
        await self._admin.start()

    async def serve_public(self, listeners: Sequence[socket.socket], app: ASGIApp | None) -> None:
        """Serve `app` and the process's own routes on the kind's port; without listeners the kind has none."""
        if listeners:
            own = Starlette(routes=[*self._routes(public=True)])
            served = private_to_this_machine(own if app is None else beside(own, app))
            self._public = HttpServer(served, [*listeners], "public")
            await self._public.start()

    async def drain(self, by: float) -> bool:
        """Take no new request on the public port, and finish those under way until `by`. Returns whether none is
        left."""
        return await self._public.stop(by) if self._public is not None else True

    async def close(self) -> None:
        """Stop all servers now."""
        # The admin endpoint last, so that `/health` shows a process that is closing.
        for server in (self._public, self._admin):
            if server is not None:
                await server.stop(monotonic())
