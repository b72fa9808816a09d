"""The real API process, with two companies, as tests see it: over HTTP, and its rows in the database."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import unquote, urlsplit

import requests
from psycopg2 import extras
from requests.adapters import HTTPAdapter

from shared.settings import ChildEnvironment, Settings
from shared.store import companies, connections
from shared.store.pool import Transaction
from shared.store.store import Store
from tests.support import ports
from tests.support.database import connected
from tests.support.entry import Entry
from tests.support.waiting import joined

_P = ParamSpec("_P")
_T = TypeVar("_T")

KEY = "key-of-the-tests"
ANSWER_S = 15.0
PREFIX = "urn:bulkhead:problem:"
ALPHA = {0: "meta_direct", 1: "wwebjs", 2: "360dialog", 3: "meta_embedded"}
"""Connections of company alpha; beta has one meta_direct. Index 3 is paused."""
CHAT = "15550100200"


def problem(answer: requests.Response) -> dict[str, Any]:
    """Return the problem in an answer, its type without the prefix, after checking what every problem has."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["instance"] == answer.headers["X-Request-Id"]
    assert body["type"].startswith(PREFIX)
    assert body["detail"].endswith(".")
    return body | {"type": body["type"].removeprefix(PREFIX)}


class _FromAddress(HTTPAdapter):  # type: ignore[misc] # requests has no types
    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self._address, 0))


class ApiEnv:
    """One API process.

    Attributes:
        entry: the process. url: of its public port. admin: of its own port. redis_url: where it gives hints.
    """

    def __init__(self, home: Path, database_url: str, redis_url: str, **variables: Any) -> None:
        first = ports.free_port_block(104)
        self.database_url, self.redis_url = database_url, redis_url
        self.url, self.admin = f"http://127.0.0.1:{first + 100}", f"http://127.0.0.1:{first}"
        given: dict[str, Any] = {
            "database_url": database_url,
            "redis_url": redis_url,
            "api_key": KEY,
            "api_port": first + 100,
            "admin_port": first,
        }
        self.entry = Entry("api", home, **(given | variables))
        self._client = requests.Session()
        self._addresses = itertools.count()
        self._client.trust_env = False

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.entry.start().wait_ready()
        return self

    def call(self, method: str, path: str, *, key: str | None = KEY, **arguments: Any) -> requests.Response:
        """Make a request; `key=None` has none."""
        headers = ({"Authorization": f"Bearer {key}"} if key else {}) | arguments.pop("headers", {})
        return self._client.request(
            method, self.url + path, headers=headers, timeout=arguments.pop("timeout", ANSWER_S), **arguments
        )

    def call_from_a_new_address(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Make a request without a key from an address of this machine that no request came from: wrong keys are slowed
        by address.
        """
        third, fourth = divmod(next(self._addresses), 250)
        with requests.Session() as client:
            client.trust_env = False
            client.mount("http://", _FromAddress(f"127.0.{third + 1}.{fourth + 1}"))
            return client.request(method, self.url + path, timeout=ANSWER_S, **arguments)

    def send(
        self,
        text: Any = "Hello",
        *,
        company: str = "alpha",
        chat: str = CHAT,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> requests.Response:
        """Send a text."""
        return self.call(
            "POST", f"/api/v2/messages/text/{company}/{chat}", json={"message": text, **fields}, headers=headers or {}
        )

    def seed(self) -> Self:
        """Make companies alpha and beta."""
        self.run(_companies)
        return self

    def run(self, function: Callable[Concatenate[Transaction, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a function of `shared.store` in a transaction of its own."""
        store = Store.open(Settings(database_url=self.database_url), ChildEnvironment(process_name="test"), limit=1)
        try:
            return store.run(function, *args, **kwargs)
        finally:
            store.close()

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement in a transaction of its own and return its rows."""
        with (
            connected(self.database_url) as connection,
            connection.cursor(cursor_factory=extras.RealDictCursor) as cursor,
        ):
            cursor.execute(statement, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def close(self) -> None:
        """End the process and the client."""
        self._client.close()
        self.entry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _companies(transaction: Transaction) -> None:
    for company in ("alpha", "beta", "empty"):
        companies.ensure(transaction, company)
    ids = [
        connections.ensure(
            transaction,
            company_id="alpha",
            phone_index=index,
            connection_type=kind,
            account_id=f"10000000000000{index}",
        )
        for index, kind in ALPHA.items()
    ]
    connections.ensure(transaction, company_id="beta", phone_index=0, connection_type="meta_direct")
    connections.pause(transaction, ids[3], "an operator paused it")


class CommitThief:
    """Stands between the API and PostgreSQL and steals the answer to the commit of one message.

    Args:
        loot: what the transaction must have said before. Only the first such transaction is robbed.

    Attributes:
        stolen: set when it has done so.
    """

    def __init__(self, database_url: str, loot: bytes) -> None:
        self._loot = loot
        parts = urlsplit(database_url)
        place = unquote(
            dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("host", parts.hostname or "")
        )
        self._server: Any = (
            f"{place}/.s.PGSQL.{parts.port or 5432}" if place.startswith("/") else (place, parts.port or 5432)
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = parts._replace(
            netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self._listener.getsockname()[1]}", query=""
        ).geturl()
        self.stolen = threading.Event()
        self._mode: str = ""
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def steal(self, *, committed: bool) -> None:
        """Cut the line at that COMMIT, after the server has done it or before it receives it."""
        self._mode = "after" if committed else "before"

    def close(self) -> None:
        """Cut every line."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            _cut(line)
        for thread in self._threads:
            joined(thread, 5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
            server.connect(self._server)
            self._lines += [client, server]
            doomed = threading.Event()
            for work, near, far in ((self._ask, client, server), (self._answer, server, client)):
                self._threads.append(threading.Thread(target=work, args=(near, far, doomed), daemon=True))
                self._threads[-1].start()

    def _ask(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        tempting = False
        with suppress(OSError):
            while asked := client.recv(65536):
                tempting = tempting or self._loot in asked
                # a simple query that is nothing but COMMIT: Q, length, text, NUL
                if tempting and self._mode and asked == b"Q\0\0\0\x0bCOMMIT\0":
                    mode, self._mode = self._mode, ""
                    if mode == "after":
                        doomed.set()
                        server.sendall(asked)
                        continue
                    self.stolen.set()
                    break
                server.sendall(asked)
        _cut(client)
        _cut(server)

    def _answer(self, server: socket.socket, client: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while said := server.recv(65536):
                if doomed.is_set():
                    # the commit is done, and its answer is lost
                    self.stolen.set()
                    break
                client.sendall(said)
        _cut(client)
        _cut(server)


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
