"""Runs this kind's tasks (`shared.store.tasks`): takes them from the table, gives each to its handler, and writes what came of it.

A handler returns the result (anything JSON can hold), or raises `TaskFailed`. Any other error is a bug: it is logged, the task fails as `internal`,
and the process goes on, since a task has nothing in common with what runs beside it. A handler that is `repeatable` must stand being begun again
after a death at any place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.logs import correlation_id, logger
from shared.process.periodic import repeat, until_available
from shared.process.service import Child
from shared.store import tasks
from shared.store.tasks import Task, TaskFailed

log = logger(__name__)

Handler: TypeAlias = Callable[[Task], Awaitable[Mapping[str, Any]]]

BUSY_S: Final = 0.2
"""Time between two looks for tasks while there was one lately."""
IDLE_S: Final = 1.0
AT_ONCE: Final = 8
"""Tasks that one process runs at once."""
_BUSY_FOR_S: Final = 10.0
_BEAT_LIMIT_S: Final = 20.0
_TIDY_S: Final = 5.0
_KEPT_S: Final = 7 * 24 * 3600.0
"""How long a task that ended can be asked for."""


class TaskRunner:
    """The tasks of one process.

    Args:
        child: of the process. handlers: by operation. at_once: most tasks in hand.
    """

    def __init__(self, child: Child, handlers: Mapping[str, Handler], *, at_once: int = AT_ONCE) -> None:
        self._store, self._handlers, self._at_once = child.store, handlers, at_once
        self._kind, self._slot, self._incarnation = (
            child.kind.name,
            child.identity.slot,
            child.identity.process_incarnation,
        )
        self._child = child
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._stopped = asyncio.Event()
        self._busy_until, self._tidy_at, self._reclaimed = 0.0, 0.0, False
        self._ended = child.metrics.counter("tasks_ended", "Tasks that this process ended.", ("operation", "state"))

    def start(self) -> None:
        """Begin to take tasks; what earlier lives of this slot had in hand is given back first."""
        self._child.spawn(self._run(), "tasks")

    async def drain(self, by: float) -> bool:
        """Take nothing new and finish what is in hand until the monotonic instant `by`. Returns whether nothing is left."""
        self._stopped.set()
        self._child.beats.forget("tasks")
        if self._in_hand:
            await asyncio.wait(self._in_hand.values(), timeout=left(by))
        return not self._in_hand

    async def close(self) -> None:
        """Stop what is still in hand; it is given back like a dead incarnation's."""
        self._stopped.set()
        self._child.beats.forget("tasks")
        for running in list(self._in_hand.values()):
            running.cancel()
        if self._in_hand:
            await asyncio.wait(list(self._in_hand.values()), timeout=1.0)

    async def _run(self) -> None:
        beat = self._child.beats.loop("tasks", _BEAT_LIMIT_S)
        await repeat("tasks", self._look, IDLE_S, stop=self._stopped, beat=beat, away_s=BUSY_S)

    async def _look(self) -> float:
        if not self._reclaimed:
            await self._reclaim()
            self._reclaimed = True
        if monotonic() >= self._tidy_at:
            await self._store.call(tasks.expire, kind=self._kind)
            await self._store.call(tasks.forget, older_s=_KEPT_S)
            self._tidy_at = monotonic() + _TIDY_S
        if await self._take():
            self._busy_until = monotonic() + _BUSY_FOR_S
        return BUSY_S if self._in_hand or monotonic() < self._busy_until else IDLE_S

    async def _reclaim(self) -> None:
        rows = await self._store.call(tasks.reclaim_earlier_lives, slot=self._slot, living=self._incarnation)
        if rows:
            log.warning(
                "tasks_reclaimed", rows=len(rows), queued=sum(row["state"] == "queued" for row in rows), why="next_life"
            )

    async def _take(self) -> bool:
        room = self._at_once - len(self._in_hand)
        if room <= 0:
            return True
        taken = await self._store.call(
            tasks.take, kind=self._kind, incarnation=self._incarnation, operations=sorted(self._handlers), most=room
        )
        for task in taken:
            running = asyncio.get_running_loop().create_task(self._do(task), name=f"task-{task.id}")
            self._in_hand[task.id] = running
            self._child.watch(running)
            running.add_done_callback(lambda _, task_id=task.id: self._in_hand.pop(task_id, None))  # type: ignore[misc]  # the default binds the id
        return bool(taken)

    async def _do(self, task: Task) -> None:
        correlation_id.set(f"task-{task.id}")
        began = monotonic()
        result, failure = await self._outcome(task)
        # what was done must not be shown as unfinished, however long the database is away
        ours = await until_available("task_end", lambda: self._write(task, result, failure))
        self._tell(task, failure, round((monotonic() - began) * 1000, 1), ours=ours)

    async def _outcome(self, task: Task) -> tuple[Mapping[str, Any], TaskFailed | None]:
        try:
            async with asyncio.timeout(max(0.0, task.left_s)):
                return await self._handlers[task.operation](task), None
        except TaskFailed as failure:
            return {}, failure
        except TimeoutError:
            return {}, TaskFailed("expired", "it took longer than it was given")
        except StoreUnavailable as error:
            return {}, TaskFailed("interrupted", f"the database did not answer: {error}")
        except Exception as error:
            # a bug of one handler concerns its task alone
            log.error("task_broke", exc_info=error, operation=task.operation)
            self._child.heartbeat.count_error(error)
            return {}, TaskFailed("internal", f"{type(error).__name__}: see the log")

    async def _write(self, task: Task, result: Mapping[str, Any], failure: TaskFailed | None) -> bool:
        if failure is None:
            return await self._store.call(tasks.finish, task_id=task.id, incarnation=self._incarnation, result=result)
        return await self._store.call(
            tasks.fail,
            task_id=task.id,
            incarnation=self._incarnation,
            code=failure.code,
            problem=failure.detail,
            facts=failure.facts,
        )

    def _tell(self, task: Task, failure: TaskFailed | None, took_ms: float, *, ours: bool) -> None:
        if not ours:
            log.warning("task_end_fenced", operation=task.operation)
            return
        self._ended.labels(task.operation, "failed" if failure else "done").inc()
        if failure is None:
            log.info("task_done", operation=task.operation, duration_ms=took_ms)
        else:
            log.warning("task_failed", operation=task.operation, code=failure.code, duration_ms=took_ms)
