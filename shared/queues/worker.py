"""Our RQ worker: in-process, never forks, takes hints in batches, and shows up in `rq info` like any other.

Stock workers need 18 round trips a job and wait minutes for a dead worker's job (RQ 2.12.0, measured). Neither matters
here: a hint is consumed as it is taken, the row claim decides who sends, and rows whose hint was lost are found by the
relay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from shared.clock import Monotonic, left, monotonic
from shared.errors import QueueUnavailable
from shared.kinds import ProcessKind
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.queues.connection import redis_errors
from shared.queues.hints import Hints
from shared.queues.stock_rq import RegisteredWorker

log = logger(__name__)

WAIT_S: Final = 1.0
"""Longest blocking wait for a hint, in seconds; never more than half of the Redis time limit, beyond which silence is a
fault."""
_TAKES_APART_S: Final = 0.008
"""Seconds between a take that emptied the queue and the next: the first hint is immediate, and under load each round
trip brings many."""
_OLD_APART_S: Final = 10.0
"""Seconds between searches for hints of an older version; their rows are found without them."""
_RETRY_S: Final = 0.25
"""Seconds between attempts to reach Redis; meanwhile the relay finds the rows."""


class HintWorker(RegisteredWorker):
    """Takes hints off one kind's queue and offers their rows.

    Args:
        hints, kind: where from. name: shown in `rq info`; unique for each incarnation. capacity: how many hints may be
            taken now; asked before each batch. offer: called with row ids, from this worker's thread. beat: this loop's
            heartbeat.
    """

    def __init__(
        self,
        hints: Hints,
        kind: ProcessKind,
        *,
        name: str,
        capacity: Callable[[], int],
        offer: Callable[[list[int]], None],
        beat: LoopBeat,
        clock: Monotonic = monotonic,
    ) -> None:
        self._hints, self._kind, self._capacity, self._offer, self._beat = hints, kind, capacity, offer, beat
        # set by the event loop's thread, waited for by this worker's
        self._stopping = threading.Event()
        self._wait_s = min(WAIT_S, hints.timeout_s / 2)
        self._took_at = float("-inf")
        self._loss_logged = False
        self._dropped_old_at = float("-inf")
        self.is_connected = False
        super().__init__(hints.queue(kind), name=name, client=hints.client, clock=clock)

    def work(self, *_: Any, **__: Any) -> bool:
        """Take hints until `stop`; every Redis fault is waited out here. Returns True."""
        while not self._stopping.is_set():
            self._beat.beat()
            try:
                self._register()
                self._connected()
                self._drop_old()
                self._round()
            except QueueUnavailable as error:
                self._disconnected(error)
                self._stopping.wait(_RETRY_S)
        # only then: an unavailable Redis would delay the exit by its time limit
        if self.is_connected:
            self._unregister()
        return True

    def stop(self) -> None:
        """Take no more hints; `work` returns within `WAIT_S` or the Redis time limit. May be called from any thread."""
        self._stopping.set()

    def _round(self) -> None:
        # queried first: a hint taken without capacity for its row would wait here while another process of the kind has
        # some
        capacity = self._capacity()
        if capacity <= 0:
            # 20 ms: capacity is polled, since the dispatcher has no way to wake this thread
            self._stopping.wait(0.02)
            return
        if (wait_s := left(self._took_at + _TAKES_APART_S, self._clock())) > 0:
            self._stopping.wait(wait_s)
        ids = self._hints.take(self._kind, capacity)
        if not ids:
            with redis_errors():
                # wakes on arrival and puts nothing anywhere: the first hint comes with the next take
                self.connection.blmove(self.queues[0].key, self.queues[0].key, self._wait_s, src="LEFT", dest="LEFT")
            return
        # the queue is empty: what arrives next is collected for a moment. A full take is followed at once
        if len(ids) < capacity:
            self._took_at = self._clock()
        self._offer(ids)

    def _drop_old(self) -> None:
        """Drop what an older version has left, which it may do until its last process has ended."""
        now = self._clock()
        if left(self._dropped_old_at + _OLD_APART_S, now) > 0:
            return
        self._dropped_old_at = now
        if dropped := self._hints.drop_old(self._kind):
            log.info("old_hints_dropped", queue=self._kind.name, jobs=dropped)

    def _connected(self) -> None:
        if not self.is_connected:
            self.is_connected, self._loss_logged = True, False
            log.info("redis_connected")

    def _disconnected(self, error: QueueUnavailable) -> None:
        if not self._loss_logged:
            log.warning("redis_disconnected", reason=str(error))
        self.is_connected, self._loss_logged = False, True
        # Redis may come back empty: register anew then
        self._registered_at = None
