"""How long to wait before the next attempt; pure."""

from __future__ import annotations

from typing import Final

LONGEST_WAIT_S: Final = 300.0


def wait_s(attempt: int, base_s: float) -> float:
    """Return the wait after failed attempt number `attempt` (1 is the first), in seconds: the base, doubled each time, up to five minutes.

    There is no jitter: the order within a chat must not depend on luck, and different chats spread by themselves.
    """
    return min(LONGEST_WAIT_S, base_s * 2.0 ** min(attempt - 1, 30))
