"""`isolation`: what meta's clients notice while the browser process is killed in a loop, and while its share of the CPU
is burnt."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

from bench.figures import Figures, quantile
from bench.installation import Installation, TenderBulkhead, outcome, running, warm
from bench.load import LoadResult
from shared.kinds import kind_named
from tests.support import environment


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=3, help="how often calm and trouble take turns")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second to meta")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message")
    parser.add_argument("--burners", type=int, default=2, help="busy loops that stand in for browsers run wild")
    parser.add_argument(
        "--nice",
        type=int,
        default=kind_named("webdriver").nice,
        help="niceness of whoever starts them (default: the browser process's)",
    )


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rounds, given.rate, given.burners = 1.0, 1, 40.0, 1


def run(given: argparse.Namespace) -> Figures:
    """Measure: calm, each trouble, calm, each trouble …, so that a noisy machine disturbs all alike."""
    figures = Figures(command="isolation", parameters=vars(given), axes=("round", "p99 from due to provider, ms"))
    troubles: dict[str, Callable[[Installation], object]] = {
        "calm": lambda _: nullcontext(),
        "webdriver killed in a loop": _killed,
        "webdriver's CPU burnt": lambda _: _burnt(given.burners, given.nice),
    }
    answered: dict[str, list[float]] = {name: [] for name in troubles}
    arrived: dict[str, list[float]] = {name: [] for name in troubles}
    # the restart policy would quarantine the kind that is killed in a loop, and end the trouble
    with running(TenderBulkhead, only="api,meta,recorder,sandbox,postgres,redis,webdriver") as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        warm(installation, 1.0)
        for _ in range(given.rounds):
            for name, trouble in troubles.items():
                with trouble(installation):  # type: ignore[attr-defined]  # each is a context manager
                    result = installation.run_load(installation.spec(seconds=given.seconds, rate=given.rate))
                installation.wait_idle()
                p99_answer, p99_arrival = _p99(installation, result)
                answered[name].append(p99_answer)
                arrived[name].append(p99_arrival)
                figures.values.setdefault("outcome in the ledger", {})[f"{name} {len(arrived[name])}"] = {
                    word: count
                    for word, count in outcome(installation, result).items()
                    if word in ("accepted", "lost", "duplicated")
                }
    for measure, found in (("p99 due to 202, ms", answered), ("p99 due to provider, ms", arrived)):
        # the median of the rounds: one disturbed round does not decide
        middle = {name: statistics.median(values) for name, values in found.items()}
        figures.values[measure] = {name: round(value * 1000, 2) for name, value in middle.items()}
        figures.values[f"{measure.partition(',')[0]}, ratio to calm"] = {
            name: round(value / middle["calm"], 2) for name, value in middle.items() if name != "calm"
        }
    for name, values in arrived.items():
        figures.series[name] = [(float(number), value * 1000) for number, value in enumerate(values, 1)]
    return figures


def _p99(installation: Installation, result: LoadResult) -> tuple[float, float]:
    first = {arrival.row_id: arrival.at for arrival in reversed(installation.arrived(result.began_at))}
    answered = sorted(answer - due for due, answer in zip(result.due_at, result.answered_at, strict=True))
    arrived = sorted(
        first[row_id] - due for row_id, due in zip(result.ids, result.due_at, strict=True) if row_id in first
    )
    return quantile(answered, 0.99), quantile(arrived, 0.99)


@contextmanager
def _killed(installation: Installation) -> Iterator[None]:
    """Kill the browser process, with its browsers, whenever it is there."""
    over = threading.Event()

    def kill() -> None:
        # 20 times a second: it dies while it starts, at every stage of a start
        while not over.wait(0.05):
            if pid := installation.slot_pids().get("webdriver-0"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        yield
    finally:
        over.set()
        killing.join()
        # its next life sweeps what the killed browsers left; the next phase begins with everything there
        installation.bulkhead.wait_ready("webdriver")


_BUSY: Final = """
import os, sys
from webdriver.chromium.launcher import become
os.nice(int(sys.argv[1]))
become(int(sys.argv[2]), [sys.executable, "-c", "while True: pass"])
"""
"""Gets its share of the processor in the way that a browser gets it, from the product's own launcher."""


@contextmanager
def _burnt(burners: int, nice: int) -> Iterator[None]:
    """Burn CPU as a browser that runs wild would."""
    command = [sys.executable, "-c", _BUSY, str(nice), str(os.getpid())]
    busy = [
        # a session of its own: where the kernel shares CPU by session (autogroup), the burners must not count as ours
        subprocess.Popen(command, cwd=environment.REPOSITORY, stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(burners)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()
