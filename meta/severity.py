"""Which uncaught errors this kind survives, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meta.graph import TRANSPORT_FAILURES
from shared.errors import Fenced, QueueUnavailable, StoreUnavailable
from shared.process.service import Severity

SURVIVED: Final[Mapping[type[BaseException], str]] = {
    **dict.fromkeys(
        TRANSPORT_FAILURES, "the provider or the network: refused, cut, late, or an HTTP answer of any status"
    ),
    StoreUnavailable: "PostgreSQL is away: rows and journal wait",
    QueueUnavailable: "Redis is away: the relay finds the rows",
    Fenced: "a late write was refused, as it must be",
}
"""Error classes, subclasses included, after which the process goes on, each with its reason. Everything else ends it:
the state is not known.
"""


def classify(error: BaseException) -> Severity:
    """Return what an uncaught error means for the process."""
    return Severity.RECOVERABLE if isinstance(error, tuple(SURVIVED)) else Severity.CRITICAL
