"""What every call of the asynchronous client stands on: its transport, retries, pages."""

# script/client makes the module sync_… of the same name of this file
from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from bulkhead_client.aiohttp_transport import AiohttpTransport
from bulkhead_client.errors import Unreachable
from bulkhead_client.retries import RetryPolicy
from bulkhead_client.wire import Answer, Request, json_request


class AsyncCore:
    """An installation, as one key sees it; see `AsyncBulkhead`."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        company: str = "",
        retries: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        session: Any = None,
        transport: Any = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}", "User-Agent": "bulkhead-client/1"}
        self._transport: Any = AiohttpTransport(url, headers, session) if transport is None else transport
        self.company = company
        self._retries, self._timeout_s = retries or RetryPolicy(), timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    # everything else

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of any path that is read: `get(place("sessions", "demo"))`."""
        return (await self.exchange(Request(method="GET", path=path, query=query))).json()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of any operation."""
        return (await self.exchange(json_request(method, path, body))).json()

    async def pages(self, path: str, name: str, **query: Any) -> AsyncIterator[Any]:
        """Give the entries of a list, page by page. `name`: of the array in a page."""
        cursor = None
        while True:
            page = await self.get(path, cursor=cursor, **query)
            for entry in page[name]:
                yield entry
            cursor = page["next"]
            if cursor is None:
                return

    async def exchange(self, request: Request, wait_s: float = 0.0) -> Answer:
        """Return the answer to a request, after retries, whatever its status.

        Args:
            wait_s: that the request asks for. It counts for each attempt.
        """
        began, attempt = self._transport.now(), 0
        while True:
            attempt += 1
            outcome: Answer | Unreachable
            try:
                outcome = await self._transport.exchange(request, self._timeout_s + wait_s)
            except Unreachable as error:
                outcome = error
            pause_s = self._retries.wait_s(
                request,
                outcome,
                attempt=attempt,
                elapsed_s=self._transport.now() - began,
                random=random.random(),  # noqa: S311 - spreads clients, and keeps no secret
            )
            if pause_s is None:
                if isinstance(outcome, Unreachable):
                    raise outcome
                return outcome
            await self._transport.sleep(pause_s)

    def _of(self, company: str | None) -> str:
        """Return the company of a call. Raises `ValueError` when neither the call nor the client names one."""
        found = self.company if company is None else company
        if not found:
            raise ValueError("no company: name it in the call, or as the client's `company`")
        return found
