"""`model-hang`: the effect on the API's and meta's clients while the assistant's model hangs."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from bench.figures import Figures
from bench.in_turn import Troubles, in_turn
from bench.installation import WITHOUT_BROWSERS, Installation, running, warm
from bench.killing import wait_for_end
from bench.turns import TURNS, control, write_questions
from tests.support.waiting import eventually

_CALM: Final = "the model answers"
_FIRST_CHAT: Final = 15_552_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=3, help="how often they take turns")
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second to meta")
    parser.add_argument("--questions", type=float, default=5.0, help="questions a second, each of another customer")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument("--model-ms", type=float, default=400.0, help="the model's latency, while it answers")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rounds, given.rate, given.questions = 1.0, 1, 40.0, 2.0


def run(given: argparse.Namespace) -> Figures:
    """Measure: the same messages and questions while the model answers and while it hangs, and without questions."""
    figures = Figures(command="model-hang", parameters=vars(given), axes=("round", "p99 from due to provider, ms"))
    used: dict[str, list[dict[str, float]]] = {}
    asked = [_FIRST_CHAT]
    troubles: Troubles = {
        name: partial(_phase, name=name, behaviour=behaviour, given=given, asked=asked, used=used)
        for name, behaviour in ((_CALM, "slow"), ("the model hangs", "hang"), ("no questions", ""))
    }
    with running(only=f"{WITHOUT_BROWSERS},ai") as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        settings = {
            "enableAssistant": True,
            "answerDelaySeconds": 0,
            "assistantConfig": {"onFailure": "apology", "apology": "Sorry."},
        }
        answer = installation.bulkhead.api("PATCH", "/api/v2/companies/demo", json={"settings": settings})
        answer.raise_for_status()
        eventually(lambda: "ai-0" in installation.slot_pids(), 60.0, "kind ai runs")
        warm(installation, 1.0)
        in_turn(installation, troubles, figures, given.rounds, seconds=given.seconds, rate=given.rate)
    figures.values["CPU, % of one processor"] = {
        name: {kind: round(100 * sum(one.get(kind, 0.0) for one in found) / len(found), 1) for kind in found[0]}
        for name, found in used.items()
    }
    figures.values["load average at the end"] = round(os.getloadavg()[0], 1)
    return figures


@contextmanager
def _phase(
    installation: Installation,
    *,
    name: str,
    behaviour: str,
    given: argparse.Namespace,
    asked: list[int],
    used: dict[str, list[dict[str, float]]],
) -> Iterator[None]:
    """Let questions come in while the model behaves so; `asked`: the number of the next customer."""
    stop, times = threading.Event(), dict[str, float]()
    control(installation, "model", behaviour=behaviour or "answer", latency_ms=given.model_ms, text="Yes.", count=None)
    writer = threading.Thread(
        target=write_questions, args=(installation, given.questions, stop, times), kwargs={"first_chat": asked[0]}
    )
    before = installation.cpu_s()
    if behaviour:
        writer.start()
    try:
        yield
    finally:
        used.setdefault(name, []).append(
            {kind: (cpu_s - before.get(kind, 0.0)) / given.seconds for kind, cpu_s in installation.cpu_s().items()}
        )
        stop.set()
        if behaviour:
            writer.join()
        asked[0] += len(times)
        # what hangs times out, the rest of the questions is answered: the next phase begins with none
        installation.bulkhead.sandbox("DELETE", "/control/model").raise_for_status()
        wait_for_end(installation, TURNS)
