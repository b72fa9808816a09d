"""Functions of companies: which are offered, what they are sent, where it may go, and what the model learns."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from ai.tools.functions import FunctionTools
from ai.tools.tool import ToolContext, ToolFailed
from shared.media.reach import Reach
from shared.tenancy.company_settings import CompanySettings

_CONTEXT = ToolContext(company_id="acme", connection_id=1, customer="15550100200", key="turn-7-3-0")


class CompanyServer:
    """A company's server; `answer`: status and body of the next answers, None: it hangs up."""

    def __init__(self) -> None:
        self.got: list[tuple[Mapping[str, str], Any]] = []
        self.answer: tuple[int, bytes] | None = (200, b'{"status": "sent"}')
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.got.append((dict(self.headers), json.loads(body)))
                if server.answer is None:
                    self.close_connection = True
                    return
                status, answer = server.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/orders?shop=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[CompanyServer]:
    made = CompanyServer()
    yield made
    made.close()


class Secrets:
    async def with_tenant_secret(self, company_id: str, name: str, use: Callable[[bytearray], Awaitable[Any]]) -> Any:
        assert (company_id, name) == ("acme", "orders_token")
        return await use(bytearray(b"token"))


def called(url: str, *, reach: Reach = Reach.PRIVATE, hosts: tuple[str, ...] = ("127.0.0.1",)) -> Any:
    """Call the company's function as a model does; None: the model is not offered it."""
    row = {
        "name": "order_status",
        "description": "x",
        "url": url,
        "secret": "orders_token",
        "has_effects": False,
        "parameters": [{"name": "order", "type": "string", "required": True}],
    }

    async def call() -> Any:
        async def rows(_: object) -> list[Mapping[str, Any]]:
            return [row]

        tools = FunctionTools(SimpleNamespace(call=rows), Secrets(), reach)  # type: ignore[arg-type]
        settings = CompanySettings.read({"assistantConfig": {"functionHosts": list(hosts)}})
        try:
            for tool in await tools.of(settings, "acme"):
                assert tool.outside is not None and tool.is_repeatable
                return await tool.outside(_CONTEXT, tool.read('{"order": "7"}'))
        finally:
            await tools.close()

    return asyncio.run(call())


def test_a_function_gets_arguments_key_and_secret(server: CompanyServer) -> None:
    assert called(server.url) == {"status": "sent"}
    ((headers, body),) = server.got
    assert body == {"arguments": {"order": "7"}, "companyId": "acme", "chatId": "15550100200"}
    assert (headers["Idempotency-Key"], headers["Authorization"]) == ("turn-7-3-0", "Bearer token")


def test_a_host_that_is_not_on_the_list_is_not_offered(server: CompanyServer) -> None:
    assert called(server.url, hosts=()) is None
    assert called(server.url, hosts=("127.0.0.1.example",)) is None
    assert server.got == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_address_is_refused_by_number_and_by_name(server: CompanyServer, host: str) -> None:
    with pytest.raises(ToolFailed, match="cannot be reached"):
        called(server.url.replace("127.0.0.1", host), reach=Reach.PUBLIC, hosts=(host,))
    assert server.got == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [((200, b"It is sent."), {"result": "It is sent."}), ((200, b"[1]"), {"result": [1]})],
)
def test_an_answer_that_is_no_object(server: CompanyServer, answer: tuple[int, bytes], found: Any) -> None:
    server.answer = answer
    assert called(server.url) == found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b""), "HTTP status 500"),
        # not followed: where it leads was not checked
        ((302, b""), "HTTP status 302"),
        (None, "not known; do not repeat"),
    ],
)
def test_what_fails_is_said_to_the_model(server: CompanyServer, answer: tuple[int, bytes] | None, said: str) -> None:
    server.answer = answer
    with pytest.raises(ToolFailed, match=said):
        called(server.url)
    assert len(server.got) == 1


def test_a_server_that_is_away_was_surely_not_asked(server: CompanyServer) -> None:
    server.close()
    with pytest.raises(ToolFailed, match="cannot be reached"):
        called(server.url)
