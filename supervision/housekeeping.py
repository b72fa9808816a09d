"""Periodic work of the supervisor's loop, and the upkeep of files that its processes need by name."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clock import monotonic
from shared.logs import logger
from shared.process import runtime
from supervision.ipc.control import ControlServer
from supervision.ipc.notify_socket import NotifySocket
from supervision.processes.log_files import LogFiles

log = logger(__name__)

LONGEST_BEAT_S: Final = 1.0
"""Longest interval at which a child beats, see `Supervised.watchdog_interval_s`."""


@dataclass
class Job:
    """Work that is repeated.

    Attributes:
        every_s: interval, in seconds. do: one run; must not block. due_at: monotonic instant of the next run.
    """

    every_s: float
    do: Callable[[], None]
    due_at: float = 0.0


class Housekeeping:
    """Runs jobs when they are due. Every job runs in the loop's thread."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)

    def next_at(self) -> float:
        """Return the monotonic instant at which a job is due."""
        return min(job.due_at for job in self._jobs)

    def run_due(self) -> None:
        """Run what is due."""
        now = monotonic()
        for job in self._jobs:
            if job.due_at <= now:
                # From now and not from the last instant: after a stall each job runs once, not once for every interval
                # missed.
                job.due_at = now + job.every_s
                job.do()


class SocketUpkeep:
    """Binds the orchestrator's sockets again when something (a cleaner of temporary files) has removed their files.

    Args:
        on_notify: called when the notify socket is readable.
        unreachable: called with how long children may have been unable to reach us, in seconds: that time does not
            count as their silence.
    """

    def __init__(
        self,
        home: Path,
        selector: selectors.BaseSelector,
        notify: NotifySocket,
        control: ControlServer,
        *,
        on_notify: Callable[[], None],
        unreachable: Callable[[float], None],
    ) -> None:
        self._home, self._selector, self._notify, self._control = home, selector, notify, control
        self._on_notify, self._unreachable = on_notify, unreachable
        self._reachable_at = monotonic()

    def check(self) -> None:
        """Check both files, and bind a socket again whose file is lost."""
        now = monotonic()
        lost = [one for one in (self._notify, self._control) if not one.is_reachable()]
        try:
            if self._notify in lost:
                self._bind_notify_again()
                # Since the last check that found the file; and children beat at least once in each of these intervals,
                # so that one more passes before the next beat arrives.
                self._unreachable(now - self._reachable_at + LONGEST_BEAT_S)
            if self._control in lost:
                self._control.bind_again(runtime.control_socket(self._home))
        except (OSError, runtime.RuntimeDirectoryUnsafe) as problem:
            log.error("sockets_not_bound_again", problem=str(problem))
            return
        self._reachable_at = now
        if lost:
            log.warning("sockets_bound_again", count=len(lost), directory=str(runtime.runtime_dir(self._home)))

    def _bind_notify_again(self) -> None:
        # Its descriptor changes; the selector must forget the old one before it is closed.
        self._selector.unregister(self._notify)
        try:
            self._notify.bind_again(runtime.notify_socket(self._home))
        finally:
            self._selector.register(self._notify, selectors.EVENT_READ, self._on_notify)


def rotate_logs(logs: LogFiles) -> None:
    """Rotate the log files that are full. A disk that refuses it is logged; the next call tries again."""
    try:
        for path in logs.rotate_full():
            log.info("log_rotated", file=path.name)
    except OSError as problem:
        log.warning("log_not_rotated", problem=str(problem))
