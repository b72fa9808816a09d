"""How two servers' answers to one request are compared, as pure functions and counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, Final

SLOW_S: Final = 0.5
"""Longest answer that the move promises: 500 ms."""
_PART: Final = re.compile(r"(?<=/)(?!v\d+/)[^/?]*[0-9@+][^/?]*|(?<=\?).*")
"""Parts of a path that name a person or a message: with a digit or an @ (not `v2`), and the whole query."""
_ACCEPTED: Final = range(200, 300)
_REFUSED: Final = range(400, 500)


class AnswerMeaning(StrEnum):
    """What an answer means to a client."""

    ACCEPTED = auto()
    REFUSED = auto()
    FAILED = auto()
    """An error of the server, or no answer at all (status 0)."""


def meaning(status: int) -> AnswerMeaning:
    """Return what a status means. 2xx of any number are one: the one says 200, the other 202."""
    if status in _ACCEPTED:
        return AnswerMeaning.ACCEPTED
    return AnswerMeaning.REFUSED if status in _REFUSED else AnswerMeaning.FAILED


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One server's answer. `code`: word for the error in its JSON, empty without one; `seconds`: until it was there."""

    status: int
    seconds: float
    code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Discrepancy:
    """Where two answers differ. `operation`: method and path without what names a person or a number."""

    operation: str
    old: Answer
    new: Answer
    reasons: tuple[str, ...]

    def as_json(self) -> Mapping[str, Any]:
        """Return it for the report; no body and no number of a person is in it."""
        return {
            "operation": self.operation,
            "reasons": list(self.reasons),
            "old": {"status": self.old.status, "seconds": round(self.old.seconds, 4), "code": self.old.code},
            "new": {"status": self.new.status, "seconds": round(self.new.seconds, 4), "code": self.new.code},
        }


def operation(method: str, path: str) -> str:
    """Return method and path without parts that name a person, a number or a message."""
    return f"{method} {_PART.sub('…', path)}"


def compare(method: str, path: str, old: Answer, new: Answer) -> Discrepancy | None:
    """Return how the new server's answer differs from the old one's; None when a client would see no difference."""
    reasons = []
    if meaning(old.status) is not meaning(new.status):
        reasons.append(f"{meaning(old.status)} there, {meaning(new.status)} here")
    if new.seconds > SLOW_S and new.seconds > 2 * old.seconds:
        reasons.append("slow")
    if not reasons:
        return None
    return Discrepancy(operation=operation(method, path), old=old, new=new, reasons=tuple(reasons))


@dataclass(slots=True)
class Counts:
    """What was seen so far."""

    forwarded: int = 0
    compared: int = 0
    not_compared: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return the summary."""
        left_out = "".join(f", {count} not ({reason})" for reason, count in self.not_compared.most_common())
        found = [
            f"{self.forwarded} requests forwarded, {self.compared} compared{left_out}",
            f"{self.differences.total()} differences",
        ]
        return [*found, *(f"  {count}  {what}" for what, count in self.differences.most_common(20))]
