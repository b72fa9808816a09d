"""Hints: ordinary RQ jobs whose only argument is a row id, in one queue per kind."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

from rq import Queue
from rq.serializers import JSONSerializer

from shared.kinds import ProcessKind
from shared.queues.connection import connect, redis_errors

JOB_TIMEOUT_S: Final = 60
HINT_TTL_S: Final = 24 * 3600
"""A hint that nobody took for a day is dropped; its row is found by the relay."""

# Takes up to ARGV[1] jobs off the queue in one round trip and forgets them: the row, not the job, is what survives.
_TAKE: Final = """
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return {} end
local taken = {}
for i, id in ipairs(ids) do
    local key = 'rq:job:' .. id
    taken[i] = redis.call('HGET', key, 'data') or ''
    redis.call('DEL', key)
end
return taken
"""


class Hints:
    """Writes and takes hints.

    Args:
        url: Redis address. timeout_s: longest wait for one answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.client, self.timeout_s = connect(url, timeout_s), timeout_s
        self._take = self.client.register_script(_TAKE)
        self._queues: dict[str, Queue] = {}

    def queue(self, kind: ProcessKind) -> Queue:
        """Return the kind's RQ queue, as `rq info` sees it."""
        # kept, since each new Queue object asks the server for its version once
        return self._queues.setdefault(kind.name, Queue(kind.name, connection=self.client, serializer=JSONSerializer))

    def give(self, kind: ProcessKind, ids: Sequence[int]) -> None:
        """Enqueue one ordinary job for each row id, in one round trip. A row hinted twice is harmless.

        Raises:
            QueueUnavailable: Redis cannot be reached; the relay finds the rows.
        """
        if not ids:
            return
        jobs = [
            Queue.prepare_data(
                kind.job, args=(row_id,), job_id=f"m-{row_id}", timeout=JOB_TIMEOUT_S, result_ttl=0, failure_ttl=60, ttl=HINT_TTL_S, description=f"row {row_id}"
            )
            for row_id in ids
        ]
        with redis_errors():
            self.queue(kind).enqueue_many(jobs)

    def take(self, kind: ProcessKind, most: int) -> list[int]:
        """Take up to `most` hints off the kind's queue and return their row ids; jobs that are not hints are dropped.

        Raises:
            QueueUnavailable: Redis cannot be reached, or did not answer in time.
        """
        with redis_errors():
            taken = self._take(keys=[Queue.redis_queue_namespace_prefix + kind.name], args=[most])
        return [row_id for data in taken if (row_id := _row_id(data)) is not None]

    def ping(self) -> None:
        """Ask for a sign of life. Raises `QueueUnavailable`."""
        with redis_errors():
            self.client.ping()

    def depth(self, kind: ProcessKind) -> int:
        """Return how many hints wait. Raises `QueueUnavailable`."""
        with redis_errors():
            return int(self.client.llen(Queue.redis_queue_namespace_prefix + kind.name))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def _row_id(data: bytes) -> int | None:
    """Read the row id out of a job's data (JSON of `[function, instance, arguments, keywords]`, compressed by RQ)."""
    try:
        call: Any = json.loads(zlib.decompress(data))
        row_id = call[2][0]
    except (zlib.error, ValueError, LookupError, TypeError):
        return None
    return row_id if isinstance(row_id, int) and not isinstance(row_id, bool) else None
