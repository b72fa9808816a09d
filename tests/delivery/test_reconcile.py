"""Doubt: what is found out decides, else the policy; and the laws that are pure."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sized
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from shared.clock import utc_now
from shared.delivery import reconcile
from shared.delivery.channel import RecordToken
from shared.delivery.reconcile import Hold, Move, decide
from shared.delivery.retry_policy import retry_policy
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.states import MessageState
from shared.store import interventions
from shared.store.messages import Doubt
from tests.delivery.env import Process, Script, cancelled, run, soon
from tests.store.env import StoreEnv, away
from tests.support.database import query
from tests.support.servers import Servers

SENT, QUEUED, FAILED = MessageState.SENT, MessageState.QUEUED, MessageState.FAILED
UNSENT = Retry(code="unknown_there")
NOT_ASKED = InDoubt(code="session_away")

DECISIONS: list[tuple[Outcome | None, str, float, Move | Hold | None]] = [
    # proof decides at once, whatever the policy
    *[
        (Sent(provider_id="p"), policy, age, Move(SENT, "proved_sent", "p"))
        for policy in ("auto", "resend", "hold")
        for age in (0.0, 99.0)
    ],
    *[
        (Dead(code="131026"), policy, age, Move(FAILED, "131026"))
        for policy in ("auto", "resend", "hold")
        for age in (0.0, 99.0)
    ],
    # evidence that it was not sent: again, unless a human wants to be asked each time
    *[(UNSENT, policy, age, Move(QUEUED, "evidence_unsent")) for policy in ("auto", "resend") for age in (0.0, 99.0)],
    (UNSENT, "hold", 0.0, None),
    (UNSENT, "hold", 10.0, Hold("held_by_policy")),
    # nothing is known: wait, then the policy
    *[(None, policy, 9.99, None) for policy in ("auto", "resend", "hold")],
    (None, "auto", 10.0, Hold("no_evidence")),
    (None, "resend", 10.0, Move(QUEUED, "policy_resend")),
    (None, "hold", 10.0, Hold("held_by_policy")),
    # no process could be asked yet: the window has not begun
    *[(NOT_ASKED, policy, 99.0, None) for policy in ("auto", "resend", "hold")],
]


@pytest.mark.parametrize(("found", "policy", "doubt_s", "expected"), DECISIONS)
def test_what_is_decided(found: Outcome | None, policy: Any, doubt_s: float, expected: Move | Hold | None) -> None:
    assert decide(found, policy=policy, doubt_s=doubt_s, window_s=10.0) == expected


@pytest.mark.parametrize("found", [None, NOT_ASKED])
@pytest.mark.parametrize(
    ("policy", "code"), [("auto", "no_evidence"), ("resend", "no_evidence"), ("hold", "held_by_policy")]
)
def test_no_doubt_is_open_without_end(found: Outcome | None, policy: Any, code: str) -> None:
    """Senders that die again and again start the window anew each time: an operator must see what waits. It is not sent
    again for that: a webhook that was repeated late may still arrive."""
    ends_s = 10.0 + reconcile.LONGEST_DOUBT_S
    assert decide(found, policy=policy, doubt_s=0.0, window_s=10.0, age_s=ends_s - 0.1) is None
    assert decide(found, policy=policy, doubt_s=0.0, window_s=10.0, age_s=ends_s) == Hold(code)


@pytest.mark.parametrize(
    ("found", "policy", "expected"),
    [
        (UNSENT, "auto", Hold("attempts_used")),
        (UNSENT, "resend", Hold("attempts_used")),
        (None, "resend", Hold("attempts_used")),
        (None, "auto", Hold("no_evidence")),
        (Retry(code="harmless_twice"), "auto", Move(FAILED, "attempts_used")),
        (Sent(provider_id="p"), "auto", Move(SENT, "proved_sent", "p")),
        (NOT_ASKED, "resend", None),
    ],
)
def test_doubts_count_as_attempts(found: Outcome | None, policy: Any, expected: Move | Hold | None) -> None:
    """A provider that takes each attempt and answers none would else get the message without end."""
    assert decide(found, policy=policy, doubt_s=99.0, window_s=10.0, attempts_left=False) == expected


@pytest.mark.parametrize(("attempt", "waits"), [(1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (10_000, 300.0)])
def test_the_retry_policy(attempt: int, waits: float) -> None:
    assert retry_policy(2.0).wait_s(attempt) == waits
    assert retry_policy(0.0).wait_s(attempt) == 0.0


def more_than(things: Sized, count: int) -> bool:
    return len(things) > count


def doubtful(env: StoreEnv, *chats: str) -> list[int]:
    """Return rows in doubt, one in each chat."""
    ids = env.accept(*chats)
    env.claim(ids)
    for row_id in ids:
        env.settle(row_id, MessageState.IN_DOUBT, code="no_answer")
    return ids


class TestReconciler:
    def test_each_row_goes_where_the_provider_says(self, env: StoreEnv) -> None:
        sent, dead, unsent, unknown = ids = doubtful(env, *"abcd")
        script = Script()
        script.found = {sent: Sent(provider_id="p"), dead: Dead(code="131026"), unsent: UNSENT, unknown: None}

        async def scenario() -> None:
            async with Process(env, script, window_s=3600.0) as process:
                await process.reconciler.look()
                await process.until([unsent], "sent")
                assert script.attempts(unsent) == [2], "it is sent again at once, without a relay"

        run(scenario())
        assert [env.state(row_id) for row_id in ids] == ["sent", "failed", "sent", "in_doubt"]
        assert env.row(sent)["provider_id"] == "p"
        assert script.taken == [unsent]
        codes = [
            step["code"]
            for step in query(
                env.url,
                "SELECT coalesce(code, '') AS code FROM events WHERE message_id = %(id)s ORDER BY id",
                id=unsent,
            )
        ]
        assert codes == ["", "", "no_answer", "evidence_unsent", "", ""], "the decision stands in the history"

    @pytest.mark.parametrize(("policy", "found"), [("resend", None), ("auto", UNSENT)])
    def test_a_doubt_ends_after_its_attempts_with_a_human(self, env: StoreEnv, policy: str, found: Any) -> None:
        """The provider takes each attempt and answers 502."""
        (row_id,) = env.accept("a")

        async def no_answer(message: OutboundMessage, token: RecordToken) -> Outcome:
            await token(message.token)
            return InDoubt(code="http_502")

        script = Script(no_answer)
        script.found = {row_id: found}

        async def scenario() -> None:
            async with Process(env, script, policy=policy, attempts=3) as process:
                process.dispatcher.offer([row_id])
                for _ in range(3):
                    await process.until([row_id], "in_doubt")
                    await soon(lambda: process.dispatcher.in_flight == 0, "the doubt is written")
                    sends = len(script.asked)
                    await process.reconciler.look()
                    if not env.row(row_id)["held_at"]:
                        await soon(partial(more_than, script.asked, sends), "it is sent again")
                await process.reconciler.look()

        run(scenario())
        assert script.attempts(row_id) == [1, 2, 3]
        row = env.row(row_id)
        assert (row["state"], row["error_code"]) == ("in_doubt", "attempts_used")
        assert row["held_at"] is not None
        held = env.store.run(interventions.for_humans, company_id="acme", most=10)
        assert [one["id"] for one in held] == [row_id], "it stands in the operators' list"

    def test_a_hold_is_not_asked_about_again(self, env: StoreEnv) -> None:
        (row_id,) = doubtful(env, "a")
        script = Script()

        async def scenario() -> None:
            async with Process(env, script, window_s=0.0) as process:
                await process.reconciler.look()
                await process.reconciler.look()
                assert process.metrics.snapshot()["in_doubt_decisions_total{code=no_evidence}"] == 1

        run(scenario())
        assert len(script.looked_up) == 1
        assert env.row(row_id)["held_at"] is not None
        assert (env.state(row_id), env.row(row_id)["error_code"]) == ("in_doubt", "no_evidence")

    def test_what_is_held_for_lack_of_evidence_is_looked_at_again(self, env: StoreEnv) -> None:
        ids = doubtful(env, "a", "b", "c", "d")
        proved, evident, unknown, resend = ids
        script = Script()

        async def scenario() -> None:
            async with Process(env, script, window_s=0.0) as process:
                await process.reconciler.look()
                assert all(env.row(row_id)["held_at"] for row_id in ids)
                script.found = {proved: Sent(provider_id="p"), evident: UNSENT, unknown: NOT_ASKED}
                # a policy that is changed afterwards decides about what falls in doubt from then on
                query(env.url, "UPDATE messages SET in_doubt_policy = 'resend' WHERE id = %(id)s", id=resend)
                await process.reconciler.look(held=True)
                await process.until([proved, evident], "sent")

        run(scenario())
        assert script.attempts(evident) == [2]
        assert [env.state(row_id) for row_id in (unknown, resend)] == ["in_doubt", "in_doubt"]
        assert all(env.row(row_id)["held_at"] for row_id in (unknown, resend))
        assert not any(env.row(row_id)["held_at"] for row_id in (proved, evident))

    def test_held_rows_that_stay_hide_no_other(self, env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconcile, "_MOST", 2)
        ids = doubtful(env, "a", "b", "c", "d", "e")
        script = Script()

        async def scenario() -> None:
            async with Process(env, script, window_s=0.0) as process:
                await process.reconciler.look()
                assert all(env.row(row_id)["held_at"] for row_id in ids)
                script.found = dict.fromkeys(ids[:4], NOT_ASKED) | {ids[4]: Sent(provider_id="p")}
                await process.reconciler.look(held=True)

        run(scenario())
        assert [env.state(row_id) for row_id in ids] == ["in_doubt"] * 4 + ["sent"]

    def test_what_policy_leaves_to_a_human_stays_held(self, env: StoreEnv) -> None:
        (row_id,) = doubtful(env, "a")
        script = Script()

        async def scenario() -> None:
            async with Process(env, script, policy="hold", window_s=0.0) as process:
                await process.reconciler.look()
                script.found = {row_id: UNSENT}
                await process.reconciler.look(held=True)

        run(scenario())
        assert len(script.looked_up) == 1
        assert (env.state(row_id), env.row(row_id)["error_code"]) == ("in_doubt", "held_by_policy")

    def test_a_missing_webhook_during_an_outage_is_no_evidence(self, env: StoreEnv) -> None:
        (row_id,) = doubtful(env, "a")
        env.set(row_id, "in_doubt_at = now() - interval '20 seconds', claimed_at = now() - interval '20 seconds'")
        script = Script()

        async def scenario() -> None:
            async with Process(env, script, window_s=3.0) as process:
                watch = process.run_dir / "meta.webhook-outages"
                now = time.time()
                # looked at until 15 s ago, then not any more
                watch.write_text(f"{now - 99:.3f} {now - 98:.3f}\n")
                os.utime(watch, (now - 15, now - 15))
                await process.reconciler.look()
                assert script.looked_up[0].doubt_s == 0.0
                assert script.looked_up[0].claimed_at > utc_now() - timedelta(seconds=1)

        run(scenario())
        assert (env.state(row_id), env.row(row_id)["held_at"]) == ("in_doubt", None)

    def test_the_companys_own_policy_comes_first(self, env: StoreEnv) -> None:
        (row_id,) = doubtful(env, "a")
        query(env.url, "UPDATE companies SET in_doubt_policy = 'resend'")

        async def scenario() -> None:
            async with Process(env, Script(), policy="hold", window_s=0.0) as process:
                await process.reconciler.look()
                await process.until([row_id], "sent")

        run(scenario())

    def test_a_look_up_that_raises_disturbs_no_other_row(self, env: StoreEnv) -> None:
        broken, sent = doubtful(env, "a", "b")
        script = Script()
        script.found = {broken: LookupError("a bug"), sent: Sent(provider_id="p")}

        async def scenario() -> None:
            async with Process(env, script, window_s=3600.0) as process:
                await process.reconciler.look()

        run(scenario())
        assert [env.state(row_id) for row_id in (broken, sent)] == ["in_doubt", "sent"]

    def test_a_look_up_that_hangs_disturbs_no_other_row(self, env: StoreEnv, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconcile, "LOOK_UP_S", 0.2)
        hanging, sent = doubtful(env, "a", "b")

        class Hanging(Script):
            async def look_up(self, doubt: Doubt) -> Outcome | None:
                return await asyncio.Event().wait() and None if doubt.message.id == hanging else Sent(provider_id="p")

        async def scenario() -> None:
            async with Process(env, Hanging(), window_s=0.0) as process:
                await process.reconciler.look()

        run(scenario())
        assert [env.state(row_id) for row_id in (hanging, sent)] == ["in_doubt", "sent"]
        assert env.row(hanging)["held_at"] is None, "nobody could be asked, so that the window has not begun"

    def test_two_processes_decide_once(self, env: StoreEnv) -> None:
        ids = doubtful(env, *(f"chat-{number}" for number in range(30)))
        script = Script()
        script.found = dict.fromkeys(ids, UNSENT)

        async def scenario() -> None:
            async with Process(env, script, "meta-0.a") as one, Process(env, script, "meta-1.b") as two:
                # a row that the other one still has locked is skipped by the claim, and found by the relay
                relay = asyncio.create_task(one.relay.run())
                await asyncio.gather(one.reconciler.look(), two.reconciler.look())
                await one.until(ids, "sent")
                await cancelled(relay)

        run(scenario())
        assert sorted(script.taken) == ids
        assert all(script.attempts(row_id) == [2] for row_id in ids)

    def test_it_outlives_an_outage(self, env: StoreEnv, servers: Servers) -> None:
        (row_id,) = doubtful(env, "a")
        script = Script()
        script.found = {row_id: Sent(provider_id="p")}

        async def scenario() -> None:
            async with Process(env, script) as process:
                running = asyncio.create_task(process.reconciler.run())
                with away(servers.database_server_url, env.url):
                    lost = process.store.stats
                    await soon(lambda: process.store.stats != lost or running.done(), "it looked", within_s=3)
                await process.until([row_id], "sent")
                assert not running.done()
                await cancelled(running)

        run(scenario())

    def test_a_receipt_that_comes_first_wins(self, env: StoreEnv) -> None:
        (row_id,) = doubtful(env, "a")

        class Late(Script):
            async def look_up(self, doubt: Doubt) -> Outcome | None:
                await asyncio.to_thread(env.set, doubt.message.id, "state = 'delivered'")
                return UNSENT

        script = Late()

        async def scenario() -> None:
            async with Process(env, script) as process:
                await process.reconciler.look()

        run(scenario())
        assert (env.state(row_id), script.asked) == ("delivered", [])


def test_a_message_of_the_script_has_what_a_row_has() -> None:
    """The scripted channel is typed by the real protocol; this keeps this env honest when fields change."""
    assert set(OutboundMessage.__slots__) >= {"id", "chat_id", "attempt", "token", "incarnation"}
