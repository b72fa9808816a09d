"""The restart policy of one slot; pure.

The first restart is immediate (or after the kind's `first_restart_s`), later ones back off; only uptime, not readiness,
resets the backoff. Too many restarts in a period, or too many short lives in a row, mean quarantine with slow probes;
no slot is abandoned for good.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from shared.backoff import BackoffPolicy
from shared.kinds import ProcessKind

Uniform = Callable[[float, float], float]

CAP_S: Final = 30.0
"""Longest delay before a restart, in seconds: by that much the end of an outage may be noticed late."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The supervisor's own durations, in seconds; what differs between kinds stands in their rows."""

    cap_s: float = CAP_S
    half_life_s: float = 30.0
    """Healthy time that makes up for half of the past deaths."""
    probe_first_s: float = 30.0
    """Wait before the first probe of a quarantined slot; doubles with each that fails."""
    probe_cap_s: float = 300.0
    """Longest wait between two probes: a removed cause is noticed within five minutes."""
    term_s: float = 0.3
    """Time between SIGTERM and SIGABRT for a hung process, whose loop can hardly use more."""
    starved_most_s: float = 60.0
    """Longest silence beyond the threshold that is excused because a process does not get a CPU."""
    abort_s: float = 0.4
    """Time for writing the traceback of all threads between SIGABRT and SIGKILL."""
    leave_s: float = 4.0
    """Time for closing up, after `drain_s` for what was in hand."""
    kill_again_s: float = 0.5
    """Interval of killing again what is left of a killed tree."""
    stop_now_s: float = 2.0
    """Time for each process to stop after a second request: enough to write outcomes, not to finish work."""
    longest_section_s: float = 300.0
    """Longest blocking section that a child can declare."""
    occupied_s: float = 1.0
    """Wait before the next attempt on a slot that a process we cannot see holds."""
    adoption_s: float = 2.0
    """Added to the silence allowed to an adopted process: it may have beaten while no orchestrator listened."""


@dataclass(frozen=True, kw_only=True)
class RestartHistory:
    """Past deaths of one slot, as far as they matter for its next restart."""

    failures: float = 0.0
    """Deaths, each counted as one when it happens and decayed by half after each half-life of uptime."""
    restarts: tuple[float, ...] = ()
    """Monotonic instants of the restarts of the last period."""
    failed_probes: int = 0
    """Probes in a row that failed, counting the death that led to quarantine; 0: not in quarantine."""


@dataclass(frozen=True, kw_only=True)
class RestartDecision:
    """When to restart after a death."""

    history: RestartHistory
    delay_s: float
    quarantined: bool


def after_death(
    history: RestartHistory,
    row: ProcessKind,
    policy: Policy,
    *,
    now: float,
    healthy_s: float,
    uniform: Uniform = random.uniform,
) -> RestartDecision:
    """Return when to restart after an unrequested death.

    Args:
        history: of the slot.
        row: the kind's restart numbers.
        policy: the supervisor's durations.
        now: monotonic instant of the death.
        healthy_s: seconds between having become ready and the death; 0 when it never became ready.
        uniform: source of jitter.
    """
    # A short life forgives nothing; a long one halves earlier failures each half-life.
    decay = 1.0 if healthy_s < row.min_uptime_s else 0.5 ** (healthy_s / policy.half_life_s)
    failures = history.failures * decay + 1.0
    # A sliding window: only restarts of the last period count.
    restarts = (*(at for at in history.restarts if at > now - row.period_s), now)
    # Three ways in: a failed probe, too many restarts in the period, or a row of failures that backoff spread over more
    # than the period (ADR 11).
    if history.failed_probes or len(restarts) > row.intensity or failures > row.intensity:
        failed = history.failed_probes + 1
        ceiling = BackoffPolicy(base_s=policy.probe_first_s, cap_s=policy.probe_cap_s).wait_s(failed)
        # Half of the wait is certain and the rest jitter: a probe is meant to be slow, and slots that failed together
        # must not be probed together.
        return RestartDecision(
            history=RestartHistory(failures=failures, restarts=restarts, failed_probes=failed),
            delay_s=uniform(ceiling / 2, ceiling),
            quarantined=True,
        )
    # Decayed failures are fractions: the delay shrinks by whole steps only.
    attempt = int(failures)
    backoff = BackoffPolicy(base_s=row.restart_base_s, cap_s=policy.cap_s)
    # Jitter from the second restart on, since it would only delay the first one: most crashes are single.
    delay_s = row.first_restart_s if attempt < 2 else backoff.jittered_s(attempt - 1, uniform)
    return RestartDecision(
        history=replace(history, failures=failures, restarts=restarts),
        delay_s=min(delay_s, policy.cap_s),
        quarantined=False,
    )


def has_recovered(history: RestartHistory, row: ProcessKind, *, healthy_s: float) -> bool:
    """Whether a probe of a quarantined slot has lived long enough to end the quarantine; its history then starts
    empty."""
    return history.failed_probes > 0 and healthy_s >= row.min_uptime_s
