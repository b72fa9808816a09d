"""What the provider says about a message: any order, any number of times, through any process, one end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.messages import Receipt
from shared.states import MessageState
from shared.store import interventions, messages, targets
from shared.store import receipts as store_receipts
from tests.store.env import LONG_AGO, StoreEnv, open_store, side_by_side
from tests.support.database import query

M = MessageState
ORDER = (M.SENT, M.DELIVERED, M.READ, M.FAILED)
RANK = {"sent": 1, "delivered": 2, "read": 3}


@pytest.fixture
def all_examples(env: StoreEnv) -> StoreEnv:
    """The env that all examples of a property share."""
    return env


def receipt(env: StoreEnv, state: MessageState, **fields: Any) -> Receipt:
    """Return a receipt of the first connection whose instant follows from its state."""
    defaults: dict[str, Any] = {
        "connection_id": env.connection,
        "at": LONG_AGO + timedelta(minutes=ORDER.index(state)),
    }
    return Receipt(state=state, **(defaults | fields))


def sending(env: StoreEnv, chat: str = "a") -> int:
    """Return a row that is being sent."""
    (row_id,) = env.accept(chat)
    env.claim([row_id])
    return row_id


def redriven(env: StoreEnv, row_id: int) -> bool:
    """Queue a dead letter again, as a human does."""
    return env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]


class TestMatching:
    def test_by_token_and_by_provider_id(self, env: StoreEnv) -> None:
        row_id = sending(env)
        assert env.receipts(receipt(env, M.SENT, token=env.token(row_id), provider_id="wamid.1")) == [True]
        assert env.state(row_id) == "sent"
        assert env.receipts(receipt(env, M.DELIVERED, provider_id="wamid.1")) == [True]
        row = env.row(row_id)
        assert (row["state"], row["provider_id"]) == ("delivered", "wamid.1")
        assert row["sent_at"] is not None

    def test_each_receipt_of_a_batch_has_its_own_result(self, env: StoreEnv) -> None:
        row_id = sending(env)
        ours = receipt(env, M.SENT, token=env.token(row_id), provider_id="wamid.1")
        foreign = receipt(env, M.SENT, provider_id="wamid.2")
        assert env.receipts(foreign, ours, ours, receipt(env, M.READ, token=env.token(row_id))) == [
            False,
            True,
            True,
            True,
        ]

    def test_empty_names_match_nothing(self, env: StoreEnv) -> None:
        row_id = sending(env)
        assert env.receipts(receipt(env, M.SENT)) == [False]
        assert env.state(row_id) == "sending"
        assert env.receipts() == []

    def test_only_within_the_connection_it_came_through(self, env: StoreEnv) -> None:
        """The process that owns another number must not be able to move our messages."""
        row_id = sending(env)
        env.settle(row_id, M.SENT, provider_id="wamid.1")
        other = env.connect("globex")
        for names in ({"token": env.token(row_id)}, {"provider_id": "wamid.1"}, {"token": env.token(row_id, 9)}):
            assert env.receipts(receipt(env, M.READ, connection_id=other, **names)) == [False]
        assert env.state(row_id) == "sent"

    def test_also_when_its_owner_posts_about_it_at_the_same_moment(self, env: StoreEnv) -> None:
        """One batch holds the webhooks of several companies; each position counts for its own connection only."""
        other = env.connect("globex")
        row_id = sending(env)
        token = env.token(row_id)
        true = receipt(env, M.DELIVERED, token=token, provider_id="wamid.1")
        aimed = receipt(env, M.FAILED, token=token, connection_id=other, code="131026")
        counted = receipt(env, M.FAILED, token=token, provider_id="wamid.x", connection_id=other)
        assert env.receipts(aimed, true, counted) == [False, True, False]
        assert env.state(row_id) == "delivered"
        assert [row["state"] for row in env.store.run(messages.history, row_id)] == [
            "queued",
            "sending",
            "delivered",
        ]

    def test_a_receipt_of_an_earlier_attempt_proves_the_row(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.QUEUED, code="no_answer")
        env.claim([row_id])
        assert env.row(row_id)["token"] == env.token(row_id, 2)
        assert env.receipts(receipt(env, M.SENT, token=env.token(row_id), provider_id="wamid.1")) == [True]
        assert (env.state(row_id), env.row(row_id)["provider_id"]) == ("sent", "wamid.1")

    @pytest.mark.parametrize("state", ORDER)
    def test_names_that_others_can_count_move_nothing(self, env: StoreEnv, state: MessageState) -> None:
        """Another installation, a restored backup and a wiped home number their rows as we do."""
        row_id = sending(env)
        _, installation, row, attempt, accepted = env.token(row_id).split(":")
        strange = [
            f"bulkhead:{row}:{attempt}",
            f"bulkhead:{installation}:{row}:{attempt}",
            f"bulkhead:{'0' * 16}:{row}:{attempt}:{accepted}",
            f"bulkhead:{installation}:{row}:{attempt}:{int(accepted, 16) - 1:x}",
            f"bulkhead:{installation}:{row}:2:{accepted}",
            f"bulkhead:{installation}:{row}:0:{accepted}",
            f"bulkhead:{installation}:{row}:999999999:{accepted}",
            f"bulkhead:{installation}:{'9' * 18}:1:{accepted}",
        ]
        receipts = [receipt(env, state, token=token, provider_id="wamid.foreign") for token in strange]
        assert env.receipts(*receipts) == [False] * len(strange)
        assert env.history(row_id) == ["queued", "sending"]

    def test_a_row_without_an_attempt_has_no_receipts(self, env: StoreEnv) -> None:
        """A scheduled message, and one whose only attempt is not counted: nothing of it has left."""
        (scheduled,) = env.accept("a", scheduled_for=datetime.now(UTC) + timedelta(hours=1))
        refunded = sending(env, "b")
        env.settle(refunded, M.QUEUED, code="throttled", counts=False)
        for row_id in (scheduled, refunded):
            assert env.receipts(receipt(env, M.DELIVERED, token=env.token(row_id))) == [False]
            assert env.state(row_id) == "queued"

    def test_a_token_from_before_tokens_named_the_installation_names_its_own_row(self, env: StoreEnv) -> None:
        row_id, other = sending(env), sending(env, "b")
        env.set(row_id, f"token = 'bulkhead:{row_id}:1'")
        receipts = [receipt(env, M.DELIVERED, token=f"bulkhead:{one}:1") for one in (row_id, other)]
        assert env.receipts(*receipts) == [True, False]
        assert (env.state(row_id), env.state(other)) == ("delivered", "sending")

    @pytest.mark.parametrize("state", ORDER)
    def test_receipts_of_a_redriven_attempt_change_nothing(self, env: StoreEnv, state: MessageState) -> None:
        """The provider repeats its webhooks for days; a human has queued the message again because of them."""
        row_id = sending(env)
        first = env.token(row_id)
        failed = receipt(env, M.FAILED, token=first, provider_id="wamid.1", code="131026")
        assert env.receipts(receipt(env, M.SENT, token=first, provider_id="wamid.1"), failed) == [True, True]
        assert redriven(env, row_id)
        again = [
            receipt(env, state, token=first, provider_id="wamid.1"),
            receipt(env, state, provider_id="wamid.1"),
        ]
        assert env.receipts(*again) == [True, False]
        assert (env.state(row_id), env.row(row_id)["provider_id"]) == ("queued", "")
        env.claim([row_id])
        env.receipts(*again)
        assert env.state(row_id) == "sending"
        # the webhook overtakes the answer
        assert env.receipts(receipt(env, M.SENT, token=env.token(row_id, 2), provider_id="wamid.2")) == [True]
        env.receipts(*again)
        row = env.row(row_id)
        assert (row["state"], row["provider_id"]) == ("sent", "wamid.2")

    @pytest.mark.parametrize("code", ["poison", "resolved_as_failed"])
    def test_what_is_not_known_to_be_unsent_can_still_be_proved(self, env: StoreEnv, code: str) -> None:
        row_id = sending(env)
        first = env.token(row_id)
        env.settle(row_id, M.FAILED, code=code)
        assert redriven(env, row_id)
        assert env.receipts(receipt(env, M.DELIVERED, token=first, provider_id="wamid.1")) == [True]
        assert (env.state(row_id), env.row(row_id)["provider_id"]) == ("delivered", "wamid.1")

    def test_a_failed_message_is_quoted_by_no_reply(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.SENT, provider_id="wamid.1")

        def quoted(name: str) -> str | None:
            found = env.store.run(targets.find, "acme", name)
            return next((target.provider_id for target in found if target.is_there), None)

        assert quoted(str(row_id)) == quoted("wamid.1") == "wamid.1"
        env.receipts(receipt(env, M.FAILED, provider_id="wamid.1", code="131026"))
        assert quoted(str(row_id)) is quoted("wamid.1") is None
        assert redriven(env, row_id)
        env.claim([row_id])
        assert quoted(str(row_id)) is quoted("wamid.1") is None

    def test_the_failure_of_an_earlier_attempt_does_not_end_the_one_under_way(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.QUEUED, code="no_answer")
        env.claim([row_id])
        assert env.receipts(receipt(env, M.FAILED, token=env.token(row_id), code="131000")) == [True]
        assert env.state(row_id) == "sending"
        assert env.settle(row_id, M.SENT, provider_id="wamid.2")
        steps = [(step["state"], step["attempt"]) for step in env.store.run(messages.history, row_id)]
        assert ("failed", 1) in steps

    def test_the_failure_of_this_attempt_does_also_beside_one_of_an_earlier(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.QUEUED, code="no_answer")
        env.claim([row_id])
        earlier = receipt(env, M.FAILED, token=env.token(row_id), code="131000")
        this = receipt(env, M.FAILED, token=env.token(row_id, 2), code="131026", at=LONG_AGO + timedelta(hours=1))
        assert env.receipts(earlier, this) == [True, True]
        assert (env.state(row_id), env.row(row_id)["error_code"]) == ("failed", "131026")

    def test_a_receipt_may_hold_what_the_database_cannot(self, env: StoreEnv) -> None:
        row_id = sending(env)
        odd = receipt(
            env,
            M.FAILED,
            token=env.token(row_id),
            code="1",
            detail="nul \0",
            extra={"half": "\ud83d", "deep": [{"a": "\0"}]},
        )
        assert env.receipts(odd) == [True]
        assert env.store.run(messages.history, row_id)[-1]["extra"] == {"half": "\ufffd", "deep": [{"a": "\ufffd"}]}


class TestProof:
    def test_it_ends_doubt_and_waiting(self, env: StoreEnv) -> None:
        doubtful, held, waiting = (sending(env, chat) for chat in "abc")
        env.settle(doubtful, M.IN_DOUBT)
        env.settle(held, M.IN_DOUBT)
        env.store.run(messages.hold, message_id=held, attempt=1, code="no_evidence", incarnation="x")
        env.settle(waiting, M.QUEUED, after_s=3600.0, code="5xx")
        for row_id in (doubtful, held, waiting):
            assert env.receipts(receipt(env, M.SENT, token=env.token(row_id), provider_id=f"p{row_id}")) == [True]
            row = env.row(row_id)
            assert (row["state"], row["in_doubt_at"], row["held_at"], row["not_before"], row["error_code"]) == (
                "sent",
                None,
                None,
                None,
                "",
            )

    def test_it_wakes_a_dead_letter_that_went_out_after_all(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.FAILED, code="gave_up")
        env.receipts(receipt(env, M.SENT, token=env.token(row_id), provider_id="wamid.1"))
        assert env.state(row_id) == "sent"

    def test_that_the_provider_took_it_does_not_undo_that_it_then_refused_it(self, env: StoreEnv) -> None:
        row_id = sending(env)
        token = env.token(row_id)
        env.receipts(receipt(env, M.FAILED, token=token, code="131026"))
        env.receipts(receipt(env, M.SENT, token=token))
        assert env.state(row_id) == "failed"
        assert not env.settle(row_id, M.SENT, provider_id="wamid.1")
        env.receipts(receipt(env, M.DELIVERED, token=token))
        assert env.state(row_id) == "delivered"

    def test_a_deleted_message_stays_deleted(self, env: StoreEnv) -> None:
        row_id = sending(env)
        env.settle(row_id, M.SENT, provider_id="wamid.1")
        env.set(row_id, "state = 'deleted'")
        assert env.receipts(receipt(env, M.READ, provider_id="wamid.1")) == [True]
        assert env.state(row_id) == "deleted"


class TestHistory:
    def test_every_step_is_kept_once_with_the_providers_instant(self, env: StoreEnv) -> None:
        row_id = sending(env)
        token = env.token(row_id)
        steps = [receipt(env, state, token=token, extra={"n": 1}) for state in (M.SENT, M.DELIVERED, M.READ)]
        for one in [*steps, *steps[::-1]]:
            env.receipts(one)
        env.receipts(*steps, *steps)
        kept = [(step["state"], step["at"], step["extra"]) for step in env.store.run(messages.history, row_id)][2:]
        assert kept == [(one.state, one.at, {"n": 1}) for one in steps]

    def test_also_when_two_processes_receive_it_at_the_same_moment(self, env: StoreEnv) -> None:
        rivals = [open_store(env.url), open_store(env.url)]
        for round_ in range(15):
            ids = [sending(env, f"{round_}-{number}") for number in range(4)]
            states = [receipt(env, state, token=env.token(row_id)) for row_id in ids for state in (M.SENT, M.DELIVERED)]
            orders = (states, states[::-1])
            side_by_side(
                *(
                    lambda rival=rival, order=order: rival.run(store_receipts.apply, order)
                    for rival, order in zip(rivals, orders, strict=True)
                )
            )
            for row_id in ids:
                assert sorted(env.history(row_id)) == ["delivered", "queued", "sending", "sent"]
                assert env.state(row_id) == "delivered"
        for rival in rivals:
            rival.close()

    def test_refused_and_accepted_at_the_same_moment_is_refused(self, env: StoreEnv) -> None:
        rivals = [open_store(env.url), open_store(env.url)]
        for round_ in range(25):
            row_id = sending(env, f"{round_}")
            token = env.token(row_id)
            states = (receipt(env, M.FAILED, token=token, code="1"), receipt(env, M.SENT, token=token))
            side_by_side(
                *(
                    lambda rival=rival, one=one: rival.run(store_receipts.apply, [one])
                    for rival, one in zip(rivals, states, strict=True)
                )
            )
            assert env.state(row_id) == "failed"
        for rival in rivals:
            rival.close()


starts = st.sampled_from(["sending", "sent", "in_doubt", "queued", "failed"])
states = st.lists(st.sampled_from(ORDER), min_size=1, max_size=8)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=starts, arrived=states, cuts=st.lists(st.booleans(), min_size=8, max_size=8), answered_at=st.integers(0, 9)
)
def test_every_order_ends_in_the_same_state_and_none_moves_backwards(
    all_examples: StoreEnv, start: str, arrived: list[MessageState], cuts: list[bool], answered_at: int
) -> None:
    """Receipts come in any order and number, cut into any batches; the answer to the send itself may come anywhere
    between them.
    """
    env = all_examples
    query(env.url, "DELETE FROM messages")
    row_id = sending(env)
    if start != "sending":
        env.settle(row_id, M(start), provider_id="wamid.1" if start == "sent" else "", after_s=3600.0)
    batches: list[list[Receipt]] = [[]]
    for state, cut in zip(arrived, cuts, strict=False):
        batches[-1].append(receipt(env, state, token=env.token(row_id), provider_id="wamid.1"))
        if cut:
            batches.append([])
    reached = 0
    for number, batch in enumerate(batches):
        if number == answered_at:
            env.settle(row_id, M.SENT, provider_id="wamid.1")
        assert all(env.receipts(*batch))
        rank = RANK.get(env.state(row_id), 0 if M.FAILED not in arrived else reached)
        assert rank >= reached or env.state(row_id) == "failed"
        reached = max(reached, rank)
    said = set(arrived)
    expected = next((state for state in (M.READ, M.DELIVERED, M.FAILED, M.SENT) if state in said), None)
    assert env.state(row_id) == expected
