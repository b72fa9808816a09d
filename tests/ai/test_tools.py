"""Arguments of tools: the model learns what is wrong. Pure."""

from __future__ import annotations

import pytest

from ai.tools.booking import BOOKING
from ai.tools.functions import _arguments
from ai.tools.handoff import HANDOFF
from ai.tools.tool import Tool, ToolFailed, digest
from sandbox.model.requests_checked import require_chat

_BOOK = next(tool for tool in BOOKING if tool.name == "book_slot")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"unfinished": ', "JSON"),
        ("[]", "arguments"),
        ("{}", "slot_id"),
        ('{"slot_id": "soon"}', "slot_id"),
        ('{"slot_id": 0}', "slot_id"),
        ('{"slot_id": 99999999999999999999}', "slot_id"),
        ('{"slot_id": 1, "price": 2}', "price"),
    ],
)
def test_wrong_arguments_are_named(arguments: str, words: str) -> None:
    with pytest.raises(ToolFailed, match=words):
        _BOOK.read(arguments)


def test_right_arguments_are_typed() -> None:
    assert _BOOK.read('{"slot_id": 12}').model_dump() == {"slot_id": 12}
    assert HANDOFF.read("").model_dump() == {"reason": ""}


def test_schemas_are_openais() -> None:
    tools = [tool.schema() for tool in (*BOOKING, HANDOFF)]
    require_chat({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools})
    assert _BOOK.schema()["function"]["parameters"]["required"] == ["slot_id"]


def test_a_companys_function_has_typed_arguments() -> None:
    tool = Tool(
        name="order_status",
        description="x",
        arguments=_arguments(
            [
                {"name": "order", "type": "string", "required": True},
                {"name": "kind", "type": "string", "choices": ["a", "b"]},
                {"name": "count", "type": "integer"},
            ]
        ),
    )
    assert tool.read('{"order": "7", "kind": "a"}').model_dump(exclude_none=True) == {"order": "7", "kind": "a"}
    for wrong in (
        '{"kind": "a"}',
        '{"order": "7", "kind": "c"}',
        '{"order": "7", "count": "x"}',
        '{"order": "7", "z": 1}',
    ):
        with pytest.raises(ToolFailed):
            tool.read(wrong)
    assert tool.schema()["function"]["parameters"]["properties"].keys() == {"order", "kind", "count"}


def test_a_call_is_the_same_however_it_is_spelled() -> None:
    assert digest("x", '{"a": 1, "b": 2}') == digest("x", '{"b":2,"a":1}') != digest("y", '{"a": 1, "b": 2}')
    assert digest("x", "{") == digest("x", "{")
