"""What a model is asked, and what it answers; messages have the shape of OpenAI's API throughout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

ChatMessage: TypeAlias = Mapping[str, Any]
"""One message: `role` and `content`, with `tool_calls` or `tool_call_id`."""
_CHARACTERS_OF_A_TOKEN: Final = 3
"""A token has about four characters in English and fewer elsewhere: an estimate that a budget relies on is too high
rather than too low.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTarget:
    """A model and where it is served.

    Attributes:
        base_url: of the API, for example `https://api.openai.com/v1`. key: goes to this address only. is_ours: an
            operator chose the address; else a company did, and it is checked where it is connected to.
    """

    model: str
    base_url: str
    key: str = field(repr=False)
    is_ours: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One call's content.

    Attributes:
        company_id: whose share of connections it takes. request_id: names the call in the provider's records. cache_s:
            an answer may be as old, in seconds (`cache.py`); 0: the model is asked.
    """

    company_id: str
    messages: Sequence[ChatMessage] = field(repr=False)
    tools: Sequence[Mapping[str, Any]] = ()
    most_tokens: int
    temperature: float = 0.2
    request_id: str = ""
    cache_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for. `arguments`: the text as it came, which may be no JSON."""

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelAnswer:
    """What a model said: a text, or calls of tools. `has_usage`: the token counts are the provider's, and possible."""

    model: str
    text: str = field(repr=False)
    calls: tuple[ToolCall, ...] = ()
    tokens_in: int
    tokens_out: int
    has_usage: bool = True

    def as_message(self) -> dict[str, Any]:
        """Return the answer as a message for the next call."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.calls
            ]
        return message


def tokens_of(*parts: Any) -> int:
    """Return how many tokens texts, or JSON values, have at most, about."""
    sizes = (len(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)) for part in parts)
    return sum(-(-size // _CHARACTERS_OF_A_TOKEN) for size in sizes)


def question_tokens(question: Question) -> int:
    """Return how many tokens a question has at most, about."""
    return tokens_of(*question.messages, *question.tools)


def usage_of(question: Question, text: str, calls: Sequence[ToolCall], usage: Any) -> tuple[int, int, bool]:
    """Return the tokens in and out of a call, and whether they are the provider's.

    Counts that cannot be (none, negative, nothing for something, many times what was asked and allowed) are replaced by
    an estimate: a budget is kept by them.
    """
    asked, said = question_tokens(question), tokens_of(text, *(call.name + call.arguments for call in calls))
    given = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    counts = [one for one in given if isinstance(one, int) and not isinstance(one, bool)]
    if len(counts) == len(given):
        tokens_in, tokens_out = counts
        # a template and the tools' schemas add to a prompt, hidden reasoning to an answer
        if 0 < tokens_in <= 4 * asked + 1000 and 0 < tokens_out <= max(2 * question.most_tokens, 4 * said) + 1000:
            return tokens_in, tokens_out, True
    return asked, said, False
