"""Writes webhooks to the journal before they are answered: concurrent POSTs share one commit, and each is answered when
it is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from shared.batching import GroupCommit
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.store import inbound
from shared.store.inbound import RawEvent
from shared.store.store import Store

log = logger(__name__)

_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies in one commit: two of the largest, so that a large body does not delay small ones by much."""
_MIN_WEIGHT: Final = _MAX_BYTES // 100
"""Weight of an empty body: at most a hundred POSTs share one commit."""
_COMMIT_INTERVAL_S: Final = 0.008
"""Minimum interval between commits, in seconds: the first POST is immediate, and under load one commit stores many. So
there are at most 125 commits a second, and an answer waits 8 ms longer at most.
"""

LATE_S: Final = 1.0
"""Seconds after which the provider may have timed out and will repeat the POST. A status in it is then late, so the
wait counts as a webhook outage: absence is no evidence during it.
"""


class _Post(NamedTuple):
    """A POST that waits for its answer, and since when (monotonic)."""

    event: RawEvent
    since: float


class WebhookJournal:
    """Writes raw events.

    Args:
        kind: whose journal. kept: called after each commit, so that the processor reads on. on_outage: called with the
            wait (seconds) of a POST that was refused because the database was unavailable, or answered late; see
            `WebhookOutages.record_outage`.
    """

    def __init__(self, store: Store, kind: str, kept: Callable[[], None], on_outage: Callable[[float], None]) -> None:
        self._store, self._kind, self._kept, self._on_outage = store, kind, kept, on_outage
        self._commits: GroupCommit[_Post, None] = GroupCommit(
            self._commit,
            interval_s=_COMMIT_INTERVAL_S,
            capacity=_MAX_BYTES,
            weight=lambda post: max(_MIN_WEIGHT, len(post.event.body)),
            on_refused=lambda error: log.error("webhook_not_journalled", exc_info=error),
        )

    def start(self) -> list[asyncio.Task[None]]:
        """Start to write. Returns the tasks whose failure is the process's failure."""
        return self._commits.start("journal")

    async def keep(self, event: RawEvent) -> None:
        """Return when `event` is committed. Raises `StoreUnavailable` when it is not, or may not be."""
        await self._commits.submit(_Post(event, monotonic()))

    async def close(self) -> None:
        """Stop; POSTs that still wait get `StoreUnavailable`."""
        await self._commits.close()

    async def _commit(self, posts: list[_Post]) -> list[None]:
        hit("journal.gathered")
        try:
            # a commit that succeeds after its deadline is harmless: the provider repeats the POST, and its event is
            # kept once
            await self._store.call_each(inbound.journal, self._kind, [post.event for post in posts])
        except StoreUnavailable:
            # the oldest POST's wait: from then on webhooks may be missing
            self._on_outage(monotonic() - posts[0].since)
            raise
        hit("journal.committed")
        # stored, and yet late: the provider may not have read the 200
        if (waited_s := monotonic() - posts[0].since) > LATE_S:
            self._on_outage(waited_s)
        self._kept()
        return [None] * len(posts)
