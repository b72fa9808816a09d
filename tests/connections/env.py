"""API, meta and sandbox as processes over one database: what a client asks, who does it, and what the provider then
knows.
"""

from __future__ import annotations

from typing import Any, Self

import requests

from shared.settings import Settings
from tests.meta.env import MetaEnv
from tests.support.waiting import eventually

ANSWER_S = 40.0
APP_ID = "300000000000001"
SIGNUP = {"phoneNumberId": "100000000000004", "wabaId": "200000000000004"}
"""The sandbox's number that is not signed up."""
PAGE, INSTAGRAM = "400000000000001", "500000000000001"
PERSON = "24312345678901234"


class AccountsEnv(MetaEnv):
    """A env with an API."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.api = self._entry("api")

    def start(self) -> Self:
        """Start everything and wait until it is ready."""
        self.api.start()
        super().start()
        self.api.wait_ready()
        return self

    def call(self, method: str, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        """Ask the API."""
        headers = {"Authorization": f"Bearer {self.settings.api_key}"} | arguments.pop("headers", {})
        return self.http.request(
            method,
            f"http://127.0.0.1:{self.settings.port('api')}{path}",
            json=body,
            headers=headers,
            timeout=ANSWER_S,
            **arguments,
        )

    def done(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for a task and return its result."""
        answer = self.call(method, path, body, headers={"Prefer": "wait=30"})
        assert answer.status_code == 200, f"{answer.text}\n{self.meta.log.read_text()[-3000:]}"
        assert answer.json()["status"] == "done"
        return answer.json()["result"]

    def connection(self, phone_index: int, company: str = "demo") -> dict[str, Any]:
        """Return a connection as clients see it."""
        answer = self.call("GET", f"/api/v2/connections/{company}/{phone_index}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait_connection(self, phone_index: int, **expected: Any) -> dict[str, Any]:
        """Wait until a connection shows what is expected."""

        def shows() -> dict[str, Any] | None:
            shown = self.connection(phone_index)
            return shown if all(shown[name] == value for name, value in expected.items()) else None

        found = eventually(
            shows, 15.0, lambda: f"connection {phone_index} shows {expected}: {self.connection(phone_index)}"
        )
        assert found is not None
        return found

    def events(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the ledger's entries of one event since the test began, those with these fields."""
        entries = self.control("GET", "ledger", since=self.since, event=event, limit=10_000)["entries"]
        return [entry for entry in entries if all(entry.get(name) == value for name, value in fields.items())]

    def close(self) -> None:
        """End all processes."""
        self.api.close()
        super().close()
