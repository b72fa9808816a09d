"""`turns`: kill -9 of the assistant under load: each question is answered once, judged by the ledger alone, and what an
answer does at a company's server is done once.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from bench.figures import Figures, spread_ms
from bench.installation import WITHOUT_BROWSERS, Installation, TenderBulkhead, running
from bench.killing import KindOfWork, feed, kill_lives, wait_for_end
from tests.support.waiting import eventually

_NUMBER: Final = "100000000000001"
_FIRST_CHAT: Final = 15_551_000_000
TURNS: Final = KindOfWork(
    name="turn",
    ended="SELECT count(*) FROM turns WHERE ended_at IS NOT NULL",
    holders="SELECT DISTINCT incarnation_id FROM turns WHERE state = 'running' AND incarnation_id IS NOT NULL",
    waiting="SELECT count(*) FROM turns WHERE ended_at IS NULL",
    piece_s=2.0,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--kills", type=int, default=200, help="how often a process of kind ai is killed")
    parser.add_argument("--between", type=int, default=6, help="turns that end between two kills")
    parser.add_argument("--rate", type=float, default=5.0, help="questions a second at most, each of another customer")
    parser.add_argument("--waiting", type=int, default=40, help="while so many wait for an answer, nobody asks")
    parser.add_argument("--latency-ms", type=float, default=400.0, help="the model's latency")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of the process that is killed")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.kills, given.between = 3, 2


def run(given: argparse.Namespace) -> Figures:
    """Measure: questions come in, processes are killed, everything is answered in the end."""
    figures = Figures(command="turns", parameters=vars(given), axes=("question", "seconds to its answer"))
    dice = random.Random(given.seed)
    # the restart policy would slow down the many restarts, and is not part of the measurement
    with (
        _shop() as (address, orders),
        running(
            TenderBulkhead, only=f"{WITHOUT_BROWSERS},ai", ai_instances=2, media_fetch_private="on"
        ) as installation,
    ):
        _set_up(installation, address)
        # first a call of the company's function, with effects, then the answer
        control(
            installation,
            "model",
            behaviour="tool_calls",
            calls=[{"name": "order", "arguments": {}}],
            results=0,
            count=None,
        )
        control(installation, "model", behaviour="slow", latency_ms=given.latency_ms, count=None)
        eventually(lambda: {"ai-0", "ai-1"} <= installation.slot_pids().keys(), 60.0, "kind ai runs")
        stop = threading.Event()
        asked: dict[str, float] = {}
        writer = threading.Thread(
            target=write_questions, args=(installation, given.rate, stop, asked), kwargs={"most": given.waiting}
        )
        writer.start()
        try:
            in_hand = kill_lives(
                installation,
                TURNS,
                kills=given.kills,
                between=given.between,
                # anywhere in an answer
                within_s=given.latency_ms / 1000,
                dice=dice,
            )
        finally:
            stop.set()
            writer.join()
        wait_for_end(installation, TURNS)
        installation.wait_idle()
        _judge(installation, figures, asked, orders)
        figures.values = {"kills": given.kills, "kills with a turn in hand": in_hand, **figures.values}
    return figures


def control(installation: Installation, path: str, **body: Any) -> None:
    """Change what the sandbox does."""
    installation.bulkhead.sandbox("POST", f"/control/{path}", json=body).raise_for_status()


def write_questions(
    installation: Installation,
    rate: float,
    stop: threading.Event,
    asked: dict[str, float],
    *,
    first_chat: int = _FIRST_CHAT,
    most: int | None = None,
) -> None:
    """Let customers ask until `stop` is set, each once, while less than `most` wait (None: always); adds the instant of
    each question to `asked`, by chat.
    """

    def ask() -> None:
        chat = str(first_chat + len(asked))
        asked[chat] = time.time()
        control(installation, "inbound", phone_number_id=_NUMBER, **{"from": f"+{chat}"}, text="What is your policy?")

    feed(installation, TURNS, ask, rate=rate, most=most, stop=stop)


@contextmanager
def _shop() -> Iterator[tuple[str, list[str]]]:
    """Run a company's server; yields the address of its function, and the keys of the calls that it gets."""
    orders: list[str] = []

    class Shop(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            orders.append(self.headers["Idempotency-Key"])
            body = b'{"message": "It is on its way."}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/order", orders
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _set_up(installation: Installation, address: str) -> None:
    """Give the company an assistant and a function with effects."""
    settings = {
        "enableAssistant": True,
        "answerDelaySeconds": 0,
        "enableFunctionCalling": True,
        # a turn that was in hand at three deaths is given up, with an apology
        "assistantConfig": {"onFailure": "apology", "apology": "Sorry.", "functionHosts": ["127.0.0.1"]},
    }
    installation.bulkhead.api("PATCH", "/api/v2/companies/demo", json={"settings": settings}).raise_for_status()
    function = {"description": "Orders a parcel.", "url": address, "hasEffects": True}
    path = "/api/v2/companies/demo/functions/order"
    installation.bulkhead.api("PUT", path, json=function).raise_for_status()


def _judge(installation: Installation, figures: Figures, asked: dict[str, float], orders: list[str]) -> None:
    answers: Counter[str] = Counter()
    took: list[float] = []
    for entry in _texts(installation):
        chat = str(entry["to"]).removeprefix("+")
        if chat in asked:
            answers[chat] += 1
            took.append(entry["at"] - asked[chat])
    outcomes = installation.rows("SELECT state || ' ' || reason, count(*) FROM turns GROUP BY 1")
    # a key is that of a turn, the model's call and its place: a turn may have several, and orders once
    of_turn = Counter(key.rsplit("-", 2)[0] for key in orders)
    unclear = "SELECT count(*) FROM tool_calls WHERE state = 'unclear'"
    figures.values |= {
        "questions": len(asked),
        "orders": len(orders),
        "answered once": sum(answers[chat] == 1 for chat in asked),
        "not answered": sum(answers[chat] == 0 for chat in asked),
        "answered twice": sum(answers[chat] > 1 for chat in asked),
        "ordered once": sum(many == 1 for many in of_turn.values()),
        "ordered twice": sum(many > 1 for many in of_turn.values()),
        "orders of which the model learnt that their outcome is not known": int(installation.rows(unclear)[0][0]),
        "turns": {str(name).strip(): int(count) for name, count in outcomes},
        "turns by lives": {
            str(lives): int(count)
            for lives, count in installation.rows("SELECT attempts, count(*) FROM turns GROUP BY 1 ORDER BY 1")
        },
        "question to answer at the provider": spread_ms(took),
        "money still reserved": int(
            installation.rows("SELECT coalesce(sum(reserved_micros), 0) FROM model_spend")[0][0]
        ),
        "load average at the end": round(os.getloadavg()[0], 1),
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
