"""Scheduled messages: sent when they are due, asleep until then, and then in their chat's order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from shared.clock import monotonic
from shared.delivery.channel import RecordToken
from shared.messages import OutboundMessage, Outcome, Retry, Sent
from shared.states import MessageState
from shared.store import messages
from tests.delivery.rig import Process, Script, cancelled, run
from tests.store.rig import Ground, query

SENT, QUEUED, IN_DOUBT = MessageState.SENT, MessageState.QUEUED, MessageState.IN_DOUBT


def later(seconds: float = 3600.0) -> datetime:
    """Return an instant so far ahead."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def wake(ground: Ground, row_id: int) -> None:
    """Let the time of a scheduled row come."""
    ground.set(
        row_id, "scheduled_for = now() - interval '1 millisecond', not_before = now() - interval '1 millisecond'"
    )


def due(ground: Ground) -> list[int]:
    """Return what the relay finds."""
    return ground.store.run(messages.due, kind="meta", grace_s=0.0, most=10)


class TestAsleep:
    def test_it_is_not_claimed_before_its_time_and_holds_up_nobody(self, ground: Ground) -> None:
        (asleep,) = ground.accept("a", scheduled_for=later())
        (now,) = ground.accept("a")
        assert ground.claimed_ids([asleep]) == []
        assert due(ground) == [now]
        assert ground.claimed_ids([asleep, now]) == [now]
        assert ground.settle(now, SENT)
        assert ground.claimed_ids([], chats=[(ground.connection, "a")]) == []

    def test_the_chats_head_is_the_first_that_is_due(self, ground: Ground) -> None:
        ground.accept("a", "a", scheduled_for=later())
        (now,) = ground.accept("a")
        assert ground.claimed_ids([], chats=[(ground.connection, "a")]) == [now]

    def test_a_retry_that_waits_is_not_asleep(self, ground: Ground) -> None:
        (woken,) = ground.accept("a", scheduled_for=later())
        wake(ground, woken)
        (behind,) = ground.accept("a")
        assert ground.claimed_ids([woken]) == [woken]
        assert ground.settle(woken, QUEUED, after_s=3600.0, code="later")
        assert ground.claimed_ids([behind]) == []
        assert due(ground) == []


class TestAwake:
    def test_once_due_it_has_its_place_in_the_chat(self, ground: Ground) -> None:
        (scheduled,) = ground.accept("a", scheduled_for=later())
        (behind,) = ground.accept("a")
        wake(ground, scheduled)
        assert due(ground) == [scheduled]
        assert ground.claimed_ids([scheduled, behind]) == [scheduled]
        assert ground.settle(scheduled, SENT)
        assert ground.claimed_ids([behind]) == [behind]

    def test_what_overtook_it_is_finished_first(self, ground: Ground) -> None:
        (scheduled,) = ground.accept("a", scheduled_for=later())
        (overtaking,) = ground.accept("a")
        assert ground.claimed_ids([overtaking]) == [overtaking]
        wake(ground, scheduled)
        assert due(ground) == []
        assert ground.claimed_ids([scheduled]) == []
        assert ground.settle(overtaking, IN_DOUBT)
        assert ground.claimed_ids([scheduled]) == []
        assert ground.store.run(
            messages.resolve, message_id=overtaking, attempt=1, state=QUEUED, code="unsent", incarnation="x"
        )
        assert ground.claimed_ids([scheduled, overtaking]) == [scheduled], (
            "both are due: the one that was accepted first"
        )

    def test_several_of_one_chat_go_in_the_order_in_which_they_were_accepted(self, ground: Ground) -> None:
        first, second = ground.accept("a", "a", scheduled_for=later())
        wake(ground, second)
        assert due(ground) == [second], "the first is still asleep"
        wake(ground, first)
        assert due(ground) == [first]
        assert ground.claimed_ids([first, second]) == [first]

    def test_sleepers_are_not_in_the_relays_way(self, ground: Ground) -> None:
        ground.accept(*(f"chat-{number}" for number in range(30)), scheduled_for=later())
        (woken,) = ground.accept("z", scheduled_for=later())
        (plain,) = ground.accept("y")
        wake(ground, woken)
        assert due(ground) == [woken, plain]


class TestDelivery:
    def test_it_leaves_within_a_second_of_its_time_and_not_before(self, ground: Ground) -> None:
        at = later(1.2)
        (scheduled,) = ground.accept("a", scheduled_for=at)
        (now,) = ground.accept("a")
        left_at: dict[int, datetime] = {}

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            left_at[message.id] = datetime.now(UTC)
            return Sent(provider_id=f"p-{message.id}")

        async def scenario() -> None:
            async with Process(ground, Script(behave)) as process:
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

    def test_its_retries_are_those_of_any_message(self, ground: Ground) -> None:
        (scheduled,) = ground.accept("a", scheduled_for=later(0.2))

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            return Retry(code="later") if message.attempt < 3 else Sent(provider_id="p")

        async def scenario() -> None:
            async with Process(ground, Script(behave)) as process:
                relay = asyncio.create_task(process.relay.run())
                await process.until([scheduled], "sent")
                await cancelled(relay)

        run(scenario())
        assert ground.history(scheduled) == ["queued", "sending", "queued", "sending", "queued", "sending", "sent"]


def test_a_message_that_is_not_scheduled_has_no_time(ground: Ground) -> None:
    (row_id,) = ground.accept("a")
    assert query(ground.url, "SELECT scheduled_for, not_before FROM messages WHERE id = %(id)s", id=row_id) == [
        {"scheduled_for": None, "not_before": None}
    ]
