"""`recovery`: kill -9 of a meta process under load: time until each of its in-flight messages is resolved, and lost or
duplicated messages.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import dataclass

from bench.figures import Figures, spread_ms
from bench.installation import Installation, TenderBulkhead, outcome, running, warm
from tests.support.waiting import eventually


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--kills", type=int, default=10, help="how often a process is killed, the slots in turn")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between kills")
    parser.add_argument("--rate", type=float, default=300.0, help="messages a second")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument(
        "--statuses", default="sent,delivered", help="webhooks for each message; they are what resolves doubt"
    )


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.kills, given.rate, given.every = 1, 50.0, 1.0


@dataclass(frozen=True)
class RecoveryKill:
    """One kill: when (seconds since 1970), and the rows that the process had in flight."""

    at: float
    rows: list[int]


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(
        command="recovery", parameters=vars(given), axes=("messages that were in hand", "seconds until resolved")
    )
    # the restart policy would slow down the many restarts, and is not part of the measurement
    with running(TenderBulkhead) as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        warm(installation, 1.0)
        spec = installation.spec(seconds=given.every * (given.kills + 1), rate=given.rate)
        # in turn, so that each slot is ready again before its next kill
        slots = sorted(slot for slot in installation.slot_pids() if slot.startswith("meta-"))
        kills = []
        with installation.load(spec):
            for number in range(given.kills):
                time.sleep(given.every)
                kills.append(_kill(installation, slots[number % len(slots)]))
        result = installation.load_result(spec)
        # webhooks and reconciliation resolve the rest; a message that is missing after that is lost
        installation.wait_idle()
        _judge(installation, figures, kills)
        figures.values["outcome in the ledger"] = outcome(installation, result)
    return figures


def _kill(installation: Installation, slot: str) -> RecoveryKill:
    """Stop a process, record its in-flight messages, and kill it."""
    eventually(lambda: slot in installation.slot_pids(), 60.0, lambda: f"{slot} is back")
    pid = installation.slot_pids()[slot]
    # stopped first: between the query and the kill the process would continue to send
    os.kill(pid, signal.SIGSTOP)
    rows = installation.rows("SELECT id FROM messages WHERE state = 'sending' AND incarnation LIKE %s", f"{slot}.%")
    at = time.time()
    os.kill(pid, signal.SIGKILL)
    return RecoveryKill(at, [row_id for (row_id,) in rows])


def _judge(installation: Installation, figures: Figures, kills: list[RecoveryKill]) -> None:
    each, last, held = [], [], 0
    for kill in kills:
        found = installation.rows(
            "SELECT extract(epoch FROM sent_at)::float8, held_at IS NOT NULL FROM messages WHERE id = ANY(%s)",
            kill.rows,
        )
        held += sum(is_held for _, is_held in found)
        after = [sent_at - kill.at for sent_at, _ in found if sent_at is not None]
        each += after
        # a kill counts as resolved with its last message
        last.append(max(after, default=0.0))
    figures.values |= {
        "kills": len(kills),
        "messages in hand": sum(len(kill.rows) for kill in kills),
        "kill -9 to resolved, each message": spread_ms(each),
        "kill -9 to resolved, the last one of each kill": spread_ms(last),
        "held for a human": held,
    }
    figures.series["resolved"] = [(float(number), seconds) for number, seconds in enumerate(sorted(each))]
