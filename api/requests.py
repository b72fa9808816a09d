"""`proc_api.py --requests`: carries out the requests of an operator's command by the API's own operations, on the
database and without a port, so that they work while no API process runs.

One JSON object a line: `{"method": …, "path": …, "body": …, "headers": {…}}` on standard input, `{"status": …,
"body": …}` on standard output, until the input ends.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from api.room import open_service
from shared.process.one_command import run_with_service
from shared.process.request_body import BodyBudget, with_budget
from shared.process.service import Service

_KEY: Final = secrets.token_urlsafe(32)
"""Valid in this process only, which does not listen: a user who can read the settings can do everything anyway."""
_WAIT: Final = "wait=60"
"""Seconds for a task of another process (RFC 7240)."""


def answer_requests() -> int:
    """Answer requests until the input ends, and return an exit code (`ExitCode`)."""
    return run_with_service("api", open_service, _answer_all, {"api_key": _KEY})


async def _answer_all(service: Service) -> None:
    if service.app is None:
        raise TypeError("the API has no application")
    # as behind a public port
    app = with_budget(service.app, BodyBudget())
    # in a thread: the loop has work of its own between two requests
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        asked = json.loads(line)
        status, body = await _request(app, asked["method"], asked["path"], asked["body"], asked["headers"])
        sys.stdout.write(json.dumps({"status": status, "body": body.decode()}) + "\n")
        sys.stdout.flush()


async def _request(app: ASGIApp, method: str, target: str, body: Any, given: Mapping[str, str]) -> tuple[int, bytes]:
    """Return status and body of the application's answer."""
    path, _, query = target.partition("?")
    headers = {"host": "localhost", "authorization": f"Bearer {_KEY}", "prefer": _WAIT, **given}
    sent = b""
    if body is not None:
        sent = json.dumps(body).encode()
        headers |= {"content-type": "application/json", "content-length": str(len(sent))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
    }
    incoming: list[Message] = [{"type": "http.request", "body": sent, "more_body": False}]
    answer: list[Message] = []

    async def receive() -> Message:
        # nothing follows the body: the caller waits for its response without a limit
        return incoming.pop() if incoming else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        answer.append(message)

    await app(scope, receive, send)
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer[1:])
