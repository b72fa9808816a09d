"""Output of figures: an aligned table, JSON, and a picture where matplotlib is installed (bench/requirements.txt)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Figures:
    """The measurements of one command.

    Attributes:
        values: by name; in all outputs. series, bars: the points (x, y), or the lengths, by name; in the picture only.
            axes: labels of x and y.
    """

    command: str
    parameters: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    bars: dict[str, float] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie; NaN when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the maximum in milliseconds."""
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {f"{name}_ms": round(quantile(ordered, share) * 1000, 2) for name, share in shares.items()} | {
        "n": len(ordered)
    }


def machine() -> dict[str, Any]:
    """Return a description of the machine, with its present load."""
    # ARM has no such line
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {
        "cpus": os.cpu_count(),
        "cpu": model,
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "load_average": os.getloadavg(),
    }


def show(figures: Figures) -> str:
    """Return the figures as an aligned table."""
    flat = dict(_flat(figures.values))
    width = max(map(len, flat), default=0)
    given = ", ".join(f"{name} {value}" for name, value in figures.parameters.items())
    return "\n".join(
        [f"{figures.command}  ({given})", *(f"  {name:<{width}}  {value:>12}" for name, value in flat.items())]
    )


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{name} · ")
        else:
            rows.append(
                (
                    f"{before}{name}",
                    # bool is a subclass of int
                    f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value),
                )
            )
    return rows


def as_json(figures: Figures) -> str:
    """Return the figures, the parameters and the machine, as JSON."""
    return json.dumps(
        {"command": figures.command, "parameters": figures.parameters, "machine": machine(), "figures": figures.values},
        default=str,
    )


def draw(figures: Figures, path: Path) -> bool:
    """Write the picture as PNG. Returns False when matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return False
    import matplotlib  # noqa: PLC0415 - not installed everywhere

    # draws into memory: there is no display on a server
    matplotlib.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    drawn, axes = pyplot.subplots(figsize=(9, 4.5))
    if figures.bars:
        axes.barh(list(figures.bars), list(figures.bars.values()), log=True)
    for name, points in figures.series.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name)
    axes.set_xlabel(figures.axes[0])
    axes.set_ylabel(figures.axes[1])
    axes.set_title(figures.command)
    if figures.series:
        axes.legend(loc="upper left")
    axes.grid(visible=True, alpha=0.3)
    drawn.savefig(path, dpi=120, bbox_inches="tight")
    # pyplot keeps every figure until it is closed
    pyplot.close(drawn)
    return True
