"""`latency`: at a fixed rate, how long until a POST is answered, and until the provider has the message."""

from __future__ import annotations

import argparse

from bench.figures import Figures, spread_ms
from bench.installation import Installation, outcome, running, warm


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each of the two loads")
    parser.add_argument(
        "--accept-rate", type=float, default=500.0, help="messages a second while the answers are measured"
    )
    parser.add_argument(
        "--send-rate", type=float, default=200.0, help="messages a second while the way to the provider is measured"
    )
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message; '' for none")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.accept_rate, given.send_rate = 1.0, 100.0, 50.0


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="latency", parameters=vars(given), axes=("share of messages", "ms"))
    with running() as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        warm(installation, 1.0)
        for rate in (given.accept_rate, given.send_rate):
            _measure(installation, figures, rate, given.seconds)
    return figures


def _measure(installation: Installation, figures: Figures, rate: float, seconds: float) -> None:
    result = installation.run_load(installation.spec(seconds=seconds, rate=rate))
    installation.wait_idle()
    # reversed, so that the first of several arrivals wins
    first = {arrival.row_id: arrival.at for arrival in reversed(installation.arrived(result.began_at))}
    answered = [answer - due for due, answer in zip(result.due_at, result.answered_at, strict=True)]
    arrived = [first[row_id] - due for row_id, due in zip(result.ids, result.due_at, strict=True) if row_id in first]
    from_answer = [
        first[row_id] - answer for row_id, answer in zip(result.ids, result.answered_at, strict=True) if row_id in first
    ]
    figures.values[f"at {rate:g}/s"] = {
        "due to 202": spread_ms(answered),
        "due to provider": spread_ms(arrived),
        # negative: the message reached the provider before the response reached the client
        "202 to provider": spread_ms(from_answer),
        "outcome in the ledger": outcome(installation, result),
    }
    for name, seconds_each in (("due to 202", answered), ("due to provider", arrived)):
        ordered = sorted(seconds_each)
        figures.series[f"{name} at {rate:g}/s"] = [
            (at / len(ordered), value * 1000)
            for at, value in enumerate(ordered)
            # 500 points draw the same curve as half a million
        ][:: max(1, len(ordered) // 500)]
