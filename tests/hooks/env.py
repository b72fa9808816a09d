"""Kind `hooks` as a process, with receivers that answer as a test says."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from shared.events.hook_secrets import HookSecrets
from shared.messages import InboundMessage
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import inbound
from tests.store.env import StoreEnv
from tests.support import ports
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.environment import SEALING_KEY
from tests.support.waiting import deadline_s, joined

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Delivery:
    """One request that a receiver got."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def text(self) -> str:
        """Chat and text of the message."""
        message = self.event["data"]["message"]
        return f"{message['chatId']} {message['message']}"


Answer = Callable[[Delivery, BaseHTTPRequestHandler], int | None]
"""Returns the status, or None when it has answered itself."""


class Receiver:
    """A subscriber: an HTTP server that records what it gets, in the order of arrival."""

    def __init__(self, answer: Answer = lambda _delivery, _handler: 204) -> None:
        self.answer = answer
        self.got: list[Delivery] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                delivery = Delivery({name.lower(): value for name, value in self.headers.items()}, body)
                with receiver._lock:
                    receiver.got.append(delivery)
                status = receiver.answer(delivery, self)
                if status is not None:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                return  # a client that is killed breaks its connections

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def texts(self) -> list[str]:
        return [delivery.text for delivery in list(self.got)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        joined(self._thread, 5)


class HooksEnv:
    """The process, and the rows around it."""

    def __init__(self, home: Path, store: StoreEnv, **variables: Any) -> None:
        first = ports.free_port_block(100)
        given: dict[str, Any] = {
            "database_url": store.url,
            "admin_port": first,
            "hooks_private": "on",
            "sandbox": "off",
        }
        self.store, self._vault = store, Vault.from_settings(Settings(secret_encryption_key=SEALING_KEY))
        self.entry = Entry("hooks", home, **(given | variables))
        self.connection = store.connect()
        self._names = 0
        self._receivers: list[Receiver] = []

    def start(self) -> Self:
        self.entry.start().wait_ready()
        return self

    def kill(self) -> None:
        """End the process as a crash would."""
        os.kill(self.entry.process.pid, signal.SIGKILL)

    def restart(self, *, ready: bool = True) -> None:
        """Begin the next life, as the orchestrator and the recorder do after a death. `ready`: wait until it is."""
        self.entry.process.wait(deadline_s(10))
        query(self.store.url, "UPDATE hooks SET incarnation = '', leased_until = now()")
        self.entry.start()
        if ready:
            self.entry.wait_ready()

    def receiver(self, answer: Answer = lambda _delivery, _handler: 204) -> Receiver:
        made = Receiver(answer)
        self._receivers.append(made)
        return made

    def subscribe(
        self, url: str, types: Sequence[str] = ("message.received",), headers: Mapping[str, str] | None = None
    ) -> int:
        """Add a subscriber from now on."""
        (row,) = query(
            self.store.url,
            "INSERT INTO hooks (company_id, url, types, sealed, xid, event_id) "
            "VALUES ('acme', %(target)s, %(types)s, '', pg_snapshot_xmax(pg_current_snapshot())::text::bigint, 0) "
            "RETURNING id",
            target=url,
            types=list(types),
        )
        sealed = HookSecrets(secrets=(SECRET,), headers=headers or {}).sealed(self._vault, row["id"])
        query(self.store.url, "UPDATE hooks SET sealed = %(sealed)s WHERE id = %(id)s", sealed=sealed, id=row["id"])
        number: int = row["id"]
        return number

    def receive(self, *messages: tuple[str, str]) -> None:
        """Let messages (chat, text) come in, in one transaction."""
        self._names += 1
        rows = [
            (
                InboundMessage(
                    connection_id=self.connection,
                    provider_id=f"{self._names}-{number:05}",
                    chat_id=chat,
                    sender=chat,
                    from_me=False,
                    type="text",
                    content={"body": text},
                    at=NOW,
                ),
                None,
            )
            for number, (chat, text) in enumerate(messages)
        ]
        self.store.store.run(inbound.insert, rows)

    def hook(self, hook_id: int) -> Mapping[str, Any]:
        (row,) = query(self.store.url, "SELECT * FROM hooks WHERE id = %(id)s", id=hook_id)
        return row

    def waiting(self, hook_id: int) -> list[Mapping[str, Any]]:
        return query(
            self.store.url, "SELECT * FROM hook_retries WHERE hook_id = %(id)s ORDER BY xid, event_id", id=hook_id
        )

    def attempts(self, hook_id: int) -> list[tuple[str, str]]:
        """Return (outcome, error) of each attempt."""
        rows = query(self.store.url, "SELECT * FROM hook_deliveries WHERE hook_id = %(id)s ORDER BY id", id=hook_id)
        return [(row["outcome"], row["error"]) for row in rows]

    def close(self) -> None:
        self.entry.close()
        for receiver in self._receivers:
            receiver.close()
