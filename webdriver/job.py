"""The RQ job of this kind, for a stock `rq worker`."""

from __future__ import annotations

from shared.logs import logger

log = logger(__name__)


def deliver(row_id: int) -> None:
    """Leave a row to the process that owns its session.

    A stock worker has no browser session, and a second one on the same profile would end the first. So the hint is
    spent and the row stays as it is: the webdriver process finds rows without a hint by itself
    (`shared.delivery.relay`).
    """
    log.warning(
        "hint_left_alone",
        message_id=row_id,
        reason="a stock worker owns no browser session; the webdriver process finds the row",
    )
