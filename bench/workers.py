"""`queue`: our hint worker compared with stock RQ workers and Dramatiq: jobs a second, and the cost of each job in
Redis.

All jobs are empty, so that the comparison is about the path of a job through Redis to its worker. Ours passes row ids;
the claim in PostgreSQL, which makes it safe, is measured by `throughput`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from bench.figures import Figures
from bench.worker_jobs import QUEUE, THREADS, nothing
from shared.kinds import kind_named
from shared.process.beats import Beats
from shared.queues.hints import Hints
from shared.queues.worker import HintWorker
from tests.support import environment
from tests.support.servers import Servers

_EMPTY_S = 300.0
"""Seconds within which every worker must empty its queue; only a broken one needs more."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=20_000,
        help="jobs for our worker; Dramatiq and SimpleWorker get a tenth, the forking worker a hundredth",
    )
    parser.add_argument("--batch", type=int, default=20, help="hints given at once, as a commit's worth of messages is")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.jobs = 1000


def run(given: argparse.Namespace) -> Figures:
    """Measure, one after the other on one Redis."""
    figures = Figures(command="queue", parameters=vars(given), axes=("jobs a second", ""))
    servers = Servers()
    try:
        url = servers.new_redis()
        rows: list[tuple[str, int, Callable[[str, int, int], dict[str, object]]]] = [
            ("our hint worker", given.jobs, _ours),
            ("rq SimpleWorker", given.jobs // 10, lambda *known: _stock("simple", *known)),
            ("rq Worker", max(10, given.jobs // 100), lambda *known: _stock("rq", *known)),
        ]
        if find_spec("dramatiq") is None:
            figures.values["dramatiq"] = "not installed: pip install -r bench/requirements.txt"
        else:
            rows.append((f"dramatiq, {THREADS} threads", given.jobs // 10, _dramatiq))
        for name, jobs, measure in rows:
            # empty: this worker would otherwise read and expire the previous one's keys
            servers.new_redis()
            figures.values[name] = measure(url, jobs, given.batch)
            figures.bars[name] = figures.values[name]["jobs a second"]
        ours, stock = figures.values["our hint worker"], figures.values["rq Worker"]
        figures.values["ours to rq Worker"] = round(ours["jobs a second"] / stock["jobs a second"], 1)
    finally:
        servers.close()
    return figures


class _Reads:
    """Redis's work between two samples: reads from clients are round trips, whatever a pipeline or a script
    contains.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        reported = self._client.info("stats")
        # INFO stats of Redis: a read is one read(2) from a client's socket, however many commands it carries
        return int(reported["total_reads_processed"]), int(reported["total_commands_processed"])

    def a_job(self, jobs: int) -> dict[str, float]:
        """Return round trips and commands per job since the last sample."""
        now, before = self._now(), self._before
        # sampled again, so that our own INFO does not count
        self._before = self._now()
        return {
            "round trips a job": round((now[0] - before[0] - 1) / jobs, 3),
            "commands a job": round((now[1] - before[1] - 1) / jobs, 2),
        }


def _ours(url: str, jobs: int, batch: int) -> dict[str, object]:
    hints, kind, reads = Hints(url, 2.0, "bench"), replace(kind_named("meta"), name=QUEUE), _Reads(url)
    # of this process only; commands and reads show Redis's part
    cpu = time.process_time()
    for start in range(0, jobs, batch):
        # rows are numbered from 1
        hints.give(kind, range(start + 1, min(jobs, start + batch) + 1))
    given_cpu, given = time.process_time() - cpu, reads.a_job(jobs)
    taken, over = 0, threading.Event()

    def offer(ids: list[int]) -> None:
        nonlocal taken
        taken += len(ids)
        if taken >= jobs:
            over.set()

    worker = HintWorker(
        hints, kind, name="bench", capacity=lambda: batch, offer=offer, beat=Beats().loop("hints", 30.0)
    )
    thread = threading.Thread(target=worker.work)
    cpu, began = time.process_time(), time.perf_counter()
    thread.start()
    # set in the worker's thread, so that the time ends with the last job and not with a poll
    if not over.wait(_EMPTY_S):
        raise TimeoutError(f"{taken} of {jobs} jobs were taken")
    took, taken_cpu = time.perf_counter() - began, time.process_time() - cpu
    figures = reads.a_job(jobs)
    worker.stop()
    # wakes it from its wait
    hints.give(kind, [1])
    thread.join()
    hints.close()
    return {
        "jobs a second": round(jobs / took, 1),
        **figures,
        "to enqueue": given | {"CPU µs a job": round(given_cpu / jobs * 1e6, 1)},
        "CPU µs a job": round(taken_cpu / jobs * 1e6, 1),
    }


def _stock(kind: str, url: str, jobs: int, batch: int) -> dict[str, object]:
    queue = Queue(QUEUE, connection=redis.Redis.from_url(url), serializer=JSONSerializer)
    reads = _Reads(url)
    cpu = time.process_time()
    for start in range(0, jobs, batch):
        queue.enqueue_many(
            [
                Queue.prepare_data(nothing, args=(number,), result_ttl=0)
                for number in range(start, min(jobs, start + batch))
            ]
        )
    given_cpu, given = time.process_time() - cpu, reads.a_job(jobs)
    with _worker(kind, url) as process:
        assert process.stdin is not None
        reads.a_job(jobs)
        used, began = _children_cpu_s(), time.perf_counter()
        # the worker has imported everything and waits for this line, so that its start is not measured
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait(_EMPTY_S)
        took = time.perf_counter() - began
    if queue.count:
        raise RuntimeError(f"{queue.count} jobs are left")
    return {
        "jobs a second": round(jobs / took, 1),
        **reads.a_job(jobs),
        "to enqueue": given | {"CPU µs a job": round(given_cpu / jobs * 1e6, 1)},
        # includes its start, a constant few hundred milliseconds
        "CPU µs a job": round((_children_cpu_s() - used) / jobs * 1e6, 1),
    }


def _dramatiq(url: str, jobs: int, _batch: int) -> dict[str, object]:
    import dramatiq  # noqa: PLC0415 - not installed everywhere
    from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415 - as above

    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    actor = dramatiq.actor(nothing, queue_name=QUEUE)
    reads = _Reads(url)
    cpu = time.process_time()
    for number in range(jobs):
        actor.send(number)
    given_cpu, given = time.process_time() - cpu, reads.a_job(jobs)
    with _worker("dramatiq", url) as process:
        assert process.stdin is not None
        reads.a_job(jobs)
        used, began = _children_cpu_s(), time.perf_counter()
        process.stdin.write(b"\n")
        process.stdin.flush()
        # polls Redis, which adds a few reads to the worker's
        broker.join(QUEUE, timeout=int(_EMPTY_S * 1000))
        took = time.perf_counter() - began
        figures = reads.a_job(jobs)
        process.stdin.close()
        process.wait(_EMPTY_S)
    broker.close()
    return {
        "jobs a second": round(jobs / took, 1),
        **figures,
        "to enqueue": given | {"CPU µs a job": round(given_cpu / jobs * 1e6, 1)},
        "CPU µs a job": round((_children_cpu_s() - used) / jobs * 1e6, 1),
    }


def _worker(kind: str, url: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.worker_jobs", kind, url],
        cwd=environment.REPOSITORY,
        env=environment.clean(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"the {kind} worker did not start")
    return process


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
