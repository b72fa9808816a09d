"""`isolation`: the effect on meta's clients while the browser process is killed in a loop, and while its share of the
CPU is used up.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

from bench.figures import Figures
from bench.in_turn import Troubles, in_turn
from bench.installation import Installation, TenderBulkhead, running, warm
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
    """Measure calm and each disturbance in turn, so that noise of the machine affects all alike."""
    figures = Figures(command="isolation", parameters=vars(given), axes=("round", "p99 from due to provider, ms"))
    troubles: Troubles = {
        "calm": lambda _: nullcontext(),
        "webdriver killed in a loop": _killed,
        "webdriver's CPU burnt": lambda _: _burnt(given.burners, given.nice),
    }
    # without quarantine, which would end the disturbance
    with running(TenderBulkhead, only="api,meta,recorder,sandbox,postgres,redis,webdriver") as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        warm(installation, 1.0)
        in_turn(installation, troubles, figures, given.rounds, seconds=given.seconds, rate=given.rate)
    return figures


@contextmanager
def _killed(installation: Installation) -> Iterator[None]:
    """Kill the browser process, with its browsers, whenever it runs."""
    over = threading.Event()

    def kill() -> None:
        # 20 times a second, so that it dies at every stage of its start
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
        # its next start removes what the killed browsers left; the next phase begins with every process ready
        installation.bulkhead.wait_ready("webdriver")


_BUSY: Final = """
import os, sys
from webdriver.chromium.launcher import become
os.nice(int(sys.argv[1]))
become(int(sys.argv[2]), [sys.executable, "-c", "while True: pass"])
"""
"""Gets its CPU share as a browser does, from the product's own launcher."""


@contextmanager
def _burnt(burners: int, nice: int) -> Iterator[None]:
    """Use CPU as a runaway browser would."""
    command = [sys.executable, "-c", _BUSY, str(nice), str(os.getpid())]
    busy = [
        # a session of its own: where the kernel divides CPU by session (autogroup), these must not count as ours
        subprocess.Popen(command, cwd=environment.REPOSITORY, stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(burners)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()
