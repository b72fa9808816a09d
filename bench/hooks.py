"""`hooks`: deliveries a second to subscribers of webhooks, what each costs, and what messages notice of them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import psutil

from bench.figures import Figures
from bench.in_turn import Troubles, in_turn
from bench.installation import WITHOUT_BROWSERS, Installation, running, warm
from tests.support import environment
from tests.support.waiting import eventually

_HOOKS: Final = "/api/v2/hooks/demo"
_EVENTS: Final = 2
"""Events of one message: `message.sent`, and `message.delivered` by its webhook."""
_BAD: Final = ("dead", "slow", "lying")
"""Manners that one subscriber each has where there are enough."""
_DRAIN_S: Final = 300.0
_NICE: Final = 10


class BenchSubscribers:
    """Subscribers in a process of their own, subscribed and paused.

    Attributes:
        good: how many answer well.
    """

    def __init__(self, installation: Installation, count: int) -> None:
        self._installation = installation
        bad = _BAD if count > len(_BAD) else ()
        self.manners = [*bad, *["good"] * (count - len(bad))]
        self.good = self.manners.count("good")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hook_subscribers", json.dumps(self.manners)],
            cwd=environment.REPOSITORY,
            env=environment.clean(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # they would have machines of their own
            preexec_fn=lambda: os.nice(_NICE),  # noqa: PLW1509 - this program has one thread
        )
        self._ports: list[int] = self._answer()
        self._ids: list[str] = []
        # active all the time, for events that never happen: it keeps the process running
        self._idle = self._call("POST", _HOOKS, {"url": "http://127.0.0.1:9/", "types": ["template.updated"]})["id"]
        installation.bulkhead.wait_ready("hooks")
        for manner, port in zip(self.manners, self._ports, strict=True):
            # port 9 has no listener
            url = f"http://127.0.0.1:{9 if manner == 'dead' else port}/hook"
            made = self._call("POST", _HOOKS, {"url": url, "types": ["message.sent", "message.delivered"]})
            self._ids.append(made["id"])
        self.pause()

    def pause(self) -> None:
        """Let events wait."""
        self._each({"state": "paused"})

    def resume(self) -> None:
        """Let events be delivered."""
        self._each({"state": "active"})

    def counts(self) -> list[dict[str, Any]]:
        """Return what each received since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        found: list[dict[str, Any]] = self._answer()
        return found

    def cpu_s(self) -> float:
        """Return the CPU seconds of their process so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def close(self) -> None:
        """Remove the subscriptions and end the process."""
        for one in [*self._ids, self._idle]:
            self._call("DELETE", f"{_HOOKS}/{one}")
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _each(self, change: dict[str, str]) -> None:
        for one in self._ids:
            self._call("PATCH", f"{_HOOKS}/{one}", change)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._installation.bulkhead.api(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument(
        "--subscribers", type=int, action="append", help="subscribers; may be repeated (default: 1, 10 and 50)"
    )
    parser.add_argument("--deliveries", type=int, default=20_000, help="deliveries of each rate, about")
    parser.add_argument("--instances", type=int, default=1, help="hooks processes")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one load beside messages")
    parser.add_argument("--rate", type=float, default=25.0, help="messages a second of that load")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of it, without and with the most subscribers")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.subscribers, given.deliveries, given.seconds, given.rounds = [5], 200, 2.0, 1


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="hooks", parameters=vars(given), axes=("round", "p99 due to provider, ms"))
    counts = given.subscribers or [1, 10, 50]
    with running(only=f"{WITHOUT_BROWSERS},hooks", hooks_private="on", hooks_instances=given.instances) as installation:
        installation.provider(latency_ms=0.0, statuses="delivered")
        warm(installation, 1.0)
        for count in counts:
            with _subscribed(installation, count) as subscribers:
                figures.values[f"{count} subscribers, of a backlog"] = _of_backlog(installation, subscribers, given)
        with _subscribed(installation, max(counts)) as subscribers:
            _beside_messages(installation, subscribers, figures, given)
    return figures


@contextmanager
def _subscribed(installation: Installation, count: int) -> Iterator[BenchSubscribers]:
    made = BenchSubscribers(installation, count)
    try:
        yield made
    finally:
        made.close()


def _of_backlog(
    installation: Installation, subscribers: BenchSubscribers, given: argparse.Namespace
) -> dict[str, object]:
    """Let events wait, then measure how fast they are delivered to the good ones, while nothing else happens."""
    messages = max(10, given.deliveries // (_EVENTS * subscribers.good))
    installation.run_load(installation.spec(seconds=messages / 200.0, rate=200.0, chats=1000))
    installation.wait_idle()
    (row,) = installation.rows("SELECT count(*) FROM messages")
    subscribers.counts()
    before, theirs = installation.cpu_s(), subscribers.cpu_s()
    subscribers.resume()
    received = _until_quiet(subscribers)
    after = installation.cpu_s()
    good = [one for one in received if one["manner"] == "good"]
    count, all_counts = sum(one["count"] for one in good), sum(one["count"] for one in received)
    took_s = max(one["last_at"] for one in good) - min(one["first_at"] for one in good)
    spent = {kind: after[kind] - before.get(kind, 0.0) for kind in after} | {
        "subscribers": subscribers.cpu_s() - theirs
    }
    subscribers.pause()
    return {
        "deliveries": count,
        "deliveries a second": round(count / max(took_s, 0.001)),
        "events of each": f"{min(one['count'] for one in good)} to {max(one['count'] for one in good)}",
        "messages so far": row[0],
        "CPU µs a delivery": {
            kind: round(seconds / all_counts * 1e6)
            for kind, seconds in sorted(spent.items(), key=lambda one: -one[1])
            if seconds / all_counts > 1e-6
        },
    }


def _until_quiet(subscribers: BenchSubscribers) -> list[dict[str, Any]]:
    """Return all that was received until the good ones received nothing more."""
    total: list[dict[str, Any]] = []

    def is_quiet() -> bool:
        got = subscribers.counts()
        for place, one in enumerate(got):
            if place == len(total):
                total.append(dict(one))
            else:
                total[place]["count"] += one["count"]
                total[place]["first_at"] = total[place]["first_at"] or one["first_at"]
                total[place]["last_at"] = max(total[place]["last_at"], one["last_at"])
        good = [one for one, sum_ in zip(got, total, strict=True) if one["manner"] == "good"]
        began = any(one["count"] for one in total if one["manner"] == "good")
        return began and not any(one["count"] for one in good)

    eventually(is_quiet, _DRAIN_S, "the backlog is delivered", poll_s=2.0)
    return total


def _beside_messages(
    installation: Installation, subscribers: BenchSubscribers, figures: Figures, given: argparse.Namespace
) -> None:
    delivered: list[float] = []

    @contextmanager
    def with_subscribers(_: Installation) -> Iterator[None]:
        subscribers.resume()
        # from the first delivery to the last of what waited for them: what is measured is the load, not a backlog
        _until_quiet(subscribers)
        began = time.monotonic()
        yield
        count = sum(one["count"] for one in subscribers.counts())
        delivered.append(count / (time.monotonic() - began))
        subscribers.pause()

    name = f"{len(subscribers.manners)} subscribers"
    troubles: Troubles = {"without": lambda _: nullcontext(), name: with_subscribers}
    in_turn(installation, troubles, figures, given.rounds, seconds=given.seconds, rate=given.rate)
    figures.values["deliveries a second beside messages"] = [round(one) for one in delivered]
