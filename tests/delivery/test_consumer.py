"""Everything a kind needs to deliver, in one real process: hinted, unhinted, killed, drained, with Redis in every bad
state."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.kinds import kind_named
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.queues.hints import Hints
from shared.store.store import installation
from tests.queues.env import Redis
from tests.store.env import StoreEnv, away
from tests.support import ports
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import eventually

META = kind_named("meta")


class Post:
    """One sending process, its provider's book and the database that it works from."""

    def __init__(self, home: Path, env: StoreEnv, redis_url: str, variables: dict[str, Any]) -> None:
        self.env, self.book, self.home = env, home / "book", home
        self.admin = ports.free_port_block(104)
        given: dict[str, Any] = {
            "database_url": env.url,
            "redis_url": redis_url,
            "redis_timeout_s": 0.5,
            "admin_port": self.admin,
            "process_admin_port": self.admin,
            "meta_port": self.admin + 100,
            "meta_messages_per_second": 0,
            "meta_pair_limit": "off",
            "in_doubt_window_s": 0.2,
            "webhook_repeat_s": 0.2,
            "ledger": self.book,
        }
        self.entry = Entry("meta", home, module="tests.delivery.ledger_service", **(given | variables))
        self.hints = Hints(redis_url, 1.0, env.store.run(installation))

    def start(self) -> Post:
        """Start it and wait until it is ready."""
        self.entry.start().wait_ready()
        return self

    def taken(self) -> list[int]:
        """Return what the provider took, in order."""
        return [int(line.split()[0]) for line in self.book.read_text().splitlines()] if self.book.exists() else []

    def until_sent(self, ids: list[int], within_s: float = 30.0) -> None:
        """Wait until the database says that all are sent."""
        eventually(
            lambda: {row["state"] for row in self.env.rows(ids)} == {"sent"},
            within_s,
            lambda: f"{Counter(row['state'] for row in self.env.rows(ids))}\n{self.entry.log.read_text()[-3000:]}",
            poll_s=0.05,
        )

    def assert_once_and_in_order(self, ids: list[int]) -> None:
        """Fail unless the provider took each message once, and each chat's in their order."""
        chats = {row["id"]: row["chat_id"] for row in self.env.rows(ids)}
        assert sorted(self.taken()) == sorted(ids)
        by_chat: dict[str, list[int]] = defaultdict(list)
        for row_id in self.taken():
            by_chat[chats[row_id]].append(row_id)
        assert all(order == sorted(order) for order in by_chat.values())

    def health(self) -> dict[str, Any]:
        """Return what it says of itself."""
        with requests.Session() as client:
            client.trust_env = False
            answer: dict[str, Any] = client.get(f"http://127.0.0.1:{self.admin}/health", timeout=5).json()
            return answer

    def flights(self) -> list[str]:
        """Return the in-flight journals that stand."""
        return [path.name for path in runtime.run_dir(self.home).glob("*.flight")]

    def close(self) -> None:
        """End it."""
        self.entry.close()
        self.hints.close()


@pytest.fixture
def post(home: Path, env: StoreEnv) -> Iterator[Callable[..., Post]]:
    """Function that returns a sending process, not started."""
    made: list[Post] = []

    def build(redis_url: str, **variables: Any) -> Post:
        made.append(Post(home, env, redis_url, variables))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_what_is_hinted_is_sent_once_and_in_order_and_a_drain_leaves_nothing(
    post: Callable[..., Post], env: StoreEnv, redis_url: str
) -> None:
    office = post(redis_url).start()
    ids = env.accept(*(f"chat-{number % 12}" for number in range(120)))
    office.hints.give(META, ids)
    office.until_sent(ids)
    office.assert_once_and_in_order(ids)
    assert office.hints.depth(META) == 0
    health = office.health()
    assert (health["queueReachable"], health["messagesSent"], health["messagesFailed"]) == (True, 120, 0)
    assert office.entry.stop() == ExitCode.OK
    assert office.flights() == []


