"""`turns`: kill -9 of the assistant under load: each question is answered once, judged by the ledger alone."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections import Counter
from typing import Any, Final

from bench.figures import Figures, spread_ms
from bench.installation import WITHOUT_BROWSERS, Installation, TenderBulkhead, running
from tests.support.waiting import eventually

_NUMBER: Final = "100000000000001"
_FIRST_CHAT: Final = 15_551_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--kills", type=int, default=200, help="how often a process of kind ai is killed")
    parser.add_argument("--every", type=float, default=1.5, help="least seconds between kills")
    parser.add_argument("--rate", type=float, default=5.0, help="questions a second, each of another customer")
    parser.add_argument("--latency-ms", type=float, default=400.0, help="the model's latency")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.kills, given.every = 3, 1.0


def run(given: argparse.Namespace) -> Figures:
    """Measure: questions come in, processes are killed, everything is answered in the end."""
    figures = Figures(command="turns", parameters=vars(given), axes=("question", "seconds to its answer"))
    # the restart policy would slow down the many restarts, and is not part of the measurement
    with running(TenderBulkhead, only=f"{WITHOUT_BROWSERS},ai", ai_instances=2) as installation:
        answer = installation.bulkhead.api(
            "PATCH",
            "/api/v2/companies/demo",
            json={
                "settings": {
                    "enableAssistant": True,
                    "answerDelaySeconds": 0,
                    # a turn that was in hand at three deaths is given up, with an apology
                    "assistantConfig": {"onFailure": "apology", "apology": "Sorry."},
                }
            },
        )
        answer.raise_for_status()
        _control(installation, "model", behaviour="slow", latency_ms=given.latency_ms, count=None)
        eventually(lambda: _ai_pids(installation), 60.0, "kind ai runs")
        stop = threading.Event()
        asked: dict[str, float] = {}
        writer = threading.Thread(target=_write, args=(installation, given.rate, stop, asked))
        writer.start()
        try:
            for _ in range(given.kills):
                time.sleep(given.every)
                eventually(lambda: _ai_pids(installation), 60.0, "kind ai is back")
                os.kill(_ai_pids(installation)[0], signal.SIGKILL)
        finally:
            stop.set()
            writer.join()
        open_turns = "SELECT count(*) FROM turns WHERE ended_at IS NULL"
        eventually(lambda: installation.rows(open_turns)[0][0] == 0, 180.0, "every turn ends", poll_s=0.2)
        installation.wait_idle()
        _judge(installation, figures, asked, given.kills)
    return figures


def _control(installation: Installation, path: str, **body: Any) -> None:
    installation.bulkhead.sandbox("POST", f"/control/{path}", json=body).raise_for_status()


def _ai_pids(installation: Installation) -> list[int]:
    return [pid for slot, pid in sorted(installation.slot_pids().items()) if slot.startswith("ai-")]


def _write(installation: Installation, rate: float, stop: threading.Event, asked: dict[str, float]) -> None:
    while not stop.wait(1 / rate):
        chat = str(_FIRST_CHAT + len(asked))
        asked[chat] = time.time()
        _control(installation, "inbound", phone_number_id=_NUMBER, **{"from": f"+{chat}"}, text="What is your policy?")


def _judge(installation: Installation, figures: Figures, asked: dict[str, float], kills: int) -> None:
    answers: Counter[str] = Counter()
    took: list[float] = []
    for entry in _texts(installation):
        chat = str(entry["to"]).removeprefix("+")
        if chat in asked:
            answers[chat] += 1
            took.append(entry["at"] - asked[chat])
    outcomes = installation.rows("SELECT state || ' ' || reason, count(*) FROM turns GROUP BY 1")
    figures.values |= {
        "kills": kills,
        "questions": len(asked),
        "answered once": sum(answers[chat] == 1 for chat in asked),
        "not answered": sum(answers[chat] == 0 for chat in asked),
        "answered twice": sum(answers[chat] > 1 for chat in asked),
        "turns": {str(name).strip(): int(count) for name, count in outcomes},
        "question to answer at the provider": spread_ms(took),
        "money still reserved": int(
            installation.rows("SELECT coalesce(sum(reserved_micros), 0) FROM model_spend")[0][0]
        ),
    }
    figures.series["answered"] = [(float(number), seconds) for number, seconds in enumerate(sorted(took))]


def _texts(installation: Installation) -> list[dict[str, Any]]:
    """Return the texts that the provider has taken, from its ledger."""
    found: list[dict[str, Any]] = []
    since = 0
    while True:
        answer = installation.bulkhead.sandbox(
            "GET", f"/control/ledger?since={since}&channel=graph&event=accepted&limit=5000"
        ).json()
        if not answer["entries"]:
            return found
        found += [entry for entry in answer["entries"] if entry["type"] == "text"]
        since = answer["entries"][-1]["seq"]
