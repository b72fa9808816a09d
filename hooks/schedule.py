"""When a failed delivery is tried again; pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

WAITS_S: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds from the first attempt to each further one (Standard Webhooks 1.0.0)."""
GIVEN_UP_S: Final = 86400.0
"""Seconds after the first attempt from which a failed event is a dead letter."""
PROBE_S: Final = 300.0
"""Longest wait between two attempts at a subscriber that takes nothing: that long after it is back it is served."""
DOWN_AFTER: Final = 10
"""Failures in a row, of whatever events, after which a subscriber takes nothing: events then wait in the stream."""


def wait_s(
    attempts: int,
    since_first_s: float,
    *,
    retry_after_s: float = 0.0,
    is_down: bool = False,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float | None:
    """Return the seconds until the next attempt, None when there is none any more.

    Args:
        attempts: so far, at least one. since_first_s: time since the first of them. retry_after_s: what the subscriber
            asked for.
    """
    if since_first_s >= GIVEN_UP_S:
        return None
    at = WAITS_S[min(attempts, len(WAITS_S)) - 1]
    previous = WAITS_S[attempts - 2] if 2 <= attempts <= len(WAITS_S) else 0.0
    # a tenth more or less, so that events that failed together do not come back together
    planned = max(1.0, at - previous) * uniform(0.9, 1.1)
    if is_down:
        planned = min(planned, PROBE_S * uniform(0.9, 1.1))
    return max(planned, min(retry_after_s, GIVEN_UP_S))
