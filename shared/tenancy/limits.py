"""Limits of keys and companies: token buckets that the API's processes share.

A process decides by what it knows: what it was left with, what came in since, and what it spent
itself. Ten times a second it writes what it spent and reads what all of them have left. So a request never waits for a
limit; what several processes allow too much within that tenth of a second is taken from what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

from shared.clock import Monotonic, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.settings import Settings
from shared.store import limits
from shared.store.limits import Spent
from shared.store.store import Store

log = logger(__name__)

SHARED_S: Final = 0.1
"""Seconds between two writes of what was spent; also about how long processes do not know of each other's."""
_WINDOW_S: Final = 10
"""Seconds of a limit's rate that may be used at once: a client that works in bursts is not refused."""
_SLOWEST: Final = 1 / 86_400
"""The lowest rate, one in a day: of much less, neither the time to wait nor what comes in is a number that a client or
PostgreSQL could take."""
_FASTEST: Final = 1e15
"""The highest rate, above every limit that means something."""
_BUCKETS_MOST: Final = 10_000
"""Buckets that a process remembers: a megabyte or two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitKind:
    """One thing that is limited.

    Attributes:
        name: field of `limits` in the API. setting: its default, as `limit_<setting>` for each key and
            `company_limit_<setting>` for each company. per_s: what one of the setting's units is each second. window_s:
            of the rate, as much may be used at once; 0: it is no rate but a number of things at the same time.
    """

    name: str
    label: str
    setting: str
    per_s: float = 1.0
    window_s: float = _WINDOW_S


REQUESTS: Final = LimitKind(name="requestsPerSecond", label="requests", setting="requests_per_second")
MESSAGES: Final = LimitKind(name="messagesPerSecond", label="messages", setting="messages_per_second")
FILES: Final = LimitKind(
    name="fileMegabytesPerHour", label="files", setting="file_mb_per_hour", per_s=1_000_000 / 3600, window_s=3600
)
WAITS: Final = LimitKind(name="openWaits", label="waits", setting="open_waits", window_s=0)
KINDS: Final = (REQUESTS, MESSAGES, FILES, WAITS)


class LimitPolicy(NamedTuple):
    """One limit of one key or company.

    Attributes:
        bucket: whose and what, by which processes share it. label: for clients. rate: what comes in each second.
            capacity: how much it holds; of `WAITS` how many at the same time.
    """

    bucket: str
    label: str
    kind: LimitKind
    rate: float
    capacity: float


class LimitRules:
    """Which limits a key has: its own and its company's, else those of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._of_keys = {kind: float(getattr(settings, f"limit_{kind.setting}")) for kind in KINDS}
        self._of_companies = {kind: float(getattr(settings, f"company_limit_{kind.setting}")) for kind in KINDS}

    def policies(
        self,
        key_id: int,
        own: Mapping[str, float | None],
        company_id: str | None = None,
        companys: Mapping[str, float | None] | None = None,
    ) -> tuple[LimitPolicy, ...]:
        """Return the limits of a key; 0 is none.

        Args:
            own, companys: limits that were set for the key, and for its company, by name.
        """
        found = list(_policies("key", str(key_id), own, self._of_keys))
        if company_id is not None:
            found += _policies("company", company_id, companys or {}, self._of_companies)
        return tuple(found)


def _policies(
    whose: str, owner: str, given: Mapping[str, float | None], default: Mapping[LimitKind, float]
) -> Iterator[LimitPolicy]:
    for kind in KINDS:
        chosen = given.get(kind.name)
        value = default[kind] if chosen is None else chosen
        if value:
            rate = min(max(value * kind.per_s, _SLOWEST), _FASTEST) if kind.window_s else 0.0
            # at least one: with less, a slow rate would never let anything through
            capacity = max(1.0, rate * kind.window_s) if kind.window_s else value
            yield LimitPolicy(f"{whose}:{owner}:{kind.label}", f"{whose}-{kind.label}", kind, rate, capacity)


class Exceeded(NamedTuple):
    """A limit that is used up, and the seconds until there is something again."""

    policy: LimitPolicy
    wait_s: int


@dataclass(slots=True)
class _Bucket:
    policy: LimitPolicy
    tokens: float
    at: float
    spent: float = 0.0

    def left(self, now: float) -> float:
        return min(self.policy.capacity, self.tokens + self.policy.rate * (now - self.at))

    def spend(self, amount: float, now: float) -> None:
        self.tokens, self.at = self.left(now) - amount, now
        self.spent += amount


