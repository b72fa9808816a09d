"""Says when a connection's sends have failed too often in a row, so that it is paused before its provider thinks ill of it. Pure."""

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
        """Note what became of a send, and return why the connection should be paused now; empty when it should not.

        One that was not charged never reached the provider and says nothing.
        """
        if isinstance(outcome, Retry) and not outcome.counts:
            return ""
        if isinstance(outcome, Sent) or not self._most:
            self._failed.pop(connection_id, None)
            return ""
        self._failed[connection_id] += 1
        failed = self._failed[connection_id]
        return (
            f"breaker: {failed} sends in a row failed, the last one with {outcome.code}" if failed >= self._most else ""
        )
