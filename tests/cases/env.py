"""A company as its customers, its operators and Meta see it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from shared.store import connections
from tests.connections.env import AccountsEnv
from tests.meta.seed import COMPANY, webhook
from tests.support.waiting import eventually

WAIT_S = 20.0


class CasesEnv(AccountsEnv):
    """An installation that is judged by what its API shows and by what its provider received."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pages: dict[str, int] = {}

    def add_page(self, connection_type: str, account_id: str, token: str) -> None:
        """Make the connection of a Page or an Instagram account, and wait until its token is proved."""
        answer = self.call(
            "POST",
            f"/api/v2/connections/{COMPANY}",
            {"connectionType": connection_type, "accountId": account_id, "accessToken": token},
        )
        assert answer.status_code == 201, answer.text
        self.pages[connection_type] = answer.json()["phoneIndex"]
        eventually(
            lambda: self.query(
                "SELECT 1 FROM phone_configs WHERE account_id = %s AND account_id = ANY(proved_ids)", account_id
            ),
            WAIT_S,
            "the token is proved",
        )

    def receive(self, *messages: Mapping[str, Any], field: str = "messages", **value: Any) -> None:
        """Let customers' messages, or other parts of a change, come in, and wait until they were processed."""
        parts: dict[str, Any] = {"messages": list(messages), **value} if messages else value
        payload = webhook(parts)
        payload["entry"][0]["changes"][0]["field"] = field
        self.receive_raw(payload)

    def receive_raw(self, payload: Mapping[str, Any]) -> None:
        """Let a whole webhook come in, and wait until it was processed."""
        assert self.post(payload) == 200
        self.wait_journal_read()

    def chat(self, chat_id: str) -> list[dict[str, Any]]:
        """Return a chat as the API shows it, newest first."""
        answer = self.call("GET", f"/api/v2/messages/{COMPANY}/{chat_id}")
        assert answer.status_code == 200, answer.text
        shown: list[dict[str, Any]] = answer.json()["messages"]
        return shown

    def newest(self, chat_id: str) -> dict[str, Any]:
        """Return the newest line of a chat."""
        return self.chat(chat_id)[0]

    def ask(self, chat_id: str, body: Mapping[str, Any], **more: Any) -> Any:
        """Ask the API to send a message of any type. Returns its answer."""
        return self.call("POST", f"/api/v2/messages/{COMPANY}/{chat_id}", {"phoneIndex": 0, **body, **more})

    def sent(self, chat_id: str, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Send a message, wait until it has left, and return what the provider received."""
        answer = self.ask(chat_id, body, **more)
        assert answer.status_code == 202, answer.text
        row = int(answer.json()["id"])
        eventually(
            lambda: self.state(row) in ("sent", "delivered", "read", "failed"), WAIT_S, lambda: self.history(row)
        )
        assert self.state(row) != "failed", self.history(row)
        (arrived,) = self.arrived(row)
        return dict(arrived)

    def known(self, connection_id: int) -> Any:
        """Return a connection's row."""
        return self.store.run(connections.lock, connection_id)


def wamid() -> str:
    """Return an id that no other message has."""
    return f"wamid.{secrets.token_hex(16).upper()}"


def text_from(sender: str, body: str, **more: Any) -> dict[str, Any]:
    """Return a text of a customer, written now."""
    return {
        "from": sender,
        "id": wamid(),
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": body},
        **more,
    }
