"""Exponential backoff as data; pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MAX_EXPONENT: Final = 60
"""Beyond it every wait is at its cap, and a float would overflow much later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackoffPolicy:
    """Wait `base_s` after a first failure, `growth` times as long after each further one in a row, at most `cap_s`."""

    base_s: float
    cap_s: float
    growth: float = 2.0

    def wait_s(self, failures: float) -> float:
        """Return the wait after so many failures in a row, in seconds; 0 after none."""
        if failures < 1:
            return 0.0
        # `failures` may be a fraction: a decayed count of restarts
        longest: float = self.base_s * self.growth ** min(failures - 1, _MAX_EXPONENT)
        return min(self.cap_s, longest)

    def jittered_s(self, failures: float, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Return a wait drawn evenly between zero and `wait_s`, in seconds, so that many waiters do not come back at
        once."""
        # full jitter: spreads waiters best, and the mean stays half of the wait
        return uniform(0.0, self.wait_s(failures))
