"""What a kind implements (`Service`) and what its process provides (`Child`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from starlette.types import ASGIApp

from shared.kinds import ProcessKind
from shared.process.beats import Beats
from shared.process.heartbeat import Heartbeat
from shared.process.metrics import Metrics
from shared.process.supervised import Supervised
from shared.process.tracing import NO_TRACER, Tracer
from shared.settings import ChildEnvironment, Settings
from shared.store.store import Store

_CANCEL_S: Final = 3.0
"""Longest wait in seconds for cancelled background tasks; a task that ignores its cancellation ends with the
process.
"""


class Severity(StrEnum):
    """What an uncaught error means for the process."""

    RECOVERABLE = "recoverable"
    """Log it, clean up what it concerns, go on."""
    CRITICAL = "critical"
    """The state is undefined: exit 1 and be restarted."""


class Service(Protocol):
    """What a kind implements; see ARCHITECTURE.md."""

    app: ASGIApp | None
    """Served on the kind's public port; None if it has none."""

    async def start(self) -> None:
        """Become ready. An unavailable database or Redis is no reason to fail."""

    async def drain(self, by: float) -> bool:
        """Take no new work, finish what is in hand until the monotonic instant `by`. Returns whether nothing is
        left."""

    async def close(self) -> None:
        """Release everything; called exactly once, also after a failed start."""

    def readiness(self) -> Mapping[str, str]:
        """Return what is missing, by name; empty means ready."""

    def health(self) -> Mapping[str, Any]:
        """Return facts about the kind for `GET /health`."""

    def classify(self, error: BaseException) -> Severity:
        """Classify an uncaught error."""


@dataclass(kw_only=True)
class Child:
    """What the process provides to a service.

    Attributes:
        supervision: see `supervised`; None in a process that runs one command.
        store: this process's own pool. The kinds without a database have one too; it connects on first use.
        stopping: set when a drain begins. uncaught: classifies an unhandled error. tracer: records spans.
        on_notify: called on each notification from the orchestrator (its journal has grown).
    """

    kind: ProcessKind
    settings: Settings
    identity: ChildEnvironment
    supervision: Supervised | None
    store: Store
    metrics: Metrics
    beats: Beats
    stopping: asyncio.Event
    heartbeat: Heartbeat
    on_notify: list[Callable[[], None]] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    uncaught: Callable[[BaseException, str], None] = field(default=lambda _error, _where: None)
    tracer: Tracer = NO_TRACER

    @property
    def supervised(self) -> Supervised:
        """The line to the orchestrator. Raises `RuntimeError` in a process that runs one command."""
        if self.supervision is None:
            raise RuntimeError("this process runs one command: nothing supervises it")
        return self.supervision

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background. An error that leaves it is classified like any uncaught one; so is its early
        end by `SystemExit`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        # A strong reference: the event loop keeps only weak ones, and a task that is collected ends silently.
        self._tasks.add(task)
        self.watch(task)
        return task

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Classify an error that leaves `task` like any uncaught one."""
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Cancellation is how a drain ends tasks, so it is no error.
        if not task.cancelled() and (error := task.exception()) is not None:
            self.uncaught(error, task.get_name())

    async def cancel_tasks(self) -> None:
        """Cancel what `spawn` started and wait for it."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=_CANCEL_S)


OpenService = Callable[[Child], Awaitable[Service]]
