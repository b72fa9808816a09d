"""Memory, open files and threads of process trees; the only door to psutil.

A tree of several processes is measured by its proportional set (shared pages divided among those who share them): the
plain sum of resident sizes counts Chromium's shared pages once for each of its processes and would be five times too
high. One process is looked at per call, so that the supervisor's loop never stands still for a large tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psutil

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """What one process tree uses."""

    memory_mb: float
    processes: int
    threads: int
    open_files: int


def measure(tree: Iterable[int]) -> Iterator[Usage | None]:
    """Yield None after each process of `tree` and, at the end, the sum. Processes that end meanwhile do not count."""
    pids = sorted(tree)
    memory = 0.0
    processes = threads = files = 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                # smaps is expensive to read, and a single process shares pages with no other of its tree.
                memory += (_proportional(process) if len(pids) > 1 else process.memory_info().rss) / _MIB
                threads += process.num_threads()
                files += process.num_fds()
            processes += 1
        # Exited meanwhile, or not ours to read: it does not count.
        except psutil.Error:
            continue
        yield None
    yield Usage(memory_mb=memory, processes=processes, threads=threads, open_files=files)


def own_usage() -> Usage:
    """Return what this process uses."""
    process = psutil.Process()
    with process.oneshot():
        return Usage(
            memory_mb=process.memory_info().rss / _MIB,
            processes=1,
            threads=process.num_threads(),
            open_files=process.num_fds(),
        )


def details(tree: Iterable[int]) -> list[dict[str, object]]:
    """Return one row for each process of `tree`, for operators: pid, parent, memory_mb, threads, open_files, cpu_s and
    command."""
    rows: list[dict[str, object]] = []
    for pid in sorted(tree):
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                rows.append(
                    {
                        "pid": pid,
                        "parent": process.ppid(),
                        "memory_mb": round(_proportional(process) / _MIB, 1),
                        "threads": process.num_threads(),
                        "open_files": process.num_fds(),
                        "cpu_s": round(times.user + times.system, 2),
                        "command": " ".join(process.cmdline()) or process.name(),
                    }
                )
        except psutil.Error:
            continue
    return rows


class Sampler:
    """Measures one slot after the other, one process per `step`."""

    def __init__(self, tree_of: Callable[[str], Iterable[int]]) -> None:
        self._tree_of = tree_of
        self._waiting: list[str] = []
        self._slot = ""
        self._measuring: Iterator[Usage | None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether every slot of the last `begin` was measured."""
        return self._measuring is None and not self._waiting

    def begin(self, slots: Iterable[str]) -> None:
        """Measure these slots next, if the last round is over."""
        # A round that takes longer than the interval is finished, not started anew: the last slots would never be
        # measured.
        if self.is_idle:
            self._waiting = list(slots)

    def step(self) -> tuple[str, Usage] | None:
        """Measure one more process, and return a slot's name and usage when it was the last of its tree."""
        if self._measuring is None:
            if not self._waiting:
                return None
            self._slot = self._waiting.pop(0)
            self._measuring = measure(self._tree_of(self._slot))
        usage = next(self._measuring)
        if usage is None:
            return None
        self._measuring = None
        return self._slot, usage


def _proportional(process: psutil.Process) -> float:
    """Proportional set size in bytes; the resident size where smaps may not be read."""
    try:
        return float(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return float(process.memory_info().rss)
