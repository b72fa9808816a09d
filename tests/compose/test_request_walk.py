"""A request that sends goes straight through its stages: each is entered once, and none calls back into an earlier
one.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from graphlib import TopologicalSorter
from itertools import groupby
from typing import Any, Final

import pytest
from starlette.routing import Router
from starlette.types import Message

from api.http.keys import KeyCheck
from api.http.limits import RequestLimits
from api.http.operations import EntryChecks, routes
from api.messages.acceptance import AcceptanceAnswers
from api.messages.drafts import DraftReader
from api.messages.sending import SendingOperations
from shared.compose.directory import Directory
from shared.process.request_body import BodyBudget, with_budget
from shared.settings import Settings
from shared.tenancy.known_keys import KnownKeys
from shared.tenancy.limits import LimitRules, Limits
from tests.compose.env import ComposeEnv
from tests.support.calls import Calls

CHAT: Final = "15550100200"
KEY: Final = "key-of-the-tests"
PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(50)
BOUNDARY: Final = "boundary"

DOOR: Final = ("api/http/keys.py", "api/http/idempotency.py", "api/messages/waiting.py")
JSON: Final = ("api/http/bodies.py", "shared/process/request_body.py")
FORM: Final = ("api/http/forms.py", "api/http/multipart.py", "shared/process/request_body.py")
STREAMS: Final = ("_Form.pieces", "_pieces")
"""The storage pulls a file out of the form or the field that holds it: a stream has no other way."""
END: Final = ("shared/compose/composer.py", "api/messages/acceptance.py")


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for name, value in parts:
        is_file = '; filename="a.png"\r\nContent-Type: image/png' if name == "file" else ""
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{is_file}\r\n\r\n'.encode() + value + b"\r\n"
        )
    return body + f"--{BOUNDARY}--\r\n".encode()


def data(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


REQUESTS: Final[Mapping[str, tuple[str, bytes, tuple[str, ...]]]] = {
    "text": ("text/", data(message="Hello"), JSON),
    "text, named by the body": ("", data(type="text", message="Hello", phoneIndex=0), JSON),
    "image in base64": ("image/", data(data=base64.b64encode(PNG).decode()), JSON),
    "image in a form": ("image/", form(("phoneIndex", b"0"), ("caption", b"Look"), ("file", PNG)), FORM),
    "image in a form, named by the body": (
        "",
        form(("type", b"image"), ("phoneIndex", b"0"), ("file", PNG), ("caption", b"Look")),
        FORM,
    ),
    "image in a form, the index last": ("image/", form(("file", PNG), ("phoneIndex", b"0")), FORM),
}


def send(env: ComposeEnv, path: str, body: bytes, *, is_form: bool) -> Calls:
    """Send one message through router, key check and operation, and return the calls of it."""
    kind = f"multipart/form-data; boundary={BOUNDARY}" if is_form else "application/json"
    answers: list[Message] = []
    arriving = [body[at : at + 64] for at in range(0, len(body), 64)]

    async def receive() -> Message:
        return {"type": "http.request", "body": arriving.pop(0), "more_body": bool(arriving)}

    async def answer(message: Message) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/api/v2/messages/{path}acme/{CHAT}",
        "query_string": b"",
        "headers": [(b"content-type", kind.encode()), (b"authorization", f"Bearer {KEY}".encode())],
    }
    calls = Calls()

    async def run() -> None:
        drafts = DraftReader(Directory(env.store), env.files)
        sending = SendingOperations(drafts, env.composer, AcceptanceAnswers(env.store, asyncio.Event()))
        keys = KeyCheck(KEY, KnownKeys(env.store, LimitRules(Settings())))
        entry = EntryChecks(keys=keys, limits=RequestLimits(Limits(env.store)), store=env.store)
        app = with_budget(Router(routes(sending.operations(), entry)), BodyBudget())
        with calls.recorded():
            await app(scope, receive, answer)

    asyncio.run(run())
    assert answers[0]["status"] == 202, answers
    return calls


@pytest.fixture(params=list(REQUESTS.values()), ids=list(REQUESTS))
def walk(env: ComposeEnv, request: pytest.FixtureRequest) -> tuple[Calls, tuple[str, ...]]:
    """The calls of one request, and the stages that read its body."""
    path, body, reading = request.param
    return send(env, path, body, is_form=reading == FORM), reading


def test_each_stage_is_entered_once_and_in_order(walk: tuple[Calls, tuple[str, ...]]) -> None:
    calls, reading = walk
    stages = (*DOOR, "api/messages/drafts.py", *reading, *END)
    entered = [call.file for call in calls if call.file in stages and call.is_entry and call.name not in STREAMS]
    assert [file for file, _ in groupby(entered)] == list(stages)


def test_no_file_calls_one_that_called_it(walk: tuple[Calls, tuple[str, ...]]) -> None:
    calls, _ = walk
    callees: dict[str, set[str]] = {}
    for call in calls:
        if call.is_entry and call.name not in STREAMS:
            callees.setdefault(call.caller, set()).add(call.file)
    # a circle raises `CycleError` with its files
    assert [*TopologicalSorter(callees).static_order()][-1] == "api/http/operations.py"
