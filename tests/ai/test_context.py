"""What a model reads: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.context import cut, history, instructions, line_text
from ai.steps import clipped
from sandbox.model.requests_checked import require_chat
from shared.tenancy.company_settings import CompanySettings

_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def _user(text: str = "hello") -> dict[str, Any]:
    return {"role": "user", "content": text}


def _calls(*ids: str) -> list[dict[str, Any]]:
    calls = [{"id": one, "type": "function", "function": {"name": "x", "arguments": "{}"}} for one in ids]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": one, "content": "done"} for one in ids),
    ]


_SAID = {"role": "assistant", "content": "yes"}


def test_an_exchange_is_kept_whole_or_not_at_all() -> None:
    messages = [_user("old " * 50), *_calls("1", "2"), _SAID, _user("a"), _user("b"), *_calls("3"), _SAID]
    kept = cut(messages, most_tokens=80)
    assert kept == messages[5:]
    assert cut(messages, most_tokens=10_000) == messages
    # the question itself is never cut away
    assert cut([_user("x" * 9000)], most_tokens=10) == [_user("x" * 9000)]


_EXCHANGE = st.lists(st.sampled_from(["user", "said", "tools", "two"]), min_size=1, max_size=12)


@given(_EXCHANGE, st.integers(0, 400))
def test_openai_takes_whatever_is_cut(shape: list[str], most: int) -> None:
    made = {"user": [_user()], "said": [_SAID], "tools": _calls("1"), "two": _calls("2", "3")}
    messages = [_user(), *(message for one in shape for message in made[one]), _user("last")]
    kept = cut(messages, most_tokens=most)
    # the stand-in refuses a call without its result and a result without its call, as OpenAI does
    require_chat({"model": "m", "messages": kept})
    assert kept[-1] == _user("last") and kept[0]["role"] == "user"


def test_instructions_name_sources_and_say_so_when_nothing_was_found() -> None:
    settings = CompanySettings.read({"brandName": "Acme", "tone": "dry", "locale": ["de"]})
    passage = SimpleNamespace(source="terms.pdf, page 3", text="Returns within 30 days.")
    system = instructions(settings, [passage], _NOW)
    assert "Acme" in system and "dry" in system and "\n[terms.pdf, page 3]\nReturns within 30 days." in system
    assert "invent no facts" in instructions(settings, [], _NOW)
    assert "documents say nothing" not in instructions(settings, None, _NOW)


@pytest.mark.parametrize(
    ("type_", "content", "text"),
    [
        ("text", {"body": "hi"}, "hi"),
        ("text", {"body": "x", "erased": True}, ""),
        ("image", {"caption": "my invoice"}, "[image: my invoice]"),
        ("audio", {}, "[audio]"),
        ("interactive", {"kind": "list_reply", "title": "Tuesday"}, "Tuesday"),
        ("location", {"latitude": 1.5, "longitude": 2.5, "name": "Home"}, "[location: Home 1.5, 2.5]"),
    ],
)
def test_every_type_says_something(type_: str, content: dict[str, Any], text: str) -> None:
    assert line_text(type_, content) == text


def test_history_has_both_sides() -> None:
    lines = [
        {"is_ours": False, "type": "text", "content": {"body": "hi"}},
        {"is_ours": True, "type": "text", "content": {"body": "hello"}},
        {"is_ours": True, "type": "text", "content": {"erased": True}},
    ]
    assert [one["role"] for one in history(lines)] == ["user", "assistant"]


def test_a_text_is_cut_behind_a_sentence() -> None:
    assert clipped("One. Two is longer. Three", 20) == "One. Two is longer."
    assert clipped("x" * 30, 10) == "x" * 9 + "…" and clipped(" short ", 10) == "short"
