"""The model's provider: what it took, by attempt, and what it says about it afterwards. It is the only one that knows
the truth.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Provider:
    """Takes messages.

    Attributes:
        taken: how often each row was taken. tokens: tokens of what was taken, in order, with the row. refused_later:
            rows that it took and then gave up.
    """

    taken: Counter[int] = field(default_factory=Counter)
    tokens: list[tuple[str, int]] = field(default_factory=list)
    refused_later: set[int] = field(default_factory=set)

    def take(self, row_id: int, token: str) -> str:
        """Take a message and return the provider's name for it."""
        self.taken[row_id] += 1
        self.tokens.append((token, row_id))
        return f"wamid.{row_id}.{len(self.tokens)}"

    def knows(self, token: str) -> bool:
        """Whether exactly this attempt arrived."""
        return any(token == known for known, _ in self.tokens)
