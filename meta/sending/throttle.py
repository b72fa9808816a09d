"""Waits that a provider asked for, by connection or chat: how long they last and how they grow. Pure but for the clock;
forgotten when the process ends.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from meta.errors import ThrottlePolicy
from shared.clock import Monotonic, monotonic

_MOST_KEYS: Final = 10_000
"""Entries before old ones are removed: the number of chats has no bound, and 10,000 entries are a few MB."""
_FORGET_S: Final = 600.0
"""Seconds after the end of a wait at which its entry may be removed; the limit then starts from its first wait again.
Long enough that a limit which recurs is still known to recur.
"""


@dataclass(slots=True)
class _Refusals:
    """How often in a row a key was refused, and the monotonic instant until which it waits."""

    count: int
    until: float


class Throttle:
    """Keeps the waits that are under way."""

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._refusals: dict[Hashable, _Refusals] = {}

    def remaining_s(self, *keys: Hashable) -> float:
        """Return for how long the longest wait of `keys` still lasts, in seconds; 0 when none does."""
        if not self._refusals:
            return 0.0
        now = self._clock()
        return max(0.0, *(refusal.until - now for key in keys if (refusal := self._refusals.get(key))), 0.0)

    def refused(self, key: Hashable, policy: ThrottlePolicy, requested_s: float | None = None) -> float:
        """Record a refusal and return how long to wait, in seconds.

        Sends that were under way together are refused together: only the first of them makes the wait grow.

        Args:
            requested_s: what the provider itself asks for; wins over the policy when it is longer.
        """
        now = self._clock()
        refusal = self._refusals.get(key)
        # the refusal of a call that began before the wait did: it has no new information, and counting it would
        # multiply the wait by the number of sends in flight
        if refusal is not None and refusal.until > now:
            refusal.until = max(refusal.until, now + (requested_s or 0.0))
            return refusal.until - now
        count = refusal.count + 1 if refusal is not None else 1
        wait_s = max(policy.wait_s(count), requested_s or 0.0)
        self._refusals[key] = _Refusals(count, now + wait_s)
        # only beyond the limit and not at each refusal: it reads every entry
        if len(self._refusals) > _MOST_KEYS:
            self._refusals = {
                key: refusal for key, refusal in self._refusals.items() if refusal.until > now - _FORGET_S
            }
        return wait_s

    def passed(self, *keys: Hashable) -> None:
        """Record a successful send: the next wait of `keys` starts from the first again, unless one still lasts."""
        if self._refusals:
            now = self._clock()
            for key in keys:
                # a success of a call that began before the refusal must not end the wait
                if (refusal := self._refusals.get(key)) and refusal.until <= now:
                    del self._refusals[key]
