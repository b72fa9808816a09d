"""How the stand-in for a model misbehaves, by name: armed by the control API, applied to the next calls that match."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BEHAVIOURS: Final[Mapping[str, str]] = {
    "answer": "answers with `text`",
    "tool_calls": "calls tools: `calls` is a list of {name, arguments}; arguments that are a text go out as they are",
    "bad_json": "calls the first tool with arguments that are no JSON",
    "unknown_tool": "calls a tool that it was not given",
    "loop": "calls the tool of `calls` (the first one) whatever came before",
    "empty": "answers with an empty text",
    "length": "answers with the beginning of its text and finish_reason `length`",
    "filtered": "answers with finish_reason `content_filter`",
    "refusal": "answers with a refusal in place of a text",
    "usage": "answers with `usage` in place of the right figures; null: without them",
    "slow": "answers after `latency_ms`",
    "rate_limit": "429 with Retry-After `retry_after_s`",
    "quota": "429 with code insufficient_quota, which no wait ends",
    "error": "answers with `http_status` (500)",
    "hang": "never answers",
    "cut": "closes the connection without an answer",
    "cut_body": "closes the connection in the middle of the answer",
    "not_json": "answers 200 with a page of HTML",
}
"""Every behaviour, with its effect."""
_FUZZED: Final = tuple(name for name in BEHAVIOURS if name not in ("answer", "tool_calls", "slow"))
FUZZ: Final = "fuzz"
"""Stands for a random one of the behaviours that are unwanted."""


@dataclass(kw_only=True, slots=True)
class Behaviour:
    """One armed behaviour.

    Attributes:
        left: how often it still applies; None: until it is disarmed. probability: that it applies to a call that
            matches. contains: only calls whose last message of a user has this text. results: only calls with so many
            results of tools; None: any number. model: only calls of this model.
            text, calls, usage, latency_ms, retry_after_s, http_status: parameters of the named behaviour.
    """

    id: int
    name: str
    left: int | None = 1
    probability: float = 1.0
    contains: str = ""
    results: int | None = None
    model: str = ""
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    latency_ms: float = 0.0
    retry_after_s: float = 1.0
    http_status: int = 500
    taken: int = 0


class ModelScript:
    """The armed behaviours, oldest first."""

    def __init__(self) -> None:
        self._armed: list[Behaviour] = []
        self._next_id = 1
        self._dice = random.Random()  # noqa: S311 - dice, not secrets

    def seed(self, seed: int) -> None:
        """Seed the random numbers, so that they repeat."""
        self._dice.seed(seed)

    def arm(self, name: str, **details: Any) -> Behaviour:
        """Arm a behaviour, or `fuzz`; see `Behaviour` for `details`. Raises `KeyError` for an unknown name."""
        if name not in BEHAVIOURS and name != FUZZ:
            raise KeyError(name)
        behaviour = Behaviour(id=self._next_id, name=name, **details)
        self._next_id += 1
        self._armed.append(behaviour)
        return behaviour

    def armed(self) -> list[Behaviour]:
        """Return what is armed now."""
        return list(self._armed)

    def disarm(self) -> int:
        """Disarm everything; return how many were armed."""
        count, self._armed = len(self._armed), []
        return count

    def take(self, *, model: str, question: str = "", results: int = 0) -> tuple[str, Behaviour] | None:
        """Return the first behaviour that applies to a call, with its name (drawn, for `fuzz`), and count it."""
        for one in self._armed:
            if (
                one.model in ("", model)
                and one.contains in question
                and one.results in (None, results)
                and (one.probability >= 1.0 or self._dice.random() < one.probability)
            ):
                one.taken += 1
                if one.left is not None:
                    one.left -= 1
                    if one.left <= 0:
                        # safe while iterating, since the loop ends here
                        self._armed.remove(one)
                return (self._dice.choice(_FUZZED) if one.name == FUZZ else one.name), one
        return None
