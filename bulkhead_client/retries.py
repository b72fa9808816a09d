"""When a request is sent again: a policy, and its one decision; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bulkhead_client.errors import Unreachable
from bulkhead_client.wire import Answer, Request

_TRANSIENT: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request may succeed."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and for how long, a request is sent again. Durations in seconds.

    Only requests without a second effect are: those that read, and those with an idempotency key, which every message
    of this client has.

    Attributes:
        attempts: most requests in all. first_s, longest_s: the wait doubles from the one to the other.
        deadline_s: for all attempts together, waits included.
    """

    attempts: int = 6
    first_s: float = 0.25
    longest_s: float = 15.0
    deadline_s: float = 60.0

    def wait_s(
        self, request: Request, outcome: Answer | Unreachable, *, attempt: int, elapsed_s: float, random: float
    ) -> float | None:
        """Return the wait before the next attempt; None: there is none.

        Args:
            attempt: number of the one that ended with `outcome`, from 1. elapsed_s: since the first began. random: from
                0 up to 1, by which clients that failed together do not come back together.
        """
        if isinstance(outcome, Answer) and outcome.status not in _TRANSIENT:
            return None
        if attempt >= self.attempts or not request.is_repeatable:
            return None
        backoff_s = min(self.longest_s, self.first_s * 2 ** (attempt - 1))
        wait_s = backoff_s * (0.5 + random / 2)
        if isinstance(outcome, Answer):
            # the server's word is a minimum: sooner is refused again
            wait_s += outcome.retry_after_s or 0.0
        return wait_s if elapsed_s + wait_s < self.deadline_s else None


NO_RETRIES: Final = RetryPolicy(attempts=1)
