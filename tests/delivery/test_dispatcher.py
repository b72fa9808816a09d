"""Claim, send, settle: each message once, in its chat's order, whatever happens to the database meanwhile. The channel
is a script."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping

from shared import logs
from shared.clock import monotonic
from shared.delivery.channel import RecordToken
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.origin import Origin
from shared.store import messages
from tests.delivery.env import Answers, Gate, Process, Script, answering, cancelled, run, soon, takes
from tests.store.env import StoreEnv, away
from tests.support.servers import Servers
from tests.support.waiting import deadline_s


def by_chat(taken: Iterable[int], chats: Mapping[int, str]) -> dict[str, list[int]]:
    """Return what was taken in each chat, in order."""
    order: dict[str, list[int]] = defaultdict(list)
    for row_id in taken:
        order[chats[row_id]].append(row_id)
    return order


class TestSending:
    def test_what_is_offered_again_and_again_is_sent_once(self, env: StoreEnv) -> None:
        ids = env.accept("a", "b", "c")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                for _ in range(5):
                    process.dispatcher.offer(ids + ids)
                    await asyncio.sleep(0)
                await process.until(ids, "sent")
                process.dispatcher.offer(ids)
                later = env.accept("a")
                process.dispatcher.offer(later)
                await process.until(later, "sent")
                assert process.channel.taken[:3] == ids
                assert len(process.channel.asked) == 4
                # counted once its outcome is written, and the row was read in between
                await soon(lambda: process.dispatcher.metrics.sent == 4, "all are counted")
                assert process.dispatcher.metrics.failed == 0

        run(scenario())
        assert env.row(ids[0])["provider_id"] == f"p-{ids[0]}"
        assert env.history(ids[0]) == ["queued", "sending", "sent"]

    def test_what_is_logged_while_a_message_is_sent_names_its_request(self, env: StoreEnv) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        (asked,) = env.accept("a", origin=Origin(request_id="order-1", traceparent=trace))
        (alone,) = env.accept("b")
        fields: dict[int, Mapping[str, str]] = {}

        async def behave(message: OutboundMessage, _: object) -> Outcome:
            fields[message.id] = logs.origin_fields.get()
            return Sent(provider_id=f"p-{message.id}")

        async def scenario() -> None:
            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer([asked, alone])
                await process.until([asked, alone], "sent")

        run(scenario())
        assert fields == {asked: {"request_id": "order-1", "trace_id": trace[3:35]}, alone: {}}

    def test_a_chat_keeps_its_order_through_concurrency_and_retries(self, env: StoreEnv) -> None:
        luck = random.Random(7)
        ids = env.accept(*(f"chat-{number % 6}" for number in range(48)))
        answers: Answers = {
            row_id: [Retry(code="later", after_s=luck.random() / 20) for _ in range(luck.randrange(3))]
            for row_id in ids
        }

        async def scenario() -> list[int]:
            async with Process(env, answering(answers), in_flight=20) as process:
                process.dispatcher.offer(luck.sample(ids, len(ids)))
                await process.until(ids, "sent")
                return process.channel.taken

        taken = run(scenario())
        chats = {row_id: env.row(row_id)["chat_id"] for row_id in ids}
        assert sorted(taken) == ids
        assert all(order == sorted(order) for order in by_chat(taken, chats).values())

    def test_nothing_is_forgotten_when_more_chats_move_on_than_there_is_room_for(self, env: StoreEnv) -> None:
        """Without a relay: the end of one send must lead to the next one of its chat."""
        ids = env.accept(*(f"chat-{number % 30}" for number in range(90)))

        async def scenario() -> None:
            async with Process(env, Script(), in_flight=3) as process:
                process.dispatcher.offer(ids[::-1])  # those behind first: their hints are spent for nothing
                await process.until(ids, "sent")

        run(scenario())

    def test_a_stuck_chat_blocks_only_itself(self, env: StoreEnv) -> None:
        stuck, behind, *others = env.accept("stuck", "stuck", *"abcdef")

        async def scenario() -> None:
            gate = Gate()

            async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
                return await (gate if message.id == stuck else takes)(message, record_token)

            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer([stuck, behind, *others])
                await process.until(others, "sent")
                assert (await process.state(stuck), await process.state(behind)) == ("sending", "queued")
                gate.open()
                await process.until([stuck, behind], "sent")
                assert process.channel.taken[-2:] == [stuck, behind]

        run(scenario())

    def test_never_more_in_flight_than_allowed(self, env: StoreEnv) -> None:
        ids = env.accept(*(f"chat-{number}" for number in range(40)))

        async def scenario() -> None:
            async def behave(message: OutboundMessage, _: object) -> Outcome:
                await asyncio.sleep(0.005)
                return Sent(provider_id=str(message.id))

            async with Process(env, Script(behave), in_flight=5) as process:
                assert process.dispatcher.capacity == 5
                process.dispatcher.offer(ids)
                assert process.dispatcher.capacity == 0
                await process.until(ids, "sent")
                assert process.channel.most_in_flight == 5
                assert process.dispatcher.capacity == 5

        run(scenario())

    def test_two_incarnations_over_one_database_send_every_message_once_and_in_order(self, env: StoreEnv) -> None:
        luck = random.Random(11)
        ids = env.accept(*(f"chat-{number % 20}" for number in range(500)))
        chats = {row["id"]: row["chat_id"] for row in env.rows(ids)}
        ledger: list[int] = []

        async def behave(message: OutboundMessage, _: object) -> Outcome:
            await asyncio.sleep(luck.random() / 200)
            if luck.random() < 0.1:
                return Retry(code="later", after_s=luck.random() / 50, counts=False)
            ledger.append(message.id)
            return Sent(provider_id=f"p-{message.id}")

        async def scenario() -> None:
            one = Process(env, Script(behave), "meta-0.a", in_flight=15)
            two = Process(env, Script(behave), "meta-1.b", in_flight=15)
            async with one, two:
                relays = [asyncio.create_task(process.relay.run()) for process in (one, two)]
                for process in (one, two):
                    process.dispatcher.offer(luck.sample(ids, len(ids)))
                await one.until(ids, "sent", within_s=40)
                for relay in relays:
                    await cancelled(relay)
                await soon(lambda: one.dispatcher.metrics.sent + two.dispatcher.metrics.sent == 500, "all are counted")
                assert min(one.dispatcher.metrics.sent, two.dispatcher.metrics.sent) > 0

        run(scenario())
        assert sorted(ledger) == ids
        assert all(order == sorted(order) for order in by_chat(ledger, chats).values())

    def test_one_of_two_incarnations_dies_and_every_message_is_taken_once(self, env: StoreEnv) -> None:
        """What it had in hand is in doubt; the provider's own books report what was taken, and the rest is sent
        again."""
        ids = env.accept(*(f"chat-{number % 10}" for number in range(200)))
        chats = {row["id"]: row["chat_id"] for row in env.rows(ids)}
        ledger: list[int] = []

        async def behave(message: OutboundMessage, _: object) -> Outcome:
            await asyncio.sleep(0.002)
            ledger.append(message.id)
            await asyncio.sleep(0.002)
            return Sent(provider_id=f"p-{message.id}")

        class LooksUp(Script):
            async def look_up(self, doubt: messages.Doubt) -> Outcome | None:
                return (
                    Sent(provider_id=f"p-{doubt.message.id}")
                    if doubt.message.id in ledger
                    else Retry(code="unknown_there")
                )

        async def scenario() -> None:
            mortal = Process(env, Script(behave), "meta-0.a", in_flight=8)
            async with Process(env, LooksUp(behave), "meta-1.b", in_flight=8) as survivor:
                async with mortal:
                    for process in (mortal, survivor):
                        process.dispatcher.offer(ids)
                    await soon(
                        lambda: mortal.dispatcher.metrics.sent >= 8, "the mortal one is in the middle of its work"
                    )
                    # killed: nothing of it runs any more, and what it had in hand is not written
                    await mortal.dispatcher.close()

                async def reclaim() -> None:
                    while True:
                        # again and again, as the recorder does: the dead one's last claim may still be on its way to
                        # the disk
                        await survivor.store.call(messages.reclaim, incarnation="meta-0.a")
                        await asyncio.sleep(0.1)

                background = [
                    asyncio.create_task(work) for work in (reclaim(), survivor.relay.run(), survivor.reconciler.run())
                ]
                await survivor.until(ids, "sent", within_s=30)
                for task in background:
                    await cancelled(task)

        run(scenario())
        assert sorted(ledger) == ids
        assert all(order == sorted(order) for order in by_chat(ledger, chats).values())


class TestOutcomes:
    def test_a_retry_waits_as_long_as_the_provider_says(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            sent_at: list[float] = []

            async def behave(message: OutboundMessage, _: object) -> Outcome:
                sent_at.append(monotonic())
                return Retry(code="slow_down", after_s=0.4) if message.attempt == 1 else Sent(provider_id="p")

            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "queued")
                await soon(lambda: len(sent_at) == 1, "the first attempt")
                for _ in range(3):
                    # offered too early: the claim refuses it
                    process.dispatcher.offer([row_id])
                    await asyncio.sleep(0.01)
                await process.until([row_id], "sent")
                first, second = sent_at
                assert second - first >= 0.4

        run(scenario())
        assert env.history(row_id) == ["queued", "sending", "queued", "sending", "sent"]

    def test_without_a_word_of_the_provider_the_wait_doubles(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> list[float]:
            sent_at: list[float] = []

            async def behave(message: OutboundMessage, _: object) -> Outcome:
                sent_at.append(monotonic())
                return Retry(code="busy") if message.attempt < 3 else Sent(provider_id="p")

            async with Process(env, Script(behave), retry_base_s=0.2) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")
            return sent_at

        first, second, third = run(scenario())
        assert second - first >= 0.2
        assert third - second >= 0.4

    def test_attempts_used_up_are_a_dead_letter_and_the_chat_goes_on(self, env: StoreEnv) -> None:
        row_id, behind = env.accept("a", "a")

        async def scenario() -> None:
            async with Process(
                env, answering({row_id: [Retry(code="busy", detail="503", after_s=0.0)] * 9}), attempts=3
            ) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "failed")
                await process.until([behind], "sent")
                # before the one behind it was begun
                assert process.channel.attempts(row_id) == [1, 2, 3]
                assert process.dispatcher.metrics.failed == 1

        run(scenario())
        assert (env.row(row_id)["error_code"], env.row(row_id)["error_detail"]) == ("busy", "503")

    def test_an_uncounted_retry_burns_no_attempt(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            async with Process(
                env, answering({row_id: [Retry(code="not_ready", after_s=0.0, counts=False)] * 6}), attempts=2
            ) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")
                assert process.channel.attempts(row_id) == [1] * 7

        run(scenario())

    def test_dead_is_never_tried_again(self, env: StoreEnv) -> None:
        row_id, behind = env.accept("a", "a")

        async def scenario() -> None:
            async with Process(env, answering({row_id: [Dead(code="131026")]})) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "failed")
                await process.until([behind], "sent")
                assert process.channel.attempts(row_id) == [1]

        run(scenario())

    def test_doubt_holds_the_chat(self, env: StoreEnv) -> None:
        row_id, behind, other = env.accept("a", "a", "b")

        async def scenario() -> None:
            async with Process(env, answering({row_id: [InDoubt(code="no_answer")]})) as process:
                process.dispatcher.offer([row_id, behind, other])
                await process.until([row_id], "in_doubt")
                process.dispatcher.offer([row_id, behind])
                await process.until([other], "sent")
                assert await process.relay.look() == 0
                assert await process.state(behind) == "queued"

        run(scenario())

    def test_a_channel_that_raises_leaves_doubt_and_disturbs_no_other_send(self, env: StoreEnv) -> None:
        row_id, other = env.accept("a", "b")

        async def scenario() -> None:
            async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
                if message.id == row_id:
                    raise LookupError("a bug")
                return await takes(message, record_token)

            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer([row_id, other])
                await process.until([row_id], "in_doubt")
                await process.until([other], "sent")

        run(scenario())
        assert (env.row(row_id)["error_code"], env.row(row_id)["error_detail"]) == ("send_crashed", "LookupError")

    def test_a_channel_that_hangs_is_cut_soon_after_its_deadline(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> float:
            async with Process(env, Script(Gate()), send_s=0.2) as process:
                started = monotonic()
                process.dispatcher.offer([row_id])
                await process.until([row_id], "in_doubt")
                assert process.channel.in_flight == 0
                return monotonic() - started

        assert 0.2 <= run(scenario()) < deadline_s(6.0)
        assert env.row(row_id)["error_code"] == "send_timeout"

    def test_a_row_that_was_taken_away_is_not_sent(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
                await process.store.call(messages.reclaim, incarnation=message.incarnation)
                await record_token("token")
                raise AssertionError("a fenced token must stop the send")

            process = Process(env, Script(behave, token_at_claim=False))
            async with process:
                process.dispatcher.offer([row_id])
                await soon(lambda: process.metrics.snapshot()["fenced_writes_total"] == 1, "the token was refused")
                await soon(lambda: process.dispatcher.capacity == 50, "nothing is in hand")
                assert await process.state(row_id) == "queued"

        run(scenario())

    def test_a_chosen_token_is_stored_before_the_send(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")

        async def scenario() -> None:
            async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
                assert message.token == ""
                await record_token("3EB0")
                assert (await asyncio.to_thread(env.row, message.id))["token"] == "3EB0"
                return Sent(provider_id="3EB0")

            async with Process(env, Script(behave, token_at_claim=False)) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")

        run(scenario())


class TestLostHints:
    def test_the_relay_finds_a_row_without_a_hint(self, env: StoreEnv) -> None:
        old, young = env.accept("a", "b")
        env.set(old, "created_at = now() - interval '10 seconds'")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                assert await process.relay.look() == 1
                await process.until([old], "sent")
                assert await process.state(young) == "queued"

        run(scenario())

    def test_the_relay_asks_for_no_more_than_there_is_room(self, env: StoreEnv) -> None:
        ids = env.accept(*"abcd")
        for row_id in ids:
            env.set(row_id, "created_at = now() - interval '10 seconds'")

        async def scenario() -> None:
            gate = Gate()
            async with Process(env, Script(gate), in_flight=2) as process:
                assert await process.relay.look() == 2
                assert await process.relay.look() == 0
                gate.open()
                await process.until(ids[:2], "sent")
                assert await process.relay.look() == 2
                await process.until(ids, "sent")

        run(scenario())

    def test_the_relay_outlives_an_outage(self, env: StoreEnv, servers: Servers) -> None:
        (row_id,) = env.accept("a")
        env.set(row_id, "created_at = now() - interval '10 seconds'")

        async def scenario() -> None:
            async with Process(env, Script()) as process:
                with away(servers.database_server_url, env.url):
                    assert await process.relay.look() == 0
                await process.relay.look()
                await process.until([row_id], "sent")

        run(scenario())
