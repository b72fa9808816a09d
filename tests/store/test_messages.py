"""Outbound messages in PostgreSQL: acceptance, the claim, the fence, reclaim, and what the API reads. Receipts have a file of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from shared.messages import Dead, InboundMessage, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.states import MessageState
from shared.store import connections, inbound, messages, processes
from shared.store.messages import Settlement, settlement
from shared.store.pool import Transaction
from shared.store.processes import Heartbeat
from shared.store.statements import statements
from tests.store.rig import Ground, open_store, open_transaction, query, side_by_side
from tests.support.waiting import eventually

QUEUED, SENDING, IN_DOUBT, SENT, FAILED = (
    MessageState.QUEUED,
    MessageState.SENDING,
    MessageState.IN_DOUBT,
    MessageState.SENT,
    MessageState.FAILED,
)
HOUR = timedelta(hours=1)


class TestAccept:
    def test_a_batch_keeps_its_order_and_its_history_begins(self, ground: Ground) -> None:
        ids = ground.accept("b", "a", "b", "c")

        assert ids == sorted(ids)
        assert [ground.row(row_id)["chat_id"] for row_id in ids] == ["b", "a", "b", "c"]
        assert {ground.state(row_id) for row_id in ids} == {"queued"}
        assert [ground.history(row_id) for row_id in ids] == [["queued"]] * 4

    def test_a_used_key_answers_with_the_earlier_row(self, ground: Ground) -> None:
        (first,) = ground.accepted([ground.message(idempotency_key="k", fingerprint="f")])
        ground.claim([first.id])

        (again,) = ground.accepted([ground.message(idempotency_key="k", fingerprint="f")])

        assert (again.id, again.replayed, again.conflict, again.state) == (first.id, True, False, SENDING)
        assert again.created_at == first.created_at
        assert len(query(ground.url, "SELECT id FROM messages")) == 1

    def test_a_used_key_for_something_else_is_a_conflict(self, ground: Ground) -> None:
        (first,) = ground.accepted([ground.message(idempotency_key="k", fingerprint="f")])
        (other,) = ground.accepted([ground.message("z", idempotency_key="k", fingerprint="g")])

        assert (other.id, other.replayed, other.conflict) == (first.id, True, True)
        assert [row["chat_id"] for row in query(ground.url, "SELECT chat_id FROM messages")] == ["a"]

    def test_the_same_key_twice_in_one_batch_is_one_row(self, ground: Ground) -> None:
        keyed = ground.message(idempotency_key="k", fingerprint="f")
        other = ground.message(idempotency_key="k", fingerprint="g")

        first, plain, again, conflict = ground.accepted([keyed, ground.message("b"), keyed, other])

        assert (first.replayed, again.replayed, again.conflict, conflict.conflict) == (False, True, False, True)
        assert first.id == again.id == conflict.id != plain.id
        assert len(query(ground.url, "SELECT id FROM messages")) == 2

    def test_companies_do_not_share_keys(self, ground: Ground) -> None:
        other = ground.connect("globex")
        first, second = ground.accepted(
            [ground.message(idempotency_key="k"), ground.message(company_id="globex", connection_id=other, idempotency_key="k")],
        )
        assert first.id != second.id
        assert not second.replayed

    def test_two_connections_racing_with_one_key_make_one_row(self, ground: Ground) -> None:
        """The second waits for the first to commit, so that it can answer with its row."""
        rivals = [open_store(ground.url), open_store(ground.url)]
        for round_ in range(20):
            keyed = ground.message(f"chat-{round_}", idempotency_key=f"k{round_}", fingerprint="f")
            one, two = side_by_side(*(lambda rival=rival, keyed=keyed: rival.run(messages.accept, [keyed])[0] for rival in rivals))
            assert one.id == two.id
            assert {one.replayed, two.replayed} == {False, True}
        assert len(query(ground.url, "SELECT id FROM messages")) == 20
        for rival in rivals:
            rival.close()

    def test_batches_that_lock_keys_in_opposite_order_both_succeed(self, ground: Ground) -> None:
        """PostgreSQL ends one of them as a deadlock; the store runs it again."""
        names = [f"k{number}" for number in range(50)]
        there = [ground.message(idempotency_key=name, fingerprint="f") for name in names]
        rivals = [open_store(ground.url), open_store(ground.url)]
        one, two = side_by_side(lambda: rivals[0].run(messages.accept, there), lambda: rivals[1].run(messages.accept, there[::-1]))
        assert [accepted.id for accepted in one] == [accepted.id for accepted in two[::-1]]
        assert len(query(ground.url, "SELECT id FROM messages")) == 50
        for rival in rivals:
            rival.close()

    def test_a_lost_commit_can_be_looked_up(self, ground: Ground) -> None:
        (first,) = ground.accepted([ground.message(idempotency_key="k", fingerprint="f")])
        found = ground.store.run(messages.find_by_key, "acme", "k")
        assert found is not None
        assert (found["id"], found["fingerprint"], found["state"]) == (first.id, "f", "queued")
        assert ground.store.run(messages.find_by_key, "globex", "k") is None


class TestClaim:
    def test_only_the_head_of_a_chat(self, ground: Ground) -> None:
        first, second, other = ground.accept("a", "a", "b")

        assert ground.claimed_ids([second]) == []
        assert ground.claimed_ids([first, second, other]) == [first, other]
        assert ground.claimed_ids([second]) == [], "while the first is being sent"
        assert ground.settle(first, IN_DOUBT)
        assert ground.claimed_ids([second]) == [], "while the first is in doubt"
        assert ground.store.run(messages.resolve, message_id=first, attempt=1, state=SENT, code="proved", incarnation="x")
        assert ground.claimed_ids([second]) == [second]

    def test_a_waiting_retry_holds_its_chat_and_no_other(self, ground: Ground) -> None:
        first, second, other = ground.accept("a", "a", "b")
        ground.claim([first])
        assert ground.settle(first, QUEUED, after_s=3600.0, code="later")

        assert ground.claimed_ids([first, second, other]) == [other]

    def test_not_before_its_time(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.set(row_id, "not_before = now() + interval '1 hour'")
        assert ground.claimed_ids([row_id]) == []
        ground.set(row_id, "not_before = now() - interval '1 second'")
        assert ground.claimed_ids([row_id]) == [row_id]

    def test_the_same_chat_on_another_connection_is_another_chat(self, ground: Ground) -> None:
        other = ground.connect(phone_index=1)
        (first,) = ground.accept("a")
        (second,) = ground.accept("a", connection_id=other)
        assert ground.claimed_ids([first, second]) == [first, second]

    def test_a_paused_connection_holds_its_messages(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        assert ground.store.run(connections.pause, ground.connection, "asked to")
        assert ground.claimed_ids([row_id], chats=[(ground.connection, "a")]) == []
        assert ground.store.run(messages.due, kind="meta", grace_s=0.0, most=10) == []
        assert ground.store.run(connections.resume, ground.connection)
        assert ground.claimed_ids([row_id]) == [row_id]

    def test_another_kinds_row_is_left_alone(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        assert ground.claimed_ids([row_id], kind="webdriver") == []

    def test_the_head_of_a_chat_is_found_by_the_chat(self, ground: Ground) -> None:
        first, second, _ = ground.accept("a", "a", "b")
        assert ground.claimed_ids([], chats=[(ground.connection, "a")]) == [first]
        assert ground.settle(first, SENT)
        assert ground.claimed_ids([second], chats=[(ground.connection, "a")]) == [second]

    def test_a_claim_says_all_that_a_channel_needs(self, ground: Ground) -> None:
        (row_id,) = ground.accept("49170", content={"body": "hi", "quoted": None})
        assert ground.claim([row_id]) == [
            OutboundMessage(
                id=row_id,
                company_id="acme",
                connection_id=ground.connection,
                connection_type="meta_direct",
                chat_id="49170",
                type="text",
                content={"body": "hi", "quoted": None},
                attempt=1,
                token=f"bulkhead:{row_id}:1",
                incarnation="meta-0.a",
            )
        ]
        assert ground.history(row_id) == ["queued", "sending"]

    def test_no_more_than_asked_for_and_the_oldest_first(self, ground: Ground) -> None:
        ids = ground.accept(*"abcdef")
        assert ground.claimed_ids(ids[::-1], most=2) == ids[:2]

    def test_two_racing_claimers_get_disjoint_rows(self, ground: Ground) -> None:
        rivals = [open_store(ground.url), open_store(ground.url)]
        for round_ in range(25):
            ids = ground.accept(*(f"{round_}-{number}" for number in range(12)))

            def claim(number: int, ids: list[int] = ids) -> list[int]:
                order = ids if number else ids[::-1]
                claimed = rivals[number].run(messages.claim, kind="meta", incarnation=f"meta-{number}", ids=order, most=12, token_at_claim=True)
                return [message.id for message in claimed]

            one, two = side_by_side(lambda: claim(0), lambda: claim(1))
            assert not set(one) & set(two)
            left = ground.claimed_ids(ids, incarnation="meta-2")
            assert sorted(one + two + left) == ids
            rows = query(ground.url, "SELECT id, incarnation, attempt FROM messages WHERE id = ANY(%(ids)s)", ids=ids)
            assert {row["id"] for row in rows if row["incarnation"] == "meta-0"} == set(one)
            assert {row["attempt"] for row in rows} == {1}
        for rival in rivals:
            rival.close()

    def test_a_claim_does_not_wait_for_a_row_that_somebody_else_has_locked(self, ground: Ground) -> None:
        first, second = ground.accept("a", "b")
        with open_transaction(ground.url, "SELECT FROM messages WHERE id = %(id)s FOR UPDATE", id=first):
            assert ground.claimed_ids([first, second]) == [second]
        assert ground.claimed_ids([first]) == [first]

    def test_a_claim_looks_again_at_a_row_that_changed_under_it(self, ground: Ground) -> None:
        """Committed between the claim's snapshot and its lock: the row was taken and put back for later."""
        (row_id,) = ground.accept("a")
        seen = threading.Event()
        query(
            ground.url,
            # makes the claim's snapshot old before it locks: the function waits for the lock that the test holds
            """CREATE FUNCTION wait_here(state text) RETURNS text LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN state; END $$;
               CREATE VIEW waiting_configs AS SELECT id, wait_here(status) AS status FROM phone_configs;""",
        )
        slow_claim = claim_with_old_snapshot()
        claimed: list[int] = []

        def claim() -> None:
            store = open_store(ground.url, name="slow claimer")
            claimed.extend(store.run(slow_claim, ids=[row_id]))
            seen.set()
            store.close()

        with open_transaction(ground.url, "SELECT pg_advisory_xact_lock(7)"):
            thread = threading.Thread(target=claim)
            thread.start()
            waits = "SELECT pid FROM pg_stat_activity WHERE application_name = 'slow claimer' AND wait_event = 'advisory'"
            eventually(lambda: query(ground.url, waits), 10, "the claimer waits inside its statement")
            ground.set(row_id, "attempt = 1, not_before = now() + interval '1 hour'")
        thread.join(10)
        assert seen.is_set()
        assert claimed == []
        assert ground.state(row_id) == "queued"


