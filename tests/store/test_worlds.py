"""What was accepted for the sandbox never leaves to a real provider, nor the reverse; nor from another account than the
one it was accepted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from shared.messages import OutboundMessage
from shared.states import MessageState
from shared.store import interventions, messages
from tests.store.env import StoreEnv
from tests.support.database import query

SANDBOX: Mapping[str, str] = {"meta_direct": "sandbox", "wwebjs": "sandbox"}
LIVE: Mapping[str, str] = {"meta_direct": "live", "wwebjs": "live"}


def accepted(env: StoreEnv, worlds: Mapping[str, str], *chats: str) -> list[int]:
    """Rows that were accepted in a world."""
    rows = [env.message(chat) for chat in chats]
    return [one.id for one in env.store.run(messages.accept, rows, worlds)]


def claimed(env: StoreEnv, ids: list[int], worlds: Mapping[str, str]) -> list[OutboundMessage]:
    """What a sender of that world claims of them."""
    return env.store.run(
        messages.claim, kind="meta", incarnation="meta-0.a", ids=ids, most=10, token_at_claim=True, worlds=worlds
    )


def use_account(env: StoreEnv, account: str) -> None:
    """Let the connection send as another account."""
    query(
        env.url,
        "UPDATE phone_configs SET account_id = %(account)s WHERE id = %(id)s",
        account=account,
        id=env.connection,
    )


@pytest.mark.parametrize(("before", "now"), [(SANDBOX, LIVE), (LIVE, SANDBOX)])
def test_the_other_worlds_messages_are_dead_letters_and_hold_up_nothing(
    env: StoreEnv, before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    (stranger,) = accepted(env, before, "a")
    behind, other = accepted(env, now, "a", "b")
    assert [message.id for message in claimed(env, [stranger, behind, other], now)] == [other]
    row = env.row(stranger)
    assert (row["state"], row["error_code"], row["attempt"]) == ("failed", "other_world", 0)
    assert [message.id for message in claimed(env, [behind], now)] == [behind]
    listed = env.store.run(interventions.for_humans, company_id="acme", code="other_world", most=10)
    assert [one["id"] for one in listed] == [stranger]
    assert env.history(stranger) == ["queued", "failed"]


def test_scheduled_ones_are_strangers_when_their_time_comes(env: StoreEnv) -> None:
    row = env.message("a", scheduled_for=datetime.now(UTC) + timedelta(hours=1))
    (one,) = env.store.run(messages.accept, [row], SANDBOX)
    assert claimed(env, [one.id], LIVE) == []
    assert env.state(one.id) == "queued"
    env.set(one.id, "scheduled_for = now(), not_before = now()")
    assert claimed(env, [one.id], LIVE) == []
    assert env.row(one.id)["error_code"] == "other_world"


def test_rows_and_types_without_a_world_are_not_compared(env: StoreEnv) -> None:
    old, new = env.accept("a"), accepted(env, {"360dialog": "live"}, "b")
    assert [message.id for message in claimed(env, [*old, *new], LIVE)] == [*old, *new]
    (third,) = accepted(env, SANDBOX, "c")
    assert [message.id for message in claimed(env, [third], {})] == [third]


def test_doubts_of_the_other_world_wait(env: StoreEnv) -> None:
    """Nothing can be found out about them from here: their silence would count as evidence."""
    (row_id,) = accepted(env, SANDBOX, "a")
    claimed(env, [row_id], SANDBOX)
    env.settle(row_id, MessageState.IN_DOUBT, code="no_answer")
    assert env.store.run(messages.in_doubt, kind="meta", most=10, worlds=LIVE) == []
    assert len(env.store.run(messages.in_doubt, kind="meta", most=10, worlds=SANDBOX)) == 1
    assert len(env.store.run(messages.in_doubt, kind="meta", most=10)) == 1


def test_another_account_is_an_operators_choice(env: StoreEnv) -> None:
    use_account(env, "111")
    (row_id,) = env.accept("a")
    use_account(env, "222")
    (new,) = env.accept("b")
    assert [message.id for message in claimed(env, [row_id, new], {})] == [new]
    assert (env.state(row_id), env.row(row_id)["error_code"]) == ("failed", "other_account")
    assert env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    assert [message.id for message in claimed(env, [row_id], {})] == [row_id]


def test_a_phone_that_replaces_another_sends_nothing_that_was_accepted_for_that_one(env: StoreEnv) -> None:
    def link(account: str) -> None:
        query(
            env.url,
            """INSERT INTO phone_status (connection_id, process_name, status, account)
            VALUES (%(id)s, 'webdriver', 'ready', %(account)s)
            ON CONFLICT (connection_id) DO UPDATE SET account = excluded.account""",
            id=env.connection,
            account=account,
        )

    (before_any,) = env.accept("a")
    link("4915100000001")
    (row_id,) = env.accept("b")
    link("4915100000002")
    assert [message.id for message in claimed(env, [before_any, row_id], {})] == [before_any]
    assert env.row(row_id)["error_code"] == "other_account"
    assert env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    (message,) = claimed(env, [row_id], {})
    assert (message.id, message.account) == (row_id, "4915100000002")


def test_a_redrive_without_worlds_compares_with_the_one_that_the_connection_has_entered(env: StoreEnv) -> None:
    (row_id,) = env.accept("a")
    env.set(row_id, "state = 'failed', error_code = 'other_world', world = 'sandbox'")
    query(env.url, "UPDATE phone_configs SET world = 'live'")
    assert env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == []
    query(env.url, "UPDATE phone_configs SET world = 'sandbox'")
    assert env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]


def test_a_redrive_for_another_reason_decides_nothing_about_the_account(env: StoreEnv) -> None:
    use_account(env, "111")
    (row_id,) = env.accept("a")
    claimed(env, [row_id], {})
    env.settle(row_id, MessageState.FAILED, code="131026")
    use_account(env, "222")
    assert env.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    assert claimed(env, [row_id], {}) == []
    assert env.row(row_id)["error_code"] == "other_account"
