"""Exponential backoff with full jitter; pure."""

from __future__ import annotations

import random
from collections.abc import Callable


def ceiling(attempt: int, base_s: float, cap_s: float) -> float:
    """Return the longest wait before attempt number `attempt` (2 is the first that waits), in seconds: base, doubled each time, up to the cap."""
    if attempt < 2:
        return 0.0
    return min(cap_s, base_s * 2.0 ** min(attempt - 2, 60))


def full_jitter(
    attempt: int, base_s: float, cap_s: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return a wait drawn evenly between zero and `ceiling`, in seconds, so that many waiters do not come back at once."""
    return uniform(0.0, ceiling(attempt, base_s, cap_s))
