"""Metrics of one process, and the only door to prometheus_client. All names start with `bulkhead_`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Version of Prometheus' text exposition format, by which a scraper chooses its parser.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Seconds; 1 ms for an answer from memory up to 30 s for a slow provider.
LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """A registry of this process's own metrics."""

    def __init__(self) -> None:
        # A registry of its own and not the library's global one, so that tests may have several in one process.
        self._registry = CollectorRegistry()

    def counter(self, name: str, purpose: str, labels: Sequence[str] = ()) -> Counter:
        """Make a counter that only goes up, shown as `bulkhead_<name>_total`."""
        return Counter(name, purpose, labels, namespace="bulkhead", registry=self._registry)

    def gauge(
        self, name: str, purpose: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None
    ) -> Gauge:
        """Make a gauge; with `read` its value is asked for at each scrape."""
        gauge = Gauge(name, purpose, labels, namespace="bulkhead", registry=self._registry)
        if read is not None:
            gauge.set_function(read)
        return gauge

    def histogram(
        self, name: str, purpose: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """Make a histogram of durations in seconds."""
        return Histogram(name, purpose, labels, namespace="bulkhead", registry=self._registry, buckets=tuple(buckets))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return generate_latest(self._registry)

    def snapshot(self) -> dict[str, float]:
        """Return all metrics except histogram buckets and what is no number, by name and labels, for the
        metrics table.
        """
        metrics: dict[str, float] = {}
        for family in self._registry.collect():
            for sample in family.samples:
                # NaN and infinities are no JSON numbers, and buckets would multiply the rows of the metrics table.
                if not sample.name.endswith(("_bucket", "_created")) and math.isfinite(sample.value):
                    labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
                    metrics[sample.name.removeprefix("bulkhead_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return metrics
