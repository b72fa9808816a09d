"""Waits that a provider asked for, by connection or chat: how long they last and how they grow. Pure but for the clock; forgotten when the process ends."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from meta.errors import ThrottlePolicy
from shared.clock import Monotonic, monotonic

_MOST_KEYS: Final = 10_000
_FORGET_S: Final = 600.0
"""A limit that was not met for this long starts from its first wait again."""


@dataclass(slots=True)
class _Strike:
    count: int
    until: float


class Throttle:
    """Remembers who has to wait."""

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._strikes: dict[Hashable, _Strike] = {}

    def remaining_s(self, *keys: Hashable) -> float:
        """Return for how long the longest wait of `keys` still lasts, in seconds; 0 when none does."""
        if not self._strikes:
            return 0.0
        now = self._clock()
        return max(0.0, *(strike.until - now for key in keys if (strike := self._strikes.get(key))), 0.0)

    def refused(self, key: Hashable, policy: ThrottlePolicy, told_s: float | None = None) -> float:
        """Note a refusal and return how long to wait, in seconds.

        Sends that were under way together are refused together: only the first of them makes the wait grow.

        Args:
            told_s: what the provider itself asks for; wins over the policy when it is longer.
        """
        now = self._clock()
        strike = self._strikes.get(key)
        if strike is not None and strike.until > now:
            strike.until = max(strike.until, now + (told_s or 0.0))
            return strike.until - now
        count = strike.count + 1 if strike is not None else 1
        wait_s = max(policy.wait_s(count), told_s or 0.0)
        self._strikes[key] = _Strike(count, now + wait_s)
        if len(self._strikes) > _MOST_KEYS:
            self._strikes = {key: strike for key, strike in self._strikes.items() if strike.until > now - _FORGET_S}
        return wait_s

    def passed(self, *keys: Hashable) -> None:
        """Note that a send got through: the next wait of `keys` is a first one again, unless one still lasts."""
        if self._strikes:
            now = self._clock()
            for key in keys:
                if (strike := self._strikes.get(key)) and strike.until <= now:
                    del self._strikes[key]
