"""Hints are ordinary RQ jobs; what Redis loses, repeats or forgets ends within the limit and harms no process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis as redis_py
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.worker import Worker

from shared.clock import monotonic
from shared.errors import QueueUnavailable
from shared.kinds import kind_named
from shared.process.beats import Beats
from shared.queues import stock_rq
from shared.queues.hints import GIVE_AT_ONCE, Hints
from shared.queues.stock_rq import HINT_TTL_S, JOB_TIMEOUT_S
from shared.queues.worker import HintWorker
from shared.settings import variables
from tests.queues import jobs
from tests.queues.env import Redis
from tests.support import environment
from tests.support.waiting import deadline_s, eventually, joined

META = kind_named("meta")
LIMIT_S = 0.5
HERE = "here"
"""Name of the installation."""
SLACK_S = 1.0
SHORTEST_S = variables()["REDIS_TIMEOUT_S"].low or 0.0


@pytest.fixture
def hints(redis_url: str) -> Iterator[Hints]:
    """Hints over an empty Redis."""
    opened = Hints(redis_url, LIMIT_S, HERE)
    yield opened
    opened.close()


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis to be stopped, frozen and started."""
    with Redis() as opened:
        yield opened


class Running:
    """A hint worker in its thread.

    Attributes:
        offered: row ids it offered, in order. capacity: how many more it can take.
    """

    def __init__(self, url: str, *, name: str = "meta-0.a", timeout_s: float = LIMIT_S) -> None:
        self.hints = Hints(url, timeout_s, HERE)
        self.offered: list[int] = []
        self.capacity = 100
        self.beats = Beats()
        self.worker = HintWorker(
            self.hints,
            META,
            name=name,
            capacity=lambda: self.capacity,
            offer=self._take,
            beat=self.beats.loop("hints", timeout_s * 3 + 2.0),
        )
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name=name)

    def _take(self, ids: list[int]) -> None:
        self.offered += ids
        self.capacity -= len(ids)

    def _work(self) -> None:
        try:
            self.worker.work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.errors.append(error)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def stop(self) -> float:
        """Stop it and return how long that took, in seconds."""
        started = monotonic()
        self.worker.stop()
        joined(self._thread, 20)
        return monotonic() - started

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.hints.close()
        assert not self.errors, self.errors

    def until(self, *row_ids: int, within_s: float = 10.0) -> None:
        """Wait until these rows were offered."""
        eventually(
            lambda: set(row_ids) <= set(self.offered),
            within_s,
            lambda: f"{row_ids} offered; were: {self.offered[-10:]}",
        )


