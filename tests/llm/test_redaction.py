"""What does not leave to a model, and comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.llm.redaction import Redactor


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("call +49 (30) 1234-5678 now", "call [phone 1] now"),
        ("15550100200 or 1555 010 0200", "[phone 1] or [phone 2]"),
        ("write to jane.doe+x@shop.example.co.uk!", "write to [mail 1]!"),
        ("order 1234567 of 2026-12-24, 9:30, 24.12.2026", "order 1234567 of 2026-12-24, 9:30, 24.12.2026"),
        ("12.50 or 1,000,000", "12.50 or 1,000,000"),
        ("a@b", "a@b"),
    ],
)
def test_hidden(text: str, hidden: str) -> None:
    redactor = Redactor()
    assert redactor.hide(text) == hidden
    assert redactor.show(hidden) == text


def test_one_value_has_one_mark_in_every_message_and_names_stay() -> None:
    redactor = Redactor()
    messages = [
        {"role": "user", "content": "I am at 15550100200"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "15550100200",
                    "type": "function",
                    "function": {"name": "call", "arguments": '{"to": "15550100200"}'},
                }
            ],
        },
    ]
    hidden = redactor.hide(messages)
    assert hidden[0]["content"] == "I am at [phone 1]"
    call = hidden[1]["tool_calls"][0]
    assert call["id"] == "15550100200" and call["function"]["arguments"] == '{"to": "[phone 1]"}'
    assert redactor.show("I call [phone 1], not [phone 7]") == "I call 15550100200, not [phone 7]"
    assert redactor.hidden == {"mail": 0, "phone": 1}


@given(st.text(alphabet="ab1 +-.@()2026:/[]phone", max_size=200))
def test_what_is_hidden_comes_back(text: str) -> None:
    redactor = Redactor()
    if "[phone" not in text and "[mail" not in text:
        assert redactor.show(redactor.hide(text)) == text
