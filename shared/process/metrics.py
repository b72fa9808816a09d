"""What one process counts. Counting is a few operations on plain numbers, since it is done several times for each
message (docs/adr/0115-counting-without-a-library.md). All names start with `bulkhead_`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from shared.process.exposition import Family, Figure, labelled, render

# Seconds; 1 ms for an answer from memory up to 30 s for a slow provider.
LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SERIES_MOST: Final = 1000
"""Label values of one metric: what comes beyond is counted as `other`, so that no peer can fill our memory, or that of
a scraper, by inventing values.
"""
_OTHER: Final = "other"


class CounterSeries:
    """One counter with certain labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """Add `by`, which is not negative."""
        self.value += by


class GaugeSeries:
    """One gauge with certain labels; with `read` its value is asked for at each scrape."""

    __slots__ = ("_value", "read")

    def __init__(self) -> None:
        self._value = 0.0
        self.read: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """The value now."""
        return self._value if self.read is None else float(self.read())

    def set(self, value: float) -> None:
        """Take over a measured value."""
        self._value = float(value)


class HistogramSeries:
    """One histogram with certain labels. `counts`: by bucket, not cumulated, the last one for what is above all."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add one measurement, or as many of the same value."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times


class _Series(Protocol):
    """What a metric holds for each set of label values."""


_S = TypeVar("_S", bound=_Series)


class _Metric(Generic[_S]):
    """All series of one name."""

    def __init__(self, name: str, purpose: str, labels: Sequence[str], make: Callable[[], _S]) -> None:
        self.name, self.purpose, self._labels, self._make = name, purpose, tuple(labels), make
        self._series: dict[tuple[object, ...], _S] = {}
        if not labels:
            # shown as 0 before anything is counted: a rule on a missing series would never fire
            self.labels()

    def labels(self, *values: object) -> _S:
        """Return the series with these label values, in the order of the declared labels. Raises `ValueError` when
        they are not as many.
        """
        try:
            return self._series[values]
        except KeyError:
            return self._add(values)

    def _add(self, values: tuple[object, ...]) -> _S:
        if len(values) != len(self._labels):
            raise ValueError(f"{self.name} has the labels {', '.join(self._labels) or '(none)'}, not {len(values)}")
        if len(self._series) >= SERIES_MOST:
            values = (_OTHER,) * len(values)
        return self._series.setdefault(values, self._make())

    def clear(self) -> None:
        """Forget every series."""
        self._series.clear()

    def items(self) -> Iterator[tuple[Mapping[str, str], _S]]:
        """Yield the series with their labels."""
        # a copy: a metric that is counted in another thread may grow meanwhile
        for values, series in [*self._series.items()]:
            yield dict(zip(self._labels, (str(value) for value in values), strict=True)), series


class Counter(_Metric[CounterSeries]):
    """Counts; only goes up."""

    def inc(self, by: float = 1.0) -> None:
        """Add `by` to the series without labels."""
        self.labels().value += by

    def family(self) -> Family:
        """Return it as data."""
        return Family(
            self.name,
            "counter",
            self.purpose,
            [Figure(self.name, labels, one.value) for labels, one in self.items()],
        )


class Gauge(_Metric[GaugeSeries]):
    """Measures; goes up and down."""

    def set(self, value: float) -> None:
        """Set the series without labels."""
        self.labels().set(value)

    def family(self) -> Family:
        """Return it as data."""
        return Family(
            self.name, "gauge", self.purpose, [Figure(self.name, labels, one.value) for labels, one in self.items()]
        )


class Histogram(_Metric[HistogramSeries]):
    """Counts measurements by size."""

    def __init__(self, name: str, purpose: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        super().__init__(name, purpose, labels, lambda: HistogramSeries(self._bounds))

    def observe(self, value: float) -> None:
        """Add one measurement to the series without labels."""
        self.labels().observe(value)

    def family(self) -> Family:
        """Return it as data."""
        samples = [
            sample
            for labels, one in self.items()
            for sample in histogram_samples(self.name, labels, self._bounds, one.counts, one.sum)
        ]
        return Family(self.name, "histogram", self.purpose, samples)


def histogram_samples(
    name: str, labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[float], total: float
) -> list[Figure]:
    """Return the samples of a histogram.

    Args:
        bounds: upper ends of the buckets. counts: in each bucket, and in one more above all; not cumulated. total: sum
            of the measurements.
    """
    samples, cumulated = [], 0.0
    for bound, count in zip((*bounds, math.inf), counts, strict=True):
        cumulated += count
        shown = "+Inf" if math.isinf(bound) else repr(float(bound))
        samples.append(Figure(f"{name}_bucket", {**labels, "le": shown}, cumulated))
    return [*samples, Figure(f"{name}_sum", labels, total), Figure(f"{name}_count", labels, cumulated)]


class Metrics:
    """The metrics of one process.

    Args:
        labels: of every sample that is shown: kind and slot of the process, so that figures of several can be read
            together.
    """

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self._common = dict(labels or {})
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self._sources: list[Callable[[], Sequence[Family]]] = []

    def counter(self, name: str, purpose: str, labels: Sequence[str] = ()) -> Counter:
        """Make a counter, shown as `bulkhead_<name>_total`. Raises `ValueError` for a name that is taken, as the other
        two do.
        """
        counter = Counter(self._named(f"{name}_total"), purpose, labels, CounterSeries)
        self._metrics[counter.name] = counter
        return counter

    def gauge(
        self, name: str, purpose: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None
    ) -> Gauge:
        """Make a gauge; with `read` its value is asked for at each scrape."""
        gauge = Gauge(self._named(name), purpose, labels, GaugeSeries)
        if read is not None:
            gauge.labels().read = read
        self._metrics[gauge.name] = gauge
        return gauge

    def histogram(
        self, name: str, purpose: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """Make a histogram, of durations in seconds unless its buckets say otherwise."""
        histogram = Histogram(self._named(name), purpose, labels, buckets)
        self._metrics[histogram.name] = histogram
        return histogram

    def also(self, source: Callable[[], Sequence[Family]]) -> None:
        """Show at each scrape what `source` returns, too: figures that are measured elsewhere."""
        self._sources.append(source)

    def families(self) -> list[Family]:
        """Return all metrics as data."""
        own = [metric.family() for metric in self._metrics.values()]
        return labelled([*own, *(family for source in self._sources for family in source())], self._common)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return render(self.families())

    def snapshot(self) -> dict[str, float]:
        """Return this process's own metrics except histogram buckets and what is no number, by name and labels, for
        the metrics table.
        """
        metrics: dict[str, float] = {}
        for metric in self._metrics.values():
            for sample in metric.family().samples:
                # NaN and infinities are no JSON numbers, and buckets would multiply the rows of the metrics table.
                if not sample.name.endswith("_bucket") and math.isfinite(sample.value):
                    labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
                    metrics[sample.name.removeprefix("bulkhead_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return metrics

    def _named(self, name: str) -> str:
        full = f"bulkhead_{name}"
        if full in self._metrics:
            raise ValueError(f"the metric {full} exists already")
        return full
