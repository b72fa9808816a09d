"""A stock `rq worker meta` beside ours, on the same queue: slow, and safe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.clock import monotonic
from shared.settings import to_environ
from tests.meta.seed import D360, DIRECT, EMBEDDED
from tests.meta.town import KIND, Town
from tests.support import environment, processes

SIMPLE = "rq.worker.SimpleWorker"
"""RQ's own worker that does not fork."""


def stock_worker(town: Town, *options: str) -> subprocess.Popen[bytes]:
    """Start a worker of RQ's own, with this installation's settings in its environment."""
    variables: dict[str, Any] = dict(to_environ(town.settings))
    rq = str(Path(sys.executable).with_name("rq"))
    return subprocess.Popen(
        [rq, "worker", "meta", "--serializer", "rq.serializers.JSONSerializer", "--quiet", "--url", town.settings.redis_url, *options],
        cwd=environment.REPOSITORY,
        env=environment.clean(**variables) | {"PYTHONPATH": str(environment.REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(worker: subprocess.Popen[bytes]) -> str:
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, output.decode()
    return output.decode()


def incarnations(town: Town) -> set[str]:
    rows = town.query("SELECT DISTINCT incarnation FROM message_events WHERE state = 'sending'")
    return {"stock" if name.startswith("rq.") else "ours" for (name,) in rows}


def test_a_stock_worker_alone_sends_everything_in_order(own_town: Callable[..., Town]) -> None:
    town = own_town()
    town.sandbox.start()
    town.sandbox.wait_ready()
    chats = {DIRECT: "15550600001", EMBEDDED: "15550600002", D360: "15550600003"}
    rows = {index: town.send_many([(chat, f"text {number}") for number in range(3)], phone_index=index) for index, chat in chats.items()}
    town.control("POST", "faults", {"fault": "error", "code": 131026, "to": chats[EMBEDDED]})
    finish(stock_worker(town, "--burst"))
    assert [town.state(row) for row in rows[DIRECT] + rows[D360]] == ["sent"] * 6
    assert [town.state(row) for row in rows[EMBEDDED]] == ["failed", "sent", "sent"]
    for index in chats:
        arrivals = [entry["message"]["text"]["body"] for row in rows[index] for entry in town.arrived(row)]
        assert arrivals == [f"text {number}" for number in range(3)][-len(arrivals) :]
        sequence = [entry["seq"] for row in rows[index] for entry in town.arrived(row)]
        assert sequence == sorted(sequence)
    assert incarnations(town) == {"stock"}


def test_ours_and_a_stock_one_on_one_queue_send_each_message_once(own_town: Callable[..., Town]) -> None:
    town = own_town()
    town.start()
    town.control("POST", "settings", {"latency_ms": 30})
    rows: list[int] = []
    stock = stock_worker(town, "--worker-class", SIMPLE)
    by = monotonic() + 60
    try:
        while len(rows) < 200 or incarnations(town) != {"stock", "ours"}:
            assert stock.poll() is None, finish(stock)
            assert monotonic() < by, f"only {incarnations(town)} sent anything of {len(rows)}"
            # every hint is given twice: both workers look at the same row, often at the same time
            (row,) = town.send_many([(f"15550700{len(rows) % 50:03}", "both")])
            town.hints.give(KIND, [row])
            rows.append(row)
        for row in rows:
            town.wait_state(row, "delivered", within_s=60)
        stock.terminate()
        finish(stock)
    finally:
        processes.end([stock.pid] if stock.poll() is None else [])
    assert [len(town.arrived(row)) for row in rows] == [1] * len(rows)


def test_a_hint_for_a_row_that_is_not_due_or_not_there_sends_nothing(own_town: Callable[..., Town]) -> None:
    town = own_town()
    town.sandbox.start()
    town.sandbox.wait_ready()
    first, second = town.send_many([("15550600009", "one"), ("15550600009", "two")], hint=False)
    town.query("UPDATE messages SET not_before = now() + interval '1 hour' WHERE id = %s RETURNING id", first)
    town.hints.give(KIND, [second, 987654321])
    finish(stock_worker(town, "--burst"))
    assert [town.state(first), town.state(second)] == ["queued", "queued"]
    assert town.asked(first) == town.asked(second) == 0
