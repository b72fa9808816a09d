"""Acceptance: committed, then hinted; shared commits; what one message does wrong is no other's fault."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.clock import monotonic
from shared.delivery.accept import Acceptor
from shared.errors import StoreUnavailable
from shared.kinds import kind_named
from shared.process.metrics import Metrics
from shared.queues.hints import Hints
from shared.store.messages import Accepted
from shared.store.store import Store
from tests.delivery.env import run, soon
from tests.queues.env import Redis
from tests.store.env import StoreEnv, away, open_store
from tests.support.database import query
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually_async, within

META = kind_named("meta")


@pytest.fixture
def redis(servers: Servers) -> str:
    """Address of an empty Redis."""
    return servers.new_redis()


class Accepting:
    """An acceptor with its own store and hints."""

    def __init__(self, env: StoreEnv, redis_url: str, *, store: Store | None = None, redis_s: float = 1.0) -> None:
        self.env, self.metrics = env, Metrics()
        self.store = store or open_store(env.url, name="acceptor")
        self.hints = Hints(redis_url, redis_s, "here")
        self.acceptor = Acceptor(self.store, self.hints, self.metrics)

    async def __aenter__(self) -> Accepting:
        await self.acceptor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.acceptor.close()
        self.hints.close()
        self.store.close()

    async def accept(self, chat: str = "a", **fields: Any) -> Accepted:
        """Accept one message."""
        return await self.acceptor.accept(self.env.message(chat, **fields))

    def figure(self, name: str) -> float:
        """Return one metric."""
        return self.metrics.snapshot().get(name, 0.0)

    async def until_hinted(self, count: int) -> list[int]:
        """Wait until Redis holds so many hints, take them and return their rows."""

        async def there() -> bool:
            return await asyncio.to_thread(self.hints.depth, META) == count

        await eventually_async(there, 10, f"{count} hints are given")
        return await asyncio.to_thread(self.hints.take, META, count)


class TestCommit:
    def test_the_row_is_there_when_the_answer_comes_and_the_hint_follows(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                accepted = await accepting.accept()
                assert await asyncio.to_thread(env.state, accepted.id) == "queued"
                assert await accepting.until_hinted(1) == [accepted.id]

        run(scenario())

    def test_requests_that_come_together_share_commits(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                accepted = await asyncio.gather(*(accepting.accept(f"chat-{number}") for number in range(400)))
                assert len({one.id for one in accepted}) == 400
                assert accepting.figure("accept_batch_size_count") <= 10
                assert accepting.figure("accept_batch_size_sum") == 400
                assert sorted(await accepting.until_hinted(400)) == sorted(one.id for one in accepted)

        run(scenario())
        assert query(env.url, "SELECT count(*) AS n FROM messages")[0]["n"] == 400

    def test_one_clients_requests_keep_their_order(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> list[int]:
            async with Accepting(env, redis) as accepting:
                others = asyncio.gather(*(accepting.accept(f"chat-{number}") for number in range(200)))
                ids = [(await accepting.accept("mine")).id for _ in range(10)]
                await others
                return ids

        ids = run(scenario())
        assert ids == sorted(ids)

    def test_a_replay_is_not_hinted_again(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                first = await accepting.accept(idempotency_key="k", fingerprint="f")
                again = await accepting.accept(idempotency_key="k", fingerprint="f")
                other = await accepting.accept("b")
                assert (again.id, again.replayed) == (first.id, True)
                assert await accepting.until_hinted(2) == [first.id, other.id]

        run(scenario())

    def test_a_message_that_the_database_refuses_fails_alone(self, env: StoreEnv, redis: str) -> None:
        """Those who happened to share its commit must not pay for it: they may be other tenants."""

        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                work = [
                    accepting.accept("a"),
                    accepting.accept("b", content={"body": "nul \0"}),
                    accepting.accept("c", company_id="nobody"),
                    accepting.accept("d", connection_id=987654321),
                    accepting.accept("e", idempotency_key="k", fingerprint="f"),
                    accepting.accept("e", idempotency_key="k", fingerprint="f"),
                ]
                results = await asyncio.gather(*work, return_exceptions=True)
                good = [result for result in results if isinstance(result, Accepted)]
                assert [isinstance(result, Accepted) for result in results] == [True, False, False, False, True, True]
                assert not any(isinstance(result, StoreUnavailable) for result in results), "waiting would not help"
                assert good[1].id == good[2].id
                assert sorted(await accepting.until_hinted(2)) == sorted({one.id for one in good})

        run(scenario())
        assert query(env.url, "SELECT count(*) AS n FROM messages")[0]["n"] == 2

    def test_a_client_that_went_away_is_no_ones_trouble(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                gone = asyncio.create_task(accepting.accept("a"))
                stays = asyncio.create_task(accepting.accept("b"))
                await asyncio.sleep(0)
                gone.cancel()
                assert (await stays).id
                assert (await accepting.accept("c")).id

        run(scenario())


class TestDatabaseAway:
    def test_nothing_is_promised_and_nothing_half_done(self, env: StoreEnv, redis: str, servers: Servers) -> None:
        async def scenario() -> None:
            async with Accepting(env, redis) as accepting:
                with away(servers.database_server_url, env.url):
                    results = await asyncio.gather(*(accepting.accept() for _ in range(20)), return_exceptions=True)
                assert all(isinstance(result, StoreUnavailable) and not result.may_be_done for result in results)
                accepted = await accepting.accept()
                assert await accepting.until_hinted(1) == [accepted.id]

        run(scenario())
        assert query(env.url, "SELECT count(*) AS n FROM messages")[0]["n"] == 1

    def test_a_lost_commit_says_that_it_may_be_done(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            store = open_store(env.url, query_s=0.4)
            async with Accepting(env, redis, store=store) as accepting:
                with slow, pytest.raises(StoreUnavailable) as unknown:
                    await accepting.accept(idempotency_key="k", fingerprint="f")
                assert unknown.value.may_be_done
                again = await accepting.accept(idempotency_key="k", fingerprint="f")
                assert again.replayed

        with env.slow_commits("queued") as slow:
            run(scenario())
        assert query(env.url, "SELECT count(*) AS n FROM messages")[0]["n"] == 1

    def test_a_frozen_database_keeps_no_client_waiting_beyond_the_limit(self, env: StoreEnv, redis: str) -> None:
        """A thousand waiters are not a queue of thousands of seconds."""

        async def scenario() -> None:
            store = open_store(env.url, limit=2, query_s=0.5, connect_s=0.5)
            async with Accepting(env, redis, store=store) as accepting:
                with slow:
                    started = monotonic()
                    results = await asyncio.gather(
                        *(accepting.accept(f"chat-{number}") for number in range(4000)), return_exceptions=True
                    )
                    took = monotonic() - started
                assert all(isinstance(result, StoreUnavailable) for result in results)
                assert took < deadline_s(3.0)

        with env.slow_commits("queued") as slow:
            run(scenario())


class TestRedisAway:
    def test_a_message_is_accepted_all_the_same(self, env: StoreEnv, free_ports: Any) -> None:
        async def scenario() -> None:
            async with Accepting(env, f"redis://127.0.0.1:{free_ports(1)[0]}/0") as accepting:
                accepted = await asyncio.gather(*(accepting.accept(f"chat-{number}") for number in range(10)))
                await soon(lambda: accepting.figure("hints_lost_total") == 10, "the lost hints are counted")
                await soon(lambda: not accepting.acceptor.queue_reachable, "that Redis is away is noticed")
                assert len({one.id for one in accepted}) == 10

        run(scenario())

    def test_a_frozen_redis_delays_no_client_and_no_hint_for_long(self, env: StoreEnv) -> None:
        async def scenario() -> None:
            with Redis() as redis:
                async with Accepting(env, redis.url, redis_s=0.3) as accepting:
                    await accepting.accept("warm")
                    assert len(await accepting.until_hinted(1)) == 1
                    with redis.frozen():
                        started = monotonic()
                        for number in range(60):
                            await accepting.accept(f"chat-{number}")
                        assert monotonic() - started < deadline_s(4.0)
                        await soon(lambda: not accepting.acceptor.queue_reachable, "that Redis is silent is noticed")
                    # hints of the outage may be lost, what comes after it may not wait behind them
                    started = monotonic()
                    await soon(lambda: accepting.figure("hints_lost_total") > 0, "lost hints are counted")
                    last = await accepting.accept("last")

                    async def hinted() -> bool:
                        return last.id in await asyncio.to_thread(accepting.hints.take, META, 100)

                    await eventually_async(hinted, 5, "the last one is hinted")
                    assert monotonic() - started < deadline_s(3.0)
                    assert accepting.acceptor.queue_reachable

        run(scenario())


class TestClose:
    def test_no_caller_is_left_waiting(self, env: StoreEnv, redis: str) -> None:
        async def scenario() -> None:
            store = open_store(env.url, query_s=2.0)
            async with Accepting(env, redis, store=store) as accepting:
                with slow:
                    in_flight = [asyncio.create_task(accepting.accept(f"chat-{number}")) for number in range(2)]

                    async def committing() -> object:
                        return await asyncio.to_thread(slow.waiting)

                    await eventually_async(committing, 5, "a commit is under way")
                    waiting = [asyncio.create_task(accepting.accept(f"wait-{number}")) for number in range(5)]
                    await asyncio.sleep(0.05)
                    await accepting.acceptor.close()
                    results = await within(asyncio.gather(*in_flight, *waiting, return_exceptions=True), 5)
                assert all(isinstance(result, StoreUnavailable) for result in results)
                assert any(result.may_be_done for result in results if isinstance(result, StoreUnavailable))
                with pytest.raises(StoreUnavailable, match="stopping"):
                    await within(accepting.accept("late"), 5)

        with env.slow_commits("queued") as slow:
            run(scenario())
