"""How code that talks to PostgreSQL waits: with the deadline of its transaction, in a thread or on the event loop.

psycopg2 hands each wait for the server to one callback for the whole process. In a thread the callback polls the
socket. On the event loop the code runs in a greenlet, called a worker here: the callback lets the loop watch the socket
and goes back to the loop, which resumes the worker when there is something to read. Functions of the store are the
same in both (docs/adr/0120-postgresql-is-waited-for-on-the-event-loop.md).
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakSet

from greenlet import GreenletExit, getcurrent, greenlet
from psycopg2 import extensions

from shared.clock import left, monotonic

_T = TypeVar("_T")

_READ_EVENTS: Final = select.POLLIN | select.POLLERR | select.POLLHUP
_WRITE_EVENTS: Final = select.POLLOUT | select.POLLERR | select.POLLHUP
# The deadline of the transaction that a thread runs. psycopg2 passes its callback nothing but the connection; a thread,
# as a worker, runs one transaction at a time.
_thread = threading.local()
_ASIDE: Final = ThreadPoolExecutor(max_workers=32, thread_name_prefix="store")
"""For what would hold the event loop. More than a pool has connections; a thread starts when there is work for it."""


class DeadlinePassed(Exception):
    """Raised inside psycopg2's wait; psycopg2 then closes the connection."""


