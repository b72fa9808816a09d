"""Settings that can be changed while the sandbox runs: latency and the behaviour of webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

STATUSES: Final = ("sent", "delivered", "read", "played", "failed")


@dataclass(kw_only=True, slots=True)
class Knobs:
    """Times are milliseconds, as in the control API.

    Attributes:
        latency_ms: from accepting a message to responding.
        statuses: the sequence of every accepted message. delays_ms: for each, how long after the response it is due.
        batch_max: most updates in one POST (Meta: up to 1,000). linger_ms: how long the first due update waits for
            others to share its POST.
        posts_max: concurrent POSTs of each provider. post_timeout_ms: longest wait for the answer to one.
        retry_first_ms: wait before the first retry, added to every later one. retry_base_ms, retry_cap_ms: the second
            retry waits for the base, which doubles each time up to the cap.
        wa_ids: dialled number → WhatsApp's number where they differ (Brazil's ninth digit, Mexico's 1). Responses,
            statuses and ids have WhatsApp's.
        user_ids: 1: business-scoped user ids stand in every webhook, as since April 2026; 0: the older, shorter form.
        retry_for_s: after this long without success an update is abandoned (Meta: 7 days).
    """

    latency_ms: float = 0.0
    statuses: tuple[str, ...] = ("sent", "delivered")
    delays_ms: Mapping[str, float] = field(
        default_factory=lambda: {"sent": 20.0, "delivered": 60.0, "read": 120.0, "played": 180.0, "failed": 60.0}
    )
    batch_max: int = 50
    linger_ms: float = 5.0
    posts_max: int = 8
    post_timeout_ms: float = 5_000.0
    retry_first_ms: float = 0.0
    retry_base_ms: float = 250.0
    retry_cap_ms: float = 2_000.0
    retry_for_s: float = 604_800.0
    fetch_links: int = 0
    user_ids: int = 1
    wa_ids: Mapping[str, str] = field(default_factory=dict)

    def turn(self, changes: Mapping[str, Any]) -> None:
        """Apply all of `changes`, or none; `delays_ms` may name only some statuses.

        Raises:
            ValueError: a name is not known or a value cannot be used; the message names it.
        """
        known = {row.name for row in fields(self)}
        # collected first, so that a call with one invalid value changes nothing
        new: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"{name}: not a knob; known: {', '.join(sorted(known))}")
            new[name] = _READERS.get(name, _amount)(name, value)
        # a status that is not named keeps its delay
        if "delays_ms" in new:
            new["delays_ms"] = {**self.delays_ms, **new["delays_ms"]}
        for name, value in new.items():
            setattr(self, name, value)

    def restore(self, knobs: Knobs) -> None:
        """Take over every value of `knobs`."""
        for row in fields(self):
            setattr(self, row.name, getattr(knobs, row.name))


def _is_amount(value: object) -> bool:
    # the upper bound excludes infinity and NaN, which Python's JSON decoder accepts
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _amount(name: str, value: object) -> float:
    if not _is_amount(value):
        raise ValueError(f"{name}: a number, 0 or more")
    return float(value)  # type: ignore[arg-type]  # checked just above


def _statuses(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not set(value) <= set(STATUSES):
        raise ValueError(f"{name}: a list of {', '.join(STATUSES)}")
    return tuple(value)


def _delays(name: str, value: object) -> dict[str, float]:
    if not isinstance(value, Mapping) or not value.keys() <= set(STATUSES) or not all(map(_is_amount, value.values())):
        raise ValueError(f"{name}: milliseconds by status, of {', '.join(STATUSES)}")
    return dict(value)


def _whole(name: str, value: object) -> int:
    # 1000: the most updates that Meta puts into one POST
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ValueError(f"{name}: a whole number from 1 to 1000")
    return value


def _numbers(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) and text.isdecimal() for pair in value.items() for text in pair
    ):
        raise ValueError(f"{name}: the digits that WhatsApp knows, by the digits that are dialled")
    return dict(value)


_READERS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "statuses": _statuses,
    "delays_ms": _delays,
    "batch_max": _whole,
    "posts_max": _whole,
    "wa_ids": _numbers,
}
"""How new values are checked; knobs that are not listed are amounts."""
