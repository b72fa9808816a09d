"""Outbound messages in PostgreSQL up to the send: acceptance, the claim, the fence, what an outcome comes to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.states import MessageState
from shared.store import connections, messages
from shared.store.messages import Settlement, settlement
from shared.store.pool import Transaction
from shared.store.statements import statements
from tests.store.env import StoreEnv, open_store, open_transaction, side_by_side
from tests.support.database import query
from tests.support.waiting import eventually, joined

QUEUED, SENDING, IN_DOUBT, SENT, FAILED = (
    MessageState.QUEUED,
    MessageState.SENDING,
    MessageState.IN_DOUBT,
    MessageState.SENT,
    MessageState.FAILED,
)
HOUR = timedelta(hours=1)


class TestHistory:
    def test_a_claim_that_began_before_the_acceptance_stands_in_it(self, env: StoreEnv) -> None:
        def accept_and_claim(earlier: Transaction) -> int:
            # the transaction's clock is that of its first statement
            earlier.rows("queue_depth")
            (row_id,) = env.accept("a")
            messages.claim(earlier, kind="meta", incarnation="i", ids=[row_id], most=1, token_at_claim=False)
            return row_id

        assert env.history(env.store.run(accept_and_claim)) == ["queued", "sending"]


class TestAccept:
    def test_a_batch_keeps_its_order_and_its_history_begins(self, env: StoreEnv) -> None:
        ids = env.accept("b", "a", "b", "c")

        assert ids == sorted(ids)
        assert [env.row(row_id)["chat_id"] for row_id in ids] == ["b", "a", "b", "c"]
        assert {env.state(row_id) for row_id in ids} == {"queued"}
        assert [env.history(row_id) for row_id in ids] == [["queued"]] * 4

    def test_a_used_key_answers_with_the_earlier_row(self, env: StoreEnv) -> None:
        (first,) = env.accepted([env.message(idempotency_key="k", fingerprint="f")])
        env.claim([first.id])

        (again,) = env.accepted([env.message(idempotency_key="k", fingerprint="f")])

        assert (again.id, again.replayed, again.conflict, again.state) == (first.id, True, False, SENDING)
        assert again.created_at == first.created_at
        assert len(query(env.url, "SELECT id FROM messages")) == 1

    def test_a_used_key_for_something_else_is_a_conflict(self, env: StoreEnv) -> None:
        (first,) = env.accepted([env.message(idempotency_key="k", fingerprint="f")])
        (other,) = env.accepted([env.message("z", idempotency_key="k", fingerprint="g")])

        assert (other.id, other.replayed, other.conflict) == (first.id, True, True)
        assert [row["chat_id"] for row in query(env.url, "SELECT chat_id FROM messages")] == ["a"]

    def test_the_same_key_twice_in_one_batch_is_one_row(self, env: StoreEnv) -> None:
        keyed = env.message(idempotency_key="k", fingerprint="f")
        other = env.message(idempotency_key="k", fingerprint="g")

        first, plain, again, conflict = env.accepted([keyed, env.message("b"), keyed, other])

        assert (first.replayed, again.replayed, again.conflict, conflict.conflict) == (False, True, False, True)
        assert first.id == again.id == conflict.id != plain.id
        assert len(query(env.url, "SELECT id FROM messages")) == 2

    def test_companies_do_not_share_keys(self, env: StoreEnv) -> None:
        other = env.connect("globex")
        first, second = env.accepted(
            [
                env.message(idempotency_key="k"),
                env.message(company_id="globex", connection_id=other, idempotency_key="k"),
            ],
        )
        assert first.id != second.id
        assert not second.replayed

    def test_two_connections_racing_with_one_key_make_one_row(self, env: StoreEnv) -> None:
        """The second waits for the first to commit, so that it can answer with its row."""
        rivals = [open_store(env.url), open_store(env.url)]
        for round_ in range(20):
            keyed = env.message(f"chat-{round_}", idempotency_key=f"k{round_}", fingerprint="f")
            one, two = side_by_side(
                *(lambda rival=rival, keyed=keyed: rival.run(messages.accept, [keyed])[0] for rival in rivals)
            )
            assert one.id == two.id
            assert {one.replayed, two.replayed} == {False, True}
        assert len(query(env.url, "SELECT id FROM messages")) == 20
        for rival in rivals:
            rival.close()

    def test_batches_that_lock_keys_in_opposite_order_both_succeed(self, env: StoreEnv) -> None:
        """PostgreSQL ends one of them as a deadlock; the store runs it again."""
        names = [f"k{number}" for number in range(50)]
        there = [env.message(idempotency_key=name, fingerprint="f") for name in names]
        rivals = [open_store(env.url), open_store(env.url)]
        one, two = side_by_side(
            lambda: rivals[0].run(messages.accept, there), lambda: rivals[1].run(messages.accept, there[::-1])
        )
        assert [accepted.id for accepted in one] == [accepted.id for accepted in two[::-1]]
        assert len(query(env.url, "SELECT id FROM messages")) == 50
        for rival in rivals:
            rival.close()

    def test_a_lost_commit_can_be_looked_up(self, env: StoreEnv) -> None:
        (first,) = env.accepted([env.message(idempotency_key="k", fingerprint="f")])
        found = env.store.run(messages.find_by_key, "acme", "k")
        assert found is not None
        assert (found["id"], found["fingerprint"], found["state"]) == (first.id, "f", "queued")
        assert env.store.run(messages.find_by_key, "globex", "k") is None


class TestClaim:
    def test_only_the_head_of_a_chat(self, env: StoreEnv) -> None:
        first, second, other = env.accept("a", "a", "b")

        assert env.claimed_ids([second]) == []
        assert env.claimed_ids([first, second, other]) == [first, other]
        assert env.claimed_ids([second]) == [], "while the first is being sent"
        assert env.settle(first, IN_DOUBT)
        assert env.claimed_ids([second]) == [], "while the first is in doubt"
        assert env.store.run(messages.resolve, message_id=first, attempt=1, state=SENT, code="proved", incarnation="x")
        assert env.claimed_ids([second]) == [second]

    def test_a_waiting_retry_holds_its_chat_and_no_other(self, env: StoreEnv) -> None:
        first, second, other = env.accept("a", "a", "b")
        env.claim([first])
        assert env.settle(first, QUEUED, after_s=3600.0, code="later")

        assert env.claimed_ids([first, second, other]) == [other]

    def test_not_before_its_time(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.set(row_id, "not_before = now() + interval '1 hour'")
        assert env.claimed_ids([row_id]) == []
        env.set(row_id, "not_before = now() - interval '1 second'")
        assert env.claimed_ids([row_id]) == [row_id]

    def test_the_same_chat_on_another_connection_is_another_chat(self, env: StoreEnv) -> None:
        other = env.connect(phone_index=1)
        (first,) = env.accept("a")
        (second,) = env.accept("a", connection_id=other)
        assert env.claimed_ids([first, second]) == [first, second]

    def test_a_paused_connection_holds_its_messages(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        assert env.store.run(connections.pause, env.connection, "asked to")
        assert env.claimed_ids([row_id], chats=[(env.connection, "a")]) == []
        assert env.store.run(messages.due, kind="meta", grace_s=0.0, most=10) == []
        assert env.store.run(connections.resume, env.connection)
        assert env.claimed_ids([row_id]) == [row_id]

    def test_another_kinds_row_is_left_alone(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        assert env.claimed_ids([row_id], kind="webdriver") == []

    def test_the_head_of_a_chat_is_found_by_the_chat(self, env: StoreEnv) -> None:
        first, second, _ = env.accept("a", "a", "b")
        assert env.claimed_ids([], chats=[(env.connection, "a")]) == [first]
        assert env.settle(first, SENT)
        assert env.claimed_ids([second], chats=[(env.connection, "a")]) == [second]

    def test_a_claim_says_all_that_a_channel_needs(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("49170", content={"body": "hi", "quoted": None})
        assert env.claim([row_id]) == [
            OutboundMessage(
                id=row_id,
                company_id="acme",
                connection_id=env.connection,
                connection_type="meta_direct",
                chat_id="49170",
                type="text",
                content={"body": "hi", "quoted": None},
                attempt=1,
                token=env.token(row_id),
                incarnation="meta-0.a",
            )
        ]
        assert env.history(row_id) == ["queued", "sending"]

    def test_no_more_than_asked_for_and_the_oldest_first(self, env: StoreEnv) -> None:
        ids = env.accept(*"abcdef")
        assert env.claimed_ids(ids[::-1], most=2) == ids[:2]

    def test_two_racing_claimers_get_disjoint_rows(self, env: StoreEnv) -> None:
        rivals = [open_store(env.url), open_store(env.url)]
        for round_ in range(25):
            ids = env.accept(*(f"{round_}-{number}" for number in range(12)))

            def claim(number: int, ids: list[int] = ids) -> list[int]:
                order = ids if number else ids[::-1]
                claimed = rivals[number].run(
                    messages.claim, kind="meta", incarnation=f"meta-{number}", ids=order, most=12, token_at_claim=True
                )
                return [message.id for message in claimed]

            one, two = side_by_side(lambda: claim(0), lambda: claim(1))
            assert not set(one) & set(two)
            left = env.claimed_ids(ids, incarnation="meta-2")
            assert sorted(one + two + left) == ids
            rows = query(env.url, "SELECT id, incarnation, attempt FROM messages WHERE id = ANY(%(ids)s)", ids=ids)
            assert {row["id"] for row in rows if row["incarnation"] == "meta-0"} == set(one)
            assert {row["attempt"] for row in rows} == {1}
        for rival in rivals:
            rival.close()

    def test_a_claim_does_not_wait_for_a_locked_row(self, env: StoreEnv) -> None:
        first, second = env.accept("a", "b")
        with open_transaction(env.url, "SELECT FROM messages WHERE id = %(id)s FOR UPDATE", id=first):
            assert env.claimed_ids([first, second]) == [second]
        assert env.claimed_ids([first]) == [first]

    def test_a_claim_looks_again_at_a_row_that_changed_under_it(self, env: StoreEnv) -> None:
        """Committed between the claim's snapshot and its lock: the row was taken and put back for later."""
        (row_id,) = env.accept("a")
        seen = threading.Event()
        query(
            env.url,
            # makes the claim's snapshot old before it locks: the function waits for the lock that the test holds
            """CREATE FUNCTION wait_here(state text) RETURNS text LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN state; END $$;
               CREATE VIEW waiting_configs AS
                   SELECT id, company_id, wait_here(status) AS status, connection_type, account_id, session_host
                   FROM phone_configs;
               GRANT SELECT ON waiting_configs TO PUBLIC;""",
        )
        slow_claim = claim_with_old_snapshot()
        claimed: list[int] = []

        def claim() -> None:
            store = open_store(env.url, name="slow claimer")
            claimed.extend(store.run(slow_claim, ids=[row_id]))
            seen.set()
            store.close()

        with open_transaction(env.url, "SELECT pg_advisory_xact_lock(7)"):
            thread = threading.Thread(target=claim)
            thread.start()
            waits = (
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'slow claimer' AND wait_event = 'advisory'"
            )
            eventually(lambda: query(env.url, waits), 10, "the claimer waits inside its statement")
            env.set(row_id, "attempt = 1, not_before = now() + interval '1 hour'")
        joined(thread, 10)
        query(env.url, "DROP VIEW waiting_configs; DROP FUNCTION wait_here")
        assert seen.is_set()
        assert claimed == []
        assert env.state(row_id) == "queued"


