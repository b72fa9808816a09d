"""What the stand-in reads out of texts: words, and how much two texts have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_WORD: Final = re.compile(r"\w+")
_ENDINGS: Final = ("ings", "ing", "ies", "ied", "es", "ed", "s", "e", "y")
"""Of English words; enough that "refunds" and "refund" are one word."""
# fmt: off
_STOP: Final = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for", "from",
    "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its", "many", "may", "me",
    "much", "my", "of", "on", "or", "our", "please", "she", "should", "so", "than", "that", "the", "their", "them",
    "there", "they", "this", "to", "us", "was", "we", "were", "what", "when", "where", "which", "who", "why",
    "will", "with", "would", "you", "your",
})
# fmt: on
"""English words without a meaning of their own."""


def stem(word: str) -> str:
    """Return a word without its ending."""
    word = word.casefold()
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def stems(text: str) -> list[str]:
    """Return the stems of a text's words, those without a meaning left out."""
    return [stem(word) for word in _WORD.findall(text) if word.casefold() not in _STOP]


def overlap(asked: Iterable[str], text: str) -> int:
    """Return how many different stems of `asked` a text has."""
    return len(set(asked) & set(stems(text)))


def tokens(text: str) -> int:
    """Return about how many tokens a text is: four characters are one in English (OpenAI's own rule of thumb)."""
    return -(-len(text) // 4)
