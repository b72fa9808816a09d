"""Decides whether a missing status webhook is evidence that a message was not sent.

It is evidence when the same number's door has brought an event that happened after the message was claimed: then the
provider's queue has passed the place where the status would stand. Events of other numbers prove nothing: theirs may be
subscribed, and this one not. That something arrived is not enough either: a queue that lags brings old events, and ours
may be in it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from shared.store import inbound, webhook_evidence
from shared.store.pool import Transaction

_LAG_S: Final = 1.0
"""Webhooks that wait longer than this to be processed may hold the proof: until then its absence proves nothing."""
_TRUNCATED: Final = timedelta(seconds=1)
"""WhatsApp's timestamps are whole seconds, rounded down."""


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
    if inbound.backlog(transaction, kind).oldest_s >= _LAG_S:
        return AbsenceEvidence.UNREAD
    found = webhook_evidence.first_since(
        transaction,
        kind=kind,
        connection_id=connection_id,
        happened_since=since - _TRUNCATED,
        received_since=since,
        ago_s=ago_s,
    )
    if found.received_at is None:
        return AbsenceEvidence.NONE
    return AbsenceEvidence.UNSENT if found.is_read else AbsenceEvidence.UNREAD
