"""A real small model behind llama.cpp's own server answers a customer: the wire, not the wisdom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ai.env import AiEnv
from tests.sandbox.env import SandboxEnv
from tests.store.env import StoreEnv
from tests.support import environment
from tests.support.database import query
from tests.support.waiting import deadline_s

PACKAGES = environment.REPOSITORY / ".venv" / "llama"


@pytest.fixture
def llama(tmp_path: Path) -> Iterator[str]:
    """Address of the server's API."""
    assert (PACKAGES / "installed").exists(), "run script/llama first; script/test long does"
    with (tmp_path / "llama.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ai.llama_server"],
            cwd=environment.REPOSITORY,
            env=environment.clean(PYTHONPATH=str(PACKAGES)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (tmp_path / "llama.log").read_text()[-3000:]
        yield f"{address}/v1"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(deadline_s(30))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_real_model_answers_a_customer(home: Path, env: StoreEnv, model: SandboxEnv, llama: str) -> None:
    ai = AiEnv(home, env, model, openai_base_url=llama, llm_model="smollm2", llm_call_s=250, ai_turn_s=300)
    ai.set(assistantConfig={"prompt": "Answer with one short sentence.", "maxTokens": 400, "temperature": 0})
    try:
        ai.start()
        ai.write("15550100200", "What is the capital of France?")
        (turn,) = ai.ended(within_s=300.0)
        assert (turn["state"], turn["model"]) == ("answered", "smollm2"), ai.entry.log.read_text()[-3000:]
        (answer,) = ai.answers("15550100200")
        assert "Paris" in answer
        (call,) = query(env.url, "SELECT state, tokens_in, tokens_out FROM model_calls")
        # counted by the server: an estimate would be a third of the characters
        assert call["state"] == "answered" and 20 < call["tokens_in"] < 400 and 1 < call["tokens_out"] < 400
        assert ai.asked() == [], "and not by the sandbox"
    finally:
        ai.close()
