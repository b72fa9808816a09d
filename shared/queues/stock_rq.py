"""All that serves stock RQ: the format of its jobs, a worker that `rq info` shows, and what a stock `rq worker` runs.

Hints are ordinary RQ jobs, so that RQ's own tools show them and a stock worker may take them beside ours. RQ's job
format is private to it (read from RQ 2.12.0); only this file knows it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias

import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from shared import logs
from shared.backoff import BackoffPolicy
from shared.channels.worlds import worlds
from shared.clock import Monotonic, left, monotonic
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.kinds import ProcessKind
from shared.messages import OutboundMessage, Outcome, Retry
from shared.origin import log_fields
from shared.process.metrics import Metrics
from shared.queues.connection import redis_errors
from shared.settings import ChildEnvironment, Settings, load
from shared.store import messages
from shared.store.store import Store

log = logs.logger(__name__)

# The format of jobs

JOB_TIMEOUT_S: Final = 60
"""Seconds after which a stock worker ends a job; `_Delivery` begins no send that could not end within them. Ours
ignores it."""
HINT_TTL_S: Final = 24 * 3600
"""Seconds after which Redis drops a hint that was not taken, so that jobs of a queue without workers do not
stay for ever; the row is found by the relay."""

# Writes jobs that differ only in id, data and description, and puts them at the queue's end. ARGV: ttl, beginning of
# the jobs' ids, number of shared fields, the shared fields and their values, then row ids, each with its data. RQ's own
# enqueue_many writes the same, but spends 90 µs of Python on each job.
_GIVE: Final = """
local shared = {}
for i = 4, 3 + ARGV[3] * 2 do shared[#shared + 1] = ARGV[i] end
local ids = {}
for i = 4 + ARGV[3] * 2, #ARGV, 2 do
    local id = ARGV[2] .. ARGV[i]
    local key = 'rq:job:' .. id
    redis.call('HSET', key, 'data', ARGV[i + 1], 'description', 'row ' .. ARGV[i], unpack(shared))
    redis.call('EXPIRE', key, ARGV[1])
    ids[#ids + 1] = id
end
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('RPUSH', KEYS[1], unpack(ids))
return #ids
"""

# Removes up to ARGV[1] jobs from the queue in one round trip and deletes them: the row, not the job, is what survives.
# pcall, and no data that is longer than ARGV[2]: others may write to this Redis, and what they put under our keys must
# not cost the other jobs of the batch.
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
# Removes up to ARGV[1] of the jobs of a version whose queues had the kind's bare name, from the head on: while no
# worker listens there, and none of another program's. Returns how many.
_DROP_OLD: Final = """
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('EXISTS', worker) == 1 then return 0 end
end
local dropped = 0
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)) do
    if not id:match('^m%-%d+$') then break end
    redis.call('DEL', 'rq:job:' .. id)
    redis.call('LPOP', KEYS[1])
    dropped = dropped + 1
end
if dropped > 0 and redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[3], KEYS[1]) end
return dropped
"""
_MAX_DATA_BYTES: Final = 4096
"""Of one job's data, also when it is decompressed; a hint has about 60."""
_MAX_ROW_ID: Final = (1 << 63) - 1
"""Of PostgreSQL's bigint; a larger number would make a whole claim fail."""


