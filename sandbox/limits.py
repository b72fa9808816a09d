"""Meta's rate limits: messages a second from one number, and messages from one number to one user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

THROUGHPUT: Final = 130429
"""Meta's code: more messages a second than the number may send."""
PAIR: Final = 131056
"""Meta's code: too many messages from one number to one user."""
_SWEEP: Final = 50_000
"""Keys kept before idle ones are removed: a load over very many chats must not fill the memory."""


class Pace:
    """Allows one event per `period_s` on average and `burst` at once, for each key (generic cell rate algorithm).

    Args:
        period_s: seconds between events in the long run. burst: how many may come at once, at the expense of later
            ones.
    """

    def __init__(self, period_s: float, burst: int) -> None:
        self.period_s = period_s
        self.burst = burst
        self._free_at: dict[str, float] = {}

    def allows(self, key: str, now: float) -> bool:
        """Return whether an event of `key` may happen at `now`, without counting it."""
        # a billionth of a second more, since sums of periods are not exact in floating point
        return self._free_at.get(key, now) - now <= self.period_s * (self.burst - 1) + 1e-9

    def count(self, key: str, now: float) -> None:
        """Count an event of `key` that happens at `now`."""
        if len(self._free_at) >= _SWEEP:
            self._free_at = {key: at for key, at in self._free_at.items() if at > now}
        # the theoretical arrival time of the algorithm: each event moves it by one period, from now at the earliest
        self._free_at[key] = max(self._free_at.get(key, now), now) + self.period_s


@dataclass(frozen=True, kw_only=True)
class LimitValues:
    """Values of the limits; zero disables one.

    Attributes:
        messages_per_second: of one number (Meta: 80, up to 1,000; coexistence 20).
        pair_period_s, pair_burst: one number to one user (Meta: 1 each 6 s, 45 at once).
    """

    messages_per_second: float = 0.0
    pair_period_s: float = 0.0
    pair_burst: int = 45


class SandboxLimits:
    """The limits in force; none until `set` is called.

    Args:
        monotonic: seconds that only go forward.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.set(LimitValues())

    def set(self, values: LimitValues) -> None:
        """Apply `values` and reset the counters."""
        self.values = values
        self._number = (
            # a second's worth at once: Meta counts by the second
            Pace(1 / values.messages_per_second, max(1, round(values.messages_per_second)))
            if values.messages_per_second
            else None
        )
        self._pair = Pace(values.pair_period_s, values.pair_burst) if values.pair_period_s else None

    def passed(self, phone_number_id: str, to: str) -> int | None:
        """Count a message and return None; if it exceeds a limit, count nothing and return Meta's error code."""
        # the usual case, kept fast: a load test measures the product and not these dictionaries
        if self._number is None and self._pair is None:
            return None
        now = self._monotonic()
        pair = f"{phone_number_id}>{to}"
        # both are checked before either is counted: a message that one limit refuses does not use up the other
        if self._number and not self._number.allows(phone_number_id, now):
            return THROUGHPUT
        if self._pair and not self._pair.allows(pair, now):
            return PAIR
        if self._number:
            self._number.count(phone_number_id, now)
        if self._pair:
            self._pair.count(pair, now)
        return None
