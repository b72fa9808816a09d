"""A sandbox behind a real server, and the product's end of its webhooks, as tests see them: over HTTP only."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import requests
import uvloop

from sandbox.app import build_app
from sandbox.config import META_DIRECT_ID, SandboxConfig
from shared.clock import monotonic
from shared.process.server import HttpServer
from tests.support.waiting import deadline_s, joined

APP_SECRET = "app-secret-of-the-tests"
VERIFY_TOKEN = "verify-token-of-the-tests"
ACCESS_TOKEN = "access-token-of-the-tests"
D360_KEY = "d360-key-of-the-tests"
D360_SECRET = "d360-secret-of-the-tests"
CUSTOMER = "+15550100200"


def text(body: str = "Hello", **more: Any) -> dict[str, Any]:
    """Return a text message as the product sends it."""
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": CUSTOMER,
        "type": "text",
        "text": {"body": body},
    } | more


class Post(NamedTuple):
    """One webhook POST as it came over the wire."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def values(self) -> Iterator[dict[str, Any]]:
        """Return every `value` of every change."""
        for entry in json.loads(self.body)["entry"]:
            for change in entry["changes"]:
                yield change["value"]

    def statuses(self) -> list[tuple[str, str]]:
        """Return (callback data, status) of every status."""
        return [
            (status.get("biz_opaque_callback_data", ""), status["status"])
            for value in self.values()
            for status in value.get("statuses", [])
        ]


class Receiver:
    """The product's webhook: answers 200, or what `answers` says for the next POSTs; keeps every POST.

    Attributes:
        answers: HTTP statuses for the next POSTs, oldest first; 0 closes the connection without an answer. hold:
            cleared, POSTs wait for it.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.answers: deque[int] = deque()
        self.hold = threading.Event()
        self.hold.set()
        self._grown = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._grown:
                    receiver.posts.append(Post(self.path, dict(self.headers.items()), body))
                    answer = receiver.answers.popleft() if receiver.answers else 200
                    receiver._grown.notify_all()
                receiver.hold.wait(20)
                if answer == 0:
                    self.close_connection = True
                    return
                self._say(answer, b"")

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                known = query.get("hub.verify_token") == [VERIFY_TOKEN] and query.get("hub.mode") == ["subscribe"]
                self._say(200 if known else 403, query["hub.challenge"][0].encode() if known else b"")

            def _say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/meta/webhook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def statuses(self) -> list[tuple[str, str]]:
        """Return (callback data, status) of every status in every POST."""
        return [status for post in list(self.posts) for status in post.statuses()]

    def wait(self, what: Callable[[], Any], within_s: float = 20.0) -> Any:
        """Return the first true value of `what`, asked after every POST; fail when there is none in time."""
        by = monotonic() + within_s
        with self._grown:
            while not (value := what()):
                assert self._grown.wait(by - monotonic()), f"not in time; posts: {self.posts}"
        return value

    def close(self) -> None:
        """Stop."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Client:
    """What a product and a tester do with a sandbox at `base`."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = requests.Session()
        self.http.trust_env = False

    def send(
        self,
        message: Any,
        phone_number_id: str = META_DIRECT_ID,
        *,
        token: str = ACCESS_TOKEN,
        version: str = "v23.0",
        **more: Any,
    ) -> requests.Response:
        """POST a message to the Graph API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"data": message} if isinstance(message, bytes) else {"json": message}
        return self.http.post(
            f"{self.base}/graph/{version}/{phone_number_id}/messages", headers=headers, timeout=10, **body | more
        )

    def send_d360(self, message: Any, key: str = D360_KEY, **more: Any) -> requests.Response:
        """POST a message to 360dialog."""
        return self.http.post(
            f"{self.base}/d360/messages", headers={"D360-API-KEY": key}, json=message, timeout=10, **more
        )

    def upload(
        self,
        content: bytes,
        mimetype: str,
        phone_number_id: str = META_DIRECT_ID,
        *,
        token: str = ACCESS_TOKEN,
        fields: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Upload a file to the Graph API."""
        given = {"messaging_product": "whatsapp", "type": mimetype} if fields is None else fields
        url = f"{self.base}/graph/v23.0/{phone_number_id}/media"
        return self.http.post(
            url,
            headers={"Authorization": f"Bearer {token}"},
            data=given,
            files={"file": ("file", content, mimetype)},
            timeout=10,
        )

    def get(self, url: str, *, token: str = ACCESS_TOKEN, method: str = "GET") -> requests.Response:
        """Call the Graph API with a token; `url` is whole or a path below its version."""
        whole = url if url.startswith("http") else f"{self.base}/graph/v23.0/{url}"
        return self.http.request(
            method, whole, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=10
        )

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Make a control call that must succeed."""
        answer = self.http.request(method, f"{self.base}/control/{path}", json=body, params=query, timeout=70)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def arm(self, fault: str, **details: Any) -> int:
        """Arm a fault and return its number."""
        number: int = self.control("POST", "faults", {"fault": fault} | details)["id"]
        return number

    def ledger(self, event: str = "", since: int = 0, wait_s: float = 0.0) -> list[dict[str, Any]]:
        """Return ledger entries."""
        entries: list[dict[str, Any]] = self.control("GET", "ledger", since=since, wait_s=wait_s, event=event or None)[
            "entries"
        ]
        return entries

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


class SandboxEnv(Client):
    """A sandbox in a thread of its own, its webhooks at `receiver`."""

    def __init__(self, data_directory: Path, receiver: Receiver, **config: Any) -> None:
        self.config = replace(
            SandboxConfig(
                data_directory=data_directory,
                app_secret=APP_SECRET,
                verify_token=VERIFY_TOKEN,
                access_tokens=(ACCESS_TOKEN,),
                d360_api_key=D360_KEY,
                d360_webhook_secret=D360_SECRET,
                webhook_url=receiver.url,
                d360_webhook_url=receiver.url,
            ),
            **config,
        )
        self.receiver = receiver
        self._loop = uvloop.new_event_loop()
        self._up = threading.Event()
        self._stop = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(f"http://127.0.0.1:{listener.getsockname()[1]}")
        self._problems: list[BaseException] = []
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(listener),))
        self._thread.start()
        assert self._up.wait(deadline_s(5))

    async def _serve(self, listener: socket.socket) -> None:
        app = build_app(self.config)
        server = HttpServer(app, [listener], "sandbox")
        await server.start()
        tasks: list[asyncio.Task[None]] = []
        app.state.sandbox.start(lambda work, name: tasks.append(asyncio.create_task(work, name=name)))
        self._up.set()
        await self._stop.wait()
        app.state.sandbox.leave()
        await server.stop(monotonic() + 2)
        await app.state.sandbox.outbox.drain(monotonic() + 2)
        await app.state.sandbox.close()
        self._problems += [
            result for result in await asyncio.gather(*tasks, return_exceptions=True) if result is not None
        ]

    def close(self) -> None:
        """Stop, and fail if one of its tasks had failed."""
        super().close()
        self._loop.call_soon_threadsafe(self._stop.set)
        joined(self._thread, 10)
        self._loop.close()
        assert not self._problems, self._problems

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
