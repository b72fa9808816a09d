"""The empty job of the queue benchmark, and stock workers in a process of their own.

`python -m bench.worker_jobs KIND URL` prints `ready`, waits for a line on its standard input, and then works: `rq` (a
fork for each job) and `simple` until the queue is empty, `dramatiq` until its standard input ends.
"""

from __future__ import annotations

import logging
import sys

import redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer

QUEUE = "bench"
THREADS = 8
"""Dramatiq's default number of threads for each process."""


def nothing(row_id: int) -> None:
    """Do nothing."""


def main(words: list[str]) -> int:
    """Run the worker that `words` name: kind and Redis address."""
    kind, url = words
    if kind == "dramatiq":
        return _dramatiq(url)
    connection = redis.Redis.from_url(url)
    stock = {"rq": Worker, "simple": SimpleWorker}[kind](
        [Queue(QUEUE, connection=connection, serializer=JSONSerializer)],
        connection=connection,
        serializer=JSONSerializer,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    stock.work(burst=True, logging_level="ERROR")
    return 0


def _dramatiq(url: str) -> int:
    import dramatiq  # noqa: PLC0415 - not installed everywhere
    from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415 - as above

    # a log line for each job would cost more than the job
    logging.disable(logging.WARNING)
    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    dramatiq.actor(nothing, queue_name=QUEUE)
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    print("ready", flush=True)
    sys.stdin.readline()
    worker.start()
    # a Dramatiq worker does not end with its queue, so that the benchmark closes this pipe
    sys.stdin.read()
    worker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
