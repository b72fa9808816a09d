"""Claim, send, settle while the database goes away, answers late or is small, and while the process drains. The channel
is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.clock import monotonic
from shared.delivery.channel import RecordToken
from shared.messages import OutboundMessage, Outcome, Retry, Sent
from tests.delivery.env import Gate, Process, Script, answering, cancelled, run, soon, takes
from tests.store.env import StoreEnv, away, open_store
from tests.support.database import query
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually_async


@contextmanager
def refusing(env: StoreEnv, condition: str) -> Iterator[None]:
    """Let the database refuse updates of rows for which `condition` holds, as it refuses a number beyond its range."""
    query(
        env.url,
        f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF {condition} THEN RAISE numeric_value_out_of_range; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION refuse()""",
    )
    try:
        yield
    finally:
        query(env.url, "DROP FUNCTION refuse CASCADE")


class TestRefusedClaims:
    def test_a_row_that_breaks_a_claim_is_parked_and_stops_no_other(self, env: StoreEnv) -> None:
        bad, *good = env.accept("bad", *(f"chat-{number}" for number in range(9)))
        behind = env.accept("bad", "chat-0")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                process.dispatcher.offer([*good[:5], bad, *good[5:]])
                await process.until([bad], "failed")
                await process.until(good, "sent")
                process.dispatcher.offer(behind)
                await process.until(behind, "sent")

        with refusing(env, f"NEW.id = {bad} AND NEW.state = 'sending'"):
            run(scenario())
        assert env.row(bad)["error_code"] == "unclaimable"
        assert env.history(bad) == ["queued", "failed"]

    def test_not_even_when_it_cannot_be_parked(self, env: StoreEnv) -> None:
        bad, good = env.accept("bad", "good")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                process.dispatcher.offer([bad, good])
                await process.until([good], "sent")
                process.dispatcher.offer([bad])
                (later,) = env.accept("later")
                process.dispatcher.offer([later])
                await process.until([later], "sent")

        with refusing(env, f"NEW.id = {bad}"):
            run(scenario())
        assert env.state(bad) == "queued"


