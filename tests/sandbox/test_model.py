"""The stand-in for a model: what OpenAI documents, its own answers, and every way in which it misbehaves."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest
import requests

from sandbox.model.script import BEHAVIOURS
from tests.sandbox.env import SandboxEnv

_TERMS = (
    "[terms.pdf, page 3]\nOur refund policy allows returns within 30 days. Parcels are sent every day.\n"
    "[faq.md]\nWe open at nine."
)
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "book_slot",
        "description": "Books a slot",
        "parameters": {"type": "object", "properties": {"slot_id": {"type": "integer"}}, "required": ["slot_id"]},
    },
}


@pytest.fixture
def env(quiet_env: SandboxEnv) -> Iterator[SandboxEnv]:
    yield quiet_env
    quiet_env.control("POST", "reset", {"seed": 1})


@pytest.fixture
def client(env: SandboxEnv) -> Iterator[openai.OpenAI]:
    """OpenAI's own library: what it understands is the contract."""
    with openai.OpenAI(base_url=f"{env.base}/openai/v1", api_key="any", max_retries=0, timeout=5) as made:
        yield made


def _ask(client: openai.OpenAI, text: str, prompt: str = _TERMS, **more: Any) -> Any:
    messages: Any = [{"role": "system", "content": prompt}, {"role": "user", "content": text}]
    return client.chat.completions.create(model="sandbox-model", messages=messages, **more)


def _behave(env: SandboxEnv, name: str, **details: Any) -> None:
    env.control("POST", "model", {"behaviour": name, **details})


def test_it_answers_from_its_prompt_and_says_where_from(client: openai.OpenAI) -> None:
    answer = _ask(client, "what is your refund policy please?")
    choice = answer.choices[0]
    assert choice.message.content == "Our refund policy allows returns within 30 days. (Source: terms.pdf, page 3)"
    assert choice.finish_reason == "stop" and answer.usage.total_tokens > answer.usage.completion_tokens > 0
    assert "says nothing" in _ask(client, "Do you sell elephants?").choices[0].message.content


def test_it_calls_the_tool_that_is_meant_and_repeats_its_result(client: openai.OpenAI) -> None:
    message = _ask(client, "Please book slot 12", tools=[_TOOL]).choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("book_slot", {"slot_id": 12})
    assert "slot_id" in _ask(client, "book one", tools=[_TOOL]).choices[0].message.content
    said: Any = [
        {"role": "user", "content": "Please book slot 12"},
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"message": "It is yours."}'},
    ]
    answer = client.chat.completions.create(model="sandbox-model", messages=said)
    assert answer.choices[0].message.content == "It is yours."