class Jobs:
    """Writes and takes RQ jobs whose only argument is a row id. Redis' errors pass through.

    Args:
        installation: name that the queues and jobs of one installation have, and of no other one on the same Redis.
    """

    def __init__(self, client: redis.Redis, installation: str) -> None:
        self._client, self._installation = client, installation
        self._give, self._take = client.register_script(_GIVE), client.register_script(_TAKE)
        self._drop_old = client.register_script(_DROP_OLD)
        self._queues: dict[str, Queue] = {}

    def name(self, kind: ProcessKind) -> str:
        """Return the name of the kind's queue."""
        return f"{kind.name}-{self._installation}"

    def key(self, kind: ProcessKind) -> str:
        """Return the Redis key of the list of the kind's job ids."""
        return f"{Queue.redis_queue_namespace_prefix}{self.name(kind)}"

    def queue(self, kind: ProcessKind) -> Queue:
        """Return the kind's RQ queue, as `rq info` sees it."""
        # kept, since each new Queue object asks the server for its version once
        return self._queues.setdefault(
            kind.name, Queue(self.name(kind), connection=self._client, serializer=JSONSerializer)
        )

    def give(self, kind: ProcessKind, ids: Sequence[int], *, at_once: int) -> None:
        """Enqueue one job for each row id, in one round trip for each `at_once`."""
        shared = self._shared_fields(kind) if ids else []
        for start in range(0, len(ids), at_once):
            each: list[Any] = []
            for row_id in ids[start : start + at_once]:
                # compressed as RQ has it, with the least effort
                each += (row_id, zlib.compress(JSONSerializer.dumps((kind.job, None, (row_id,), {})), 0))
            self._give(
                keys=[self.key(kind), Queue.redis_queues_keys],
                args=[HINT_TTL_S, f"m-{self._installation}-", len(shared) // 2, *shared, *each],
            )

    def take(self, kind: ProcessKind, most: int) -> list[int | None]:
        """Take up to `most` jobs off the kind's queue. Returns the row id of each; None for one that is not a hint."""
        return [_row_id(data) for data in self._take(keys=[self.key(kind)], args=[most, _MAX_DATA_BYTES])]

    def drop_old(self, kind: ProcessKind, *, at_once: int) -> int:
        """Drop the jobs that a version without installations' names has left for the kind, unless a worker listens to
        them. Returns how many.
        """
        old = f"{Queue.redis_queue_namespace_prefix}{kind.name}"
        dropped = 0
        while part := int(
            self._drop_old(keys=[old, WORKERS_BY_QUEUE_KEY % kind.name, Queue.redis_queues_keys], args=[at_once])
        ):
            dropped += part
        return dropped

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
        # what RQ's own enqueue sets between `create_job` and the write to Redis
        job.origin, job.enqueued_at = queue.name, job.created_at
        fields: dict[str, Any] = job.to_dict()
        return [part for name, value in fields.items() if name not in ("data", "description") for part in (name, value)]


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
    # bool is a subclass of int; PostgreSQL's bigint ends at 2^63 - 1
    is_id = isinstance(row_id, int) and not isinstance(row_id, bool) and 0 < row_id <= _MAX_ROW_ID
    return row_id if is_id else None


# Our worker, as RQ's own tools see it

REGISTER_S: Final = 10.0
"""Seconds between registrations, and so the longest time for which `rq info` shows nothing after Redis was emptied."""
_FORGOTTEN_AFTER: Final = 6
"""Registrations missed before `rq info` stops showing this worker."""


class RegisteredWorker(SimpleWorker):  # type: ignore[misc]  # RQ ships no types
    """A worker in RQ's registry. Only the registration is RQ's: subclasses replace `work`, which takes the jobs.

    Args:
        queue: shown beside the worker. name: shown in `rq info`; unique for each incarnation. client: of Redis.
    """

    def __init__(self, queue: Queue, *, name: str, client: redis.Redis, clock: Monotonic) -> None:
        self._clock = clock
        self._registered_at: float | None = None
        super().__init__([queue], name=name, connection=client, serializer=JSONSerializer, prepare_for_work=False)
        # RQ would ask Redis for these while the object is made, and Redis may be away
        self.hostname, self.pid, self.ip_address = socket.gethostname(), os.getpid(), "unknown"

    @property
    def connection_timeout(self) -> int:
        """RQ raises the client's time limit to this if it is lower; zero leaves ours alone."""
        return 0

    def _register(self) -> None:
        """Register for `rq info`, and again periodically, since Redis may have been emptied."""
        now = self._clock()
        if self._registered_at is not None and now - self._registered_at < REGISTER_S:
            return
        with redis_errors():
            if self._registered_at is None or not self.connection.exists(self.key):
                self.connection.delete(self.key)
                try:
                    self.register_birth()
                except ValueError as error:
                    # another client of this Redis made a living worker of our name in between
                    raise QueueUnavailable(f"Redis: {error}") from error
                self.set_state(WorkerStatus.IDLE)
            # the key expires by itself after a kill -9, so that no dead worker stays in `rq info`
            self.heartbeat(int(REGISTER_S * _FORGOTTEN_AFTER) or 1)
        self._registered_at = now

    def _unregister(self) -> None:
        try:
            with redis_errors():
                self.register_death()
        except QueueUnavailable as error:
            # the registration expires by itself
            log.warning("redis_disconnected", reason=str(error))


# What a stock worker runs

_SEND_MOST_S: Final = 20.0
"""A stock worker has no slot whose lock would prove its death: it must be done before the heartbeat table's rule calls
it silent.
"""
_SETTLE_S: Final = 10.0
"""Of a job's time, what is kept for writing the outcome of its last send."""
_STORE_AWAY_S: Final = 0.25
"""Seconds between attempts to write an outcome while PostgreSQL is away, for `_SETTLE_S` in all."""


class StockChannel(Protocol):
    """The part of `shared.delivery.channel.Channel` that a stock worker needs. The token is written with the claim."""

    async def send(self, message: OutboundMessage, record_token: Callable[..., Awaitable[None]], by: float) -> Outcome:
        """Send one message."""


OpenChannel: TypeAlias = Callable[[Store, Settings, Metrics, str], AbstractAsyncContextManager[StockChannel]]
"""Opens a kind's channel for one job: with the store, the settings, metrics, and the job's incarnation."""


def deliver(
    row_id: int, kind: ProcessKind, open_channel: OpenChannel, policy: Callable[[float], BackoffPolicy]
) -> None:
    """Send the row, if it is due, first in its chat and not claimed; then what follows in the same chat while there is
    time. Slow, and as safe as our own worker, because the row's claim decides which process sends.

    Args:
        policy: the waits between attempts, from the kind's first wait in seconds.
    Raises:
        SettingsInvalid: the worker's environment is not this installation's (`bulkhead env` prints it).
        StoreUnavailable: PostgreSQL is away; the row is found again by the relay, or given back by the heartbeat
            table's rule.
    """
    asyncio.run(_Delivery(load(), kind, open_channel, policy).run(row_id))


def leave_to_owner(row_id: int) -> None:
    """Leave a row to the process that owns its session.

    A stock worker has no browser session, and a second one on the same profile would end the first. So the hint is
    spent and the row stays as it is: the webdriver process finds rows without a hint by itself
    (`shared.delivery.relay`).
    """
    log.warning(
        "hint_ignored",
        message_id=row_id,
        reason="a stock worker owns no browser session; the webdriver process finds the row",
    )


class _Delivery:
    """One job's life, under an incarnation of its own."""

    def __init__(
        self,
        settings: Settings,
        kind: ProcessKind,
        open_channel: OpenChannel,
        policy: Callable[[float], BackoffPolicy],
    ) -> None:
        self._settings, self._kind, self._open_channel = settings, kind, open_channel
        self._retries = policy(settings.kind(kind.name).retry_base_s)
        # not the name of a slot: no slot lock proves the death of this sender, only the rule of the heartbeat table
        # does
        self._incarnation = f"rq.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self._by = monotonic() + JOB_TIMEOUT_S - _SETTLE_S
        self._send_s = min(settings.kind(kind.name).send_s, _SEND_MOST_S)

    async def run(self, row_id: int) -> None:
        identity = ChildEnvironment(process_name=self._kind.name, process_incarnation=self._incarnation)
        store = Store.open(self._settings, identity, limit=2)
        try:
            async with self._open_channel(store, self._settings, Metrics(), self._incarnation) as channel:
                message = await self._claim(store, ids=[row_id])
                while message is not None:
                    await self._send(store, channel, message)
                    # the next send must be able to end within the job's time
                    has_time = left(self._by) > self._send_s
                    chat = (message.connection_id, message.chat_id)
                    message = await self._claim(store, chats=[chat]) if has_time else None
        finally:
            store.close()

    async def _claim(
        self, store: Store, *, ids: Sequence[int] = (), chats: Sequence[tuple[int, str]] = ()
    ) -> OutboundMessage | None:
        claimed = await store.call(
            messages.claim,
            kind=self._kind.name,
            incarnation=self._incarnation,
            ids=ids,
            chats=chats,
            most=1,
            worlds=worlds(self._settings),
            # committed with the claim: `_recorded` has nothing left to write
            token_at_claim=True,
        )
        return claimed[0] if claimed else None

    async def _send(self, store: Store, channel: StockChannel, message: OutboundMessage) -> None:
        logs.correlation_id.set(f"m-{message.id}")
        logs.origin_fields.set(log_fields(message.request_id, message.traceparent))
        outcome: Outcome
        try:
            outcome = await channel.send(message, _recorded, monotonic() + self._send_s)
        except StoreUnavailable as error:
            # raised before the request could leave, so the attempt is refunded
            outcome = Retry(code="store_unavailable", detail=str(error), counts=False)
        settlement = messages.settlement(
            message,
            outcome,
            attempts=self._settings.send_attempts,
            wait_s=self._retries.wait_s(message.attempts_used),
        )
        by = monotonic() + _SETTLE_S
        while True:
            try:
                written = await store.call(messages.settle, incarnation=self._incarnation, settlements=[settlement])
                break
            except StoreUnavailable:
                # the row stays claimed until the heartbeat table's rule reclaims it
                if left(by) <= 0:
                    raise
                await asyncio.sleep(_STORE_AWAY_S)
        log.info(
            "stock_worker_delivered", message_id=message.id, state=str(settlement.state), written=message.id in written
        )


async def _recorded(_token: str) -> None:
    """Do nothing: the token was written with the claim, and without an in-flight journal every unanswered send of a
    dead worker is in doubt.
    """
