"""The meta process and the sandbox process over one database and Redis, driven as the API and a customer would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests

from shared.kinds import admin_port, kind_named
from shared.queues.hints import Hints
from shared.secrets import Vault
from shared.settings import ChildEnvironment, Settings, to_environ
from shared.store import messages
from shared.store.messages import NewMessage
from shared.store.store import Store, installation
from tests.meta.seed import COMPANY, DIRECT, ROWS, seed, signature
from tests.store.env import token_of
from tests.support.database import connected
from tests.support.entry import Entry
from tests.support.waiting import eventually

KIND: Final = kind_named("meta")
WITHIN_S: Final = 15.0
_chats = itertools.count(15550200000)


def new_chat() -> str:
    """Return a customer's number that no other test writes to."""
    return str(next(_chats))


def _row_of(entry: Mapping[str, Any]) -> str:
    """Return the row that a ledger entry's callback data names, empty when it names none."""
    parts = str(entry.get("callback", "")).split(":")
    return parts[2] if len(parts) == 5 else ""


class MetaEnv:
    """Everything that stands around a meta process.

    Attributes:
        ids: connection ids by phone index. since: the ledger's newest number when the test began.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store.open(settings, ChildEnvironment(process_name="test"), limit=4)
        self.hints = Hints(settings.redis_url, settings.redis_timeout_s, self.store.run(installation))
        self.ids = self.store.run(seed, Vault.from_settings(settings))
        self.sandbox = self._entry("sandbox")
        self.meta = self._entry("meta")
        self.http = requests.Session()
        self.http.trust_env = False
        self.since = 0

    def _entry(self, kind: str) -> Entry:
        variables: dict[str, Any] = {
            name.lower(): value for name, value in to_environ(self.settings).items() if name != "BULKHEAD_HOME"
        }
        return Entry(kind, Path(self.settings.bulkhead_home), **variables)

    def start(self) -> Self:
        """Start both processes and wait until they are ready."""
        self.sandbox.start()
        self.meta.start()
        self.sandbox.wait_ready()
        self.meta.wait_ready()
        return self

    def reset(self) -> None:
        """Put the sandbox back to its defaults and forget what the ledger held so far."""
        self.since = self.control("POST", "reset", {"seed": 1})["seq"]

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Make a control call of the sandbox that must succeed."""
        url = f"http://127.0.0.1:{self.settings.port('sandbox')}/control/{path}"
        answer = self.http.request(method, url, json=body, params=query, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def arm(self, fault: str, chat: str, **details: Any) -> None:
        """Arm a fault for one chat."""
        self.control("POST", "faults", {"fault": fault, "to": chat} | details)

    def send(
        self, chat: str, body: str = "Hello", *, phone_index: int = DIRECT, hint: bool = True, **content: Any
    ) -> int:
        """Accept one text and hint it, as the API does. Returns its row."""
        return self.send_many([(chat, body)], phone_index=phone_index, hint=hint, **content)[0]

    def send_many(
        self, texts: Iterable[tuple[str, str]], *, phone_index: int = DIRECT, hint: bool = True, **content: Any
    ) -> list[int]:
        """Accept several texts in one transaction and hint them."""
        new = [
            NewMessage(
                company_id=COMPANY,
                connection_id=self.ids[phone_index],
                process_name=KIND.name,
                chat_id=chat,
                type="text",
                content={"body": body, "quoted": None} | content,
            )
            for chat, body in texts
        ]
        rows = [accepted.id for accepted in self.store.run(messages.accept, new)]
        if hint:
            self.hints.give(KIND, rows)
        return rows

    def state(self, row_id: int) -> str:
        """Return a row's state."""
        row = self.store.run(messages.by_id, COMPANY, row_id)
        assert row is not None
        return str(row["state"])

    def row(self, row_id: int) -> Mapping[str, Any]:
        """Return a row."""
        row = self.store.run(messages.by_id, COMPANY, row_id)
        assert row is not None
        return row

    def history(self, row_id: int) -> list[tuple[str, str]]:
        """Return (state, code) of every step of a message."""
        return [(step["state"], step["code"]) for step in self.store.run(messages.history, row_id)]

    def wait_state(self, row_id: int, state: str, within_s: float = WITHIN_S) -> None:
        """Wait until a row is in a state."""
        eventually(
            lambda: self.state(row_id) == state,
            within_s,
            lambda: f"row {row_id} is {state}: {self.history(row_id)}\n{self.meta.log.read_text()[-4000:]}",
        )

    def arrived(self, row_id: int) -> list[dict[str, Any]]:
        """Return what the sandbox truly took for a row, whatever the attempt."""
        entries = self.control("GET", "ledger", since=self.since, event="accepted", limit=10_000)["entries"]
        return [entry for entry in entries if _row_of(entry) == str(row_id)]

    def token(self, row_id: int, attempt: int = 1) -> str:
        """Return the token of one attempt of a row."""
        return token_of(self.settings.database_url, row_id, attempt)

    def asked(self, row_id: int) -> int:
        """Return how often the sandbox was asked to send a row, taken or refused."""
        entries = self.control("GET", "ledger", since=self.since, limit=10_000)["entries"]
        return sum(_row_of(entry) == str(row_id) for entry in entries if entry["event"] in ("accepted", "refused"))

    def post(
        self,
        body: bytes | Mapping[str, Any],
        *,
        path: str = "/api/meta/webhook",
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """POST a webhook, signed unless `headers` are given. Returns the HTTP status."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.settings.port('meta')}{path}"
        answer = self.http.post(
            url, data=raw, headers={"X-Hub-Signature-256": signature(raw)} if headers is None else headers, timeout=15
        )
        return int(answer.status_code)

    def get(self, path: str, **query: str) -> requests.Response:
        """GET something from the meta process's public port."""
        return self.http.get(f"http://127.0.0.1:{self.settings.port('meta')}{path}", params=query, timeout=15)

    def metric(self, name: str) -> float:
        """Return one figure of the meta process, by name and own labels (`posts_total{door="demo"}`); 0 when there is
        none.
        """
        port = admin_port(self.settings.admin_port, self.settings.kind("meta"), 0)
        text = self.http.get(f"http://127.0.0.1:{port}/metrics", timeout=15).text
        # the process's own labels come first, and are the same in each line
        own = f'host="{self.settings.host}",kind="meta",slot="meta-0"'
        plain = text.replace(f"{{{own}}}", "").replace(f"{own},", "")
        lines = [line for line in plain.splitlines() if line.startswith(f"bulkhead_{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database directly."""
        with connected(self.settings.database_url) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def wait_journal_read(self, within_s: float = WITHIN_S) -> None:
        """Wait until no raw event waits to be processed."""
        eventually(
            lambda: not self.query("SELECT id FROM inbound_journal WHERE processed_at IS NULL"),
            within_s,
            "the journal is read",
        )

    def inbound(self, provider_id: str) -> list[tuple[Any, ...]]:
        """Return (type, content, from_me, chat_id) of the kept messages with this provider id."""
        return self.query(
            "SELECT type, content, from_me, chat_id FROM inbound_messages WHERE provider_id = %s", provider_id
        )

    def close(self) -> None:
        """Stop everything."""
        self.http.close()
        self.meta.close()
        self.sandbox.close()
        self.hints.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


ACCOUNTS: Final = {index: account_id for index, _type, account_id, _credentials in ROWS}
"""Phone number ids by phone index."""
