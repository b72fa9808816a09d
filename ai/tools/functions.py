"""Functions that companies serve themselves: a POST of the arguments to an address of theirs, whose host is on the
company's list and which is checked where it is connected to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field, create_model

from ai.tools.tool import Tool, ToolArguments, ToolContext, ToolFailed
from shared.clock import left, monotonic
from shared.errors import Refused
from shared.http_client.connection import AnswerLimits, HttpAnswer
from shared.http_client.errors import NotAnswered, NotWritten
from shared.http_client.names import NameLookups
from shared.http_client.places import PlaceHolder, SharedPlaces, fair_share
from shared.http_client.pool import ConnectionPool
from shared.http_client.request import PORTS, HttpOrigin, post_target, request_of
from shared.media.errors import FetchFailed
from shared.media.guard import SocketGuard
from shared.media.reach import Reach, checked
from shared.secrets import SecretUnreadable
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings
from shared.tenancy.tenant_secrets import SecretService

CALL_S: Final = 10.0
"""Seconds for one call: a customer waits."""
_LIMITS: Final = AnswerLimits(head=16 << 10, body=64 << 10)
_TYPES: Final[Mapping[str, type]] = {"string": str, "integer": int, "number": float, "boolean": bool}


class FunctionTools:
    """The functions of companies (`ai.tools.registry.ToolSource`).

    Args:
        reach: of addresses that companies choose.
    """

    def __init__(self, store: Store, secrets: SecretService, reach: Reach) -> None:
        self._store, self._secrets, self._reach = store, secrets, reach
        self._pool = ConnectionPool(
            SharedPlaces(100, fair_share), _LIMITS, open_socket=SocketGuard(reach), look_up=NameLookups(16)
        )

    async def of(self, settings: CompanySettings, company_id: str) -> Sequence[Tool]:
        """Return a company's functions, those alone whose host is on its list."""
        rows = await self._store.call(
            lambda transaction: transaction.rows("assistant_functions", company_id=company_id)
        )
        return [self._tool(row) for row in rows if _host(row["url"]) in settings.assistant.function_hosts]

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def _tool(self, row: Row) -> Tool:
        async def call(context: ToolContext, arguments: ToolArguments) -> Mapping[str, Any]:
            return await self._call(row, context, arguments)

        return Tool(
            name=row["name"],
            description=row["description"],
            arguments=_arguments(row["parameters"]),
            outside=call,
            is_repeatable=not row["has_effects"],
        )

    async def _call(self, row: Row, context: ToolContext, arguments: ToolArguments) -> Mapping[str, Any]:
        headers = {"Idempotency-Key": context.key}
        if row["secret"]:
            headers["Authorization"] = f"Bearer {await self._token(context.company_id, row['secret'])}"
        body = json.dumps(
            {"arguments": arguments.model_dump(exclude_none=True), "companyId": context.company_id,
             "chatId": context.customer}
        ).encode()  # fmt: skip
        try:
            parts = checked(row["url"], self._reach)
            origin = HttpOrigin(parts.scheme == "https", str(parts.hostname), parts.port or PORTS[parts.scheme])
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            answer = await self._exchange(origin, request_of(post_target(origin, path, headers), {}, body), context)
        except (FetchFailed, NotWritten):
            # surely not carried out
            raise ToolFailed("the function cannot be reached now; do without it") from None
        except NotAnswered:
            raise ToolFailed(
                "the function did not answer: whether it was carried out is not known; do not repeat it"
            ) from None
        if not 200 <= answer.status < 300:
            raise ToolFailed(f"the function answered with HTTP status {answer.status}")
        text = answer.body.decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return {"result": text}
        return found if isinstance(found, dict) else {"result": found}

    async def _exchange(self, origin: HttpOrigin, request: bytes, context: ToolContext) -> HttpAnswer:
        by = monotonic() + CALL_S
        try:
            async with asyncio.timeout(left(by)):
                place = await self._pool.enter(PlaceHolder(context.company_id))
                connection = await self._pool.take(origin, place)
        except TimeoutError:
            raise NotWritten("TimeoutError") from None
        timer = asyncio.get_running_loop().call_later(left(by), connection.expire)
        try:
            return await connection.exchange(request, by)
        finally:
            timer.cancel()
            self._pool.give_back(connection, place)

    async def _token(self, company_id: str, name: str) -> str:
        async def read(value: bytearray) -> str:
            return value.decode()

        try:
            return await self._secrets.with_tenant_secret(company_id, name, read)
        except (Refused, SecretUnreadable):
            raise ToolFailed("the function cannot be used: its secret is missing") from None


def _host(url: str) -> str:
    try:
        return str(checked(url, Reach.PRIVATE).hostname).casefold()
    except FetchFailed:
        return ""


def _arguments(parameters: Sequence[Mapping[str, Any]]) -> type[ToolArguments]:
    """Return the type of a function's arguments."""
    fields: dict[str, Any] = {}
    for one in parameters:
        kind: Any = Literal[tuple(one["choices"])] if one.get("choices") else _TYPES[one["type"]]
        described = {"description": one.get("description", "")}
        fields[one["name"]] = (
            (kind, Field(**described)) if one.get("required") else (kind | None, Field(default=None, **described))
        )
    return create_model("FunctionArguments", __base__=ToolArguments, **fields)
