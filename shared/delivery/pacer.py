"""Writes the rate limits of connections, as settings and options define them, and moves queued rows to the kind that
serves their connection.

Every process of a kind does so, with the same result.
"""

from __future__ import annotations

import asyncio
from typing import Final

from shared.channels.pacing import limits_of
from shared.clock import Monotonic, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.settings import Settings
from shared.store import messages, pacing
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

INTERVAL_S: Final = 2.0
"""A new connection's limits, and changed options, apply within this time, in seconds."""
_FOLLOW_S: Final = 10.0
"""Seconds between transfers of queued rows whose connection has changed to a type of this kind."""
_FORGET_S: Final = 60.0
"""Seconds between removals of pair limits that have run full again; a row for each chat would grow without end."""
_FORGET_MOST: Final = 20_000
"""Rows of one removal: bounds the time for which it holds row locks."""


class Pacer:
    """Writes the limits of one kind's connections."""

    def __init__(self, store: Store, settings: Settings, *, kind: str, clock: Monotonic = monotonic) -> None:
        self._store, self._settings, self._kind, self._clock = store, settings, kind, clock
        self._follow_at, self._forget_at = clock(), clock() + _FORGET_S

    async def run(self) -> None:
        """Write every two seconds; never returns."""
        while True:
            try:
                await self.look()
            # limits that are written stay in force; only changes come later
            except StoreUnavailable as error:
                log.warning("limits_not_written", reason=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> int:
        """Write the limits that changed, and return how many did. Raises `StoreUnavailable`."""
        changed = await self._store.call(self._write)
        if self._clock() >= self._follow_at:
            if rows := await self._store.call(messages.follow_connections, kind=self._kind):
                log.info("messages_taken_over", rows=rows)
            self._follow_at = self._clock() + _FOLLOW_S
        if self._clock() >= self._forget_at:
            await self._store.call(pacing.forget_pairs, most=_FORGET_MOST)
            self._forget_at = self._clock() + _FORGET_S
        return changed

    def _write(self, transaction: Transaction) -> int:
        configured = {
            one.id: (limits_of(self._settings, one.connection_type, one.options), one.limits)
            for one in pacing.of_kind(transaction, self._kind)
        }
        # only what differs is written: every process of the kind polls, and each update would leave a dead row version
        changed = {number: limits for number, (limits, there) in configured.items() if limits != there}
        pacing.set_limits(transaction, changed)
        return len(changed)