class TestJobs:
    def test_they_are_ordinary(self, hints: Hints) -> None:
        hints.give(META, [7, 8])
        job = Job.fetch("m-here-7", connection=hints.client, serializer=JSONSerializer)
        assert (job.func_name, tuple(job.args), job.kwargs, job.origin, job.timeout) == (
            "meta.job.deliver",
            (7,),
            {},
            "meta-here",
            JOB_TIMEOUT_S,
        )
        assert Queue("meta-here", connection=hints.client, serializer=JSONSerializer).job_ids == [
            "m-here-7",
            "m-here-8",
        ]

    def test_rq_info_sees_queue_and_worker(self, hints: Hints, redis_url: str) -> None:
        with Running(redis_url, name="meta-0.shown") as running:
            running.capacity = 0
            eventually(lambda: running.worker.is_connected, 5)
            hints.give(META, [1, 2, 3])
            # a sibling of the interpreter, links kept
            rq = os.path.join(os.path.dirname(sys.executable), "rq")  # noqa: PTH118, PTH120
            said = subprocess.run(
                [rq, "info", "--url", redis_url, "--raw"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                env=environment.clean(),
            )
        assert "queue meta-here 3" in said.stdout, said
        assert re.search(r"worker meta-0\.shown .* idle meta-here", said.stdout), said

    def test_their_fields_and_life_are_those_that_rq_gives(self, hints: Hints) -> None:
        hints.give(META, [7])
        # without decoding, all is bytes
        ours: dict[bytes, bytes] = hints.client.hgetall("rq:job:m-here-7")  # type: ignore[assignment]
        queue = Queue("meta-here", connection=hints.client, serializer=JSONSerializer)
        limits = {"job_timeout": JOB_TIMEOUT_S, "result_ttl": 0, "failure_ttl": 60, "ttl": HINT_TTL_S}
        queue.enqueue("meta.job.deliver", 8, job_id="m-here-8", description="row 8", **limits)
        theirs: dict[bytes, bytes] = hints.client.hgetall("rq:job:m-here-8")  # type: ignore[assignment]  # as above
        differ = {b"data", b"description", b"created_at", b"enqueued_at"}
        assert ours.keys() == theirs.keys()
        assert {name: value for name, value in ours.items() if name not in differ} == {
            name: value for name, value in theirs.items() if name not in differ
        }
        assert [len(ours[name]) for name in (b"created_at", b"enqueued_at")] == [
            len(theirs[name]) for name in (b"created_at", b"enqueued_at")
        ]
        assert abs(int(hints.client.ttl("rq:job:m-here-7")) - int(hints.client.ttl("rq:job:m-here-8"))) <= 1
        assert hints.client.smembers(Queue.redis_queues_keys) == {b"rq:queue:meta-here"}

    def test_more_than_one_call_takes_keep_their_order(self, hints: Hints) -> None:
        ids = list(range(1, GIVE_AT_ONCE * 2 + 10))
        hints.give(META, ids)
        assert hints.take(META, len(ids)) == ids

    def test_nothing_private_is_in_them(self, hints: Hints) -> None:
        hints.give(META, [7])
        # without decoding, all is bytes
        stored: dict[bytes, bytes] = hints.client.hgetall("rq:job:m-here-7")  # type: ignore[assignment]
        assert json.loads(zlib.decompress(stored[b"data"])) == ["meta.job.deliver", None, [7], {}]
        assert stored[b"description"] == b"row 7"

    def test_a_stock_worker_can_run_them(self, hints: Hints) -> None:
        kind = replace(META, name="proof", job="tests.queues.jobs.look_at")
        hints.give(kind, [11, 12])
        jobs.seen.clear()
        stock = SimpleWorker(
            [Queue("proof-here", connection=hints.client, serializer=JSONSerializer)],
            connection=hints.client,
            serializer=JSONSerializer,
        )
        assert stock.work(burst=True, logging_level="ERROR")
        assert jobs.seen == [11, 12]

    def test_what_was_taken_is_gone(self, hints: Hints) -> None:
        hints.give(META, range(1, 8))
        assert hints.depth(META) == 7
        assert hints.take(META, 3) == [1, 2, 3]
        assert hints.take(META, 100) == [4, 5, 6, 7]
        assert hints.take(META, 100) == []
        assert hints.client.keys("rq:job:*") == []

    def test_one_that_was_given_twice_is_harmless(self, hints: Hints) -> None:
        hints.give(META, [5, 5])
        hints.give(META, [5])
        assert set(hints.take(META, 100)) <= {5}
        assert hints.depth(META) == 0

    def test_two_installations_on_one_redis_take_their_own(self, hints: Hints, redis_url: str) -> None:
        other = Hints(redis_url, LIMIT_S, "there")
        hints.give(META, [1, 2])
        other.give(META, [2, 3])
        assert other.take(META, 10) == [2, 3]
        assert hints.take(META, 10) == [1, 2]
        other.close()

    def test_none_are_given_or_taken_before_the_installation_is_known(self, redis_url: str) -> None:
        hints = Hints(redis_url, LIMIT_S)
        for call in (lambda: hints.give(META, [1]), lambda: hints.take(META, 1), lambda: hints.depth(META)):
            with pytest.raises(QueueUnavailable, match="which installation"):
                call()
        hints.belong_to(HERE)
        hints.give(META, [1])
        assert hints.take(META, 1) == [1]
        hints.close()

    def test_no_rows_no_call(self, free_ports: Callable[[int], list[int]]) -> None:
        Hints(f"redis://127.0.0.1:{free_ports(1)[0]}/0", LIMIT_S, HERE).give(META, [])

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no zlib",
            zlib.compress(b"no json"),
            zlib.compress(b"[]"),
            zlib.compress(b'["f", null, [], {}]'),
            zlib.compress(b'["f", null, ["seven"], {}]'),
            zlib.compress(b'["f", null, [true], {}]'),
            zlib.compress(b'["f", null, [1.5], {}]'),
            zlib.compress(b'{"a": 1}'),
            zlib.compress(b"7"),
            zlib.compress(b'["f", null, [9223372036854775808], {}]'),
            zlib.compress(b'["f", null, [0], {}]'),
            zlib.compress(b'["f", null, [-7], {}]'),
            zlib.compress(b'["f", null, [' + b"9" * 3000 + b"], {}]"),
            zlib.compress(b"[" * 200_000),
            zlib.compress(b"[" * 4000),
            zlib.compress(b"[" * 1500 + b"]" * 1500),
            zlib.compress(b" " * 50_000_000),
            os.urandom(100_000),
            DefaultSerializer.dumps(("os.system", None, ("true",), {})),
        ],
    )
    def test_junk_is_dropped(self, hints: Hints, data: bytes) -> None:
        hints.give(META, [1])
        hints.client.hset("rq:job:junk", "data", data)
        hints.client.rpush("rq:queue:meta-here", "junk", "gone")
        hints.give(META, [2])
        assert hints.take(META, 100) == [1, 2]
        assert hints.client.keys("rq:job:*") == []