def claim_with_old_snapshot() -> Callable[..., list[int]]:
    """Return a transaction function that claims with a snapshot which is older than its locks."""
    slow = statements()["claim_messages"].replace("FROM phone_configs c WHERE", "FROM waiting_configs c WHERE")

    def claim(transaction: Transaction, *, ids: list[int]) -> list[int]:
        cursor = transaction._cursor  # no statement of the product's is slow enough
        cursor.execute(
            slow,
            {"ids": ids, "chat_connections": [], "chat_ids": [], "kind": "meta", "incarnation": "slow", "most": 10, "token_at_claim": True},
        )
        return [row["id"] for row in cursor.fetchall()]

    return claim


class TestFence:
    def test_a_late_outcome_of_another_incarnation_changes_nothing(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id], incarnation="meta-0.dead")
        ground.store.run(messages.reclaim, incarnation="meta-0.dead")
        ground.store.run(messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="unsent", incarnation="x")
        ground.claim([row_id], incarnation="meta-1.alive")
        before = ground.row(row_id)

        for state in (SENT, QUEUED, FAILED, IN_DOUBT):
            assert not ground.settle(row_id, state, incarnation="meta-0.dead", provider_id="wamid.1")

        assert ground.row(row_id) == before
        assert ground.history(row_id) == ["queued", "sending", "in_doubt", "queued", "sending"]

    def test_a_late_token_of_another_incarnation_is_refused(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id], token_at_claim=False)
        assert not ground.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.dead", token="late")
        assert ground.row(row_id)["token"] == ""
        assert ground.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.a", token="mine")
        assert ground.row(row_id)["token"] == "mine"

    def test_a_token_is_refused_once_the_row_was_reclaimed(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id], token_at_claim=False)
        ground.store.run(messages.reclaim, incarnation="meta-0.a")
        assert not ground.store.run(messages.record_token, message_id=row_id, incarnation="meta-0.a", token="mine")

    def test_an_outcome_is_written_once(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        assert ground.settle(row_id, SENT, provider_id="wamid.1")
        assert not ground.settle(row_id, SENT, provider_id="wamid.2")
        assert ground.row(row_id)["provider_id"] == "wamid.1"
        assert ground.history(row_id) == ["queued", "sending", "sent"]

    def test_one_lost_row_does_not_disturb_its_batch(self, ground: Ground) -> None:
        first, second = ground.accept("a", "b")
        ground.claim([first, second])
        ground.set(first, "incarnation = 'somebody else'")
        written = ground.store.run(messages.settle, incarnation="meta-0.a", settlements=[Settlement(id=row, state=SENT) for row in (first, second)])
        assert written == {second}
        assert (ground.state(first), ground.state(second)) == ("sending", "sent")


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

    def test_an_uncounted_attempt_is_given_back(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        for _ in range(5):
            ground.claim([row_id])
            assert ground.settle(row_id, QUEUED, counts=False, code="not_ready")
        assert ground.row(row_id)["attempt"] == 0

    def test_a_failure_keeps_its_reason(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        assert ground.settle(row_id, FAILED, code="131026", detail="undeliverable")
        row = ground.row(row_id)
        assert (row["state"], row["error_code"], row["error_detail"], row["sent_at"]) == ("failed", "131026", "undeliverable", None)

    def test_a_reason_that_the_database_cannot_hold_is_written_all_the_same(self, ground: Ground) -> None:
        """A provider's answer may hold anything; an outcome that could not be written would take the process down."""
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        assert ground.settle(row_id, FAILED, code="odd\0", detail="nul \0, half a pair \ud83d, \U0001f600")
        row = ground.row(row_id)
        assert (row["error_code"], row["error_detail"]) == ("odd\ufffd", "nul \ufffd, half a pair \ufffd, \U0001f600")


class TestReclaim:
    def test_without_a_token_it_is_known_unsent_and_with_one_in_doubt(self, ground: Ground) -> None:
        unsent, unknown, other = ground.accept("a", "b", "c")
        ground.claim([unsent, unknown], token_at_claim=False)
        ground.store.run(messages.record_token, message_id=unknown, incarnation="meta-0.a", token="t")
        ground.claim([other], incarnation="meta-1.b")

        rows = ground.store.run(messages.reclaim, incarnation="meta-0.a")

        assert [(row["id"], row["state"], row["process_name"]) for row in rows] == [(unsent, "queued", "meta"), (unknown, "in_doubt", "meta")]
        assert ground.state(other) == "sending"
        assert ground.row(unknown)["in_doubt_at"] is not None
        assert ground.history(unsent) == ["queued", "sending", "queued"]

    def test_the_flight_record_knows_more(self, ground: Ground) -> None:
        stages = {"CLAIMED": "", "WRITING": "", "SENT": "wamid.1", "UNSENT": "busy", "DEAD": "131026"}
        ids = dict(zip([*stages, "absent"], ground.accept(*"abcdef"), strict=True))
        ground.claim(list(ids.values()))
        flights = [{"id": ids[stage], "stage": stage, "text": text} for stage, text in stages.items()]

        ground.store.run(messages.reclaim, incarnation="meta-0.a", flights=flights, recorded=True)

        found = {stage: ground.row(row_id) for stage, row_id in ids.items()}
        assert {stage: (row["state"], row["error_code"], row["attempt"]) for stage, row in found.items()} == {
            "CLAIMED": ("queued", "process_died", 0),
            "absent": ("queued", "process_died", 0),
            "WRITING": ("in_doubt", "process_died", 1),
            "SENT": ("sent", "", 1),
            "UNSENT": ("queued", "busy", 1),
            "DEAD": ("failed", "131026", 1),
        }
        assert found["SENT"]["provider_id"] == "wamid.1"
        assert found["SENT"]["sent_at"] is not None
        assert [ground.history(row_id)[-1] for row_id in ids.values()] == [row["state"] for row in found.values()]

    def test_the_row_that_a_process_died_on_twice_is_parked_and_its_neighbours_go_on(self, ground: Ground) -> None:
        poison, neighbour = ground.accept("a", "b")
        for life in range(2):
            ground.claim([poison, neighbour], incarnation=f"meta-0.{life}")
            assert ground.state(poison) == "sending"
            ground.store.run(messages.reclaim, incarnation=f"meta-0.{life}", flights=[], recorded=True, active_row=poison)
        assert (ground.state(poison), ground.row(poison)["error_code"], ground.row(poison)["deaths"]) == ("failed", "poison", 2)
        assert (ground.state(neighbour), ground.row(neighbour)["deaths"]) == ("queued", 0)

    def test_it_is_idempotent(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        assert len(ground.store.run(messages.reclaim, incarnation="meta-0.a")) == 1
        before = ground.row(row_id)
        assert ground.store.run(messages.reclaim, incarnation="meta-0.a") == []
        assert ground.row(row_id) == before

    def test_held_by(self, ground: Ground) -> None:
        first, second = ground.accept("a", "b")
        ground.claim([first])
        ground.claim([second], incarnation="meta-1.b")
        assert ground.store.run(messages.held_by, incarnation="meta-0.a") == [first]

    def heartbeat(self, ground: Ground, incarnation: str, age_s: float) -> None:
        ground.store.run(
            processes.write_heartbeat,
            Heartbeat(
                process_name="meta",
                instance=int(incarnation[5]),
                status="ready",
                uptime_s=1,
                memory_mb=1,
                connections=1,
                pid=1,
                host="h",
                incarnation=incarnation,
            ),
        )
        query(
            ground.url,
            "UPDATE process_health SET last_heartbeat = now() - make_interval(secs => %(age)s) WHERE incarnation = %(who)s",
            age=age_s,
            who=incarnation,
        )

    def test_the_silent_are_abandoned_and_the_living_are_not(self, ground: Ground) -> None:
        ids = ground.accept("a", "b", "c")
        for number, row_id in enumerate(ids):
            ground.claim([row_id], incarnation=f"meta-{number}.x")
            ground.set(row_id, "claimed_at = now() - interval '90 seconds'")
        self.heartbeat(ground, "meta-0.x", 5)
        self.heartbeat(ground, "meta-1.x", 61)
        assert sorted(ground.store.run(messages.abandoned_incarnations, silent_s=60.0)) == ["meta-1.x", "meta-2.x"]

    def test_a_fresh_claim_is_nobodys_death(self, ground: Ground) -> None:
        """A process that has just started may have written no heartbeat yet."""
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        assert ground.store.run(messages.abandoned_incarnations, silent_s=60.0) == []


class TestDoubt:
    def doubtful(self, ground: Ground, chat: str = "a") -> int:
        (row_id,) = ground.accept(chat)
        ground.claim([row_id])
        ground.settle(row_id, IN_DOUBT, code="no_answer")
        return row_id

    def test_what_reconciliation_sees(self, ground: Ground) -> None:
        row_id = self.doubtful(ground)
        ground.set(row_id, "in_doubt_at = now() - interval '7 seconds'")
        query(ground.url, "UPDATE companies SET in_doubt_policy = 'hold'")
        (doubt,) = ground.store.run(messages.in_doubt, kind="meta", most=10)
        assert doubt.message.id == row_id
        assert doubt.message.token == f"bulkhead:{row_id}:1"
        assert 7.0 <= doubt.doubt_s < 30.0
        assert doubt.policy == "hold"
        assert ground.store.run(messages.in_doubt, kind="webdriver", most=10) == []

    def test_the_longest_in_doubt_first(self, ground: Ground) -> None:
        first, second = self.doubtful(ground, "a"), self.doubtful(ground, "b")
        ground.set(second, "in_doubt_at = now() - interval '1 minute'")
        assert [doubt.message.id for doubt in ground.store.run(messages.in_doubt, kind="meta", most=10)] == [second, first]

    def test_held_rows_are_a_humans(self, ground: Ground) -> None:
        row_id = self.doubtful(ground)
        assert ground.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="x")
        assert not ground.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="x")
        assert ground.store.run(messages.in_doubt, kind="meta", most=10) == []
        assert ground.history(row_id) == ["queued", "sending", "in_doubt", "in_doubt"]

    def test_a_doubt_is_resolved_once(self, ground: Ground) -> None:
        row_id = self.doubtful(ground)
        assert ground.store.run(messages.resolve, message_id=row_id, attempt=1, state=SENT, code="proved", incarnation="x", provider_id="p")
        assert not ground.store.run(messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="late", incarnation="x")
        row = ground.row(row_id)
        assert (row["state"], row["provider_id"], row["in_doubt_at"]) == ("sent", "p", None)
        assert row["sent_at"] is not None

    def test_what_was_found_out_about_an_earlier_attempt_does_not_decide_about_this_one(self, ground: Ground) -> None:
        """Two processes reconcile side by side; one of them may come late, when the row is in doubt again about another send."""
        row_id = self.doubtful(ground)
        assert ground.store.run(messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="evidence_unsent", incarnation="quick")
        ground.claim([row_id])
        ground.settle(row_id, IN_DOUBT, code="no_answer")

        assert not ground.store.run(messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="evidence_unsent", incarnation="slow")
        assert not ground.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="slow")
        assert ground.state(row_id) == "in_doubt"


class TestDue:
    def due(self, ground: Ground, grace_s: float = 1.0, most: int = 10) -> list[int]:
        return ground.store.run(messages.due, kind="meta", grace_s=grace_s, most=most)

    def test_rows_whose_hint_must_be_lost(self, ground: Ground) -> None:
        first, second, young = ground.accept("a", "b", "c")
        for row_id in (first, second):
            ground.set(row_id, "created_at = now() - interval '2 seconds'")
        assert self.due(ground) == [first, second]
        assert self.due(ground, most=1) == [first]
        ground.set(young, "created_at = now() - interval '2 seconds'")
        assert self.due(ground) == [first, second, young]

    def test_only_heads_and_only_when_their_wait_is_over(self, ground: Ground) -> None:
        head, behind, waiting = ground.accept("a", "a", "b")
        for row_id in (head, behind, waiting):
            ground.set(row_id, "created_at = now() - interval '1 hour'")
        ground.set(waiting, "not_before = now() + interval '1 hour'")
        assert self.due(ground) == [head]
        ground.set(waiting, "not_before = now() - interval '1 millisecond'")
        assert self.due(ground) == [head, waiting]


class TestReading:
    def test_a_companys_messages_are_its_own(self, ground: Ground) -> None:
        (row_id,) = ground.accept("a")
        ground.claim([row_id])
        ground.settle(row_id, SENT, provider_id="wamid.1")
        other = ground.connect("globex")

        assert ground.store.run(messages.by_id, "acme", row_id) is not None
        assert ground.store.run(messages.by_id, "globex", row_id) is None

        def quotable(quoted: str, **fields: Any) -> str | None:
            where: dict[str, Any] = {"company_id": "acme", "connection_id": ground.connection, "chat_id": "a"} | fields
            return ground.store.run(messages.quotable, quoted=quoted, **where)

        assert quotable(str(row_id)) == quotable("wamid.1") == "wamid.1"
        assert quotable("wamid.1", company_id="globex", connection_id=other) is None
        assert quotable("wamid.1", connection_id=other) is None
        assert quotable("wamid.1", chat_id="b") is None
        assert quotable(str(row_id), company_id="globex") is None
        assert quotable("9" * 40) is None
        assert quotable("-1") is None

    def test_what_came_in_can_be_quoted(self, ground: Ground) -> None:
        self.receive(ground, "in.1", "a")
        found = ground.store.run(messages.quotable, company_id="acme", connection_id=ground.connection, chat_id="a", quoted="in.1")
        assert found == "in.1"

    def receive(self, ground: Ground, provider_id: str, chat: str, **fields: Any) -> None:
        message = InboundMessage(
            connection_id=ground.connection,
            provider_id=provider_id,
            chat_id=chat,
            sender=chat,
            type="text",
            content={"body": "hi"},
            at=datetime.now(UTC),
            **fields,
        )
        ground.store.run(inbound.insert, [(message, None)])

    @pytest.mark.parametrize("most", [1, 2, 3, 5, 7])
    def test_paging_through_a_chat_shows_every_message_once(self, ground: Ground, most: int) -> None:
        """Many share one instant, since a batch is one transaction: then the id decides."""
        expected = [("out", row_id) for row_id in ground.accept("a", "a", "a", "a", "b")[:4]]
        self.receive(ground, "in.1", "a")
        self.receive(ground, "in.2", "a", from_me=True)
        self.receive(ground, "in.3", "b")
        expected += [("out", row_id) for row_id in ground.accept("a", "a", "a")]
        inbound_ids = [row["id"] for row in query(ground.url, "SELECT id FROM inbound_messages WHERE chat_id = 'a' ORDER BY id")]
        expected += [("in", inbound_ids[0]), ("out", inbound_ids[1])]
        expected.sort(key=lambda entry: entry[1])

        seen: list[tuple[str, int]] = []
        before = (datetime.now(UTC) + HOUR, 2**62)
        while page := ground.store.run(messages.chat_page, company_id="acme", chat_id="a", before=before, most=most):
            seen += [(row["direction"], row["id"]) for row in page]
            before = (page[-1]["created_at"], page[-1]["id"])
            assert len(page) <= most
        assert seen == expected[::-1]
        assert all(later > earlier for earlier, later in pairwise(row_id for _, row_id in reversed(seen)))

    def test_another_companys_chat_of_the_same_name_is_not_shown(self, ground: Ground) -> None:
        ground.accept("a")
        self.receive(ground, "in.1", "a")
        ground.connect("globex")
        assert ground.store.run(messages.chat_page, company_id="globex", chat_id="a", before=(datetime.now(UTC) + HOUR, 2**62), most=10) == []

    def test_queue_depth(self, ground: Ground) -> None:
        ids = ground.accept("a", "b", "c")
        ground.claim(ids[:1])
        ground.set(ids[1], "created_at = now() - interval '1 hour'")
        depth = {row["state"]: (row["messages"], round(row["oldest_s"] / 60)) for row in ground.store.run(messages.queue_depth)}
        assert depth == {"queued": (2, 60), "sending": (1, 0)}
