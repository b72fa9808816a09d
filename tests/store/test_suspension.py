"""Nothing is claimed or delivered for a company that is suspended; what waits leaves in its order afterwards."""

from __future__ import annotations

from typing import Any

from hooks import rows
from shared.states import CompanyState, MessageState
from shared.store import companies, messages
from tests.store.env import StoreEnv
from tests.support.database import query

HOOK = """INSERT INTO hooks (company_id, url, sealed, xid, event_id)
          VALUES (%(company)s, 'https://example.com', '', 0, 0) RETURNING id"""


def move(env: StoreEnv, state: CompanyState) -> None:
    def work(transaction: Any) -> None:
        row = companies.lock(transaction, "acme")
        assert row is not None
        companies.move(transaction, row, state)

    env.store.run(work)


def due(env: StoreEnv) -> list[int]:
    return env.store.run(messages.due, kind="meta", grace_s=0.0, most=10)


def test_queued_messages_wait_and_leave_in_their_order(env: StoreEnv) -> None:
    other = env.connect("other")
    ids = env.accept("a", "b", "a")
    (foreign,) = env.accept("a", company_id="other", connection_id=other)
    move(env, CompanyState.SUSPENDED)
    assert env.claimed_ids([*ids, foreign]) == [foreign], "another company's leaves"
    assert due(env) == [], "the relay does not offer them either"
    move(env, CompanyState.ACTIVE)
    assert sorted(due(env)) == sorted(ids[:2])
    assert env.claimed_ids(ids) == ids[:2], "one of each chat"


def test_what_is_in_flight_is_settled(env: StoreEnv) -> None:
    (one,) = env.accept("a")
    env.claim([one])
    move(env, CompanyState.SUSPENDED)
    assert env.settle(one, MessageState.SENT, provider_id="wamid.1")
    assert env.state(one) == "sent"


def test_webhooks_wait_where_they_are(env: StoreEnv) -> None:
    env.connect("other")
    (own,) = query(env.url, HOOK, company="acme")
    (foreign,) = query(env.url, HOOK, company="other")

    def leased() -> set[int]:
        taken = env.store.run(rows.lease, incarnation="hooks-0.a", in_hand=[], most=10, lease_s=30.0)
        return {row["id"] for row in taken}

    assert leased() == {own["id"], foreign["id"]}
    move(env, CompanyState.SUSPENDED)
    both = [own["id"], foreign["id"]]
    assert list(env.store.run(rows.renew, incarnation="hooks-0.a", ids=both, lease_s=30.0)) == [foreign["id"]]
    assert leased() == {foreign["id"]}
