"""The door to OpenAI's library, against the sandbox's model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shared.llm.failures import ModelFailed
from shared.llm.provider import ModelProvider
from shared.llm.questions import ModelAnswer, ModelTarget, Question
from shared.media.reach import Reach
from tests.sandbox.env import Receiver, SandboxEnv
from tests.support import ports

_QUESTION = Question(
    company_id="acme",
    messages=[
        {"role": "system", "content": "[terms.pdf]\nReturns within 30 days."},
        {"role": "user", "content": "returns?"},
    ],
    most_tokens=100,
    request_id="turn-7",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnv]:
    receiver = Receiver()
    with SandboxEnv(tmp_path_factory.mktemp("model"), receiver) as started:
        yield started
    receiver.close()


def _target(model: SandboxEnv) -> ModelTarget:
    return ModelTarget(model="sandbox-model", base_url=f"{model.base}/openai/v1", key="k", is_ours=True)


def _ask(
    target: ModelTarget, question: Question = _QUESTION, reach: Reach = Reach.PUBLIC, timeout_s: float = 5
) -> ModelAnswer:
    async def ask() -> ModelAnswer:
        provider = ModelProvider(reach)
        try:
            return await provider.ask(target, question, timeout_s)
        finally:
            await provider.close()

    return asyncio.run(ask())


def test_an_answer_with_its_figures_and_its_name(model: SandboxEnv) -> None:
    since = model.control("POST", "reset", {})["seq"]
    answer = _ask(_target(model))
    assert answer.text == "Returns within 30 days. (Source: terms.pdf)" and answer.has_usage
    (entry,) = [one for one in model.ledger(since=since) if one["channel"] == "model"]
    assert entry["request_id"] == "turn-7" and entry["max_tokens"] == 100


@pytest.mark.parametrize(
    ("behaviour", "details", "code"),
    [
        ("rate_limit", {"retry_after_s": 7}, "rate_limited"),
        ("quota", {}, "quota"),
        ("error", {"http_status": 503}, "server_error"),
        ("error", {"http_status": 401}, "credentials"),
        ("error", {"http_status": 404}, "unknown_model"),
        ("error", {"http_status": 422}, "refused"),
        ("hang", {}, "timeout"),
        ("cut", {}, "cut"),
        ("cut_body", {}, "cut"),
        ("not_json", {}, "invalid_answer"),
        ("empty", {}, "empty"),
        ("length", {}, "incomplete"),
        ("filtered", {}, "blocked"),
        ("refusal", {}, "blocked"),
    ],
)
def test_what_each_failure_is(model: SandboxEnv, behaviour: str, details: dict[str, Any], code: str) -> None:
    since = model.control("POST", "reset", {})["seq"]
    model.control("POST", "model", {"behaviour": behaviour, **details, "count": None})
    with pytest.raises(ModelFailed) as caught:
        _ask(_target(model), timeout_s=0.5)
    assert caught.value.code == code and caught.value.wait_s == (7.0 if behaviour == "rate_limit" else None)
    # what was asked is in no text of an error
    assert "returns" not in str(caught.value)
    # asked once: retries are ours
    assert len([one for one in model.ledger(since=since) if one["channel"] == "model"]) == 1


def test_usage_that_cannot_be_is_replaced(model: SandboxEnv) -> None:
    model.control("POST", "reset", {})
    model.control("POST", "model", {"behaviour": "usage", "usage": {"prompt_tokens": -1, "completion_tokens": 0}})
    answer = _ask(_target(model))
    assert not answer.has_usage and answer.tokens_in > 0 and answer.tokens_out > 0


def test_no_server_listens() -> None:
    target = ModelTarget(model="m", base_url=f"http://127.0.0.1:{ports.free_ports(1)[0]}/v1", key="", is_ours=True)
    with pytest.raises(ModelFailed, match="unreachable"):
        _ask(target)


def test_a_companys_address_is_decided_where_it_is_connected_to(model: SandboxEnv) -> None:
    # a name, which the text of the address does not show to be near
    theirs = replace(_target(model), is_ours=False, base_url=_target(model).base_url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ModelFailed, match="address_refused"):
        _ask(theirs)
    with pytest.raises(ModelFailed, match="address_refused"):
        _ask(replace(theirs, base_url="http://169.254.169.254/v1"))
    assert _ask(theirs, reach=Reach.PRIVATE).text


def test_embeddings(model: SandboxEnv) -> None:
    async def embed() -> tuple[list[list[float]], int]:
        provider = ModelProvider(Reach.PUBLIC)
        try:
            return await provider.embed(replace(_target(model), model="e"), "acme", ["refund", "refunds"], 5)
        finally:
            await provider.close()

    model.control("POST", "reset", {})
    vectors, used = asyncio.run(embed())
    assert len(vectors) == 2 and used > 0 and sum(a * b for a, b in zip(*vectors, strict=True)) > 0.9
