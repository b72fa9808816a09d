"""Runs this kind's tasks (`shared.store.tasks`): takes them from the table, passes each to its handler, and writes its
outcome.

A handler returns the result (anything JSON can hold), or raises `TaskFailed`. Any other error is a bug: it is logged,
the task fails as `internal`, and the process goes on, since a task has nothing in common with what runs beside it. A
handler that is `repeatable` must tolerate a restart after a crash at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.logs import correlation_id, logger
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.metrics import Counter
from shared.process.periodic import until_available
from shared.process.service import Child
from shared.store import tasks
from shared.store.tasks import Task, TaskFailed

log = logger(__name__)

Handler: TypeAlias = Callable[[Task], Awaitable[Mapping[str, Any]]]

BUSY_S: Final = 0.2
"""Time between two queries for tasks while there was one lately."""
IDLE_S: Final = 1.0
"""Time between two queries otherwise: an operator's task starts within a second."""
AT_ONCE: Final = 16
"""Tasks that one process runs at once, beside its messages; those of one company are half of them at most."""
_BEAT_LIMIT_S: Final = 20.0
"""Seconds without a query for tasks after which the process counts as stalled."""
_TIDY_S: Final = 5.0
"""Seconds between two runs of `expire` and `forget`, which each process does for its kind."""
_KEPT_S: Final = 7 * 24 * 3600.0
"""How long the result of a task that ended can be requested, in seconds."""


class TaskRunner:
    """The tasks of one process.

    Args:
        child: of the process. handlers: by operation. at_once: most tasks in hand, of one company about half of them.
            name: of the loop. beside: another runner of this process, with other operations; both count together.
    """

    def __init__(
        self,
        child: Child,
        handlers: Mapping[str, Handler],
        *,
        at_once: int = AT_ONCE,
        name: str = "tasks",
        beside: TaskRunner | None = None,
    ) -> None:
        self._store, self._handlers = child.store, handlers
        self._kind, self._slot, self._incarnation = (
            child.kind.name,
            child.identity.slot,
            child.identity.process_incarnation,
        )
        self._child = child
        self._tidy_at = 0.0
        self._after = ""
        self._work = LeasedWork(
            child,
            name,
            LeasedRows(release=self._reclaim, take=self._take, key=lambda task: task.id, work=self._do),
            capacity=at_once,
            intervals=Intervals(busy_s=BUSY_S, idle_s=IDLE_S),
            beat_limit_s=_BEAT_LIMIT_S,
        )
        self._ended: Counter = (
            beside._ended
            if beside
            else child.metrics.counter("tasks_ended", "Tasks that this process ended.", ("operation", "state"))
        )

    def start(self) -> None:
        """Start to take tasks; what earlier lives of this slot had in hand is given back first."""
        self._work.start()

    async def drain(self, by: float) -> bool:
        """Take nothing new and finish what is in hand until the monotonic instant `by`. Returns whether nothing is
        left."""
        return await self._work.drain(by)

    async def close(self) -> None:
        """Stop what is still in hand; it is given back like a dead incarnation's."""
        await self._work.close()

    async def _reclaim(self) -> None:
        rows = await self._store.call(tasks.reclaim_earlier_lives, slot=self._slot, living=self._incarnation)
        if rows:
            log.warning(
                "tasks_reclaimed", rows=len(rows), queued=sum(row["state"] == "queued" for row in rows), why="next_life"
            )

    async def _take(self, capacity: int) -> Sequence[Task]:
        if monotonic() >= self._tidy_at:
            await self._store.call(tasks.expire, kind=self._kind)
            await self._store.call(tasks.forget, older_s=_KEPT_S)
            self._tidy_at = monotonic() + _TIDY_S
        if not capacity:
            return ()
        taken = await self._store.call(
            tasks.take,
            kind=self._kind,
            incarnation=self._incarnation,
            operations=sorted(self._handlers),
            most=capacity,
            after=self._after,
        )
        self._after = tasks.last_company(taken, self._after)
        return taken

    async def _do(self, task: Task) -> None:
        correlation_id.set(f"task-{task.id}")
        began = monotonic()
        result, failure = await self._outcome(task)
        # What was done must not be shown as unfinished, however long the database is away.
        ours = await until_available("task_end", lambda: self._write(task, result, failure))
        self._log_result(task, failure, round((monotonic() - began) * 1000, 1), ours=ours)

    async def _outcome(self, task: Task) -> tuple[Mapping[str, Any], TaskFailed | None]:
        try:
            # The deadline travels with the task: time that it waited in the table counts.
            async with asyncio.timeout(max(0.0, task.left_s)):
                return await self._handlers[task.operation](task), None
        # The handler's own outcome: expected, and shown to the client that made the task.
        except TaskFailed as failure:
            return {}, failure
        except TimeoutError:
            return {}, TaskFailed("expired", "it took longer than it was given")
        # Not repeated here: whether the handler's writes were committed is not known.
        except StoreUnavailable as error:
            return {}, TaskFailed("interrupted", f"the database did not answer: {error}")
        except Exception as error:
            # A bug in one handler concerns its task alone.
            log.error("task_crashed", exc_info=error, operation=task.operation)
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

    def _log_result(self, task: Task, failure: TaskFailed | None, took_ms: float, *, ours: bool) -> None:
        # The lease had ended, and another process has the task: its outcome counts.
        if not ours:
            log.warning("task_end_fenced", operation=task.operation)
            return
        self._ended.labels(task.operation, "failed" if failure else "done").inc()
        if failure is None:
            log.info("task_done", operation=task.operation, duration_ms=took_ms)
        else:
            log.warning("task_failed", operation=task.operation, code=failure.code, duration_ms=took_ms)