def test_a_drain_in_the_middle_leaves_nothing_in_hand(post: Callable[..., Post], env: StoreEnv, redis_url: str) -> None:
    office = post(redis_url, slowness_s=0.1).start()
    ids = env.accept(*(f"chat-{number}" for number in range(100)))
    office.hints.give(META, ids)
    eventually(lambda: len(office.taken()) >= 5, 10)
    assert office.entry.stop() == ExitCode.OK
    states = Counter(row["state"] for row in env.rows(ids))
    assert set(states) == {"sent", "queued"}
    assert states["sent"] == len(office.taken())
    assert office.flights() == []
    office.start()
    office.until_sent(ids)
    office.assert_once_and_in_order(ids)


def test_killed_in_the_middle_its_next_life_loses_and_doubles_nothing(
    post: Callable[..., Post], env: StoreEnv, redis_url: str
) -> None:
    """Without a recorder: the slot's next life finds the in-flight journal itself."""
    office = post(redis_url, slowness_s=0.02)
    ids = env.accept(*(f"chat-{number % 25}" for number in range(200)))
    office.start()
    office.hints.give(META, ids)
    for part in (30, 80, 130):
        eventually(lambda part=part: len(office.taken()) >= part, 20)  # type: ignore[misc]  # bound at once
        office.entry.process.kill()
        assert office.entry.wait_exit() == -signal.SIGKILL
        office.start()
    office.until_sent(ids)
    office.assert_once_and_in_order(ids)
    assert office.entry.stop() == ExitCode.OK
    assert office.flights() == []


def test_a_disk_without_space_for_the_journal_makes_it_wait_and_not_die(
    post: Callable[..., Post], env: StoreEnv, redis_url: str
) -> None:
    office = post(redis_url, process_incarnation="meta-0.full")
    # what cannot be made for another reason is treated alike; the kernel's own "no space" is a matter of the journal's
    # tests
    in_the_way = runtime.run_dir(office.home) / "meta-0.full.flight"
    in_the_way.mkdir()
    ids = env.accept("a", "b")
    office.entry.start()
    eventually(lambda: "in_flight_journal_unwritable" in office.entry.log.read_text(), 20)
    assert office.taken() == []
    in_the_way.rmdir()
    office.entry.wait_ready()
    office.until_sent(ids)
    assert office.entry.stop() == ExitCode.OK


@pytest.mark.parametrize("fault", ["frozen", "stopped", "flushed"])
def test_redis_in_a_bad_state_delays_and_nothing_else(post: Callable[..., Post], env: StoreEnv, fault: str) -> None:
    with Redis() as redis:
        office = post(redis.url).start()
        eventually(lambda: office.health()["queueReachable"], 10)
        if fault == "flushed":
            ids = env.accept(*(f"chat-{number}" for number in range(20)))
            office.hints.client.flushall()
        elif fault == "stopped":
            redis.stop()
            ids = env.accept(*(f"chat-{number}" for number in range(20)))
            eventually(lambda: not office.health()["queueReachable"], 5)
        else:
            with redis.frozen():
                ids = env.accept(*(f"chat-{number}" for number in range(20)))
                eventually(lambda: not office.health()["queueReachable"], 5)
                office.until_sent(ids, within_s=10)
        office.until_sent(ids, within_s=10)
        office.assert_once_and_in_order(ids)
        if fault == "stopped":
            redis.start()
            eventually(lambda: office.health()["queueReachable"], 5)
        assert office.health()["state"] == "ready", "Redis is no reason to be unready"
        assert office.entry.stop() == ExitCode.OK


def test_a_frozen_redis_does_not_hold_up_the_end(post: Callable[..., Post]) -> None:
    with Redis() as redis:
        office = post(redis.url, redis_timeout_s=5.0).start()
        eventually(lambda: office.health()["queueReachable"], 10)
        with redis.frozen():
            office.entry.process.send_signal(signal.SIGTERM)
            assert office.entry.wait_exit(within_s=4.0) == ExitCode.OK


def test_an_outage_of_the_database_in_the_middle(
    post: Callable[..., Post], env: StoreEnv, redis_url: str, servers: Servers
) -> None:
    office = post(redis_url).start()
    ids = env.accept(*(f"chat-{number % 20}" for number in range(200)))
    office.hints.give(META, ids)
    eventually(lambda: len(office.taken()) >= 20, 20)
    with away(servers.database_server_url, env.url):
        office.entry.wait_said("X_READY", "0")
    office.until_sent(ids)
    office.assert_once_and_in_order(ids)
    assert office.entry.stop() == ExitCode.OK
