"""Hints: ordinary RQ jobs whose only argument is a row id, in one queue per kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rq import Queue

from shared.errors import QueueUnavailable
from shared.kinds import ProcessKind
from shared.logs import logger
from shared.queues.connection import connect, redis_errors
from shared.queues.stock_rq import Jobs

log = logger(__name__)

GIVE_AT_ONCE: Final = 500
"""Jobs of one script call. Redis runs nothing else meanwhile, and Lua's `unpack` has a limit of some thousand
values."""

_PROBE: Final = "rq:bulkhead-probe"
"""Key that a probe writes; its beginning is that of RQ's keys, which a user's rights may be limited to."""
_PROBE_S: Final = 60
"""Seconds until the key expires."""


class Hints:
    """Writes and takes hints.

    Args:
        url: Redis address. timeout_s: longest wait for one answer. installation: whose hints; empty: it is not known
            yet (`belong_to`), and until then none are given or taken.
    """

    def __init__(self, url: str, timeout_s: float, installation: str = "") -> None:
        self.client, self.timeout_s = connect(url, timeout_s), timeout_s
        self._known = Jobs(self.client, installation) if installation else None

    def belong_to(self, installation: str) -> None:
        """Write and take the hints of this installation from now on: two on one Redis never take each other's."""
        self._known = Jobs(self.client, installation)

    @property
    def _jobs(self) -> Jobs:
        if self._known is None:
            raise QueueUnavailable("the database has not said yet which installation's hints these are")
        return self._known

    def queue(self, kind: ProcessKind) -> Queue:
        """Return the kind's RQ queue, as `rq info` sees it. Raises `QueueUnavailable` while the installation is
        unknown."""
        return self._jobs.queue(kind)

    def give(self, kind: ProcessKind, ids: Sequence[int]) -> None:
        """Enqueue one ordinary job for each row id, in one round trip for each `GIVE_AT_ONCE`. A row hinted twice is
        harmless.

        Raises:
            QueueUnavailable: Redis cannot be reached; the relay finds the rows.
        """
        with redis_errors():
            self._jobs.give(kind, ids, at_once=GIVE_AT_ONCE)

    def take(self, kind: ProcessKind, most: int) -> list[int]:
        """Take up to `most` hints off the kind's queue and return their row ids; jobs that are not hints are dropped
        and logged.

        Raises:
            QueueUnavailable: Redis cannot be reached, or did not answer in time.
        """
        with redis_errors():
            taken = self._jobs.take(kind, most)
        ids = [row_id for row_id in taken if row_id is not None]
        if len(ids) < len(taken):
            # not put back: they would be taken again, for ever
            log.warning("hints_invalid", queue=kind.name, jobs=len(taken) - len(ids))
        return ids

    def ping(self) -> None:
        """Check that Redis answers and takes what is written. Raises `QueueUnavailable`."""
        with redis_errors():
            # no PING: a server that is full, read-only, or lets this user write nothing answers it too
            self.client.set(_PROBE, 1, ex=_PROBE_S)

    def depth(self, kind: ProcessKind) -> int:
        """Return how many hints wait. Raises `QueueUnavailable`."""
        with redis_errors():
            return int(self.client.llen(self._jobs.key(kind)))

    def drop_old(self, kind: ProcessKind) -> int:
        """Drop the hints that a version without installations' names has left, once nothing listens to them: their rows
        are found by the relay. Returns how many. Raises `QueueUnavailable`.
        """
        with redis_errors():
            return self._jobs.drop_old(kind, at_once=GIVE_AT_ONCE)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
