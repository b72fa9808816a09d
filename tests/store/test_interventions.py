"""What a human does about messages: cancel, redrive, resolve; and what stays in the history of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.messages import Receipt
from shared.states import MESSAGE_TRANSITIONS, MessageState, predecessors
from shared.store import connections, interventions, messages
from shared.store.interventions import RESOLUTIONS, Resolution
from tests.store.env import StoreEnv, open_store, side_by_side
from tests.support.database import query

FAILED, SENT, IN_DOUBT, QUEUED, DELIVERED = (
    MessageState.FAILED,
    MessageState.SENT,
    MessageState.IN_DOUBT,
    MessageState.QUEUED,
    MessageState.DELIVERED,
)


def fail(env: StoreEnv, chat: str = "a", code: str = "131026", **fields: Any) -> int:
    """Return a message that failed."""
    (row_id,) = env.accept(chat, **fields)
    assert env.claim([row_id])
    assert env.settle(row_id, FAILED, code=code, detail="no")
    return row_id


def hold(env: StoreEnv, chat: str = "a") -> int:
    """Return a message in doubt that was left to a human."""
    (row_id,) = env.accept(chat)
    assert env.claim([row_id])
    assert env.settle(row_id, IN_DOUBT, code="no_answer")
    assert env.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="x")
    return row_id


def cancel(env: StoreEnv, row_id: int, chat: str = "a", company: str = "acme") -> bool:
    return env.store.run(interventions.cancel, company_id=company, chat_id=chat, message_id=row_id)


def redrive(env: StoreEnv, **named: Any) -> list[int]:
    return env.store.run(interventions.redrive, **({"company_id": "acme"} | named))


def resolve(env: StoreEnv, row_id: int, resolution: Resolution, chat: str = "a") -> bool:
    return env.store.run(
        interventions.resolve, company_id="acme", chat_id=chat, message_id=row_id, resolution=resolution
    )


class TestCancel:
    def test_a_queued_message_is_taken_back_and_the_next_one_goes_on(self, env: StoreEnv) -> None:
        first, second = env.accept("a", "a")
        assert cancel(env, first)
        assert not cancel(env, first)
        row = env.row(first)
        assert (row["state"], row["error_code"], env.history(first)) == (
            "deleted",
            "cancelled",
            ["queued", "deleted"],
        )
        assert env.claimed_ids([first, second]) == [second]
        assert env.store.run(interventions.last_word, first) == "cancelled"

    def test_a_scheduled_one_and_one_that_waits_for_a_retry_too(self, env: StoreEnv) -> None:
        (scheduled,) = env.accept("a", scheduled_for=datetime.now(UTC) + timedelta(days=1))
        (retried,) = env.accept("b")
        env.claim([retried])
        env.settle(retried, QUEUED, after_s=3600.0, code="later")
        assert cancel(env, scheduled)
        assert cancel(env, retried, "b")

    def test_only_of_this_company_and_chat(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.connect("globex")
        assert not cancel(env, row_id, company="globex")
        assert not cancel(env, row_id, chat="b")
        assert env.state(row_id) == "queued"

    @pytest.mark.parametrize("state", [SENT, FAILED, IN_DOUBT, None])
    def test_what_is_on_its_way_is_not(self, env: StoreEnv, state: MessageState | None) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        if state:
            env.settle(row_id, state)
        assert not cancel(env, row_id)
        assert env.state(row_id) == (state or "sending")

    def test_cancelled_or_claimed_and_never_both(self, env: StoreEnv) -> None:
        rivals = [open_store(env.url), open_store(env.url)]
        won = []
        for round_ in range(25):
            (row_id,) = env.accept(f"chat-{round_}")
            named: dict[str, Any] = {
                "kind": "meta",
                "incarnation": "meta-0.a",
                "ids": [row_id],
                "most": 1,
                "token_at_claim": True,
            }
            where: dict[str, Any] = {"company_id": "acme", "chat_id": f"chat-{round_}", "message_id": row_id}

            def take_back(where: dict[str, Any] = where) -> bool:
                return rivals[0].run(interventions.cancel, **where)

            def claim(named: dict[str, Any] = named) -> bool:
                return bool(rivals[1].run(messages.claim, **named))

            taken_back, claimed = side_by_side(take_back, claim)
            assert not (taken_back and claimed)
            assert env.state(row_id) == ("deleted" if taken_back else "sending" if claimed else "queued")
            won.append(taken_back)
        assert any(won)
        for rival in rivals:
            rival.close()

    def test_a_proof_that_it_had_left_all_the_same_is_believed(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        env.settle(row_id, IN_DOUBT, code="no_answer")
        env.store.run(
            messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="policy_resend", incarnation="x"
        )
        assert cancel(env, row_id)
        receipt = Receipt(
            connection_id=env.connection,
            state=DELIVERED,
            at=datetime.now(UTC),
            token=env.token(row_id),
            provider_id="wamid.1",
        )
        assert env.receipts(receipt) == [True]
        assert env.state(row_id) == "delivered"

    def test_what_was_sent_and_then_deleted_stays_so(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        env.settle(row_id, SENT, provider_id="wamid.1")
        env.set(row_id, "state = 'deleted'")
        env.receipts(
            Receipt(connection_id=env.connection, state=DELIVERED, at=datetime.now(UTC), provider_id="wamid.1")
        )
        assert env.state(row_id) == "deleted"


class TestRedrive:
    def test_it_has_another_full_set_of_attempts_and_keeps_its_history(self, env: StoreEnv) -> None:
        row_id = fail(env)
        assert redrive(env, message_id=row_id, chat_id="a") == [row_id]
        assert redrive(env, message_id=row_id, chat_id="a") == []
        row = env.row(row_id)
        assert (row["state"], row["error_code"], row["forgiven"], row["deaths"]) == ("queued", "", 1, 0)
        assert env.history(row_id) == ["queued", "sending", "failed", "queued"]
        (message,) = env.claim([row_id])
        # the number goes on, since it names the send at the provider; what is charged begins anew
        assert (message.attempt, message.attempts_used, message.token) == (2, 1, env.token(row_id, 2))

    def test_a_late_word_about_an_attempt_before_says_nothing_about_this_one(self, env: StoreEnv) -> None:
        row_id = fail(env)
        redrive(env, message_id=row_id)
        env.claim([row_id])
        late = Receipt(
            connection_id=env.connection,
            state=FAILED,
            at=datetime.now(UTC),
            token=env.token(row_id),
            code="131026",
        )
        assert env.receipts(late) == [True]
        assert env.state(row_id) == "sending"

    def test_poison_has_another_chance_too(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        for life in range(2):
            env.claim([row_id], incarnation=f"meta-0.{life}")
            env.store.run(messages.reclaim, incarnation=f"meta-0.{life}", recorded=True, active_row=row_id)
        assert env.row(row_id)["error_code"] == "poison"
        assert redrive(env) == [row_id]
        env.claim([row_id], incarnation="meta-0.3")
        env.store.run(messages.reclaim, incarnation="meta-0.3", recorded=True, active_row=row_id)
        assert env.state(row_id) == "queued"

    def test_none_at_a_connection_that_was_removed(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        row_id, kept = fail(env, "a", connection_id=other), fail(env, "b")
        env.store.run(connections.remove, other, "removed by an operator")
        assert redrive(env, message_id=row_id) == []
        assert redrive(env) == [kept]
        assert env.state(row_id) == "failed"

    def test_many_by_code_connection_and_time_the_oldest_first(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        ids = [fail(env, f"chat-{number}") for number in range(4)]
        coded = fail(env, "b", code="131049")
        elsewhere = fail(env, "c", connection_id=other)
        env.set(ids[0], "updated_at = now() - interval '2 days'")
        day = datetime.now(UTC) - timedelta(days=1)

        assert redrive(env, code="131049") == [coded]
        assert redrive(env, phone_index=1) == [elsewhere]
        assert redrive(env, failed_before=day) == [ids[0]]
        assert redrive(env, failed_after=day, most=2) == ids[1:3]
        assert redrive(env) == ids[3:]
        assert redrive(env) == []

    def test_nothing_but_what_failed_and_only_of_this_company(self, env: StoreEnv) -> None:
        theirs = env.connect("globex")
        other = fail(env, company_id="globex", connection_id=theirs)
        held = hold(env, "h")
        (queued,) = env.accept("q")
        (taken_back,) = env.accept("t")
        cancel(env, taken_back, "t")
        assert redrive(env) == []
        assert [env.state(row_id) for row_id in (other, held, queued, taken_back)] == [
            "failed",
            "in_doubt",
            "queued",
            "deleted",
        ]


class TestResolve:
    @pytest.mark.parametrize("resolution", RESOLUTIONS)
    def test_a_held_message_is_what_a_human_says(self, env: StoreEnv, resolution: Resolution) -> None:
        row_id = hold(env)
        assert resolve(env, row_id, resolution)
        assert not resolve(env, row_id, resolution)
        state, code = RESOLUTIONS[resolution]
        row = env.row(row_id)
        assert (row["state"], row["held_at"], row["in_doubt_at"], row["sent_at"] is not None) == (
            state,
            None,
            None,
            resolution == "sent",
        )
        assert env.history(row_id)[-1] == state
        assert env.store.run(interventions.last_word, row_id) == code

    def test_one_that_is_sent_again_has_a_full_set_of_attempts(self, env: StoreEnv) -> None:
        row_id = hold(env)
        resolve(env, row_id, "resend")
        (message,) = env.claim([row_id])
        assert (message.attempt, message.attempts_used) == (2, 1)

    def test_what_is_still_being_found_out_is_not_a_humans(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        env.settle(row_id, IN_DOUBT, code="no_answer")
        assert not resolve(env, row_id, "resend")
        assert env.state(row_id) == "in_doubt"

    def test_a_webhook_wins_over_a_later_human_decision(self, env: StoreEnv) -> None:
        row_id = hold(env)
        env.receipts(
            Receipt(
                connection_id=env.connection,
                state=SENT,
                at=datetime.now(UTC),
                token=env.token(row_id),
                provider_id="wamid.1",
            )
        )
        assert not resolve(env, row_id, "resend")
        assert env.state(row_id) == "sent"


class TestListing:
    def listed(self, env: StoreEnv, **named: Any) -> list[int]:
        where: dict[str, Any] = {"company_id": "acme", "most": 10}
        return [row["id"] for row in env.store.run(interventions.for_humans, **(where | named))]

    def test_what_waits_for_a_human_newest_first(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        theirs = env.connect("globex")
        failed, held = fail(env, "a"), hold(env, "b")
        elsewhere = fail(env, "c", code="131049", connection_id=other)
        foreign = fail(env, "d", company_id="globex", connection_id=theirs)
        (sent,) = env.accept("s")
        env.claim([sent])
        env.settle(sent, SENT)
        assert self.listed(env) == [elsewhere, held, failed]
        assert self.listed(env, code="131049") == [elsewhere]
        assert self.listed(env, phone_index=0) == [held, failed]
        assert self.listed(env, before=elsewhere, most=1) == [held]
        assert self.listed(env, company_id=None) == [foreign, elsewhere, held, failed]


def test_a_messages_policy_wins_over_its_companys(env: StoreEnv) -> None:
    for policy, expected in ((None, None), ("resend", "resend")):
        (row_id,) = env.accept(f"chat-{policy}", in_doubt_policy=policy)
        env.claim([row_id])
        env.settle(row_id, IN_DOUBT, code="no_answer")
        (doubt,) = (
            doubt for doubt in env.store.run(messages.in_doubt, kind="meta", most=10) if doubt.message.id == row_id
        )
        assert doubt.policy == expected


def test_every_word_of_a_human_leads_where_the_table_allows() -> None:
    assert QUEUED in predecessors(MESSAGE_TRANSITIONS, MessageState.DELETED)
    assert all(IN_DOUBT in predecessors(MESSAGE_TRANSITIONS, state) for state, _ in RESOLUTIONS.values())


class TestRedriveOfStrangers:
    def test_a_removed_connection_redrives_nothing(self, env: StoreEnv) -> None:
        row_id = fail(env)
        query(env.url, "UPDATE phone_configs SET status = 'removed' WHERE id = %(id)s", id=env.connection)
        assert redrive(env, message_id=row_id) == []
        assert env.state(row_id) == "failed"

    def test_what_was_accepted_for_the_other_world_is_not_redriven(self, env: StoreEnv) -> None:
        row_id = fail(env)
        env.set(row_id, "world = 'sandbox'")
        assert redrive(env, message_id=row_id, worlds={"meta_direct": "live"}) == []
        assert redrive(env, message_id=row_id, worlds={"meta_direct": "sandbox"}) == [row_id]
