"""Starts one child: its own session, its log files, its slot lock and its listening socket inherited, and nothing
else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.logs import logger
from supervision.processes.log_files import Mark

log = logger(__name__)

_PRECEDENCE: Final = 5
"""Steps of niceness by which the orchestrator precedes its children where real-time scheduling is refused."""

_NICEST: Final = 19
"""The kernel refuses a session more than this, which a row may add to an operator's own niceness."""


@dataclass(frozen=True)
class Started:
    """A process that was just started, or adopted.

    Attributes:
        pidfd: becomes readable when it ends, and cannot be mistaken for a later process with its pid.
        is_child: whether its exit status can be waited for.
        err_from: end of its error log when it started: what comes after is its own.
    """

    pid: int
    pidfd: int
    is_child: bool
    err_from: Mark

    def send(self, which: signal.Signals) -> None:
        """Send a signal, if it still exists."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, which)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.pidfd)


def spawn(
    script: Path,
    environ: Mapping[str, str],
    *,
    streams: tuple[int, int],
    keep: Sequence[int],
    niceness: int,
    oom_score_adj: int,
    err_from: Mark,
    arguments: Sequence[str] = (),
) -> Started:
    """Start `script` with this interpreter and return it. Call from the main thread only.

    Priority, out-of-memory score and core size are set from outside just after exec, so no code of ours runs between
    fork and exec.

    Args:
        script: the entry file.
        environ: its whole environment.
        streams: descriptors for standard output and error.
        keep: further descriptors that it inherits under their own numbers.
        niceness, oom_score_adj: as the kernel defines them; where our rights do not suffice they stay as they are. A
            niceness beyond the highest is the highest.
        err_from: end of the error log now.
        arguments: command line after the script.
    Raises:
        OSError: fork or exec was refused.
    """
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        pass_fds=tuple(keep),
        # A session of its own: Ctrl-C in a terminal reaches the orchestrator alone, which then drains in order.
        start_new_session=True,
    )
    pid = process.pid
    # The status is waited for by pidfd. Without this, Popen would wait for it too when it is collected.
    process.returncode = 0
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        # It could not be watched: no process is better than an unsupervised one.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    with suppress(ProcessLookupError):
        # A core file holds secrets and message texts, and a crashing Chromium would fill the disk with them.
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    _adjust(pid, min(niceness, _NICEST), oom_score_adj)
    return Started(pid=pid, pidfd=pidfd, is_child=True, err_from=err_from)


def claim_priority() -> int:
    """Raise this process's priority above its children's, where our rights suffice, and return its earlier niceness,
    from which theirs counts.

    A supervisor has little work, but must do it at once while its children use up the machine. Where the kernel grants
    it, it runs before every process with an ordinary policy (children get the ordinary one back); else a better
    niceness has to do.
    """
    # Of before our own change: the children's niceness counts from what the operator started us with.
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before - _PRECEDENCE)
    with suppress(OSError):
        os.sched_setscheduler(
            # The lowest real-time priority is above every ordinary process; RESET_ON_FORK keeps children out of it
            # (sched(7)).
            0,
            os.SCHED_RR | os.SCHED_RESET_ON_FORK,
            os.sched_param(os.sched_get_priority_min(os.SCHED_RR)),
        )
    return before


def _adjust(pid: int, niceness: int, oom_score_adj: int) -> None:
    try:
        # Raising a priority needs rights, lowering it does not: no call is made where nothing changes.
        if niceness != os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, pid, niceness)
        _adjust_session(pid, niceness)
        if oom_score_adj:
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(oom_score_adj), encoding="ascii")
    # any: a process that runs must not stay unsupervised because of its weight
    except OSError as refusal:
        # Below zero needs rights that most installations do not have and do not need. The kernel accepts a change of a
        # session's weight ten times a second at most (EAGAIN).
        log.debug("priority_not_set", pid=pid, niceness=niceness, oom_score_adj=oom_score_adj, problem=str(refusal))


def _adjust_session(pid: int, niceness: int) -> None:
    """Weigh the process's session: where the kernel groups tasks by session (autogroup), as most do, a niceness counts
    only among those of one session, and each child has its own.
    """
    group = Path(f"/proc/{pid}/autogroup")
    if niceness and group.exists():
        group.write_text(str(niceness), encoding="ascii")
