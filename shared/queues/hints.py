"""Hints: ordinary RQ jobs whose only argument is a row id, in one queue per kind."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

from rq import Queue
from rq.serializers import JSONSerializer

from shared.kinds import ProcessKind
from shared.logs import logger
from shared.queues.connection import connect, redis_errors

log = logger(__name__)

JOB_TIMEOUT_S: Final = 60
HINT_TTL_S: Final = 24 * 3600
"""A hint that was not taken for a day is dropped; its row is found by the relay."""

GIVE_AT_ONCE: Final = 500
"""Jobs of one script call: Redis does nothing else meanwhile."""

# Writes jobs that differ only in id, data and description, and puts them at the queue's end; ARGV: ttl, number of
# shared fields, the shared fields and
# their values, then row ids each with its data. RQ's own enqueue_many writes the same, but spends 90 µs of Python on
# each job.
_GIVE: Final = """
local shared = {}
for i = 3, 2 + ARGV[2] * 2 do shared[#shared + 1] = ARGV[i] end
local ids = {}
for i = 3 + ARGV[2] * 2, #ARGV, 2 do
    local id = 'm-' .. ARGV[i]
    local key = 'rq:job:' .. id
    redis.call('HSET', key, 'data', ARGV[i + 1], 'description', 'row ' .. ARGV[i], unpack(shared))
    redis.call('EXPIRE', key, ARGV[1])
    ids[#ids + 1] = id
end
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('RPUSH', KEYS[1], unpack(ids))
return #ids
"""

# Takes up to ARGV[1] jobs off the queue in one round trip and deletes them: the row, not the job, is what survives.
# pcall, and no data that is longer than
# ARGV[2]: others may write to this Redis, and what they put under our keys must not cost the other jobs of the batch.
_TAKE: Final = """
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return {} end
local taken = {}
for i, id in ipairs(ids) do
    local key = 'rq:job:' .. id
    local length = redis.pcall('HSTRLEN', key, 'data')
    taken[i] = type(length) == 'number' and length <= tonumber(ARGV[2]) and redis.call('HGET', key, 'data') or ''
    redis.call('DEL', key)
end
return taken
"""
_MAX_DATA_BYTES: Final = 4096
"""Of one job's data, also when it is decompressed; a hint has about 60."""
_MAX_ROW_ID: Final = (1 << 63) - 1


class Hints:
    """Writes and takes hints.

    Args:
        url: Redis address. timeout_s: longest wait for one answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.client, self.timeout_s = connect(url, timeout_s), timeout_s
        self._give, self._take = self.client.register_script(_GIVE), self.client.register_script(_TAKE)
        self._queues: dict[str, Queue] = {}

    def queue(self, kind: ProcessKind) -> Queue:
        """Return the kind's RQ queue, as `rq info` sees it."""
        # kept, since each new Queue object asks the server for its version once
        return self._queues.setdefault(kind.name, Queue(kind.name, connection=self.client, serializer=JSONSerializer))

    def give(self, kind: ProcessKind, ids: Sequence[int]) -> None:
        """Enqueue one ordinary job for each row id, in one round trip for each `GIVE_AT_ONCE`. A row hinted twice is
        harmless.

        Raises:
            QueueUnavailable: Redis cannot be reached; the relay finds the rows.
        """
        with redis_errors():
            shared = self._shared_fields(kind) if ids else []
            for start in range(0, len(ids), GIVE_AT_ONCE):
                each: list[Any] = []
                for row_id in ids[start : start + GIVE_AT_ONCE]:
                    # compressed as RQ has it, with the least effort
                    each += (row_id, zlib.compress(JSONSerializer.dumps((kind.job, None, (row_id,), {})), 0))
                self._give(
                    keys=[Queue.redis_queue_namespace_prefix + kind.name, Queue.redis_queues_keys],
                    args=[HINT_TTL_S, len(shared) // 2, *shared, *each],
                )

    def _shared_fields(self, kind: ProcessKind) -> list[Any]:
        """Return what all jobs of this moment have in common, as RQ itself writes it: names and values in turn."""
        queue = self.queue(kind)
        job = queue.create_job(
            kind.job,
            args=(0,),
            job_id="m-0",
            timeout=JOB_TIMEOUT_S,
            result_ttl=0,
            failure_ttl=60,
            ttl=HINT_TTL_S,
            description="",
            status="queued",
        )
        job.origin, job.enqueued_at = queue.name, job.created_at
        fields: dict[str, Any] = job.to_dict()
        return [part for name, value in fields.items() if name not in ("data", "description") for part in (name, value)]

    def take(self, kind: ProcessKind, most: int) -> list[int]:
        """Take up to `most` hints off the kind's queue and return their row ids; jobs that are not hints are dropped
        and logged.

        Raises:
            QueueUnavailable: Redis cannot be reached, or did not answer in time.
        """
        with redis_errors():
            taken = self._take(keys=[Queue.redis_queue_namespace_prefix + kind.name], args=[most, _MAX_DATA_BYTES])
        ids = [row_id for data in taken if (row_id := _row_id(data)) is not None]
        if len(ids) < len(taken):
            log.warning("hints_invalid", queue=kind.name, jobs=len(taken) - len(ids))
        return ids

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
    """Read the row id out of a job's data (JSON of `[function, instance, arguments, keywords]`, compressed by RQ).

    Whatever else the data is, also a bomb of zeros, of brackets or of digits, is None.
    """
    try:
        unpacking = zlib.decompressobj()
        call: Any = json.loads(unpacking.decompress(data, _MAX_DATA_BYTES))
        row_id = call[2][0]
    except (zlib.error, ValueError, LookupError, TypeError, RecursionError):
        return None
    is_id = isinstance(row_id, int) and not isinstance(row_id, bool) and 0 < row_id <= _MAX_ROW_ID
    return row_id if is_id else None
