"""How far apart claims and settlements start, so that transactions carry many messages under load. Pure.

A first message is immediate; under load, when waiting costs least, small transactions would take twice the CPU for each
message (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import Final

_CLAIM_INTERVAL_S: Final = 0.02
_SETTLE_INTERVAL_S: Final = 0.04
"""Minimum seconds between claims (settlements) at `_MANY` in flight; below that in proportion, for settlements at least
half."""
_FEW: Final = 8
"""Messages in flight up to which claims have no minimum interval: latency counts then, and round trips are cheap."""
_MANY: Final = 48
"""Messages in flight from which the intervals above apply in full: each transaction then finds many to carry."""
_CHATS_S: Final = 0.02
"""Seconds that a freed chat waits above `_FEW` in flight before its next message is looked up, so that chats share a
claim."""


def claim_interval_s(in_flight: int) -> float:
    """Return the least time between the starts of two claims, in seconds."""
    return _CLAIM_INTERVAL_S * _load(in_flight) if in_flight > _FEW else 0.0


def settle_interval_s(in_flight: int, answered: int) -> float:
    """Return the least time between the starts of two settlements, in seconds.

    Args:
        answered: how many of those in flight wait to be settled.
    """
    # no further outcome can come to share the transaction
    if answered >= in_flight:
        return 0.0
    return _SETTLE_INTERVAL_S * max(0.5, _load(in_flight))


def chat_wait_s(in_flight: int, offered: int) -> float:
    """Return how long a freed place may wait until the next claim, in seconds.

    Args:
        offered: rows that wait for nothing but a free place.
    """
    return 0.0 if offered or in_flight <= _FEW else _CHATS_S


def _load(in_flight: int) -> float:
    """Messages in flight as a part of `_MANY`; 1 at most."""
    return min(1.0, in_flight / _MANY)
