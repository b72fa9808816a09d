"""One installation and one Chromium for all tests of the control room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import extras

from tests.conftest import kept_running, running
from tests.support import processes
from tests.support.browser import Browser, Tab
from tests.support.bulkhead import Bulkhead
from tests.support.database import connected
from tests.support.servers import Servers
from tests.support.waiting import eventually

META_NUMBER = "100000000000001"
"""Account of connection 0 in the sandbox."""
HOSTILE = "<img src=x onerror=window.hit=1>"


class Room(Bulkhead):
    """An installation with something to show."""

    database_url = ""

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement in a transaction of its own and return its rows."""
        with (
            connected(self.settings.database_url) as connection,
            connection.cursor(cursor_factory=extras.RealDictCursor) as cursor,
        ):
            cursor.execute(statement, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def must(self, method: str, path: str, **arguments: Any) -> Any:
        """Make a request that succeeds."""
        answer = self.api(method, path, **arguments)
        assert answer.ok, answer.text
        return answer.json()

    def key(self, *scopes: str, company: str | None = None) -> str:
        """Make a key."""
        body = {"name": "somebody", "companyId": company, "scopes": list(scopes)}
        return str(self.must("POST", "/api/v2/keys", json=body)["key"])

    def queued(self, chat: str, text: str = "Hello") -> str:
        """Accept a message that waits, since its connection is paused; return its id."""
        body = {"message": text, "phoneIndex": 2}
        return str(self.must("POST", f"/api/v2/messages/text/demo/{chat}", json=body)["id"])

    def failed(self, chat: str, code: str = "131026") -> str:
        """Make a dead letter; return its id."""
        message_id = self.queued(chat)
        self.sql(
            "UPDATE messages SET state = 'failed', error_code = %s, error_detail = 'undeliverable', attempt = 5, "
            "updated_at = now() WHERE id = %s",
            code,
            message_id,
        )
        return message_id

    def held(self, chat: str) -> str:
        """Make a message in doubt that is held; return its id."""
        message_id = self.queued(chat)
        self.sql(
            "UPDATE messages SET state = 'in_doubt', claimed_at = now(), in_doubt_at = now(), held_at = now(), "
            "error_code = 'no_evidence', attempt = 1, updated_at = now() WHERE id = %s",
            message_id,
        )
        return message_id

    def keep_conversations(self) -> None:
        """Let the company have conversations, with an assistant (that does not run) and humans."""
        settings = {"enableAssistant": True, "enableHumanHandoff": True}
        self.must("PATCH", "/api/v2/companies/demo", json={"settings": settings})

    def customer_writes(self, customer: str, text: str) -> None:
        """Let a customer write to connection 0."""
        written = {"phone_number_id": META_NUMBER, "from": f"+{customer}", "text": text, "name": f"Ada {customer}"}
        answer = self.sandbox("POST", "/control/inbound", json=written)
        assert answer.ok, answer.text

    def customer_waits(self, customer: str, text: str) -> str:
        """Let a customer ask for a human; return the id of the conversation, once it waits."""
        self.keep_conversations()
        self.customer_writes(customer, text)

        def waiting() -> str:
            found = self.must("GET", f"/api/v2/conversations/demo?chatId={customer}&state=waiting")["conversations"]
            return str(found[0]["id"]) if found else ""

        return eventually(waiting, 15.0, lambda: f"{customer} waits\n{self.tail()}")

    def state(self, chat: str, message_id: str) -> str:
        """Return the state of a message."""
        return str(self.must("GET", f"/api/v2/messages/demo/{chat}/{message_id}")["status"])


class _OfProcess:
    """Chromium, for the suite's watch over processes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def roots(self) -> set[int]:
        return {self._pid}

    @property
    def members(self) -> set[int]:
        return {self._pid, *processes.living_descendants(self._pid)}


@pytest.fixture(scope="package")
def room(prepared_home: Callable[[], Path], servers: Servers) -> Iterator[Room]:
    name, url = servers.new_database()
    with kept_running(
        prepared_home,
        Room,
        kinds=("recorder", "api", "meta"),
        database_url=url,
        redis_url=servers.new_redis(kept=True),
        only="recorder,api,meta,index,sandbox",
    ) as opened:
        # what waits there stays, so that tests can act on it
        opened.must("POST", "/api/v2/connections/demo/2", json={"status": "paused", "reason": HOSTILE})
        yield opened
    servers.drop_database(name)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    made = Browser()
    watched = _OfProcess(made.pid)
    running.append(watched)
    try:
        yield made
    finally:
        made.close()
        running.remove(watched)


@pytest.fixture
def tab(room: Room, browser: Browser) -> Iterator[Tab]:
    """A tab that is not signed in."""
    with browser.tab(f"http://127.0.0.1:{room.settings.port('api')}") as opened:
        yield opened


@pytest.fixture
def signed_in(room: Room, tab: Tab) -> Tab:
    """A tab with the first key."""
    tab.sign_in(room.settings.api_key)
    tab.sees("live", "#stream")
    return tab
