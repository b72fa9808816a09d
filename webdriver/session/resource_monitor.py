"""Measures one session's browser and holds it to its limits. Other parts take the samples; this one judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.clock import monotonic
from webdriver.chromium import processes
from webdriver.chromium.process import Chromium
from webdriver.chromium.processes import Memory, Sample
from webdriver.session import events
from webdriver.session.connects import Connects
from webdriver.session.policy import SessionPolicy
from webdriver.session.resource_usage import ResourceUsage


class ResourceMonitor:
    """What the present browser of a session uses; nothing between two browsers.

    Args:
        policy: the limits. connects: of the account, since each replacement costs one. exceeded: called when a limit is
            exceeded, or a fresh browser is due.
    """

    def __init__(
        self, policy: SessionPolicy, connects: Connects, *, exceeded: Callable[[events.TooMuchUsed], None]
    ) -> None:
        self._policy, self._connects, self._exceeded = policy, connects, exceeded
        self._chromium: Chromium | None = None
        self._usage: ResourceUsage | None = None

    @property
    def usage(self) -> ResourceUsage | None:
        """The measurements; None while there is no browser."""
        return self._usage

    def browser_started(self, chromium: Chromium | None) -> None:
        """Begin with a fresh browser."""
        self._chromium, self._usage = chromium, ResourceUsage(self._policy, monotonic())

    def browser_ended(self) -> None:
        """Forget the browser."""
        self._chromium = self._usage = None

    def sampled(self, sample: Sample, *, may_burn: bool) -> bool:
        """Take over a sample. Returns whether the memory is due to be measured.

        Args:
            may_burn: the page may use the processor for long.
        """
        return self._usage is not None and self._usage.sampled(sample, monotonic(), may_burn=may_burn)

    def measure_memory(self) -> Memory | None:
        """Return the memory of the browser, helpers included.

        Reads /proc for many milliseconds: call it in a thread.
        """
        # read once: the loop may end the browser meanwhile
        chromium = self._chromium
        return processes.memory(chromium.pids()) if chromium else None

    def hold_to_limits(self, memory: Memory | None) -> None:
        """Take over the memory, where it was measured, and report what exceeds a limit."""
        if self._usage is None:
            return
        if memory is not None:
            self._usage.measured(memory, monotonic())
        excess, reason = self._usage.excess(monotonic())
        if excess:
            self._exceeded(events.TooMuchUsed(reason, hard=excess == "kill", connects=self._connects.count()))

    def replace(self, reason: str) -> None:
        """Report that a fresh browser is due at a quiet moment; it is left out if that was done just now, or the
        account connects too often."""
        self._exceeded(events.TooMuchUsed(reason, hard=False, connects=self._connects.count()))

    def stats(self) -> Mapping[str, Any]:
        """Return what health pages show; empty while there is no browser."""
        return self._usage.stats(monotonic()) if self._usage else {}
