"""Ends the pauses that a provider set an end to."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.store import pauses
from shared.store.store import Store

log = logger(__name__)

LOOK_S: Final = 5.0
"""Seconds between two looks. Timed pauses last for hours, so a few seconds more do not matter; the query is one
indexed look-up.
"""


async def resume_when_due(store: Store, kind: str, *, look_s: float = LOOK_S) -> None:
    """Let connections of a process kind send again when their pause has ended, for ever; every instance may do so.

    Args:
        look_s: seconds between two looks.
    """
    while True:
        try:
            # every instance runs this: the statement deletes the timed pause, so only one of them resumes and logs it
            for row in await store.call(pauses.resume_due, kind):
                log.info("connection_resumed", connection_id=row["id"], reason="its pause has ended")
        # the pause stays due in the table; the next look finds it
        except StoreUnavailable as error:
            log.info("resumes_delayed", reason=str(error))
        await asyncio.sleep(look_s)
