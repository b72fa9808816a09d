"""Pacing: the policy, the tokens that the claim takes, and that the process that waits is in no one's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as some

from shared.channels.pacing import NO_LIMITS, PacingLimits, limits_of
from shared.clock import monotonic
from shared.delivery.breaker import Breaker
from shared.delivery.channel import RecordToken
from shared.delivery.pacer import Pacer
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.settings import Settings
from shared.states import MessageState
from shared.store import messages, pacing
from tests.delivery.env import Process, Script, run, soon
from tests.store.env import StoreEnv, open_store, open_transaction, side_by_side
from tests.support.database import query

SECOND = timedelta(seconds=1)


def pace(env: StoreEnv, number: int | None = None, **limits: float) -> None:
    """Give a number its limits, with nothing spent."""
    number = number or env.connection
    env.store.run(pacing.set_limits, {number: PacingLimits(**limits)})
    query(
        env.url,
        "UPDATE pacing SET spent_until = now(), day_spent_until = now() WHERE connection_id = %(id)s",
        id=number,
    )


def claimed(env: StoreEnv, ids: list[int], **named: Any) -> messages.Claimed:
    """Claim rows as the dispatcher does."""
    request = messages.ClaimRequest(ids=ids, **({"limit": 100} | named))
    return env.store.run(messages.claim_within_limits, claimant(), request)


def claimant(incarnation: str = "meta-0.a") -> messages.Claimant:
    """A sender of Meta."""
    return messages.Claimant(kind="meta", incarnation=incarnation, token_at_claim=True)


class TestPolicy:
    @pytest.mark.parametrize(
        ("settings", "connection_type", "options", "expected"),
        [
            ({}, "meta_direct", {}, (1 / 80, 4.0, 6.0)),
            ({}, "360dialog", {"messages_per_second": 1000}, (1 / 1000, 50.0, 6.0)),
            ({}, "meta_embedded", {"coexistence": True}, (1 / 20, 1.0, 6.0)),
            ({"meta_messages_per_second": 0.0}, "meta_direct", {}, (0.0, 1.0, 0.0)),
            ({"meta_messages_per_second": 0.0}, "meta_direct", {"messages_per_second": 5}, (1 / 5, 1.0, 6.0)),
            ({}, "meta_direct", {"messages_per_second": 0, "pair_limit": False}, (0.0, 1.0, 0.0)),
            ({"meta_pair_limit": "off"}, "meta_direct", {}, (1 / 80, 4.0, 0.0)),
            ({"meta_pair_limit": "off"}, "meta_direct", {"pair_limit": True}, (1 / 80, 4.0, 6.0)),
            (
                {},
                "meta_direct",
                {"messages_per_second": "fast", "coexistence": "yes", "pair_limit": None},
                (1 / 80, 4.0, 6.0),
            ),
            ({}, "meta_direct", {"messages_per_second": True}, (1 / 80, 4.0, 6.0)),
            ({}, "meta_direct", {"messages_per_second": -1}, (1 / 80, 4.0, 6.0)),
        ],
    )
    def test_of_a_meta_number(
        self, settings: dict[str, Any], connection_type: str, options: Mapping[str, Any], expected: tuple[float, ...]
    ) -> None:
        limits = limits_of(Settings(**settings), connection_type, options)
        assert (limits.every_s, limits.burst, limits.pair_every_s) == expected
        assert (limits.day_every_s, limits.jitter) == (0.0, 0.0)

    def test_of_a_browser_session(self) -> None:
        limits = limits_of(Settings(), "wwebjs", {})
        assert limits == PacingLimits(every_s=7.5, burst=30.0, jitter=0.5, day_every_s=172.8, day_burst=500.0)
        assert limits_of(Settings(), "wwebjs", {"messages_per_minute": 60, "messages_per_day": 0}).every_s == 1.0
        assert (
            limits_of(Settings(webdriver_messages_per_minute=0.0, webdriver_messages_per_day=0), "wwebjs", {}).every_s
            == 0.0
        )

    def test_a_session_is_held_to_a_human_pace_only_where_an_account_can_be_banned(self) -> None:
        sandbox: dict[str, Any] = {"whatsapp_web_url": "http://127.0.0.1:3100/web/"}
        assert limits_of(Settings(**sandbox), "wwebjs", {}) == NO_LIMITS
        assert limits_of(Settings(**sandbox, webdriver_pacing="on"), "wwebjs", {}).every_s == 7.5
        assert limits_of(Settings(whatsapp_web_url="https://web.whatsapp.com/"), "wwebjs", {}).every_s == 7.5
        assert limits_of(Settings(webdriver_pacing="off"), "wwebjs", {}) == NO_LIMITS

    def test_a_session_never_sends_more_than_its_ceiling_in_any_day(self) -> None:
        for ceiling in (1, 2, 10, 999):
            limits = limits_of(Settings(webdriver_messages_per_day=ceiling), "wwebjs", {})
            assert limits.day_burst + 86400 / limits.day_every_s <= max(ceiling, 1.5) + 1e-9


class Bucket:
    """The cell rate algorithm in its plainest form, for comparison: a clock that the test moves, and one message at a
    time."""

    def __init__(self, every_s: float, burst: int) -> None:
        self.every_s, self.burst = every_s, burst
        self.spent_until = 0.0

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        start = max(self.spent_until, now)
        if start - now > (self.burst - 1) * self.every_s + 1e-9:
            return False
        self.spent_until = start + self.every_s
        return True


class TestTokens:
    @given(
        every_s=some.floats(0.01, 10),
        burst=some.integers(1, 20),
        gaps=some.lists(some.floats(0, 5), min_size=1, max_size=60),
    )
    def test_no_window_has_more_than_the_burst_and_its_share(
        self, every_s: float, burst: int, gaps: list[float]
    ) -> None:
        bucket, now, sent = Bucket(every_s, burst), 0.0, []
        for gap in gaps:
            now += gap
            while bucket.take(now):
                sent.append(now)
        for start in range(len(sent)):
            for end in range(start, len(sent)):
                assert end - start + 1 <= burst + (sent[end] - sent[start]) / every_s + 1e-6

    @trials(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        every_s=some.sampled_from([500.0, 2000.0, 7500.0]),
        burst=some.integers(1, 8),
        steps=some.lists(some.tuples(some.integers(0, 20), some.integers(1, 12))),
    )
    def test_the_claim_lets_through_what_the_algorithm_does(
        self, env: StoreEnv, every_s: float, burst: int, steps: list[tuple[int, int]]
    ) -> None:
        """Time passes in the table: what was spent moves back. The distance is so long that the time which the test
        itself takes, however busy the machine, adds no token."""
        pace(env, every_s=every_s, burst=burst)
        bucket, now = Bucket(every_s, burst), 0.0
        for passed, offered in steps:
            now += passed * every_s / 2 + every_s / 1000
            query(
                env.url,
                "UPDATE pacing SET spent_until = greatest(spent_until, now()) - make_interval(secs => %(s)s)",
                s=passed * every_s / 2 + every_s / 1000,
            )
            ids = env.accept(*(f"{number}" for number in range(offered)), connection_id=env.connection)
            allowed = sum(bucket.take(now) for _ in range(offered))
            got = claimed(env, ids)
            assert [message.id for message in got.messages] == ids[:allowed]
            assert (env.connection in got.waits) == (allowed < offered)
            query(env.url, "DELETE FROM messages")

    def test_the_wait_is_returned_and_is_long_enough(self, env: StoreEnv) -> None:
        pace(env, every_s=10.0, burst=2)
        ids = env.accept(*"abcd")
        first = claimed(env, ids)
        assert [message.id for message in first.messages] == ids[:2]
        assert 9.0 < first.waits[env.connection] <= 10.0
        assert 9.0 < claimed(env, ids[2:]).waits[env.connection] <= 10.0
        query(env.url, "UPDATE pacing SET spent_until = spent_until - interval '10 seconds'")
        assert [message.id for message in claimed(env, ids[2:]).messages] == [ids[2]]

    def test_one_number_takes_nothing_from_another(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        pace(env, every_s=10.0, burst=1)
        slow, free = env.accept(*"abc"), env.accept(*"abc", connection_id=other)
        got = claimed(env, slow + free)
        assert [message.id for message in got.messages] == [slow[0], *free]
        assert set(got.waits) == {env.connection}

    def test_a_ceiling_for_the_day_holds_back_what_the_rate_would_let_through(self, env: StoreEnv) -> None:
        pace(env, every_s=0.001, burst=100, day_every_s=86400.0, day_burst=2)
        ids = env.accept(*"abc")
        got = claimed(env, ids)
        assert [message.id for message in got.messages] == ids[:2]
        assert 86000 < got.waits[env.connection] <= 86400

    def test_held_back_rows_have_no_history_and_are_as_they_were(self, env: StoreEnv) -> None:
        pace(env, every_s=10.0, burst=1)
        ids = env.accept(*"abc")
        claimed(env, ids)
        before = env.rows(ids[1:])
        for _ in range(20):
            claimed(env, ids)
        assert env.rows(ids[1:]) == before
        assert [env.history(row_id) for row_id in ids] == [["queued", "sending"], ["queued"], ["queued"]]

    def test_a_polled_connection_with_rows_that_the_look_passed_over_is_named(self, env: StoreEnv) -> None:
        pace(env, every_s=0.001, burst=50)
        sending, *behind = env.accept(*"aaaa")
        assert [message.id for message in claimed(env, [sending]).messages] == [sending]
        got = claimed(env, [], connections=[env.connection])
        assert (got.messages, got.waits, got.unseen) == ([], {}, frozenset({env.connection}))
        assert env.settle(sending, MessageState.SENT)
        for row_id in behind[:-1]:
            got = claimed(env, [], connections=[env.connection])
            assert ([message.id for message in got.messages], got.unseen) == ([row_id], frozenset({env.connection}))
            assert env.settle(row_id, MessageState.SENT)
        got = claimed(env, [], connections=[env.connection])
        assert ([message.id for message in got.messages], got.unseen) == (behind[-1:], frozenset())

    def test_two_processes_together_take_no_more_than_there_is(self, env: StoreEnv) -> None:
        rivals = [open_store(env.url), open_store(env.url)]
        for round_ in range(15):
            pace(env, every_s=1000.0, burst=5)
            ids = env.accept(*(f"{round_}-{number}" for number in range(24)))
            halves = [ids[:12], ids[12:]]

            def claim(half: int, halves: list[list[int]] = halves) -> int:
                request = messages.ClaimRequest(ids=halves[half], limit=100)
                return len(rivals[half].run(messages.claim_within_limits, claimant(f"meta-{half}"), request).messages)

            one, two = side_by_side(lambda: claim(0), lambda: claim(1))
            assert one + two <= 5
            assert one + two + len(claimed(env, ids).messages) == 5
        for rival in rivals:
            rival.close()

    def test_tokens_that_another_claim_has_locked_are_not_waited_for(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        pace(env, every_s=10.0, burst=5)
        pace(env, other, every_s=10.0, burst=5)
        (mine,), (theirs,) = env.accept("a"), env.accept("a", connection_id=other)
        with open_transaction(env.url, "SELECT FROM pacing WHERE connection_id = %(id)s FOR UPDATE", id=env.connection):
            got = claimed(env, [mine, theirs])
            assert [message.id for message in got.messages] == [theirs]
            assert got.waits == {env.connection: 0.0}
        assert [message.id for message in claimed(env, [mine]).messages] == [mine]

    def test_what_was_surely_not_sent_is_not_spent(self, env: StoreEnv) -> None:
        pace(env, every_s=10.0, burst=1, day_every_s=100.0, day_burst=1)
        (row_id,) = env.accept("a")
        for _ in range(5):
            assert claimed(env, [row_id]).messages
            assert env.settle(row_id, MessageState.QUEUED, counts=False, code="session_not_ready")
        assert claimed(env, [row_id]).messages
        assert env.settle(row_id, MessageState.QUEUED, code="send_failed")
        assert not claimed(env, [row_id]).messages

    def test_a_scattered_rate_keeps_its_mean(self, env: StoreEnv) -> None:
        pace(env, every_s=10.0, burst=1e6, jitter=0.5)
        costs = []
        for number in range(60):
            (before,) = query(
                env.url, "UPDATE pacing SET spent_until = now() + interval '1 hour' RETURNING spent_until"
            )
            claimed(env, env.accept(f"chat-{number}"))
            (after,) = query(env.url, "SELECT spent_until FROM pacing")
            costs.append((after["spent_until"] - before["spent_until"]) / SECOND)
        assert all(5.0 <= cost <= 15.0 for cost in costs)
        assert max(costs) - min(costs) > 2.0
        assert 8.0 < sum(costs) / len(costs) < 12.0


class TestPairs:
    def test_a_chat_that_has_to_wait_says_until_when_and_holds_up_no_other(self, env: StoreEnv) -> None:
        pace(env, pair_every_s=6.0, pair_burst=2)
        first, second, third, other = env.accept("a", "a", "a", "b")
        for row_id in (first, second):
            assert [message.id for message in claimed(env, [row_id]).messages] == [row_id]
            assert env.settle(row_id, MessageState.SENT)
        got = claimed(env, [third, other])
        assert [message.id for message in got.messages] == [other]
        assert got.waits == {}, "the number itself need not wait"
        row = env.row(third)
        assert 4.0 < (row["not_before"] - datetime.now(UTC)) / SECOND <= 6.0
        assert (row["state"], env.history(third)) == ("queued", ["queued"])
        assert env.store.run(messages.due, kind="meta", grace_s=0.0, most=10) == []

        query(env.url, "UPDATE pair_pacing SET spent_until = spent_until - interval '6 seconds' WHERE chat_id = 'a'")
        env.set(third, "not_before = now()")
        assert env.store.run(messages.due, kind="meta", grace_s=0.0, most=10) == [third]
        assert [message.id for message in claimed(env, [third]).messages] == [third]

    def test_what_a_chat_may_not_send_costs_its_number_nothing(self, env: StoreEnv) -> None:
        pace(env, every_s=10.0, burst=2, pair_every_s=6.0, pair_burst=1)
        first, second, *others = env.accept("a", "a", "b", "c")
        claimed(env, [first])
        env.settle(first, MessageState.SENT)
        assert [message.id for message in claimed(env, [second, *others]).messages] == others[:1]

    def test_pairs_are_forgotten_when_nothing_is_spent_any_more(self, env: StoreEnv) -> None:
        pace(env, pair_every_s=6.0, pair_burst=45)
        query(env.url, "DELETE FROM pair_pacing")
        claimed(env, env.accept("a", "b"))
        query(env.url, "UPDATE pair_pacing SET spent_until = now() - interval '1 second' WHERE chat_id = 'a'")
        assert env.store.run(pacing.forget_pairs, most=10) == 1
        assert [row["chat_id"] for row in query(env.url, "SELECT chat_id FROM pair_pacing")] == ["b"]


class TestPacer:
    def test_what_waits_goes_with_its_connection_to_another_kind(self, env: StoreEnv) -> None:
        """Its type was changed while messages waited: the process that serves it now finds and sends them, in their
        order."""
        sent, first, second = env.accept("a", "a", "a")
        env.set(sent, "state = 'sent'")
        query(env.url, "UPDATE phone_configs SET connection_type = 'wwebjs' WHERE id = %(id)s", id=env.connection)

        def due(kind: str) -> list[int]:
            return env.store.run(messages.due, kind=kind, grace_s=0.0, most=10)

        async def scenario() -> None:
            await Pacer(env.store, Settings(), kind="meta").look()
            assert due("webdriver") == []
            await Pacer(env.store, Settings(), kind="webdriver").look()

        run(scenario())
        assert (due("meta"), due("webdriver")) == ([], [first])
        assert [env.row(row_id)["process_name"] for row_id in (sent, first, second)] == [
            "meta",
            "webdriver",
            "webdriver",
        ], "what has left stays as it was"

    def test_limits_follow_settings_and_options_and_what_is_spent_stays(self, env: StoreEnv) -> None:
        session = env.connect(phone_index=1, connection_type="wwebjs")

        def stored() -> PacingLimits | None:
            return next(one.limits for one in env.store.run(pacing.of_kind, "meta") if one.id == env.connection)

        async def scenario() -> None:
            pacer = Pacer(env.store, Settings(), kind="meta")
            assert stored() is None
            assert await pacer.look() == 1
            assert stored() == limits_of(Settings(), "meta_direct", {})
            assert await pacer.look() == 0, "nothing has changed"
            query(env.url, "UPDATE pacing SET spent_until = now() + interval '20 milliseconds'")
            query(
                env.url,
                "UPDATE phone_configs SET options = '{\"messages_per_second\": 0.5}' WHERE id = %(id)s",
                id=env.connection,
            )
            assert await pacer.look() == 1
            assert await Pacer(env.store, Settings(), kind="webdriver").look() == 1

        run(scenario())
        limits = stored()
        assert limits is not None
        assert limits.every_s == 2.0
        assert {one.id: one.limits for one in env.store.run(pacing.of_kind, "webdriver")} == {
            session: limits_of(Settings(), "wwebjs", {})
        }

    def test_a_raised_limit_releases_waiting_messages(self, env: StoreEnv) -> None:
        pace(env, every_s=3600.0, burst=10)
        query(env.url, "UPDATE pacing SET spent_until = now() + interval '10 hours'")
        (row_id,) = env.accept("a")
        assert not claimed(env, [row_id]).messages
        env.store.run(pacing.set_limits, {env.connection: PacingLimits(every_s=0.001, burst=1)})
        env.set(row_id, "created_at = now()")
        query(env.url, "UPDATE pacing SET spent_until = spent_until - interval '2 milliseconds'")
        assert claimed(env, [row_id]).messages

    def test_a_connection_that_was_deleted_meanwhile_is_no_error(self, env: StoreEnv) -> None:
        env.store.run(pacing.set_limits, {env.connection + 1000: NO_LIMITS, env.connection: NO_LIMITS})
        assert [row["connection_id"] for row in query(env.url, "SELECT connection_id FROM pacing")] == [env.connection]


class TestDispatching:
    def test_a_numbers_backlog_delays_no_other_number(self, env: StoreEnv) -> None:
        """More rows wait than there are places in flight, and they came first."""
        other = env.connect(phone_index=1)
        pace(env, every_s=0.5, burst=1)
        backlog = env.accept(*(f"chat-{number}" for number in range(120)))
        free = env.accept(*(f"chat-{number}" for number in range(40)), connection_id=other)

        async def scenario() -> None:
            async with Process(env, Script(), in_flight=10) as process:
                began = monotonic()
                process.dispatcher.offer([*backlog, *free])
                await process.until(free, "sent")
                took_s = monotonic() - began
                sent = [row_id for row_id in process.channel.taken if row_id in backlog]
                assert len(sent) <= 1 + took_s / 0.5
                assert sent == backlog[: len(sent)]
                assert process.dispatcher.capacity == 10, "who waits takes no place"

        run(scenario())

    def test_waiting_messages_are_found_when_there_are_tokens_and_the_rate_is_kept(self, env: StoreEnv) -> None:
        """Without a relay."""
        pace(env, every_s=0.04, burst=2)
        ids = env.accept(*(f"chat-{number % 12}" for number in range(30)))
        at: list[float] = []

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            at.append(monotonic())
            return Sent(provider_id=f"p-{message.id}")

        async def scenario() -> None:
            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer(ids)
                await process.until(ids, "sent")
                assert sorted(process.channel.taken) == ids

        run(scenario())
        assert Counter(env.state(row_id) for row_id in ids) == {"sent": 30}
        # claims lie up to a round trip before sends
        assert at[-1] - at[0] >= (30 - 2) * 0.04 - 0.15

    def test_two_processes_share_a_numbers_rate(self, env: StoreEnv) -> None:
        pace(env, every_s=0.03, burst=2)
        ids = env.accept(*(f"chat-{number}" for number in range(40)))

        async def scenario() -> float:
            async with Process(env, Script(), "meta-0.a") as one, Process(env, Script(), "meta-1.b") as two:
                began = monotonic()
                one.dispatcher.offer(ids[::2])
                two.dispatcher.offer(ids[1::2])
                await one.until(ids, "sent")
                assert sorted(one.channel.taken + two.channel.taken) == ids
                return monotonic() - began

        assert run(scenario()) >= (40 - 2) * 0.03

    def test_the_relay_finds_a_number_that_waits_and_its_scan_is_not_stuck_in_a_backlog(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        pace(env, every_s=3600.0, burst=1)
        query(
            env.url,
            "UPDATE pacing SET spent_until = now() + interval '1 hour' WHERE connection_id = %(id)s",
            id=env.connection,
        )
        env.accept(*(f"chat-{number}" for number in range(50)))
        free = env.accept("late", connection_id=other)
        query(env.url, "UPDATE messages SET created_at = now() - interval '1 minute'")

        async def scenario() -> None:
            async with Process(env, Script(), in_flight=5) as process:
                assert await process.relay.look() == 2, "one of those who wait, and the other number's"
                await process.until(free, "sent")
                await soon(lambda: process.dispatcher.capacity == 5, "nothing is held in hand")
                assert await process.relay.look() == 0, "who waits is known by now"
                assert process.channel.taken == free

        run(scenario())

    def test_offers_without_end_do_not_starve_a_number_that_has_waited(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        pace(env, every_s=0.02, burst=1)
        waited = env.accept(*(f"chat-{number}" for number in range(10)))
        flood = env.accept(*(f"chat-{number}" for number in range(800)), connection_id=other)

        async def scenario() -> None:
            async with Process(env, Script(), in_flight=4) as process:
                process.dispatcher.offer([*waited, *flood])
                await process.until(waited, "sent")
                assert len(process.channel.taken) < len(waited) + len(flood), "the flood was still going on"
                await process.until(flood, "sent")
                assert sorted(process.channel.taken) == [*waited, *flood]

        run(scenario())

    def test_a_provider_that_asks_to_wait_wins(self, env: StoreEnv) -> None:
        pace(env, every_s=0.001, burst=50)
        (row_id,) = env.accept("a")
        at: list[float] = []

        async def behave(message: OutboundMessage, _: RecordToken) -> Outcome:
            at.append(monotonic())
            return (
                Retry(code="130429", after_s=0.4, counts=False) if len(at) == 1 else Sent(provider_id=f"p-{message.id}")
            )

        async def scenario() -> None:
            async with Process(env, Script(behave)) as process:
                process.dispatcher.offer([row_id])
                await process.until([row_id], "sent")

        run(scenario())
        assert at[1] - at[0] >= 0.4


class TestBreaker:
    def test_it_opens_after_so_many_failures_in_a_row_of_one_connection(self) -> None:
        breaker = Breaker(3)
        failures: list[Outcome] = [
            Dead(code="chat_not_found"),
            Retry(code="send_failed"),
            InDoubt(code="page_answer_late"),
        ]
        assert [breaker.note(1, outcome) for outcome in failures[:2]] == ["", ""]
        assert breaker.note(1, Retry(code="session_not_ready", counts=False)) == "", "it never left"
        assert breaker.note(2, failures[0]) == "", "another connection"
        assert breaker.note(1, Sent(provider_id="p")) == ""
        assert [bool(breaker.note(1, outcome)) for outcome in failures] == [False, False, True]
        assert breaker.note(1, failures[0]), "as long as it goes on"

    def test_zero_is_never(self) -> None:
        breaker = Breaker(0)
        assert not any(breaker.note(1, Dead(code="no")) for _ in range(100))

    def test_the_connection_is_paused_and_its_messages_stay(self, env: StoreEnv) -> None:
        ids = env.accept(*(f"chat-{number}" for number in range(12)))

        async def behave(_: OutboundMessage, __: RecordToken) -> Outcome:
            return Dead(code="chat_not_found")

        async def scenario() -> None:
            async with Process(env, Script(behave), in_flight=1, breaker=Breaker(4)) as process:
                process.dispatcher.offer(ids)
                await soon(
                    lambda: query(env.url, "SELECT id FROM phone_configs WHERE status = 'paused'"),
                    "the connection is paused",
                )
                await soon(lambda: process.dispatcher.capacity == 1, "nothing is in hand any more")

        run(scenario())
        (row,) = query(env.url, "SELECT status_reason FROM phone_configs")
        assert row["status_reason"] == "breaker: 4 sends in a row failed, the last one with chat_not_found"
        states = Counter(env.state(row_id) for row_id in ids)
        assert states["queued"] >= 6
        assert 4 <= states["failed"] <= 6
