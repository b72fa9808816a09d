"""Decides whether a missing status webhook is evidence that a message was not sent.

It is evidence when the same number's webhook endpoint has received an event that happened after the message was
claimed: the provider's queue has then passed the place where the status would stand. Events of other numbers prove
nothing: their account may be subscribed, and this one not. The arrival of an event is not enough either: a queue that
lags delivers old events, and the status may still be in it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from shared.store import inbound, webhook_evidence
from shared.store.pool import Transaction

_LAG_S: Final = 1.0
"""Seconds. While a webhook has waited longer than this to be processed, it may hold the proof, and absence proves
nothing. A second is above the normal delay of the processor, so that normal load does not block evidence.
"""
_TRUNCATED: Final = timedelta(seconds=1)
"""WhatsApp's timestamps are whole seconds, rounded down: an event of the second of the claim seems to be older than it.
"""


class AbsenceEvidence(Enum):
    """What the absence of a status proves."""

    UNSENT = auto()
    """Later events came, and everything that came has been processed."""
    NONE = auto()
    """No such event came: perhaps none can."""
    UNREAD = auto()
    """Something came and has not been processed."""


def weigh(
    transaction: Transaction, *, kind: str, connection_id: int, since: datetime, ago_s: float = 0.0
) -> AbsenceEvidence:
    """Return what the absence of a status since an instant proves for one connection.

    Args:
        ago_s: the later event must have come at least so long ago, in seconds.
    """
    # `is_read` below covers what came before the later event; a backlog may hold the status among what came after it
    if inbound.backlog(transaction, kind).oldest_s >= _LAG_S:
        return AbsenceEvidence.UNREAD
    found = webhook_evidence.first_since(
        transaction,
        kind=kind,
        connection_id=connection_id,
        # both clocks count: the provider's (when it happened) rules out old events of a lagging queue, ours (when
        # it came) rules out what was here before the claim
        happened_since=since - _TRUNCATED,
        received_since=since,
        ago_s=ago_s,
    )
    if found.received_at is None:
        return AbsenceEvidence.NONE
    # the status may be in a raw event that arrived before the later one and is not processed yet
    return AbsenceEvidence.UNSENT if found.is_read else AbsenceEvidence.UNREAD
