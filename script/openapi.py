"""The API's OpenAPI document, made without a database, a queue or a port: for tests of the document, and for what is
generated from it.

`python -m script.openapi` prints it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from dataclasses import replace
from typing import Any, Final

from starlette.types import Message

from api.room import ApiService
from shared.process.one_command import child_without_slot
from shared.settings import ChildEnvironment, load

_NOWHERE: Final[dict[str, Any]] = {
    # nothing connects: the document needs the operations alone
    "database_url": "postgresql://nowhere.invalid/none",
    "redis_url": "redis://nowhere.invalid/0",
    "api_key": "unused",
    "secret_encryption_key": base64.b64encode(bytes(32)).decode(),
}


def openapi_document() -> dict[str, Any]:
    """Return the document, as `/openapi.json` answers with it."""
    return asyncio.run(_read())


async def _read() -> dict[str, Any]:
    settings, identity = replace(load({}), **_NOWHERE), ChildEnvironment(process_name="openapi")
    child = child_without_slot(settings.kind("api"), settings, identity, connections=1)
    service = ApiService(child)
    if service.app is None:
        raise TypeError("the API has no application")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/openapi.json",
        "raw_path": b"/openapi.json",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        await service.app(scope, receive, send)
    finally:
        await service.close()
        child.store.close()
    document: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in sent))
    return document


if __name__ == "__main__":
    json.dump(openapi_document(), sys.stdout, ensure_ascii=False, indent=1)
    print()