class Limits:
    """What this process knows of every limit."""

    def __init__(self, store: Store, clock: Monotonic = monotonic) -> None:
        self._store, self._clock = store, clock
        self._buckets: dict[str, _Bucket] = {}
        self._waits: dict[str, int] = {}

    def take(self, policies: Sequence[LimitPolicy], kind: LimitKind, amount: float = 1.0) -> Exceeded | None:
        """Spend `amount` of every limit of a kind, or nothing when one of them has not even 1 left; return that one.

        More than there is may be spent at once: the rest is waited for by the next.
        """
        now = self._clock()
        buckets = [self._bucket(policy, now) for policy in policies if policy.kind is kind]
        for bucket in buckets:
            if (left := bucket.left(now)) < 1.0:
                return Exceeded(bucket.policy, max(1, ceil((1.0 - left) / bucket.policy.rate)))
        for bucket in buckets:
            bucket.spend(amount, now)
        return None

    def spend(self, policies: Sequence[LimitPolicy], kind: LimitKind, amount: float) -> None:
        """Spend what was used already, whatever is left."""
        now = self._clock()
        for policy in policies:
            if policy.kind is kind:
                self._bucket(policy, now).spend(amount, now)

    @contextmanager
    def waiting(self, policies: Sequence[LimitPolicy]) -> Iterator[Exceeded | None]:
        """Count one open wait for as long as the context lasts; yields the limit that has no place for it, if any."""
        counted = [policy for policy in policies if policy.kind is WAITS]
        full = next((policy for policy in counted if self._waits.get(policy.bucket, 0) >= policy.capacity), None)
        if full is not None:
            yield Exceeded(full, 1)
            return
        for policy in counted:
            self._waits[policy.bucket] = self._waits.get(policy.bucket, 0) + 1
        try:
            yield None
        finally:
            for policy in counted:
                self._waits[policy.bucket] -= 1
                if not self._waits[policy.bucket]:
                    del self._waits[policy.bucket]

    def state(self, policies: Sequence[LimitPolicy]) -> list[tuple[LimitPolicy, int, int]]:
        """Return of each limit what is left, and the seconds until it is full again."""
        now, found = self._clock(), []
        for policy in policies:
            if policy.kind is WAITS:
                found.append((policy, max(0, int(policy.capacity) - self._waits.get(policy.bucket, 0)), 0))
                continue
            left = self._bucket(policy, now).left(now)
            found.append((policy, max(0, int(left)), ceil((policy.capacity - left) / policy.rate)))
        return found

    async def share(self) -> None:
        """Write what was spent, and learn what others spent. Raises `StoreUnavailable`; it is written the next time. A
        bucket that PostgreSQL refuses is forgotten, and begins anew."""
        given = {name: bucket.spent for name, bucket in self._buckets.items() if bucket.spent}
        if not given:
            return
        rows = []
        for name, spent in given.items():
            bucket = self._buckets[name]
            rows.append(Spent(name, bucket.policy.capacity, bucket.policy.rate, spent))
            # what is spent from here on is for the next time
            bucket.spent = 0.0
        try:
            left = await self._spend(rows)
        except StoreUnavailable:
            for name, spent in given.items():
                if name in self._buckets:
                    self._buckets[name].spent += spent
            raise
        now = self._clock()
        for name, tokens in left.items():
            # it may have been forgotten meanwhile
            if name in self._buckets:
                bucket = self._buckets[name]
                # what was spent while the statement ran is not in the answer
                bucket.tokens, bucket.at = tokens - bucket.spent, now

    async def _spend(self, rows: Sequence[Spent]) -> Mapping[str, float]:
        try:
            return await self._store.call(limits.spend, rows)
        except StoreUnavailable:
            raise
        except Exception as error:
            # about one of the rows: the limits of all others, and this process, must not end with it
            if len(rows) == 1:
                log.error("limit_not_shared", exc_info=error, bucket=rows[0].name)
                self._buckets.pop(rows[0].name, None)
                return {}
            half = len(rows) // 2
            return {**await self._spend(rows[:half]), **await self._spend(rows[half:])}

    def _bucket(self, policy: LimitPolicy, now: float) -> _Bucket:
        bucket = self._buckets.get(policy.bucket)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS_MOST:
                self._forget(now)
            bucket = self._buckets[policy.bucket] = _Bucket(policy, policy.capacity, now)
        elif bucket.policy != policy:
            # the limit was changed: what is left of it stays
            bucket.tokens, bucket.at, bucket.policy = min(policy.capacity, bucket.left(now)), now, policy
        return bucket

    def _forget(self, now: float) -> None:
        # full ones, of which nothing need be known
        for name in [
            name
            for name, bucket in self._buckets.items()
            if not bucket.spent and bucket.left(now) >= bucket.policy.capacity
        ]:
            del self._buckets[name]
