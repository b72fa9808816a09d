"""What each test file costs: `-p tests.support.timing`, also with `-n`. The table comes at the end of the run.

Seconds of CPU are those of the worker and all its descendants, PostgreSQL and Chromium included; they say more than the
clock does, since the workers of a parallel run share the processors and a test that waits costs nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support import processes

FILES: Final = 40
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_used_s: Final = [0.0]
"""Seconds of CPU when a report was last made."""
_files: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
"""Tests, seconds by the clock and seconds of CPU, by file."""


def cpu_s() -> float:
    """Return the CPU seconds of this process, of its descendants, and of those that they have waited for."""
    ticks = 0
    for pid in (os.getpid(), *processes.descendants_at_a_glance()):
        with suppress(FileNotFoundError, ProcessLookupError):
            # after the name, which may hold anything: utime, stime, cutime, cstime (proc(5))
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / _TICKS


def pytest_collection_finish() -> None:
    """Begin: what collecting costs is no test's."""
    _used_s[0] = cpu_s()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write into each report what was used since the one before."""
    report = yield
    before, _used_s[0] = _used_s[0], cpu_s()
    # what ended without being waited for takes its seconds with it
    report.__dict__["cpu_s"] = max(0.0, _used_s[0] - before)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a report to its file; in a parallel run the process that prints gets those of all workers."""
    row = _files[report.nodeid.partition("::")[0]]
    row[0] += report.when == "call"
    row[1] += report.duration
    row[2] += getattr(report, "cpu_s", 0.0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the files that cost most."""
    terminalreporter.section(f"the {FILES} files that cost most CPU")
    total = [sum(column) for column in zip(*_files.values(), strict=True)] or [0.0, 0.0, 0.0]
    dearest = sorted(_files.items(), key=lambda item: -item[1][2])[:FILES]
    for name, (tests, wall, cpu) in [*dearest, ("all", total)]:
        terminalreporter.write_line(f"{name:55} {tests:5.0f} tests {wall:8.1f} s {cpu:8.1f} s CPU")