class TestHintsOfTheVersionBefore:
    """Its queues had the kind's bare name."""

    @staticmethod
    def old_queue(hints: Hints) -> Queue:
        queue = Queue("meta", connection=hints.client, serializer=JSONSerializer)
        for row in range(1, 6):
            queue.enqueue("meta.job.deliver", row, job_id=f"m-{row}")
        return queue

    def test_they_are_dropped(self, hints: Hints) -> None:
        self.old_queue(hints)
        hints.give(META, [7])
        assert hints.drop_old(META) == 5
        assert sorted(hints.client.keys("rq:job:*")) == [b"rq:job:m-here-7"]
        assert hints.client.smembers(Queue.redis_queues_keys) == {b"rq:queue:meta-here"}
        assert hints.drop_old(META) == 0

    def test_they_stay_while_a_worker_listens_to_them(self, hints: Hints) -> None:
        """In a rolling upgrade the other host still runs the version before."""
        queue = self.old_queue(hints)
        worker = SimpleWorker([queue], name="meta-0.old", connection=hints.client, serializer=JSONSerializer)
        worker.register_birth()
        assert hints.drop_old(META) == 0
        assert queue.count == 5
        # what a kill -9 leaves: RQ still lists it, and its key has expired
        hints.client.delete(worker.key)
        assert hints.drop_old(META) == 5

    def test_jobs_of_another_program_stay(self, hints: Hints) -> None:
        queue = self.old_queue(hints)
        queue.enqueue("print", 1, job_id="mail-1")
        queue.enqueue("print", 2, job_id="m-9")
        assert hints.drop_old(META) == 5
        assert queue.job_ids == ["mail-1", "m-9"]

    def test_a_worker_drops_them(self, hints: Hints, redis_url: str) -> None:
        queue = self.old_queue(hints)
        with Running(redis_url) as running:
            eventually(lambda: queue.count == 0, 5, "they are dropped")
            assert running.offered == []


class TestLimits:
    """Every call ends, and says what is the matter."""

    def calls(self, hints: Hints) -> list[Callable[[], Any]]:
        return [lambda: hints.give(META, [1]), lambda: hints.take(META, 10), hints.ping, lambda: hints.depth(META)]

    def test_not_there(self, free_ports: Callable[[int], list[int]]) -> None:
        hints = Hints(f"redis://127.0.0.1:{free_ports(1)[0]}/0", LIMIT_S, HERE)
        for call in self.calls(hints):
            started = monotonic()
            with pytest.raises(QueueUnavailable):
                call()
            assert monotonic() - started < deadline_s(LIMIT_S)

    def test_frozen(self, own_redis: Redis) -> None:
        hints = Hints(own_redis.url, LIMIT_S, HERE)
        hints.ping()
        with own_redis.frozen():
            for call in self.calls(hints):
                started = monotonic()
                with pytest.raises(QueueUnavailable):
                    call()
                assert monotonic() - started < deadline_s(LIMIT_S + SLACK_S)
        hints.ping()
        hints.close()

    @pytest.mark.parametrize(
        ("refuse", "take_again"),
        [
            ("ACL SETUSER default -@write", "ACL SETUSER default +@write"),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ],
    )
    def test_a_server_that_answers_and_takes_nothing_is_away(
        self, own_redis: Redis, refuse: str, take_again: str
    ) -> None:
        hints = Hints(own_redis.url, LIMIT_S, HERE)
        say: Callable[..., Any] = hints.client.execute_command
        hints.ping()
        say(*refuse.split())
        assert hints.client.ping()
        with pytest.raises(QueueUnavailable):
            hints.ping()
        say(*take_again.split())
        hints.ping()
        hints.close()

    def test_stopped_and_back(self, own_redis: Redis) -> None:
        hints = Hints(own_redis.url, LIMIT_S, HERE)
        hints.give(META, [1])
        own_redis.stop()
        for call in self.calls(hints):
            with pytest.raises(QueueUnavailable):
                call()
        own_redis.start()
        assert hints.take(META, 10) == []
        hints.give(META, [2])
        assert hints.take(META, 10) == [2]
        hints.close()

    def test_a_give_is_not_repeated_behind_our_back(self, own_redis: Redis) -> None:
        """redis-py would try again by itself, and put the same job in twice when only the answer was lost."""
        hints = Hints(own_redis.url, LIMIT_S, HERE)
        hints.ping()
        with own_redis.frozen(), pytest.raises(QueueUnavailable):
            hints.give(META, [1])
        assert hints.depth(META) <= 1
        hints.client.flushdb()
        hints.close()


