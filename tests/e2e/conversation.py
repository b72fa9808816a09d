"""What end-to-end tests send to one installation, and what they read from the other side."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from bulkhead_client import Unreachable
from bulkhead_client.models import Message
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually

CHANNELS = {0: "meta_direct", 1: "wwebjs", 2: "360dialog", 3: "meta_embedded"}


def send(installation: Bulkhead, text: str, *, phone_index: int = 0, chat: str = "15550100200") -> str:
    """Send a text to company demo's connection and return the message's id."""
    return installation.client.send_text(chat, text, phoneIndex=phone_index)["id"]


def state(installation: Bulkhead, message_id: str, chat: str = "15550100200") -> Message:
    """Return a message as the API shows it."""
    return installation.client.message(chat, message_id)


def wait_state(
    installation: Bulkhead, message_id: str, *states: str, chat: str = "15550100200", within_s: float = 30.0
) -> Message:
    """Wait until a message is in one of `states` and return it."""
    found = eventually(
        lambda: shown if (shown := state(installation, message_id, chat))["status"] in states else None,
        within_s,
        lambda: (
            f"message {message_id} becomes {' or '.join(states)}; it is {state(installation, message_id, chat)}\n"
            f"{installation.tail()}"
        ),
        ignoring=(Unreachable,),
    )
    return cast("Message", found)


def arrived_texts(installation: Bulkhead) -> Counter[str]:
    """Return how often each text truly arrived at any provider, by the sandbox's ledger."""
    counted: Counter[str] = Counter()
    since = 0
    while True:
        answer = installation.sandbox("GET", f"/control/ledger?since={since}")
        assert answer.status_code == 200, answer.text
        entries = answer.json()["entries"]
        if not entries:
            return counted
        since = entries[-1]["seq"]
        for entry in entries:
            if entry["event"] == "accepted" and entry["type"] == "text":
                counted[entry["message"]["text"]["body"]] += 1
            elif entry["event"] == "message_arrived":
                counted[entry["body"]] += 1


def wait_session(
    installation: Bulkhead, expected: str, *, phone_index: int = 1, within_s: float = 45.0
) -> dict[str, Any]:
    """Wait until a browser session is in a state and return it."""
    return eventually(
        lambda: (
            shown
            if (shown := installation.api("GET", f"/api/v2/sessions/demo/{phone_index}").json()).get("state")
            == expected
            else {}
        ),
        within_s,
        lambda: (
            f"the session becomes {expected}; it is "
            f"{installation.api('GET', f'/api/v2/sessions/demo/{phone_index}').text}\n{installation.tail()}"
        ),
        ignoring=(OSError, ValueError),
    )


def link(installation: Bulkhead) -> None:
    """Scan the QR code that the API shows, as a phone would."""
    code = wait_session(installation, "needs_link")["qr"]
    answer = installation.sandbox("POST", "/control/web/scan", json={"code": code})
    assert answer.status_code == 200, answer.text
    wait_session(installation, "ready")
