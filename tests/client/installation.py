"""The installation that the tests of clients share, and an application beside it that has a webhook and a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bulkhead_client import Bulkhead
from tests.support import samples
from tests.support.bulkhead import Bulkhead as Program
from tests.support.waiting import eventually, joined

KINDS = ("recorder", "api", "meta", "sandbox")
COMPANY = "demo"


@dataclass(frozen=True)
class Delivery:
    """One delivery of a webhook."""

    headers: Mapping[str, str]
    body: bytes


class Application:
    """What a developer would run: `/hook` takes deliveries, `/picture.png` is a picture.

    Attributes:
        got: deliveries, in the order of arrival.
    """

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                application.got.append(Delivery(dict(self.headers.items()), body))
                self.answer(204, b"")

            def do_GET(self) -> None:
                self.answer(200, samples.PNG)

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "image/png")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        joined(self._thread, 5)


class Installation:
    """A running installation in the sandbox, as a developer of an application sees it.

    Attributes:
        url: of the API. key: one of company demo, made for these tests. client: with that key.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.url = f"http://127.0.0.1:{program.settings.port('api')}"
        made = program.api(
            "POST",
            "/api/v2/keys",
            json={"name": "tests", "companyId": COMPANY, "scopes": ["send", "read", "manage", "operate"]},
        )
        assert made.status_code == 201, made.text
        self.key: str = made.json()["key"]
        self.client = Bulkhead(self.url, self.key, company=COMPANY)

    def wait_for(self, what: Callable[[], Any], describe: str, within_s: float = 30.0) -> Any:
        """Wait until `what` returns something true, and return it."""
        return eventually(what, within_s, lambda: f"{describe}\n{self.program.tail()}", poll_s=0.05)

    def ledger(self, chat: str) -> list[dict[str, Any]]:
        """Return what arrived at the provider for a chat."""
        entries = self.program.sandbox("GET", "/control/ledger").json()["entries"]
        return [
            entry["message"]
            for entry in entries
            if entry["event"] == "accepted" and entry["message"].get("to", "").lstrip("+") == chat
        ]

    def customer_writes(self, chat: str, text: str) -> None:
        """Let a customer write a text to connection 0."""
        number = self.client.connections()["connections"][0]["accountId"]
        wish = {"phone_number_id": number, "from": chat, "kind": "text", "text": text}
        self.program.sandbox("POST", "/control/customers", json=wish).raise_for_status()
