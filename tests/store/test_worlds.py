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
from tests.store.rig import Ground, query

SANDBOX: Mapping[str, str] = {"meta_direct": "sandbox", "wwebjs": "sandbox"}
LIVE: Mapping[str, str] = {"meta_direct": "live", "wwebjs": "live"}


def accepted(ground: Ground, worlds: Mapping[str, str], *chats: str) -> list[int]:
    """Rows that were accepted in a world."""
    rows = [ground.message(chat) for chat in chats]
    return [one.id for one in ground.store.run(messages.accept, rows, worlds)]


def claimed(ground: Ground, ids: list[int], worlds: Mapping[str, str]) -> list[OutboundMessage]:
    """What a sender of that world claims of them."""
    return ground.store.run(
        messages.claim, kind="meta", incarnation="meta-0.a", ids=ids, most=10, token_at_claim=True, worlds=worlds
    )


def use_account(ground: Ground, account: str) -> None:
    """Let the connection send as another account."""
    query(
        ground.url,
        "UPDATE phone_configs SET account_id = %(account)s WHERE id = %(id)s",
        account=account,
        id=ground.connection,
    )


@pytest.mark.parametrize(("before", "now"), [(SANDBOX, LIVE), (LIVE, SANDBOX)])
def test_the_other_worlds_messages_are_dead_letters_and_hold_up_nothing(
    ground: Ground, before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    (stranger,) = accepted(ground, before, "a")
    behind, other = accepted(ground, now, "a", "b")
    assert [message.id for message in claimed(ground, [stranger, behind, other], now)] == [other]
    row = ground.row(stranger)
    assert (row["state"], row["error_code"], row["attempt"]) == ("failed", "other_world", 0)
    assert [message.id for message in claimed(ground, [behind], now)] == [behind]
    listed = ground.store.run(interventions.for_humans, company_id="acme", code="other_world", most=10)
    assert [one["id"] for one in listed] == [stranger]
    assert ground.history(stranger) == ["queued", "failed"]


def test_scheduled_ones_are_strangers_when_their_time_comes(ground: Ground) -> None:
    row = ground.message("a", scheduled_for=datetime.now(UTC) + timedelta(hours=1))
    (one,) = ground.store.run(messages.accept, [row], SANDBOX)
    assert claimed(ground, [one.id], LIVE) == []
    assert ground.state(one.id) == "queued"
    ground.set(one.id, "scheduled_for = now(), not_before = now()")
    assert claimed(ground, [one.id], LIVE) == []
    assert ground.row(one.id)["error_code"] == "other_world"


def test_rows_and_types_without_a_world_are_not_compared(ground: Ground) -> None:
    old, new = ground.accept("a"), accepted(ground, {"360dialog": "live"}, "b")
    assert [message.id for message in claimed(ground, [*old, *new], LIVE)] == [*old, *new]
    (third,) = accepted(ground, SANDBOX, "c")
    assert [message.id for message in claimed(ground, [third], {})] == [third]


def test_doubts_of_the_other_world_wait(ground: Ground) -> None:
    """Nothing can be found out about them from here: their silence would count as evidence."""
    (row_id,) = accepted(ground, SANDBOX, "a")
    claimed(ground, [row_id], SANDBOX)
    ground.settle(row_id, MessageState.IN_DOUBT, code="no_answer")
    assert ground.store.run(messages.in_doubt, kind="meta", most=10, worlds=LIVE) == []
    assert len(ground.store.run(messages.in_doubt, kind="meta", most=10, worlds=SANDBOX)) == 1
    assert len(ground.store.run(messages.in_doubt, kind="meta", most=10)) == 1


def test_another_account_is_an_operators_choice(ground: Ground) -> None:
    use_account(ground, "111")
    (row_id,) = ground.accept("a")
    use_account(ground, "222")
    (new,) = ground.accept("b")
    assert [message.id for message in claimed(ground, [row_id, new], {})] == [new]
    assert (ground.state(row_id), ground.row(row_id)["error_code"]) == ("failed", "other_account")
    assert ground.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    assert [message.id for message in claimed(ground, [row_id], {})] == [row_id]


def test_a_phone_that_replaces_another_sends_nothing_that_was_accepted_for_that_one(ground: Ground) -> None:
    def link(account: str) -> None:
        query(
            ground.url,
            """INSERT INTO phone_status (connection_id, process_name, status, account)
            VALUES (%(id)s, 'webdriver', 'ready', %(account)s)
            ON CONFLICT (connection_id) DO UPDATE SET account = excluded.account""",
            id=ground.connection,
            account=account,
        )

    (before_any,) = ground.accept("a")
    link("4915100000001")
    (row_id,) = ground.accept("b")
    link("4915100000002")
    assert [message.id for message in claimed(ground, [before_any, row_id], {})] == [before_any]
    assert ground.row(row_id)["error_code"] == "other_account"
    assert ground.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    (message,) = claimed(ground, [row_id], {})
    assert (message.id, message.account) == (row_id, "4915100000002")


def test_a_redrive_for_another_reason_decides_nothing_about_the_account(ground: Ground) -> None:
    use_account(ground, "111")
    (row_id,) = ground.accept("a")
    claimed(ground, [row_id], {})
    ground.settle(row_id, MessageState.FAILED, code="131026")
    use_account(ground, "222")
    assert ground.store.run(interventions.redrive, company_id="acme", message_id=row_id) == [row_id]
    assert claimed(ground, [row_id], {}) == []
    assert ground.row(row_id)["error_code"] == "other_account"