def claim_with_old_snapshot() -> Callable[..., list[int]]:
    """Return a transaction function that claims with a snapshot which is older than its locks."""
    slow = statements()["claim_messages"].replace(
        "JOIN phone_configs c ON c.id = q.connection_id AND", "JOIN waiting_configs c ON c.id = q.connection_id AND"
    )

    def claim(transaction: Transaction, *, ids: list[int]) -> list[int]:
        cursor = transaction._cursor  # no statement of the product's is slow enough
        cursor.execute(
            slow,
            {
                "ids": ids,
                "chat_connections": [],
                "chat_ids": [],
                "kind": "meta",
                "incarnation": "slow",
                "most": 10,
                "token_at_claim": True,
            }
            | {"capacity": None, "capacities": [], "limited": [], "polled": [], "worlds": [], "world_types": []},
        )
        # after the waits and the polled connections
        return [row[2] for row in cursor.fetchall() if row[2] is not None]

    return claim


class TestFence:
    def test_a_late_outcome_of_another_incarnation_changes_nothing(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id], incarnation="meta-0.dead")
        env.store.run(messages.reclaim, incarnation="meta-0.dead")
        env.store.run(messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="unsent", incarnation="x")
        env.claim([row_id], incarnation="meta-1.alive")
        before = env.row(row_id)

        for state in (SENT, QUEUED, FAILED, IN_DOUBT):
            assert not env.settle(row_id, state, incarnation="meta-0.dead", provider_id="wamid.1")

        assert env.row(row_id) == before
        assert env.history(row_id) == ["queued", "sending", "in_doubt", "queued", "sending"]

    def test_a_late_token_of_another_incarnation_is_refused(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id], token_at_claim=False)
        assert not env.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.dead", token="late")
        assert env.row(row_id)["token"] == ""
        assert env.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.a", token="mine")
        assert env.row(row_id)["token"] == "mine"

    def test_a_token_is_refused_once_the_row_was_reclaimed(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id], token_at_claim=False)
        env.store.run(messages.reclaim, incarnation="meta-0.a")
        assert not env.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.a", token="mine")

    def test_an_outcome_is_written_once(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        assert env.settle(row_id, SENT, provider_id="wamid.1")
        assert not env.settle(row_id, SENT, provider_id="wamid.2")
        assert env.row(row_id)["provider_id"] == "wamid.1"
        assert env.history(row_id) == ["queued", "sending", "sent"]

    def test_one_lost_row_does_not_disturb_its_batch(self, env: StoreEnv) -> None:
        first, second = env.accept("a", "b")
        env.claim([first, second])
        env.set(first, "incarnation = 'somebody else'")
        written = env.store.run(
            messages.settle,
            incarnation="meta-0.a",
            settlements=[Settlement(id=row, state=SENT) for row in (first, second)],
        )
        assert written == {second}
        assert (env.state(first), env.state(second)) == ("sending", "sent")


class TestSettle:
    def message(self, attempt: int = 1) -> OutboundMessage:
        return OutboundMessage(
            id=7,
            company_id="acme",
            connection_id=1,
            connection_type="meta_direct",
            chat_id="a",
            type="text",
            content={},
            attempt=attempt,
            token="",
            incarnation="i",
        )

    @pytest.mark.parametrize(
        ("outcome", "attempt", "expected"),
        [
            (Sent(provider_id="p"), 1, Settlement(id=7, state=SENT, provider_id="p")),
            (Retry(code="c", detail="d"), 1, Settlement(id=7, state=QUEUED, after_s=4.0, code="c", detail="d")),
            (Retry(code="c", after_s=9.0), 2, Settlement(id=7, state=QUEUED, after_s=9.0, code="c")),
            (Retry(code="c", after_s=0.0), 2, Settlement(id=7, state=QUEUED, after_s=0.0, code="c")),
            (Retry(code="c"), 3, Settlement(id=7, state=FAILED, code="c")),
            (Retry(code="c"), 4, Settlement(id=7, state=FAILED, code="c")),
            (Retry(code="c", counts=False), 3, Settlement(id=7, state=QUEUED, after_s=4.0, code="c", counts=False)),
            (Dead(code="c", detail="d"), 1, Settlement(id=7, state=FAILED, code="c", detail="d")),
            (InDoubt(code="c", detail="d"), 3, Settlement(id=7, state=IN_DOUBT, code="c", detail="d")),
        ],
    )
    def test_what_an_outcome_comes_to(self, outcome: Outcome, attempt: int, expected: Settlement) -> None:
        assert settlement(self.message(attempt), outcome, attempts=3, wait_s=4.0) == expected

    def test_an_uncounted_attempt_is_given_back(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        for _ in range(5):
            env.claim([row_id])
            assert env.settle(row_id, QUEUED, counts=False, code="not_ready")
        assert env.row(row_id)["attempt"] == 0

    def test_a_failure_keeps_its_reason(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        assert env.settle(row_id, FAILED, code="131026", detail="undeliverable")
        row = env.row(row_id)
        assert (row["state"], row["error_code"], row["error_detail"], row["sent_at"]) == (
            "failed",
            "131026",
            "undeliverable",
            None,
        )

    def test_a_reason_that_the_database_cannot_hold_is_written_all_the_same(self, env: StoreEnv) -> None:
        """A provider's answer may hold anything; an outcome that could not be written would take the process down."""
        (row_id,) = env.accept("a")
        env.claim([row_id])
        assert env.settle(row_id, FAILED, code="odd\0", detail="nul \0, half a pair \ud83d, \U0001f600")
        row = env.row(row_id)
        assert (row["error_code"], row["error_detail"]) == ("odd\ufffd", "nul \ufffd, half a pair \ufffd, \U0001f600")
