"""Posts deliveries: whole within a deadline, to addresses that may be reached, and reading little of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from hooks.connections import DeliveryBroken, SubscriberConnections, SubscriberOrigin
from shared.clock import utc_now
from shared.media.reach import Reach, checked
from shared.media.wire import SocketGuard

WHOLE_S: Final = 15.0
"""Seconds for one delivery, from the look at the name to the head of the answer (Standard Webhooks: 15 to 30)."""
_GONE: Final = 410
_PORTS: Final = {"http": 80, "https": 443}
_SAFE: Final = "/%:@!$&'()*+,;=~?"
"""Characters of a target that are not escaped, or are escapes already (RFC 3986 3.3, 3.4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryResult:
    """How one delivery went.

    Attributes:
        status: of the answer; None: there was none. error: why it failed; empty: it was taken.
    """

    status: int | None
    error: str = ""
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the subscriber has it."""
        return not self.error

    @property
    def is_gone(self) -> bool:
        """Whether the subscriber wants nothing more."""
        return self.status == _GONE


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """Where a subscriber's deliveries are posted to.

    Attributes:
        head: request line and headers that all deliveries have.
    """

    origin: SubscriberOrigin
    head: bytes = field(repr=False)


class Poster:
    """Posts bodies; one for the process, so that connections are used again."""

    def __init__(self, reach: Reach, *, whole_s: float = WHOLE_S) -> None:
        self._reach, self._whole_s = reach, whole_s
        # A kept connection leads to the address that was checked when it was opened; names are looked up for each new
        # one.
        self._pool = SubscriberConnections(SocketGuard(reach))

    def close_idle(self) -> None:
        """Close connections that were not used for a while."""
        self._pool.close_idle()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def target(self, url: str, headers: Mapping[str, str]) -> DeliveryTarget:
        """Return what does not change between deliveries. Raises `FetchFailed` for an address that may not be reached,
        and `ValueError` for headers that are none.
        """
        parts = checked(url, self._reach)
        port = parts.port or _PORTS[parts.scheme]
        place = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        named = {"Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "bulkhead", **headers}
        if any("\r" in text or "\n" in text for pair in named.items() for text in pair):
            raise ValueError("a header has a line break")
        lines = [f"POST {place} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        origin = SubscriberOrigin(parts.scheme == "https", str(parts.hostname), port)
        return DeliveryTarget(origin, "".join(f"{line}\r\n" for line in lines).encode("latin-1"))

    async def post(self, target: DeliveryTarget, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Deliver one body. Raises nothing but a cancellation."""
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (target.head, own.encode("ascii"), len(body), body)
        try:
            head = await self._pool.ask(target.origin, request, self._whole_s)
        except DeliveryBroken as problem:
            return DeliveryResult(status=None, error=str(problem))
        except OSError as error:
            return DeliveryResult(status=None, error=_named(error))
        if 200 <= head.status < 300:
            return DeliveryResult(status=head.status)
        return DeliveryResult(
            status=head.status, error=f"http_{head.status}", retry_after_s=_retry_after_s(head.retry_after)
        )


def _named(error: OSError) -> str:
    """Return what went wrong, in a word: the text of an error may hold an address that is secret."""
    if isinstance(error, PermissionError):
        return "address_refused"
    return "timeout" if isinstance(error, TimeoutError) else "unreachable"


def _retry_after_s(given: str) -> float:
    """Return what `Retry-After` asks for (RFC 9110 10.2.3), 0 for nothing."""
    if given.isascii() and given.isdecimal():
        return float(given[:9])
    try:
        at: datetime = parsedate_to_datetime(given)
        return max(0.0, (at - utc_now()).total_seconds())
    # no date, or one without a time zone
    except (ValueError, TypeError):
        return 0.0
