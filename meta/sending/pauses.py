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


async def resume_when_due(store: Store, kind: str, *, look_s: float = LOOK_S) -> None:
    """Let connections of a process kind send again when their pause has ended, for ever; every instance may do so.

    Args:
        look_s: seconds between two looks.
    """
    while True:
        try:
            for row in await store.call(pauses.resume_due, kind):
                log.info("connection_resumed", connection_id=row["id"], reason="its pause has ended")
        except StoreUnavailable as error:
            log.info("resumes_delayed", reason=str(error))
        await asyncio.sleep(look_s)
