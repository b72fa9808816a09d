"""Answers of models that are given again to the very same question, for companies that allow it.

Kept in memory, by process: nothing of a chat is written anywhere for it, and a restart forgets it. What is kept is what
the model saw and said, with marks in place of numbers and mail addresses (`redaction.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from shared.clock import Monotonic, monotonic
from shared.llm.asking import ModelCaller
from shared.llm.questions import ModelAnswer, ModelTarget, Question

_OF_A_COMPANY: Final = 1_000_000
"""Characters of answers that are kept for one company."""
_OF_ALL: Final = 20_000_000
"""Characters of answers that one process keeps; the company whose answers were used longest ago loses them first."""
_OF_A_KEY: Final = 200
"""What an entry takes beside its text, about, so that many short ones count too."""


@dataclass(slots=True)
class _Kept:
    """Answers of one company by key, the one that was used longest ago first. `size`: in characters."""

    answers: OrderedDict[str, tuple[float, ModelAnswer]] = field(default_factory=OrderedDict)
    size: int = 0


class CachingAsker:
    """Asks a model, and keeps answers for the company's very same question (`shared.llm.asking.Asker`).

    Only texts are given again: an answer that calls tools has effects of its own, and one that reads their results is
    about a moment. Companies share nothing.

    Args:
        asker: asks. most: characters of one company's answers. most_of_all: of all companies'.
    """

    def __init__(
        self,
        asker: ModelCaller,
        *,
        most: int = _OF_A_COMPANY,
        most_of_all: int = _OF_ALL,
        clock: Monotonic = monotonic,
    ) -> None:
        self._asker, self._most, self._most_of_all, self._clock = asker, most, most_of_all, clock
        self._companies: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def kept(self, target: ModelTarget, question: Question) -> ModelAnswer | None:
        """See `Asker`."""
        if not _may_be_kept(question):
            return None
        kept = self._find(question.company_id, _key(target, question), question.cache_s)
        return None if kept is None else replace(kept, tokens_in=0, tokens_out=0, has_usage=True)

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        """Ask once, and keep the answer for `kept`. Raises `ModelFailed`."""
        answer = await self._asker.ask(target, question, timeout_s)
        if _may_be_kept(question) and not answer.calls:
            self._keep(question.company_id, _key(target, question), answer)
        return answer

    def _find(self, company_id: str, key: str, for_s: float) -> ModelAnswer | None:
        of_company = self._companies.get(company_id)
        if of_company is None or key not in of_company.answers:
            return None
        kept_at, answer = of_company.answers[key]
        # by the setting as it is now: a company that shortens it is not given older ones
        if self._clock() - kept_at > for_s:
            self._drop(company_id, key)
            return None
        of_company.answers.move_to_end(key)
        self._companies.move_to_end(company_id)
        return answer

    def _keep(self, company_id: str, key: str, answer: ModelAnswer) -> None:
        if _size(answer) > self._most:
            return
        if company_id in self._companies and key in self._companies[company_id].answers:
            # two asked at once
            self._drop(company_id, key)
        of_company = self._companies.setdefault(company_id, _Kept())
        of_company.answers[key] = (self._clock(), answer)
        of_company.size += _size(answer)
        self._size += _size(answer)
        self._companies.move_to_end(company_id)
        while of_company.size > self._most:
            self._drop(company_id, next(iter(of_company.answers)))
        while self._size > self._most_of_all:
            oldest = next(iter(self._companies))
            self._drop(oldest, next(iter(self._companies[oldest].answers)))

    def _drop(self, company_id: str, key: str) -> None:
        of_company = self._companies[company_id]
        _, answer = of_company.answers.pop(key)
        of_company.size -= _size(answer)
        self._size -= _size(answer)
        if not of_company.answers:
            del self._companies[company_id]


def _may_be_kept(question: Question) -> bool:
    return question.cache_s > 0 and all(message["role"] != "tool" for message in question.messages)


def _key(target: ModelTarget, question: Question) -> str:
    """Return a digest of all that decides an answer of one company's; the chat is not kept for it."""
    deciding = [
        target.model,
        target.base_url,
        # another account may have another model of that name
        target.key,
        list(question.messages),
        list(question.tools),
        question.most_tokens,
        question.temperature,
    ]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def _size(answer: ModelAnswer) -> int:
    return len(answer.text) + _OF_A_KEY