class TestDatabaseAway:
    def test_an_outcome_is_kept_until_the_database_is_back_and_written_once(
        self, env: StoreEnv, servers: Servers
    ) -> None:
        ids = env.accept("a", "b")

        async def scenario() -> None:
            gate = Gate()
            async with Process(env, Script(gate)) as process:
                process.dispatcher.offer(ids)
                await soon(lambda: process.channel.in_flight == 2, "both are being sent")
                with away(servers.database_server_url, env.url):
                    gate.open()
                    lost = process.store.stats.discarded
                    await soon(lambda: process.store.stats.discarded > lost, "a settlement was tried")
                    assert sorted(process.channel.taken) == ids
                await process.until(ids, "sent")
                assert len(process.channel.asked) == 2

        run(scenario())
        assert [env.history(row_id) for row_id in ids] == [["queued", "sending", "sent"]] * 2

    def test_claims_go_on_when_the_database_is_back(self, env: StoreEnv, servers: Servers) -> None:
        ids = env.accept("a", "b")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                with away(servers.database_server_url, env.url):
                    process.dispatcher.offer(ids)
                    await process.relay.look()
                await process.until(ids, "sent")

        run(scenario())

    def test_a_settlement_whose_commit_was_lost_is_written_once(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            store = open_store(env.url, query_s=0.4)
            async with Process(env, Script(), store=store) as process:
                with slow:
                    process.dispatcher.offer([row_id])
                    await soon(lambda: store.stats.deadlines_passed > 0, "the commit's answer was given up")
                await process.until([row_id], "sent")
                await soon(lambda: process.dispatcher.metrics.sent == 1, "the settlement is known")
                assert len(process.channel.asked) == 1

        with env.slow_commits("sent") as slow:
            run(scenario())
        assert env.history(row_id) == ["queued", "sending", "sent"]

    def test_a_row_whose_retry_is_not_known_to_be_written_is_not_claimed_again(self, env: StoreEnv) -> None:
        """Else the repeated settlement of the first attempt would undo the second one, and the third would be a
        duplicate."""
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            store = open_store(env.url, query_s=0.4)
            async with Process(env, answering({row_id: [Retry(code="busy", after_s=0.0)]}), store=store) as process:

                async def keep_offering() -> None:
                    while True:
                        process.dispatcher.offer([row_id])
                        process.dispatcher._backlog._paced[env.connection] = (
                            0.0  # as if its number had waited for a token, and had one now
                        )
                        await asyncio.sleep(0.001)

                with slow:
                    process.dispatcher.offer([row_id])
                    await soon(lambda: store.stats.deadlines_passed > 0, "the commit's answer was given up")
                    offering = asyncio.create_task(keep_offering())
                await process.until([row_id], "sent")
                await cancelled(offering)
                assert process.channel.attempts(row_id) == [1, 2]
                assert process.channel.taken == [row_id]

        with env.slow_commits("queued") as slow:
            run(scenario())

    def test_a_claim_whose_commit_was_lost_leaves_no_row_behind(self, env: StoreEnv) -> None:
        """The commit goes through at the server after we gave up: the row is ours without our knowing."""
        ids = env.accept("a", "b", "a")

        async def scenario() -> None:
            store = open_store(env.url, query_s=0.4)
            async with Process(env, Script(), store=store) as process:
                with slow:
                    process.dispatcher.offer(ids)
                    await soon(lambda: store.stats.deadlines_passed > 0, "the claim's answer was given up")
                    # also looked for while the commit is still under way
                    await asyncio.sleep(0.5)
                    assert process.channel.asked == []
                await process.until(ids, "sent")
                assert sorted(process.channel.taken) == ids

        with env.slow_commits("sending") as slow:
            run(scenario())
        assert [env.row(row_id)["attempt"] for row_id in ids] == [1, 1, 1]

    def test_a_token_that_cannot_be_stored_means_unsent(self, env: StoreEnv, servers: Servers) -> None:
        (row_id,) = env.accept("a")

        async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
            if not message.token and len(script.asked) == 1:
                with away(servers.database_server_url, env.url):
                    await record_token("lost")
                raise AssertionError("a token that was not stored must stop the send")
            return Sent(provider_id="p")

        script = Script(behave, token_at_claim=False)

        async def scenario() -> None:
            async with Process(env, script) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")

        run(scenario())
        assert script.attempts(row_id) == [1, 1]
        assert env.history(row_id) == ["queued", "sending", "queued", "sending", "sent"]
        assert env.row(row_id)["token"] == ""


class TestDrain:
    def test_it_finishes_what_is_in_hand_and_claims_nothing_more(self, env: StoreEnv) -> None:
        in_hand, behind, other = env.accept("a", "a", "b")

        async def scenario() -> None:
            gate = Gate()
            async with Process(env, Script(gate), in_flight=1) as process:
                process.dispatcher.offer([in_hand, behind, other])
                await soon(lambda: process.channel.in_flight == 1, "the first is being sent")
                draining = asyncio.create_task(process.dispatcher.drain(monotonic() + 10))
                await asyncio.sleep(0.05)
                assert not draining.done()
                assert process.dispatcher.capacity == 0
                process.dispatcher.offer([other])
                gate.open()
                assert await draining
                assert await process.relay.look() == 0
                assert process.channel.taken == [in_hand]

        run(scenario())
        assert [env.state(row_id) for row_id in (in_hand, behind, other)] == ["sent", "queued", "queued"]

    def test_it_ends_at_its_deadline(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            async with Process(env, Script(Gate())) as process:
                process.dispatcher.offer([row_id])
                await soon(lambda: process.channel.in_flight == 1, "it is being sent")
                started = monotonic()
                assert not await process.dispatcher.drain(started + 0.3)
                # less by the resolution of the loop's timers, which is one millisecond
                assert 0.299 <= monotonic() - started < deadline_s(1.0)

        run(scenario())
        assert env.state(row_id) == "sending"

    def test_with_nothing_in_hand_it_is_done(self, env: StoreEnv) -> None:
        async def scenario() -> None:
            async with Process(env, Script()) as process:
                assert await process.dispatcher.drain(monotonic() + 5)

        run(scenario())

    def test_a_claim_under_way_is_waited_for(self, env: StoreEnv) -> None:
        """What it brings is in hand, and would be left to doubt by a process that thinks it has nothing."""
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                with slow:
                    process.dispatcher.offer([row_id])

                    async def claiming() -> object:
                        return await asyncio.to_thread(slow.waiting)

                    await eventually_async(claiming, 10, "the claim is under way")
                    draining = asyncio.create_task(process.dispatcher.drain(monotonic() + 10))
                    await asyncio.sleep(0.05)
                    assert not draining.done()
                assert await draining
                assert process.channel.taken == [row_id]

        with env.slow_commits("sending") as slow:
            run(scenario())
        assert env.state(row_id) == "sent"


@pytest.mark.parametrize("limit", [1, 2])
def test_a_small_pool_is_enough(env: StoreEnv, limit: int) -> None:
    """Claims, settlements and tokens share it without waiting for each other in a circle."""
    ids = env.accept(*(f"chat-{number}" for number in range(20)))

    async def scenario() -> None:
        async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
            await record_token(f"t-{message.id}")
            return Sent(provider_id="p")

        async with Process(
            env, Script(behave, token_at_claim=False), store=open_store(env.url, limit=limit)
        ) as process:
            process.dispatcher.offer(ids)
            await process.until(ids, "sent")

    run(scenario())


class TestLease:
    """What another host may reclaim is not sent."""

    def test_without_a_lease_nothing_is_claimed(self, env: StoreEnv) -> None:
        async def scenario() -> None:
            (row_id,) = env.accept("a")
            leased = asyncio.Event()
            channel = Script()
            async with Process(env, channel, lease_covers=lambda _for_s: leased.is_set()) as process:
                process.dispatcher.offer([row_id])
                await asyncio.sleep(0)
                # a look of the loop that would have claimed it, had it a lease
                await process.until([row_id], "queued")
                assert channel.asked == []
                leased.set()
                await process.until([row_id], "sent")

        run(scenario())

    def test_a_lease_that_ends_between_claim_and_send_keeps_the_message(self, env: StoreEnv) -> None:
        """The machine stood still in between: its rows may be another host's by now."""

        async def scenario() -> None:
            (row_id,) = env.accept("a")
            lease = {"covers": True}

            async def stopped_in_between(message: OutboundMessage, record_token: RecordToken) -> Outcome:
                lease["covers"] = False
                await record_token(message.token)
                return await takes(message, record_token)

            channel = Script(stopped_in_between)
            async with Process(env, channel, lease_covers=lambda _for_s: lease["covers"]) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "queued")
                await soon(lambda: channel.asked, "it was claimed")
                await process.until([row_id], "queued")
                assert channel.taken == []
                assert env.row(row_id)["error_code"] == "lease_ended"
                channel.behave, lease["covers"] = takes, True
                await process.until([row_id], "sent")
                assert channel.taken == [row_id]

        run(scenario())

    def test_the_lease_must_cover_the_whole_send(self, env: StoreEnv) -> None:
        asked: list[float] = []

        def covers(for_s: float) -> bool:
            asked.append(for_s)
            return True

        async def scenario() -> None:
            (row_id,) = env.accept("a")
            async with Process(env, Script(), lease_covers=covers, send_s=5.0) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")

        run(scenario())
        assert min(asked) > 5.0