class TestWorker:
    def test_it_offers_what_comes_in_order(self, hints: Hints, redis_url: str) -> None:
        with Running(redis_url) as running:
            hints.give(META, [3, 1, 2])
            running.until(3, 1, 2)
            assert running.offered == [3, 1, 2]
            hints.give(META, [9])
            running.until(9, within_s=2)

    def test_it_takes_no_more_than_there_is_room_for(self, hints: Hints, redis_url: str) -> None:
        with Running(redis_url) as running:
            running.capacity = 0
            eventually(lambda: running.worker.is_connected, 5)
            hints.give(META, range(1, 11))
            running.capacity = 2
            running.until(1, 2)
            assert running.capacity == 0
            assert hints.depth(META) == 8
            running.capacity = 50
            running.until(*range(1, 11))

    def test_it_beats_and_stops_soon(self, redis_url: str) -> None:
        with Running(redis_url) as running:
            eventually(lambda: running.worker.is_connected, 5)
            assert running.beats.stale() == []
            assert running.stop() < 2.0
        with redis_py.Redis.from_url(redis_url) as client:
            assert Worker.all(connection=client) == []

    def test_it_starts_without_redis_and_finds_it(self, own_redis: Redis) -> None:
        own_redis.stop()
        with Running(own_redis.url) as running:
            eventually(lambda: running.beats.stale() == [] and not running.worker.is_connected, 5)
            own_redis.start()
            eventually(lambda: running.worker.is_connected, 5)
            running.hints.give(META, [1])
            running.until(1)

    def test_it_outlives_a_restart(self, own_redis: Redis) -> None:
        with Running(own_redis.url, name="meta-0.restart") as running:
            running.hints.give(META, [1])
            running.until(1)
            own_redis.stop()
            eventually(lambda: not running.worker.is_connected, 5)
            own_redis.start()
            eventually(lambda: running.worker.is_connected, 5)
            running.hints.give(META, [2])
            running.until(2)
            assert self.born(running, "meta-0.restart"), "and is shown in rq info again"

    def test_it_outlives_a_freeze_and_reports_the_truth(self, own_redis: Redis) -> None:
        with Running(own_redis.url) as running:
            eventually(lambda: running.worker.is_connected, 5)
            with own_redis.frozen():
                eventually(lambda: not running.worker.is_connected, LIMIT_S + 2)
                assert running.beats.stale() == [], "its loop goes round"
            eventually(lambda: running.worker.is_connected, 5)
            running.hints.give(META, [1])
            running.until(1)

    def test_it_stops_within_two_seconds_of_a_frozen_redis(self, own_redis: Redis) -> None:
        with Running(own_redis.url) as running:
            eventually(lambda: running.worker.is_connected, 5)
            with own_redis.frozen():
                assert running.stop() < 2.0

    def test_it_outlives_a_flush(self, hints: Hints, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stock_rq, "REGISTER_S", 0.2)
        with Running(redis_url, name="meta-0.flushed") as running:
            eventually(lambda: self.born(running, "meta-0.flushed"), 5)
            hints.client.flushall()
            hints.give(META, [1])
            running.until(1)
            eventually(lambda: self.born(running, "meta-0.flushed"), 5, "it is shown in rq info again")
            assert 0 < hints.client.ttl("rq:worker:meta-0.flushed") < 3600

    def test_a_low_time_limit_is_no_outage(self, redis_url: str) -> None:
        """The longest wait for work must stay below what counts as silence."""
        with Running(redis_url, timeout_s=SHORTEST_S) as running:
            eventually(lambda: running.worker.is_connected, 5)
            lost: list[bool] = []

            def watch() -> bool:
                lost.append(not running.worker.is_connected)
                return len(lost) > 100

            eventually(watch, 10, poll_s=0.02)
            assert not any(lost)

    @staticmethod
    def born(running: Running, name: str) -> bool:
        """Whether RQ shows the worker."""
        return name in [
            worker.name for worker in Worker.all(connection=running.hints.client, serializer=JSONSerializer)
        ]
