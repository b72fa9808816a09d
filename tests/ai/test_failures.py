"""Every way in which a model fails, by one running process: bounded, and the customer gets what is set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ai.env import AiEnv
from tests.sandbox.env import SandboxEnv
from tests.store.conftest import emptied
from tests.support.database import query

_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "error": ({"http_status": 503}, "model_server_error"),
    "quota": ({}, "model_quota"),
    "hang": ({}, "model_timeout"),
    "cut": ({}, "model_cut"),
    "cut_body": ({}, "model_cut"),
    "not_json": ({}, "model_invalid_answer"),
    "empty": ({}, "model_empty"),
    "length": ({}, "model_incomplete"),
    "refusal": ({}, "model_blocked"),
    "bad_json": ({}, "loop"),
    "unknown_tool": ({}, "loop"),
    "loop": ({"calls": [{"name": "find_slots", "arguments": {"service": ""}}]}, "loop"),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, kept_database_url: str, model: SandboxEnv) -> Iterator[AiEnv]:
    """One process for every way in which a model fails."""
    store = emptied(kept_database_url)
    made = AiEnv(tmp_path_factory.mktemp("h"), store, model, llm_call_s=1, ai_turn_s=20)
    made.set(enableFunctionCalling=True, assistantConfig={"apology": "Sorry."})
    query(kept_database_url, "INSERT INTO services (company_id, name) VALUES ('acme', 'Haircut')")
    made.start()
    yield made
    made.close()
    store.close()


@pytest.mark.parametrize("behaviour", _CASES)
def test_a_model_that_fails_is_bounded_and_the_customer_gets_an_apology(failing: AiEnv, behaviour: str) -> None:
    ai, (details, reason) = failing, _CASES[behaviour]
    ai.seq = ai.model.control("POST", "reset", {})["seq"]
    before = len(ai.turns())
    chat = f"1555010{before:04}"
    ai.behave(behaviour, **details, count=None)
    ai.write(chat, "hello")
    turn = ai.ended(before + 1)[-1]
    assert (turn["state"], turn["reason"]) == ("failed", reason)
    assert ai.answers(chat) == ["Sorry."]
    # three tries of one model at most, five answers with tools
    assert 1 <= len(ai.asked()) <= 5
    # whatever happened, no money stays reserved
    assert ai.spent()["reserved"] == 0