_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "x", "arguments": "{}"}}],
}
_USER = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages"),
        ([{"role": "robot", "content": "x"}], "Invalid value"),
        ([{"role": "tool", "tool_call_id": "a", "content": "x"}], "must be a response"),
        # the pair that a cut of the history parts
        ([_USER, _CALL, _USER], "must be followed by tool messages"),
        ([_USER, _CALL], "must be followed by tool messages"),
        ([{"role": "user", "content": None}], "content"),
    ],
)
def test_what_openai_refuses_is_refused(client: openai.OpenAI, messages: Any, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(model="sandbox-model", messages=messages)


def test_a_call_without_a_key_or_address_is_refused(env: SandboxEnv) -> None:
    assert requests.post(f"{env.base}/openai/v1/chat/completions", json={}, timeout=5).status_code == 401
    headers = {"Authorization": "Bearer x"}
    assert requests.get(f"{env.base}/openai/v1/nothing", headers=headers, timeout=5).json()["error"]["type"]


_EFFECTS: dict[str, Any] = {
    "answer": lambda made: made.choices[0].message.content == "scripted",
    "tool_calls": lambda made: [one.function.name for one in made.choices[0].message.tool_calls] == ["a", "b"],
    "bad_json": lambda made: made.choices[0].message.tool_calls[0].function.arguments.endswith(": "),
    "unknown_tool": lambda made: made.choices[0].message.tool_calls[0].function.name == "no_such_tool",
    "loop": lambda made: made.choices[0].finish_reason == "tool_calls",
    "empty": lambda made: made.choices[0].message.content == "",
    "length": lambda made: made.choices[0].finish_reason == "length",
    "filtered": lambda made: made.choices[0].finish_reason == "content_filter",
    "refusal": lambda made: made.choices[0].message.refusal,
    "usage": lambda made: made.usage.total_tokens == -5,
    "slow": lambda made: made.choices[0].finish_reason == "stop",
    "rate_limit": openai.RateLimitError,
    "quota": openai.RateLimitError,
    "error": openai.InternalServerError,
    "hang": openai.APITimeoutError,
    "cut": openai.APIConnectionError,
    # the library lets the error of its HTTP client through
    "cut_body": Exception,
    "not_json": Exception,
}
_DETAILS: dict[str, dict[str, Any]] = {
    "answer": {"text": "scripted"},
    "tool_calls": {"calls": [{"name": "a", "arguments": {}}, {"name": "b"}]},
    "usage": {"usage": {"prompt_tokens": -7, "completion_tokens": 2, "total_tokens": -5}},
    "slow": {"latency_ms": 50},
    "rate_limit": {"retry_after_s": 3},
    "error": {"http_status": 503},
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_behaviour(env: SandboxEnv, client: openai.OpenAI, name: str) -> None:
    since = env.control("POST", "reset", {})["seq"]
    _behave(env, name, **_DETAILS.get(name, {}))
    impatient = client.with_options(timeout=0.3 if name == "hang" else 5)
    effect = _EFFECTS[name]
    if isinstance(effect, type):
        with pytest.raises(effect) as caught:
            made = _ask(impatient, "refund", tools=[_TOOL])
            # an answer that is no JSON is handed on as a text
            assert not isinstance(made, str), "no answer of the API"
        if name == "rate_limit":
            refused: Any = caught.value
            assert refused.response.headers["retry-after"] == "3"
    else:
        assert effect(_ask(impatient, "refund", tools=[_TOOL]))
    (entry,) = [one for one in env.ledger(since=since) if one["channel"] == "model"]
    assert entry["behaviour"] == name and entry["messages"][-1]["content"] == "refund"
    # once only
    assert _ask(client, "refund").choices[0].finish_reason == "stop"


def test_a_behaviour_has_filters_and_a_fuzzed_one_repeats_by_its_seed(env: SandboxEnv, client: openai.OpenAI) -> None:
    _behave(env, "answer", text="only there", contains="Order 7")
    assert _ask(client, "refund").choices[0].message.content != "only there"
    assert _ask(client, "Order 7?").choices[0].message.content == "only there"
    names = []
    for _ in range(2):
        seq = env.control("POST", "reset", {"seed": 4})["seq"]
        _behave(env, "fuzz", count=6)
        for _ in range(6):
            # whatever it is; the ledger says what was meant
            with suppress(Exception):
                _ask(client.with_options(timeout=0.2), "refund", tools=[_TOOL])
        env.control("DELETE", "model")
        names.append([one["behaviour"] for one in env.ledger(since=seq) if one["channel"] == "model"])
    assert names[0] == names[1] and len(set(names[0])) > 2


@pytest.mark.parametrize(
    "body",
    [
        {"behaviour": "dance"},
        {"behaviour": "error", "http_status": 200},
        {"behaviour": "answer", "count": 0},
        {"behaviour": "tool_calls", "calls": ["x"]},
        {"behaviour": "slow", "latency_ms": -1},
    ],
)
def test_what_cannot_be_armed_is_refused(env: SandboxEnv, body: dict[str, Any]) -> None:
    assert requests.post(f"{env.base}/control/model", json=body, timeout=5).status_code == 400


def test_embeddings_mean_something(env: SandboxEnv, client: openai.OpenAI) -> None:
    texts = ["can I send it back and get my money", "Our refund policy allows returns", "How tall is Mount Everest?"]
    # the library asks for base64 by itself
    question, near, far = (one.embedding for one in client.embeddings.create(model="e", input=texts).data)
    near_by, far_off = (sum(a * b for a, b in zip(question, other, strict=True)) for other in (near, far))
    # no word in common: words alone would find nothing
    assert near_by > 0.25 > far_off + 0.1
    plain = requests.post(
        f"{env.base}/openai/v1/embeddings",
        headers={"Authorization": "Bearer x"},
        json={"model": "e", "input": texts[0], "encoding_format": "base64", "dimensions": 8},
        timeout=5,
    ).json()
    assert len(struct.unpack("<8f", base64.b64decode(plain["data"][0]["embedding"]))) == 8


def test_embeddings_take_every_form_of_input(client: openai.OpenAI) -> None:
    def vectors(given: Any, **more: Any) -> list[list[float]]:
        made = client.embeddings.create(model="text-embedding-3-small", input=given, encoding_format="float", **more)
        assert [one.index for one in made.data] == list(range(len(made.data)))
        assert made.usage.prompt_tokens == made.usage.total_tokens > 0
        return [one.embedding for one in made.data]

    (one,) = vectors("our refund policy")
    assert len(one) == 1536 and sum(number * number for number in one) == pytest.approx(1.0, abs=1e-3)
    assert vectors(["our refund policy", "another"])[0] == one
    (tokens,), several = vectors([9426, 13081]), vectors([[9426, 13081], [1]])
    assert several[0] == tokens and len(several) == 2
    assert len(vectors("our refund policy", dimensions=64)[0]) == 64
    assert len(client.embeddings.create(model="text-embedding-ada-002", input="x").data[0].embedding) == 1536


@pytest.mark.parametrize(
    ("given", "param", "code", "message"),
    [
        ({"input": ""}, None, None, "'$.input' is invalid"),
        ({"input": ["", "x"]}, None, None, "'$.input' is invalid"),
        ({"input": []}, None, None, "'$.input' is invalid"),
        ({"input": ["x", [1]]}, None, None, "'$.input' is invalid"),
        ({"input": ["x"] * 2049}, "input", "array_above_max_length", "maximum length 2048"),
        ({"input": [[1] * 2049]}, "input[0]", "array_above_max_length", "maximum length 2048"),
        ({"input": "four" * 8193}, None, None, "maximum context length is 8192 tokens"),
        ({"input": ["four" * 8000] * 38}, "input", "max_tokens_per_request", "max 300000 tokens per request"),
        ({"input": "x", "dimensions": 1537}, "dimensions", None, "'dimensions'"),
        ({"input": "x", "dimensions": "8"}, "dimensions", "invalid_type", "'dimensions'"),
        ({"input": "x", "model": "text-embedding-ada-002", "dimensions": 8}, "dimensions", None, "not support"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format", "invalid_value", "'float' and 'base64'"),
        ({}, "input", "missing_required_parameter", "'input'"),
    ],
)
def test_embeddings_that_openai_refuses(
    env: SandboxEnv, given: dict[str, Any], param: str | None, code: str | None, message: str
) -> None:
    answer = requests.post(
        f"{env.base}/openai/v1/embeddings",
        headers={"Authorization": "Bearer x"},
        json={"model": "text-embedding-3-small", **given},
        timeout=5,
    )
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (param, code) and message in error["message"]
