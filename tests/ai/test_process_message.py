"""Questions of gateways, by the running process: each sender has a chat of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai.process_message import PROCESS_MESSAGE
from shared.store import tasks
from tests.ai.env import AiEnv
from tests.support.waiting import eventually


def asked(ai: AiEnv, message: str, content: str, sender: str = "7100") -> Mapping[str, Any]:
    """Ask as the API does, and return the task when it has ended."""
    task = ai.store.store.run(
        tasks.add_once,
        company_id="acme",
        kind="ai",
        operation=PROCESS_MESSAGE,
        arguments={"messageId": message, "platform": "facebook", "senderId": sender, "content": content},
        once=("facebook", sender, message),
        about=("facebook", sender),
        expires_in_s=45.0,
    )

    def ended() -> Mapping[str, Any]:
        row = ai.store.store.run(tasks.by_id, company_id="acme", task_id=task["id"])
        return row if row is not None and row["state"] in ("done", "failed") else {}

    return eventually(ended, 30.0, "it is answered")


def test_a_sender_is_answered_from_their_own_chat_and_each_message_once(ai: AiEnv) -> None:
    ai.behave("answer", text="Within 30 days.", contains="return")
    ai.behave("answer", text="At your cost.", contains="pays")
    ai.start()
    first = asked(ai, "m1", "Can I return it?")
    assert first["result"] == {"content": "Within 30 days.", "toolCalls": []}
    assert asked(ai, "m2", "Who pays?")["result"]["content"] == "At your cost."
    said = [(one["role"], one["content"]) for one in ai.asked()[-1]["messages"][1:]]
    assert said == [("user", "Can I return it?"), ("assistant", "Within 30 days."), ("user", "Who pays?")]
    # the same message again is no second call, and another sender knows nothing of it
    assert asked(ai, "m1", "Can I return it?")["id"] == first["id"] and len(ai.asked()) == 2
    asked(ai, "m1", "Hello?", sender="7200")
    assert [one["content"] for one in ai.asked()[-1]["messages"][1:]] == ["Hello?"]
    # as much of it as the company has set
    ai.set(assistantConfig={"historyMessages": 2})
    eventually(lambda: len(_after(ai)) == 3, 20.0, "the setting holds")


def _after(ai: AiEnv) -> list[str]:
    number = len(ai.asked())
    asked(ai, f"n{number}", f"Question {number}?")
    return [one["content"] for one in ai.asked()[-1]["messages"][1:]]
