"""Numbers in JSON bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from api.http.bodies import read_json
from shared.process.request_body import BodyBudget, with_budget


def read(body: bytes) -> Any:
    """Return what is made of a body."""
    read_values: list[Any] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def application(scope: Any, receive_: Any, _: Any) -> None:
        read_values.append(await read_json(Request(scope, receive_)))

    async def send(_: Message) -> None:
        """Answer nothing."""

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, "path_params": {}}

    async def run() -> None:
        await with_budget(application, BodyBudget())(scope, receive, send)

    asyncio.run(run())
    return read_values[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"242.0", 242),
        (b"2.42e2", 242),
        (b"-0.0", 0),
        (b"52.5163", 52.5163),
        (b"9007199254740993.0", 9007199254740992.0),
    ],
)
def test_a_whole_number_is_an_integer_however_it_is_spelled(text: bytes, value: float) -> None:
    found = read(b'{"n": ' + text + b"}")["n"]
    assert (found, type(found)) == (value, type(value))
