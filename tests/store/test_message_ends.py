"""Outbound messages in PostgreSQL after the send: reclaim, doubt, lost hints, and what the API reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.states import MessageState
from shared.store import inbound, messages, targets
from tests.store.env import StoreEnv
from tests.support.database import query

QUEUED, SENDING, IN_DOUBT, SENT, FAILED = (
    MessageState.QUEUED,
    MessageState.SENDING,
    MessageState.IN_DOUBT,
    MessageState.SENT,
    MessageState.FAILED,
)
HOUR = timedelta(hours=1)


class TestReclaim:
    def test_without_a_token_it_is_known_unsent_and_with_one_in_doubt(self, env: StoreEnv) -> None:
        unsent, unknown, other = env.accept("a", "b", "c")
        env.claim([unsent, unknown], token_at_claim=False)
        env.store.run(messages.record_token, message_id=unknown, incarnation="meta-0.a", token="t")
        env.claim([other], incarnation="meta-1.b")

        rows = env.store.run(messages.reclaim, incarnation="meta-0.a")

        assert [(row["id"], row["state"], row["process_name"]) for row in rows] == [
            (unsent, "queued", "meta"),
            (unknown, "in_doubt", "meta"),
        ]
        assert env.state(other) == "sending"
        assert env.row(unknown)["in_doubt_at"] is not None
        assert env.history(unsent) == ["queued", "sending", "queued"]

    def test_the_in_flight_journal_knows_more(self, env: StoreEnv) -> None:
        stages = {"CLAIMED": "", "WRITING": "", "SENT": "wamid.1", "UNSENT": "busy", "DEAD": "131026"}
        ids = dict(zip([*stages, "absent"], env.accept(*"abcdef"), strict=True))
        env.claim(list(ids.values()))
        flights = [{"id": ids[stage], "stage": stage, "text": text} for stage, text in stages.items()]

        env.store.run(messages.reclaim, incarnation="meta-0.a", flights=flights, recorded=True)

        found = {stage: env.row(row_id) for stage, row_id in ids.items()}
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
        assert [env.history(row_id)[-1] for row_id in ids.values()] == [row["state"] for row in found.values()]

    def test_the_row_that_a_process_died_on_twice_is_parked_and_the_others_continue(self, env: StoreEnv) -> None:
        poison, other = env.accept("a", "b")
        for life in range(2):
            env.claim([poison, other], incarnation=f"meta-0.{life}")
            assert env.state(poison) == "sending"
            env.store.run(messages.reclaim, incarnation=f"meta-0.{life}", flights=[], recorded=True, active_row=poison)
        assert (env.state(poison), env.row(poison)["error_code"], env.row(poison)["deaths"]) == (
            "failed",
            "poison",
            2,
        )
        assert (env.state(other), env.row(other)["deaths"]) == ("queued", 0)

    def test_it_is_idempotent(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        assert len(env.store.run(messages.reclaim, incarnation="meta-0.a")) == 1
        before = env.row(row_id)
        assert env.store.run(messages.reclaim, incarnation="meta-0.a") == []
        assert env.row(row_id) == before

    def test_held_by(self, env: StoreEnv) -> None:
        first, second = env.accept("a", "b")
        env.claim([first])
        env.claim([second], incarnation="meta-1.b")
        assert env.store.run(messages.held_by, incarnation="meta-0.a") == [first]


class TestDoubt:
    def doubtful(self, env: StoreEnv, chat: str = "a") -> int:
        (row_id,) = env.accept(chat)
        env.claim([row_id])
        env.settle(row_id, IN_DOUBT, code="no_answer")
        return row_id

    def test_what_reconciliation_sees(self, env: StoreEnv) -> None:
        row_id = self.doubtful(env)
        env.set(row_id, "in_doubt_at = now() - interval '7 seconds'")
        query(env.url, "UPDATE companies SET in_doubt_policy = 'hold'")
        (doubt,) = env.store.run(messages.in_doubt, kind="meta", most=10)
        assert doubt.message.id == row_id
        assert doubt.message.token == env.token(row_id)
        assert 7.0 <= doubt.doubt_s < 30.0
        assert doubt.policy == "hold"
        assert env.store.run(messages.in_doubt, kind="webdriver", most=10) == []

    def test_in_pages_by_id(self, env: StoreEnv) -> None:
        first, second, third = (self.doubtful(env, chat) for chat in "abc")

        def page(after: int) -> list[int]:
            return [doubt.message.id for doubt in env.store.run(messages.in_doubt, kind="meta", most=2, after=after)]

        assert (page(0), page(second), page(third)) == ([first, second], [third], [])

    def test_held_rows_are_a_humans(self, env: StoreEnv) -> None:
        row_id = self.doubtful(env)
        assert env.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="x")
        assert not env.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="x")
        assert env.store.run(messages.in_doubt, kind="meta", most=10) == []
        assert env.history(row_id) == ["queued", "sending", "in_doubt", "in_doubt"]

    def test_a_doubt_is_resolved_once(self, env: StoreEnv) -> None:
        row_id = self.doubtful(env)
        assert env.store.run(
            messages.resolve, message_id=row_id, attempt=1, state=SENT, code="proved", incarnation="x", provider_id="p"
        )
        assert not env.store.run(
            messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="late", incarnation="x"
        )
        row = env.row(row_id)
        assert (row["state"], row["provider_id"], row["in_doubt_at"]) == ("sent", "p", None)
        assert row["sent_at"] is not None

    def test_what_was_found_out_about_an_earlier_attempt_does_not_decide_about_this_one(self, env: StoreEnv) -> None:
        """Two processes reconcile side by side; one of them may come late, when the row is in doubt again about another
        send.
        """
        row_id = self.doubtful(env)
        assert env.store.run(
            messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="evidence_unsent", incarnation="quick"
        )
        env.claim([row_id])
        env.settle(row_id, IN_DOUBT, code="no_answer")

        assert not env.store.run(
            messages.resolve, message_id=row_id, attempt=1, state=QUEUED, code="evidence_unsent", incarnation="slow"
        )
        assert not env.store.run(messages.hold, message_id=row_id, attempt=1, code="no_evidence", incarnation="slow")
        assert env.state(row_id) == "in_doubt"


class TestDue:
    def due(self, env: StoreEnv, grace_s: float = 1.0, most: int = 10) -> list[int]:
        return env.store.run(messages.due, kind="meta", grace_s=grace_s, most=most)

    def test_rows_whose_hint_must_be_lost(self, env: StoreEnv) -> None:
        first, second, young = env.accept("a", "b", "c")
        for row_id in (first, second):
            env.set(row_id, "created_at = now() - interval '2 seconds'")
        assert self.due(env) == [first, second]
        assert self.due(env, most=1) == [first]
        env.set(young, "created_at = now() - interval '2 seconds'")
        assert self.due(env) == [first, second, young]

    def test_only_heads_and_only_when_their_wait_is_over(self, env: StoreEnv) -> None:
        head, behind, waiting = env.accept("a", "a", "b")
        for row_id in (head, behind, waiting):
            env.set(row_id, "created_at = now() - interval '1 hour'")
        env.set(waiting, "not_before = now() + interval '1 hour'")
        assert self.due(env) == [head]
        env.set(waiting, "not_before = now() - interval '1 millisecond'")
        assert self.due(env) == [head, waiting]


class TestReading:
    def test_a_companys_messages_are_its_own(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id])
        env.settle(row_id, SENT, provider_id="wamid.1")
        env.connect("globex")

        assert env.store.run(messages.by_id, "acme", row_id) is not None
        assert env.store.run(messages.by_id, "globex", row_id) is None
        for name in (str(row_id), "wamid.1", "9" * 40, "-1"):
            found = [target.id for target in env.store.run(targets.find, "acme", name)]
            assert found == ([row_id] if name in (str(row_id), "wamid.1") else [])
            assert env.store.run(targets.find, "globex", name) == []

    def receive(self, env: StoreEnv, provider_id: str, chat: str, **fields: Any) -> None:
        message = InboundMessage(
            connection_id=env.connection,
            provider_id=provider_id,
            chat_id=chat,
            sender=chat,
            type="text",
            content={"body": "hi"},
            at=datetime.now(UTC),
            **fields,
        )
        env.store.run(inbound.insert, [(message, None)])

    @pytest.mark.parametrize("most", [1, 2, 3, 5, 7])
    def test_paging_through_a_chat_shows_every_message_once(self, env: StoreEnv, most: int) -> None:
        """Many share one instant, since a batch is one transaction: then the id decides."""
        expected = [("out", row_id) for row_id in env.accept("a", "a", "a", "a", "b")[:4]]
        self.receive(env, "in.1", "a")
        self.receive(env, "in.2", "a", from_me=True)
        self.receive(env, "in.3", "b")
        expected += [("out", row_id) for row_id in env.accept("a", "a", "a")]
        inbound_ids = [
            row["id"] for row in query(env.url, "SELECT id FROM inbound_messages WHERE chat_id = 'a' ORDER BY id")
        ]
        query(env.url, "UPDATE inbound_messages SET at = created_at")
        expected += [("in", inbound_ids[0]), ("out", inbound_ids[1])]
        expected.sort(key=lambda entry: entry[1])

        seen: list[tuple[str, int]] = []
        before = (datetime.now(UTC) + HOUR, 2**62)
        while page := env.store.run(messages.chat_page, company_id="acme", chat_id="a", before=before, most=most):
            seen += [(row["direction"], row["id"]) for row in page]
            before = (page[-1]["at"], page[-1]["id"])
            assert len(page) <= most
        assert seen == expected[::-1]
        assert all(later > earlier for earlier, later in pairwise(row_id for _, row_id in reversed(seen)))

    def test_another_companys_chat_of_the_same_name_is_not_shown(self, env: StoreEnv) -> None:
        env.accept("a")
        self.receive(env, "in.1", "a")
        env.connect("globex")
        assert (
            env.store.run(
                messages.chat_page, company_id="globex", chat_id="a", before=(datetime.now(UTC) + HOUR, 2**62), most=10
            )
            == []
        )

    def test_queue_depth(self, env: StoreEnv) -> None:
        ids = env.accept("a", "b", "c")
        env.claim(ids[:1])
        env.set(ids[1], "created_at = now() - interval '1 hour'")
        depth = {
            row["state"]: (row["messages"], round(row["oldest_s"] / 60)) for row in env.store.run(messages.queue_depth)
        }
        assert depth == {"queued": (2, 60), "sending": (1, 0)}
