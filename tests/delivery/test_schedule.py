"""Scheduled messages: sent when they are due, asleep until then, and then in their chat's order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from shared.clock import monotonic
from shared.delivery.channel import RecordToken
from shared.messages import OutboundMessage, Outcome, Retry, Sent
from shared.states import MessageState
from shared.store import messages
from tests.delivery.env import Process, Script, cancelled, run
from tests.store.env import StoreEnv
from tests.support.database import query

SENT, QUEUED, IN_DOUBT = MessageState.SENT, MessageState.QUEUED, MessageState.IN_DOUBT


def later(seconds: float = 3600.0) -> datetime:
    """Return an instant so far ahead."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def wake(env: StoreEnv, row_id: int) -> None:
    """Let the time of a scheduled row come."""
    env.set(row_id, "scheduled_for = now() - interval '1 millisecond', not_before = now() - interval '1 millisecond'")


def due(env: StoreEnv) -> list[int]:
    """Return what the relay finds."""
    return env.store.run(messages.due, kind="meta", grace_s=0.0, most=10)


class TestAsleep:
    def test_it_is_not_claimed_before_its_time_and_blocks_no_other(self, env: StoreEnv) -> None:
        (asleep,) = env.accept("a", scheduled_for=later())
        (now,) = env.accept("a")
        assert env.claimed_ids([asleep]) == []
        assert due(env) == [now]
        assert env.claimed_ids([asleep, now]) == [now]
        assert env.settle(now, SENT)
        assert env.claimed_ids([], chats=[(env.connection, "a")]) == []

    def test_the_chats_head_is_the_first_that_is_due(self, env: StoreEnv) -> None:
        env.accept("a", "a", scheduled_for=later())
        (now,) = env.accept("a")
        assert env.claimed_ids([], chats=[(env.connection, "a")]) == [now]

    def test_a_retry_that_waits_is_not_asleep(self, env: StoreEnv) -> None:
        (woken,) = env.accept("a", scheduled_for=later())
        wake(env, woken)
        (behind,) = env.accept("a")
        assert env.claimed_ids([woken]) == [woken]
        assert env.settle(woken, QUEUED, after_s=3600.0, code="later")
        assert env.claimed_ids([behind]) == []
        assert due(env) == []


class TestAwake:
    def test_once_due_it_has_its_place_in_the_chat(self, env: StoreEnv) -> None:
        (scheduled,) = env.accept("a", scheduled_for=later())
        (behind,) = env.accept("a")
        wake(env, scheduled)
        assert due(env) == [scheduled]
        assert env.claimed_ids([scheduled, behind]) == [scheduled]
        assert env.settle(scheduled, SENT)
        assert env.claimed_ids([behind]) == [behind]

    def test_what_overtook_it_is_finished_first(self, env: StoreEnv) -> None:
        (scheduled,) = env.accept("a", scheduled_for=later())
        (overtaking,) = env.accept("a")
        assert env.claimed_ids([overtaking]) == [overtaking]
        wake(env, scheduled)
        assert due(env) == []
        assert env.claimed_ids([scheduled]) == []
        assert env.settle(overtaking, IN_DOUBT)
        assert env.claimed_ids([scheduled]) == []
        assert env.store.run(
            messages.resolve, message_id=overtaking, attempt=1, state=QUEUED, code="unsent", incarnation="x"
        )
        assert env.claimed_ids([scheduled, overtaking]) == [scheduled], "both are due: the one that was accepted first"

    def test_several_of_one_chat_go_in_the_order_in_which_they_were_accepted(self, env: StoreEnv) -> None:
        first, second = env.accept("a", "a", scheduled_for=later())
        wake(env, second)
        assert due(env) == [second], "the first is still asleep"
        wake(env, first)
        assert due(env) == [first]
        assert env.claimed_ids([first, second]) == [first]

    def test_sleepers_are_not_in_the_relays_way(self, env: StoreEnv) -> None:
        env.accept(*(f"chat-{number}" for number in range(30)), scheduled_for=later())
        (woken,) = env.accept("z", scheduled_for=later())
        (plain,) = env.accept("y")
        wake(env, woken)
        assert due(env) == [woken, plain]


class TestDelivery:
    def test_it_leaves_within_a_second_of_its_time_and_not_before(self, env: StoreEnv) -> None:
        at = later(1.2)
        (scheduled,) = env.accept("a", scheduled_for=at)
        (now,) = env.accept("a")
        left_at: dict[int, datetime] = {}

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            left_at[message.id] = datetime.now(UTC)
            return Sent(provider_id=f"p-{message.id}")

        async def scenario() -> None:
            async with Process(env, Script(behave)) as process:
                relay = asyncio.create_task(process.relay.run())
                process.dispatcher.offer([scheduled, now])
                await process.until([scheduled, now], "sent")
                await cancelled(relay)

        began = monotonic()
        run(scenario())
        assert monotonic() - began >= 1.0
        assert left_at[now] < at
        # the rest is for a busy machine
        assert timedelta(0) <= left_at[scheduled] - at < timedelta(seconds=3)

    def test_its_retries_are_those_of_any_message(self, env: StoreEnv) -> None:
        (scheduled,) = env.accept("a", scheduled_for=later(0.2))

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            return Retry(code="later") if message.attempt < 3 else Sent(provider_id="p")

        async def scenario() -> None:
            async with Process(env, Script(behave)) as process:
                relay = asyncio.create_task(process.relay.run())
                await process.until([scheduled], "sent")
                await cancelled(relay)

        run(scenario())
        assert env.history(scheduled) == ["queued", "sending", "queued", "sending", "queued", "sending", "sent"]


def test_a_message_that_is_not_scheduled_has_no_time(env: StoreEnv) -> None:
    (row_id,) = env.accept("a")
    assert query(env.url, "SELECT scheduled_for, not_before FROM messages WHERE id = %(id)s", id=row_id) == [
        {"scheduled_for": None, "not_before": None}
    ]