class _Worker(greenlet):
    """Code that runs on the event loop and goes back to it whenever it waits.

    Attributes:
        loop: the event loop. by: deadline (monotonic) of its transaction; None: none.
    """

    def __init__(self, work: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(work)
        self.loop = loop
        self.by: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = -1
        self._waits_for_server = False
        self._pause = 0

    def wait_for_server(self, descriptor: int, *, to_write: bool) -> bool:
        """Wait until the socket can be read (or written to); False: the deadline came first."""
        # Once for a transaction and not for each of its statements: both cost more than the wait itself.
        if self._timer is None and self.by is not None:
            self._timer = self.loop.call_later(max(0.0, left(self.by, monotonic())), self._resume_late)
        if self._descriptor != descriptor:
            self.unwatch()
            self.loop.add_reader(descriptor, self._resume_ready)
            self._descriptor = descriptor
        if to_write:
            self.loop.add_writer(descriptor, self._resume_ready)
        self._waits_for_server = True
        try:
            return bool(self._go_back())
        finally:
            if to_write and not self.loop.is_closed():
                self.loop.remove_writer(descriptor)

    def unwatch(self) -> None:
        """Let the loop watch the socket no longer: before libpq closes it, since its number may be another's next."""
        if self._descriptor != -1:
            if not self.loop.is_closed():
                self.loop.remove_reader(self._descriptor)
            self._descriptor = -1

    def end_transaction(self) -> None:
        """Forget the deadline and the socket."""
        self.by = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.unwatch()

    def until(self, by: float | None, arrange: Callable[[Callable[[], None]], None]) -> bool:
        """Wait until what `arrange` set up calls the function that it is given; False: `by` came first."""
        self._pause += 1
        pause = self._pause

        def resume(result: bool = True) -> None:
            # the same wait still, and not a later one of the same worker
            if self._pause == pause:
                self._pause += 1
                self._go_on(result)

        timer = None if by is None else self.loop.call_later(max(0.0, left(by, monotonic())), resume, False)
        arrange(resume)
        try:
            return bool(self._go_back())
        finally:
            if timer is not None:
                timer.cancel()

    def _go_back(self) -> Any:
        assert self.parent is not None  # noqa: S101
        return self.parent.switch()

    def _go_on(self, result: bool) -> None:
        # In the loop's next round, never here: this may be called by libuv, whose lists lie on the very stack that the
        # switch replaces (uv__io_poll, uv__run_timers).
        self.loop.call_soon(self.switch, result)

    def _resume_ready(self) -> None:
        if self._waits_for_server:
            self._waits_for_server = False
            self._go_on(True)

    def _resume_late(self) -> None:
        self._timer = None
        if self._waits_for_server:
            self._waits_for_server = False
            self._go_on(False)


def _wait(connection: Any) -> None:
    worker = getcurrent()
    if isinstance(worker, _Worker):
        _wait_in_worker(worker, connection)
    else:
        _wait_in_thread(connection)


# For the whole process: psycopg2 has no callback for a single connection (docs/adr/0006).
extensions.set_wait_callback(_wait)


def _wait_in_thread(connection: Any) -> None:
    poller = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        poller.register(connection.fileno(), _READ_EVENTS if state == extensions.POLL_READ else _WRITE_EVENTS)
        # Read at each wait: a transaction has one deadline, not one for each statement. Without one (code outside of
        # this package) the wait is as long as psycopg2's own.
        by = getattr(_thread, "by", None)
        if not poller.poll(None if by is None else left(by) * 1000):
            # Raised out of the callback, this makes psycopg2 close the connection: the server may still answer, and the
            # next statement would read that answer as its own.
            raise DeadlinePassed
        poller.unregister(connection.fileno())


def _wait_in_worker(worker: _Worker, connection: Any) -> None:
    in_time = False
    try:
        in_time = _is_ready(worker, connection)
    finally:
        # psycopg2 closes the connection
        if not in_time:
            worker.unwatch()
    if not in_time:
        raise DeadlinePassed


def _is_ready(worker: _Worker, connection: Any) -> bool:
    while (state := connection.poll()) != extensions.POLL_OK:
        if not worker.wait_for_server(connection.fileno(), to_write=state == extensions.POLL_WRITE):
            return False
    return True


@contextmanager
def deadline(by: float) -> Iterator[None]:
    """Let no wait for PostgreSQL in this block go on beyond the monotonic instant `by`; then it raises
    `DeadlinePassed`.
    """
    worker = getcurrent()
    if isinstance(worker, _Worker):
        worker.by = by
        try:
            yield
        finally:
            worker.end_transaction()
    else:
        _thread.by = by
        try:
            yield
        finally:
            _thread.by = None


def sleep(seconds: float) -> None:
    """Wait without holding the event loop."""
    current = getcurrent()
    if isinstance(current, _Worker):
        current.until(monotonic() + seconds, lambda _: None)
    else:
        time.sleep(seconds)


def aside(function: Callable[[], _T]) -> _T:
    """Run what may hold the event loop: in a thread if the caller is a worker, else here."""
    current = getcurrent()
    if not isinstance(current, _Worker):
        return function()
    future = _ASIDE.submit(function)
    loop = current.loop

    def arrange(resume: Callable[[], None]) -> None:
        def done(_: object) -> None:
            # a loop that ended meanwhile has no worker to go on
            if not loop.is_closed():
                loop.call_soon_threadsafe(resume)

        future.add_done_callback(done)

    current.until(None, arrange)
    return future.result()


def is_readable(descriptor: int) -> bool:
    """Whether a socket has something to read now: bytes, its end, or an error."""
    poller = select.poll()
    poller.register(descriptor, _READ_EVENTS)
    return bool(poller.poll(0))


class Turn:
    """One caller's wait for something that another will give it: of a thread or of a worker.

    Attributes:
        is_given: whether it was given. gift: what came with it.
    """

    def __init__(self) -> None:
        self.is_given = False
        self.gift: Any = None
        current = getcurrent()
        self._worker = current if isinstance(current, _Worker) else None
        self._event = threading.Event()
        self._resume: Callable[[], None] | None = None

    def give(self, gift: Any) -> None:
        """End the wait, from any thread."""
        self.is_given, self.gift = True, gift
        if self._worker is None:
            self._event.set()
        else:
            self._worker.loop.call_soon_threadsafe(self._end)

    def wait(self, by: float) -> None:
        """Wait until it is given, at most until the monotonic instant `by`."""
        if self._worker is None:
            self._event.wait(left(by, monotonic()))
            return

        self._worker.until(by, partial(setattr, self, "_resume"))

    def _end(self) -> None:
        if self._resume is not None:
            self._resume()


async def in_worker(function: Callable[[], _T]) -> _T:
    """Run `function` in a worker and return its result. It begins at once, and goes on to its end although the caller
    is cancelled: what it holds is given back by itself alone.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def work() -> None:
        try:
            result = function()
        # its loop ended before it did, and every caller with it
        except GreenletExit:
            raise
        # whatever it is, it belongs to the caller and not to the loop's callback that resumed the worker
        except BaseException as error:  # noqa: BLE001
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)

    worker = _Worker(work, loop)
    _end_workers_of_ended_loops(loop)
    worker.switch()
    if not worker.dead:
        _thread.workers.add(worker)
    return await done


def _end_workers_of_ended_loops(loop: asyncio.AbstractEventLoop) -> None:
    # Nothing resumes them, and the collector does not find them: a greenlet and its frames hold each other.
    if getattr(_thread, "loop", None) is not loop:
        for worker in getattr(_thread, "workers", ()):
            if worker.loop.is_closed():
                worker.throw()
        _thread.loop, _thread.workers = loop, WeakSet()
