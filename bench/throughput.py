"""`throughput`: messages a second from an accepted POST through the provider to state `sent`, and the cost of each."""

from __future__ import annotations

import argparse

from bench.figures import Figures
from bench.installation import Installation, outcome, running, warm
from bench.load import LoadResult


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long messages are posted")
    parser.add_argument(
        "--latency-ms", type=float, action="append", help="provider's latency; may be repeated (default: 0 and 100)"
    )
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message; '' for none")
    parser.add_argument("--connections", type=int, default=48, help="keep-alive connections of the generator")
    parser.add_argument("--backlog", type=int, default=2000, help="most messages accepted and not sent")
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: as fast as they are taken")
    parser.add_argument("--api", type=int, default=2, help="api processes")
    parser.add_argument("--meta", type=int, default=2, help="meta processes")
    parser.add_argument("--in-flight", type=int, default=200, help="sends at once in one meta process")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.latency_ms = 1.0, [100.0]


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="throughput", parameters=vars(given), axes=("seconds", "messages sent in that second"))
    for latency_ms in given.latency_ms or [0.0, 100.0]:
        with running(
            api_instances=given.api, meta_instances=given.meta, meta_in_flight=given.in_flight
        ) as installation:
            installation.provider(latency_ms=latency_ms, statuses=given.statuses)
            warm(installation, 1.0)
            name = f"provider {latency_ms:g} ms"
            figures.values[name], figures.series[name] = _measure(installation, given)
    return figures


def _measure(
    installation: Installation, given: argparse.Namespace
) -> tuple[dict[str, object], list[tuple[float, float]]]:
    spec = installation.spec(
        seconds=given.seconds,
        rate=given.rate,
        connections=given.connections,
        backlog=given.backlog,
        meta_ports=installation.admin_ports("meta"),
        chats=20_000,
    )
    # after warming up: imports and first connections do not belong to a message
    before = installation.cpu_s()
    result = installation.run_load(spec)
    # includes the CPU of the backlog that is sent after the load
    installation.wait_idle()
    after = installation.cpu_s()
    per_second = sent_per_second(installation, result, given.seconds)
    count = len(result.ids)
    spent = {kind: after[kind] - before.get(kind, 0.0) for kind in after} | {"generator": result.cpu_s}
    values: dict[str, object] = {
        "sent a second": round(sum(amount for _, amount in per_second) / given.seconds, 1),
        "slowest second": min((amount for _, amount in per_second), default=0),
        "answered 202 a second": round(count / (result.ended_at - result.began_at), 1),
        "CPU µs a message": {
            kind: round(seconds / count * 1e6) for kind, seconds in sorted(spent.items(), key=lambda one: -one[1])
        }
        | {"all": round(sum(spent.values()) / count * 1e6)},
        "outcome in the ledger": outcome(installation, result),
    }
    return values, per_second


def sent_per_second(installation: Installation, result: LoadResult, seconds: float) -> list[tuple[float, float]]:
    """Return how many rows became `sent` in each second of the load, by PostgreSQL's clock."""
    found = installation.rows(
        """SELECT floor(extract(epoch FROM sent_at) - %s)::int, count(*) FROM messages
           WHERE sent_at >= to_timestamp(%s) AND sent_at < to_timestamp(%s) GROUP BY 1""",
        result.began_at,
        result.began_at,
        result.began_at + seconds,
    )
    counted = {int(second): int(count) for second, count in found}
    # seconds without a row are missing in the result, although they are the slowest ones
    return [(float(second), float(counted.get(second, 0))) for second in range(int(seconds))]
