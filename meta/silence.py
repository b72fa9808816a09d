"""What the silence of webhooks about a message is worth: evidence that it was not sent, or nothing.

It is worth something when the same door has brought news of what happened after the message was claimed: then the provider's queue has come past the
place where news of this one would stand. That something arrived is not enough: a queue that lags brings old news, and ours may be in it.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum, auto
from typing import Final

from shared.store import inbound
from shared.store.pool import Transaction

_LAG_S: Final = 1.0
"""Webhooks that wait longer than this to be read may hold the proof: until then silence proves nothing."""
_NEWEST: Final = 3
_BELIEVED_S: Final = 8 * 86400.0
"""Providers post again for up to seven days. What says that it is older than that has a clock of its own: then the instant counts at which it came."""
_INSTANT: Final = re.compile(rb'"timestamp"\s*:\s*"?(\d{10})(?:\d{3})?\b')
"""Seconds, or milliseconds, since 1970, as every provider writes them."""


class Silence(Enum):
    """What silence is worth."""

    PROVEN = auto()
    """News of later things came, and everything that came has been read."""
    UNPROVEN = auto()
    """No such news came: perhaps none can."""
    UNREAD = auto()
    """Something came and has not been read."""


def weigh(transaction: Transaction, kind: str, source: str, since: datetime, ago_s: float = 0.0) -> Silence:
    """Return what the silence of a door since an instant is worth.

    Args:
        source: the door. ago_s: news must have come at least so long ago.
    """
    if inbound.backlog(transaction, kind).oldest_s >= _LAG_S:
        return Silence.UNREAD
    came = inbound.newest(transaction, source, since, ago_s=ago_s, most=_NEWEST)
    return Silence.PROVEN if any(is_of_later(body, came_at, since) for body, came_at in came) else Silence.UNPROVEN


def is_of_later(body: bytes, came_at: datetime, since: datetime) -> bool:
    """Whether a webhook tells of anything that happened since an instant; what says nothing of when counts as having just happened."""
    instants = [int(found) for found in _INSTANT.findall(body)]
    if not instants or max(instants) < came_at.timestamp() - _BELIEVED_S:
        return True
    # the provider cuts its seconds off
    return max(instants) + 1 > since.timestamp()
