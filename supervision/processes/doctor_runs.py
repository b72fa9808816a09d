"""Runs `bulkhead doctor` for the control room, beside everything else: the command's own process checks, this one only
starts it, waits for its end as for any other event, and keeps what it printed.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from shared.clock import monotonic, utc_now
from shared.errors import BulkheadError
from shared.logs import logger
from shared.timestamps import iso

log = logger(__name__)

_LONGEST_S: Final = 120.0
"""Seconds after which a run is ended: longer than its checks of servers and Chromium may take one after the other."""
_LEAVE_S: Final = 1.0
"""Seconds that a killed run has to leave before we do."""
_READ_MOST: Final = 256 * 1024
"""Bytes read of what it printed: some thirty checks."""


class DoctorRuns:
    """At most one run at a time, and the result of the last one.

    Args:
        command: the command line that prints the checks as JSON. environ: its environment.
        selector: watches its end.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], selector: selectors.BaseSelector) -> None:
        self._command, self._environ, self._selector = tuple(command), dict(environ), selector
        self._pid = 0
        self._pidfd = -1
        self._by = 0.0
        self._output: tuple[int, int] | None = None
        self._state: dict[str, Any] = {
            "state": "never",
            "startedAt": None,
            "finishedAt": None,
            "problem": None,
            "checks": [],
        }

    def as_json(self) -> dict[str, Any]:
        """Return the state of the last run, with its checks as `bulkhead doctor --json` has them."""
        return dict(self._state)

    def begin(self) -> dict[str, Any]:
        """Start a run unless one is under way, and return the state. Raises `BulkheadError` when it cannot start."""
        if self._output is None:
            # in memory: a full disk is one of the things that are checked
            output = (os.memfd_create("doctor-out"), os.memfd_create("doctor-err"))
            try:
                self._start(output)
            except OSError as problem:
                for descriptor in output:
                    os.close(descriptor)
                raise BulkheadError(f"the checks could not be started: {problem}") from problem
            self._output = output
            self._by = monotonic() + _LONGEST_S
            # what the last run found is shown until this one has found something
            self._state |= {"state": "running", "startedAt": iso(utc_now()), "finishedAt": None, "problem": None}
        return self.as_json()

    def expire(self) -> None:
        """End a run that takes too long."""
        if self._output is not None and monotonic() > self._by:
            self._finish(f"It was ended after {_LONGEST_S:.0f} s: see whether PostgreSQL or Redis hangs.")

    def close(self) -> None:
        """End a run that is under way."""
        if self._output is not None:
            left = select.poll()
            left.register(self._pidfd, select.POLLIN)
            self._kill()
            left.poll(_LEAVE_S * 1000)
            self._finish("Bulkhead stopped meanwhile.")

    def _start(self, output: tuple[int, int]) -> None:
        process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=output[0],
            stderr=output[1],
            # one group, by which it is ended with what it has started
            start_new_session=True,
        )
        # it is reaped like an orphan of a child; without this, Popen would wait for it when it is collected
        process.returncode = 0
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError:
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            raise
        self._pid = process.pid
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._finish)

    def _kill(self) -> None:
        # it may end by itself at this moment
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def _finish(self, problem: str = "") -> None:
        if self._output is None:
            return
        output, self._output = self._output, None
        self._selector.unregister(self._pidfd)
        if problem:
            # its end is not waited for: a process that hangs in the kernel must not hold the supervisor
            self._kill()
        os.close(self._pidfd)
        said, complaint = map(_taken, output)
        try:
            checks = json.loads(said)["checks"]
        except (ValueError, KeyError, TypeError):
            checks = None
        if checks is None and not problem:
            problem = complaint.strip().splitlines()[-1] if complaint.strip() else "It printed nothing."
        self._state |= {
            "state": "failed" if problem else "done",
            "finishedAt": iso(utc_now()),
            "problem": problem or None,
            "checks": [] if problem else checks,
        }
        log.info("doctor_finished", state=self._state["state"], checks=len(self._state["checks"]))


def _taken(descriptor: int) -> str:
    """Return what was written, and close."""
    try:
        return os.pread(descriptor, _READ_MOST, 0).decode(errors="replace")
    finally:
        os.close(descriptor)
