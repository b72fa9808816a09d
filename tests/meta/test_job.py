"""A stock `rq worker meta` beside ours, on the same queue: slow, and safe."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.settings import to_environ
from shared.store.store import installation
from tests.meta.env import KIND, MetaEnv
from tests.meta.seed import D360, DIRECT, EMBEDDED
from tests.support import environment, processes
from tests.support.waiting import eventually

SIMPLE = "rq.worker.SimpleWorker"
"""RQ's own worker that does not fork."""


@contextmanager
def stock_worker(env: MetaEnv, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of RQ's own, with this installation's settings in its environment; ended with the block, however that
    ends.
    """
    variables: dict[str, Any] = dict(to_environ(env.settings))
    rq = str(Path(sys.executable).with_name("rq"))
    worker = subprocess.Popen(
        [
            rq,
            "worker",
            f"meta-{env.store.run(installation)}",
            "--serializer",
            "rq.serializers.JSONSerializer",
            "--quiet",
            "--url",
            env.settings.redis_url,
            *options,
        ],
        cwd=environment.REPOSITORY,
        env=environment.clean(**variables) | {"PYTHONPATH": str(environment.REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with worker:  # closes the pipe and reaps
        try:
            yield worker
        finally:
            # RQ's forking worker has a child of its own
            processes.end([*processes.living_descendants(worker.pid), *([worker.pid] if worker.poll() is None else [])])


def finish(worker: subprocess.Popen[bytes]) -> str:
    """Wait until it has left in order, and return what it said."""
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, output.decode()
    return output.decode()


def senders(env: MetaEnv, rows: list[int]) -> set[str]:
    """Return which workers have begun to send any of these rows."""
    found = env.query("SELECT DISTINCT incarnation FROM events WHERE state = 'sending' AND message_id = ANY(%s)", rows)
    return {"stock" if name.startswith("rq.") else "ours" for (name,) in found}


def test_a_stock_worker_alone_sends_everything_in_order(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env()
    env.sandbox.start()
    env.sandbox.wait_ready()
    chats = {DIRECT: "15550600001", EMBEDDED: "15550600002", D360: "15550600003"}
    rows = {
        index: env.send_many([(chat, f"text {number}") for number in range(3)], phone_index=index)
        for index, chat in chats.items()
    }
    env.control("POST", "faults", {"fault": "error", "code": 131026, "to": chats[EMBEDDED]})
    with stock_worker(env, "--burst") as stock:
        finish(stock)
    assert [env.state(row) for row in rows[DIRECT] + rows[D360]] == ["sent"] * 6
    assert [env.state(row) for row in rows[EMBEDDED]] == ["failed", "sent", "sent"]
    for index in chats:
        bodies = [entry["message"]["text"]["body"] for row in rows[index] for entry in env.arrived(row)]
        assert bodies == [f"text {number}" for number in range(3)][-len(bodies) :]
        sequence = [entry["seq"] for row in rows[index] for entry in env.arrived(row)]
        assert sequence == sorted(sequence)
    assert senders(env, rows[DIRECT] + rows[EMBEDDED] + rows[D360]) == {"stock"}


def test_ours_and_a_stock_one_on_one_queue_send_each_message_once(own_env: Callable[..., MetaEnv]) -> None:
    # one send in hand at a time: ours takes a hint only when it has sent the one before, so that hints are left for the
    # other
    env = own_env(meta_in_flight=1)
    env.start()
    env.control("POST", "settings", {"latency_ms": 20})
    rows: list[int] = []

    def accept(count: int) -> list[int]:
        """Accept so many more, and give every hint twice: both workers look at the same row, often at the same time."""
        texts = [(f"15550700{number % 25:03}", "both") for number in range(len(rows), len(rows) + count)]
        accepted = env.send_many(texts)
        env.hints.give(KIND, accepted)
        rows.extend(accepted)
        return accepted

    with stock_worker(env, "--worker-class", SIMPLE) as stock:

        def begun(of: list[int], by_whom: set[str]) -> bool:
            assert stock.poll() is None, finish(stock)
            return senders(env, of) >= by_whom

        # ours stands still until the other one, which takes a while to start, has sent something
        env.meta.process.send_signal(signal.SIGSTOP)
        try:
            accept(50)
            eventually(lambda: begun(rows, {"stock"}), 60, "the stock worker sends")
        finally:
            env.meta.process.send_signal(signal.SIGCONT)
        # from here on both work, and there is always something left for each, until both have sent something of this
        together = accept(50)

        def both_took_part() -> bool:
            if env.hints.depth(KIND) < 20:
                together.extend(accept(20))
            return begun(together, {"stock", "ours"})

        eventually(both_took_part, 60, lambda: f"both send; {senders(env, together)} sent something of {len(together)}")
        for row in rows:
            env.wait_state(row, "delivered", within_s=60)
        stock.terminate()
        finish(stock)
    assert [len(env.arrived(row)) for row in rows] == [1] * len(rows)


def test_a_hint_for_a_row_that_is_not_due_or_not_there_sends_nothing(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env()
    env.sandbox.start()
    env.sandbox.wait_ready()
    first, second = env.send_many([("15550600009", "one"), ("15550600009", "two")], hint=False)
    env.query("UPDATE messages SET not_before = now() + interval '1 hour' WHERE id = %s RETURNING id", first)
    env.hints.give(KIND, [second, 987654321])
    with stock_worker(env, "--burst") as stock:
        finish(stock)
    assert [env.state(first), env.state(second)] == ["queued", "queued"]
    assert env.asked(first) == env.asked(second) == 0
