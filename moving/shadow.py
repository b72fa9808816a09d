"""A proxy before a single-process server: each request goes there and its answer to the client; a copy goes to a shadow
installation of Bulkhead, whose answer is compared and thrown away (docs/adr/0166-a-shadow-is-an-installation.md).

The client waits for the old server alone. Copies wait in a queue of bounded length; one that finds it full is counted
as not compared.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web

from moving.comparison import Answer, Counts, compare
from shared.clock import monotonic
from shared.errors import BulkheadError

_QUEUE: Final = 1000
"""Copies that wait at most."""
_AT_ONCE: Final = 16
"""Copies that are sent at once."""
_COPY_S: Final = 30.0
"""Longest wait for an answer of the shadow."""
_OLD_S: Final = 300.0
"""Longest wait for an answer of the old server: it may hold a request for as long."""
_BODY_MOST: Final = 110 * 1024 * 1024
"""Bytes of a request; a file and what stands around it."""
_COPIED_MOST: Final = 4 * 1024 * 1024
"""Bytes of a request that is copied: more would fill memory, 1,000 of which may wait."""
_ANSWER_MOST: Final = 64 * 1024
"""Bytes of an answer that are read for its error code."""
_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers of one connection (RFC 9110, 7.6.1)."""


class NotInSandbox(BulkheadError):
    """Raised when the shadow installation would send to real providers: every message would be sent twice."""


@dataclass(frozen=True, slots=True)
class _Copy:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    old: Answer


class Shadow:
    """Forwards, copies and compares.

    Args:
        old, new: addresses without a path. key: of the shadow installation, for all companies. report: gets each
            difference.
    """

    def __init__(self, old: str, new: str, *, key: str, report: Callable[[Mapping[str, Any]], object]) -> None:
        self._old, self._new, self._key, self._report = old.rstrip("/"), new.rstrip("/"), key, report
        self._copies: asyncio.Queue[_Copy] = asyncio.Queue(_QUEUE)
        self.counts = Counts()

    async def run(self, host: str, port: int, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set. Raises `NotInSandbox` when the shadow is not, or stops to be, in the sandbox
        alone.
        """
        # answers pass as they are, whatever they are compressed with
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            await self._require_sandbox(session)
            application = web.Application(client_max_size=_BODY_MOST)

            async def forward(request: web.Request) -> web.StreamResponse:
                return await self._forward(session, request)

            application.router.add_route("*", "/{tail:.*}", forward)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            workers = [asyncio.create_task(self._work(session)) for _ in range(_AT_ONCE)]
            stopped = asyncio.create_task(stopping.wait())
            try:
                await web.TCPSite(runner, host, port).start()
                await asyncio.wait([stopped, *workers], return_when=asyncio.FIRST_COMPLETED)
                for worker in workers:
                    if worker.done():
                        worker.result()
            finally:
                await runner.cleanup()
                for task in (stopped, *workers):
                    task.cancel()
                await asyncio.gather(stopped, *workers, return_exceptions=True)

    async def _require_sandbox(self, session: aiohttp.ClientSession) -> None:
        """Raise `NotInSandbox` unless every connection of every company sends to the sandbox."""
        after = ""
        while True:
            page = await self._get(session, f"/api/v2/companies{after}")
            for company in page["companies"]:
                name = company["companyId"]
                found = await self._get(session, f"/api/v2/connections/{name}")
                live = [one["phoneIndex"] for one in found["connections"] if not one["sandbox"]]
                if live:
                    raise NotInSandbox(
                        f"connections {live} of company {name} of {self._new} send to real providers: a copy "
                        "of a request would be a second message. Start the shadow installation with SANDBOX=on"
                    )
            if not page.get("next"):
                return
            after = f"?after={page['next']}"

    async def _get(self, session: aiohttp.ClientSession, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Accept-Encoding": "identity"}
        async with session.get(f"{self._new}{path}", headers=headers) as response:
            body = await response.read()
            if response.status != 200:  # OK
                raise NotInSandbox(
                    f"{self._new}{path} answers {response.status}: whether it is in the sandbox is not known"
                )
            return json.loads(body)

    async def _forward(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        self.counts.forwarded += 1
        began_at = monotonic()
        try:
            async with session.request(
                request.method,
                f"{self._old}{request.raw_path}",
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_OLD_S),
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP | {"content-length"}:
                        response.headers.add(name, value)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                await response.prepare(request)
                first = b""
                # as it comes: a stream of events has no end
                async for part in answer.content.iter_any():
                    first = (first + part)[:_ANSWER_MOST]
                    await response.write(part)
                old = Answer(status=answer.status, seconds=monotonic() - began_at, code=_code(first))
        except (aiohttp.ClientError, TimeoutError):
            self._copy(request, body, headers, Answer(status=0, seconds=monotonic() - began_at))
            return web.Response(status=502, text="the single-process server does not answer\n")
        await response.write_eof()
        self._copy(request, body, headers, old)
        return response

    def _copy(self, request: web.Request, body: bytes, headers: Mapping[str, str], old: Answer) -> None:
        if len(body) > _COPIED_MOST:
            self.counts.not_compared["too large"] += 1
            return
        try:
            self._copies.put_nowait(_Copy(request.method, request.raw_path, headers, body, old))
        except asyncio.QueueFull:
            self.counts.not_compared["the shadow is too slow"] += 1

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            copy = await self._copies.get()
            new = await self._ask(session, copy)
            self.counts.compared += 1
            difference = compare(copy.method, copy.path, copy.old, new)
            if difference is not None:
                self.counts.differences[f"{difference.operation}: {', '.join(difference.reasons)}"] += 1
                self._report(difference.as_json())

    async def _ask(self, session: aiohttp.ClientSession, copy: _Copy) -> Answer:
        # The clients' keys are the old server's: the shadow gets its own. A webhook is signed, and has none.
        dropped = {"host", "content-length", "authorization", "x-api-key", "accept-encoding"}
        headers = {name: value for name, value in copy.headers.items() if name.lower() not in dropped}
        if {"authorization", "x-api-key"} & {name.lower() for name in copy.headers}:
            headers["Authorization"] = f"Bearer {self._key}"
        began_at = monotonic()
        try:
            async with session.request(
                copy.method,
                f"{self._new}{copy.path}",
                headers={**headers, "Accept-Encoding": "identity"},
                data=copy.body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_COPY_S),
            ) as answer:
                first = await answer.content.read(_ANSWER_MOST)
                return Answer(status=answer.status, seconds=monotonic() - began_at, code=_code(first))
        # no answer is an answer that differs
        except (aiohttp.ClientError, TimeoutError):
            return Answer(status=0, seconds=monotonic() - began_at)


def _code(body: bytes) -> str:
    """Return the word for the error in a JSON answer, empty when there is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    value = found.get("code", found.get("error", "")) if isinstance(found, dict) else ""
    return value if isinstance(value, str) and value.isascii() and len(value) <= 40 and " " not in value else ""
