"""`memory`: memory of each process during a long load, and its growth."""

from __future__ import annotations

import argparse
import time

from bench.figures import Figures
from bench.installation import outcome, running, warm


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the load")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two looks")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.minutes, given.rate, given.every = 0.02, 50.0, 0.3


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="memory", parameters=vars(given), axes=("minutes", "MB, shared pages split"))
    with running() as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        warm(installation, 1.0)
        spec = installation.spec(seconds=given.minutes * 60, rate=given.rate)
        began = time.monotonic()
        with installation.load(spec) as load:
            # measured from outside: reporting its own memory would need some of it
            while load.poll() is None:
                minute = (time.monotonic() - began) / 60
                for slot, size_mb in installation.pss_mb().items():
                    figures.series.setdefault(slot, []).append((minute, size_mb))
                time.sleep(given.every)
        result = installation.load_result(spec)
        installation.wait_idle()
        for slot, points in figures.series.items():
            sizes = [size for _, size in points]
            # only the second half: the first one fills caches and pools
            late = points[len(points) // 2 :]
            figures.values[slot] = {
                "first MB": round(sizes[0], 1),
                "last MB": round(sizes[-1], 1),
                "MB an hour, second half": round(slope(late) * 60, 2),
            }
        figures.values["outcome in the ledger"] = outcome(installation, result)
    return figures


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the best-fitting line (least squares); 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    # centred first: with large instants, sums of squares would lose digits
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
