"""What one session's browser uses, and whether that exceeds a limit. Pure: measurements are handed in."""

from __future__ import annotations

from typing import Final, Literal

from webdriver.chromium.processes import Memory, Sample
from webdriver.session.policy import SessionPolicy

Excess = Literal["", "recycle", "kill"]

_GREW_MB: Final = 40.0
"""Growth of the resident size after which the memory is measured again; below it lie a page's normal ups and downs."""
_MEASURE_EVERY_S: Final = 20.0
"""Longest time between two measurements, each of which costs the kernel milliseconds for each process."""


class ResourceUsage:
    """The measurements of one browser, from its start to its end.

    Args:
        policy: its limits. now: monotonic instant of its start.

    Attributes:
        memory: None until it was measured. cpu: processors in use between the last two samples.
    """

    def __init__(self, policy: SessionPolicy, now: float) -> None:
        self._policy = policy
        self._began_at = self._sampled_at = now
        self._sample = Sample(0.0, 0.0, 0)
        self._measured_at = float("-inf")
        self._rss_then = 0.0
        self._calm_at = now
        self.memory: Memory | None = None
        self.cpu = 0.0

    @property
    def processes(self) -> int:
        """How many processes it has."""
        return self._sample.processes

    def age_s(self, now: float) -> float:
        """Return for how long it runs."""
        return now - self._began_at

    def sampled(self, sample: Sample, now: float, *, may_burn: bool) -> bool:
        """Take over a sample. Returns whether the memory is due to be measured: it grew, or the last one is old.

        Args:
            may_burn: the page is busy for a good reason.
        """
        if now > self._sampled_at:
            # processes that ended take their seconds with them
            self.cpu = max(0.0, sample.cpu_s - self._sample.cpu_s) / (now - self._sampled_at)
        self._sample, self._sampled_at = sample, now
        # the start of the run above the limit moves along while the page is below it, or busy for a good reason
        if may_burn or not self._policy.cpu_most or self.cpu < self._policy.cpu_most:
            self._calm_at = now
        return now - self._measured_at >= _MEASURE_EVERY_S or sample.rss_mb - self._rss_then >= _GREW_MB

    def measured(self, memory: Memory, now: float) -> None:
        """Take over a measurement of the memory."""
        self.memory, self._measured_at, self._rss_then = memory, now, self._sample.rss_mb

    def excess(self, now: float) -> tuple[Excess, str]:
        """Return whether it may go on, and why not."""
        policy = self._policy
        pss = self.memory.pss if self.memory else 0.0
        # the hard limit first: a browser above both is killed, and not left for a quiet moment
        if policy.memory_hard_mb and pss >= policy.memory_hard_mb:
            return "kill", f"its browser uses {pss:.0f} MB, above the hard ceiling of {policy.memory_hard_mb:.0f}"
        if policy.memory_soft_mb and pss >= policy.memory_soft_mb:
            return "recycle", f"its browser uses {pss:.0f} MB, above {policy.memory_soft_mb:.0f}"
        if now - self._calm_at >= policy.cpu_for_s:
            return "recycle", f"its page uses more than {policy.cpu_most:g} processors for {now - self._calm_at:.0f} s"
        if policy.max_age_s and self.age_s(now) >= policy.max_age_s:
            return "recycle", f"its browser is {self.age_s(now) / 3600:.1f} hours old"
        return "", ""

    def stats(self, now: float) -> dict[str, float | int]:
        """Return what health pages and the API show."""
        memory = {"rssMb": self.memory.rss, "pssMb": self.memory.pss, "ussMb": self.memory.uss} if self.memory else {}
        shown = {name: round(value, 1) for name, value in memory.items()}
        return shown | {"cpu": round(self.cpu, 2), "processes": self.processes, "ageSeconds": round(self.age_s(now), 1)}
