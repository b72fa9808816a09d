"""Measures calm and disturbances in turn, in one run, so that noise of the machine affects all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TypeAlias

from bench.figures import Figures, quantile
from bench.installation import Installation, outcome
from bench.load import LoadResult

Troubles: TypeAlias = Mapping[str, Callable[[Installation], AbstractContextManager[None]]]
"""What happens during the load, by name; the first is calm, and the others are compared with it."""


def in_turn(
    installation: Installation, troubles: Troubles, figures: Figures, rounds: int, *, seconds: float, rate: float
) -> None:
    """Run the same load with each disturbance, `rounds` times, and add latencies and their ratios to `figures`."""
    calm = next(iter(troubles))
    answered: dict[str, list[tuple[float, float]]] = {name: [] for name in troubles}
    arrived: dict[str, list[tuple[float, float]]] = {name: [] for name in troubles}
    for _ in range(rounds):
        for name, trouble in troubles.items():
            with trouble(installation):
                result = installation.run_load(installation.spec(seconds=seconds, rate=rate))
            installation.wait_idle()
            answers, deliveries = _latencies(installation, result)
            answered[name].append((quantile(answers, 0.5), quantile(answers, 0.99)))
            arrived[name].append((quantile(deliveries, 0.5), quantile(deliveries, 0.99)))
            figures.values.setdefault("outcome in the ledger", {})[f"{name} {len(arrived[name])}"] = {
                word: count
                for word, count in outcome(installation, result).items()
                if word in ("accepted", "lost", "duplicated")
            }
    for measure, found in (("due to 202", answered), ("due to provider", arrived)):
        for place, word in enumerate(("p50", "p99")):
            # the median of the rounds, so that one noisy round does not decide
            middle = {name: statistics.median(pair[place] for pair in pairs) for name, pairs in found.items()}
            figures.values[f"{word} {measure}, ms"] = {name: round(value * 1000, 2) for name, value in middle.items()}
        figures.values[f"p99 {measure}, ratio to calm"] = {
            name: round(value / middle[calm], 2) for name, value in middle.items() if name != calm
        }
    for name, pairs in arrived.items():
        figures.series[name] = [(float(number), p99 * 1000) for number, (_, p99) in enumerate(pairs, 1)]


def _latencies(installation: Installation, result: LoadResult) -> tuple[list[float], list[float]]:
    """Return the sorted seconds from the due instant to the 202, and to the arrival at the provider."""
    first = {arrival.row_id: arrival.at for arrival in reversed(installation.arrived(result.began_at))}
    answered = sorted(answer - due for due, answer in zip(result.due_at, result.answered_at, strict=True))
    arrived = sorted(
        first[row_id] - due for row_id, due in zip(result.ids, result.due_at, strict=True) if row_id in first
    )
    return answered, arrived
