"""Circuit breaker: pauses a connection after N consecutive failures, before the provider bans it. Pure."""

from __future__ import annotations

from collections import Counter

from shared.messages import Outcome, Retry, Sent


class Breaker:
    """Counts failures in a row, by connection.

    Args:
        most: failures in a row that open it; 0: never.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: Counter[int] = Counter()

    def note(self, connection_id: int, outcome: Outcome) -> str:
        """Record an outcome, and return why the connection should be paused now; empty when it should not.

        A refunded attempt never reached the provider and is no evidence.
        """
        if isinstance(outcome, Retry) and not outcome.counts:
            return ""
        if isinstance(outcome, Sent) or not self._most:
            self._failed.pop(connection_id, None)
            return ""
        self._failed[connection_id] += 1
        failed = self._failed[connection_id]
        # beyond N as well: a pause that could not be written is asked for again by the next failure
        return (
            f"breaker: {failed} sends in a row failed, the last one with {outcome.code}" if failed >= self._most else ""
        )
