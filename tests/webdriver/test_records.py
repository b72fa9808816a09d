"""The journal of page events: our own actions are recognised, one poisonous event stops no other."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from time import time
from typing import Any

import pytest

from shared.clock import utc_now
from shared.inbound_events import Contact
from shared.kinds import kind_named
from shared.states import SessionState
from tests.support.waiting import patient_by
from tests.webdriver.store_env import StoreEnv
from webdriver.session.records import Records
from webdriver.session.reports import SessionReports

CHAT = "60120000001"
TARGET = f"true_{CHAT}@c.us_3EB0AA"


async def journalled(store_env: StoreEnv, records: Records, *events: Mapping[str, Any]) -> None:
    """Journal events of the page and process them."""
    for raw in events:
        await records.journal_inbound(store_env.connection_id, raw)
    pipeline = store_env.pipeline()
    while await pipeline.process():
        pass


def text(name: str, **more: Any) -> dict[str, Any]:
    """Return a message as the page reports it."""
    return {
        "id": f"false_{CHAT}@c.us_{name}",
        "chat": f"{CHAT}@c.us",
        "fromMe": False,
        "type": "chat",
        "body": name,
        "t": time(),
        "from": f"{CHAT}@c.us",
        "to": "",
        "author": "",
        "notifyName": "Ali",
        "ack": 1,
        **more,
    }


def test_one_poisonous_event_stops_no_other_and_stays_in_the_journal(store_env: StoreEnv) -> None:
    records = Records(store_env.store, kind_named("webdriver"), "webdriver-0.test")
    # an id that no index holds is an error of the database about this row; a field that is missing is found before
    poison, unreadable = text("POISON", id=f"false_{CHAT}@c.us_{secrets.token_hex(20_000)}"), {"id": "x"}
    encrypted = text("LATER", type="ciphertext")
    asyncio.run(journalled(store_env, records, text("ONE"), poison, unreadable, encrypted, text("TWO"), text("ONE")))
    assert store_env.query("SELECT content ->> 'body' FROM inbound_messages ORDER BY id") == [("ONE",), ("TWO",)]
    outcomes = [row[0] for row in store_env.query("SELECT outcome FROM inbound_journal ORDER BY id")]
    assert outcomes[0] == outcomes[4] == outcomes[5] == ""
    assert outcomes[1].startswith("failed: ")
    assert outcomes[2].startswith("unreadable: ")
    assert outcomes[3] == "nothing to read yet"
    assert store_env.query("SELECT count(*) FROM inbound_journal WHERE body IS NULL OR processed_at IS NULL") == [(0,)]


def test_a_report_that_the_store_refuses_stops_no_other(store_env: StoreEnv) -> None:
    records = Records(store_env.store, kind_named("webdriver"), "webdriver-0.test")

    async def scenario() -> None:
        gone = SessionReports(records, store_env.connection_id + 1000, lambda: None)
        sound = SessionReports(records, store_env.connection_id, lambda: None)
        running = [asyncio.create_task(one.run()) for one in (gone, sound)]
        for reports in (gone, sound):
            # the first one has no row that it could be about
            reports.observed(SessionState.READY)
            reports.inbound(text("ONE"))
        assert await sound.flush(patient_by(10))
        assert await gone.flush(patient_by(10))
        assert not any(task.done() for task in running)
        for task in running:
            task.cancel()

    asyncio.run(scenario())
    assert store_env.observed()["observed"] == "degraded", "ready, and never proved"
    assert store_env.query("SELECT count(*) FROM inbound_journal") == [(1,)]


def test_what_comes_under_an_id_of_the_page_stands_in_the_chat_with_the_number(store_env: StoreEnv) -> None:
    lid = "1234567890123@lid"
    records = Records(store_env.store, kind_named("webdriver"), "webdriver-0.test")

    async def scenario() -> None:
        await journalled(store_env, records, text("BEFORE", id=f"false_{lid}_BEFORE", chat=lid, **{"from": lid}))
        # a send to the number led to this chat
        contact = Contact(connection_id=store_env.connection_id, user_id=lid, phone=CHAT, at=utc_now())
        await records.meet(contact)
        await journalled(store_env, records, text("AFTER", id=f"false_{lid}_AFTER", chat=lid, **{"from": lid}))

    asyncio.run(scenario())
    chats = dict(store_env.query("SELECT content ->> 'body', chat_id FROM inbound_messages"))
    assert chats["AFTER"] == CHAT


@pytest.mark.parametrize(("emoji", "kept"), [("👍", 0), ("🙏", 1)])
def test_a_reaction_that_a_dead_process_made_is_not_the_owners(store_env: StoreEnv, emoji: str, kept: int) -> None:
    (row_id,) = store_env.accept_rows([(CHAT, "reaction", {"target": TARGET, "emoji": "👍"})])
    # the page was asked, and the process died before the answer
    store_env.store.run(
        lambda transaction: transaction._cursor.execute(
            "UPDATE messages SET token = 'reaction' WHERE id = %s", [row_id]
        )
    )
    raw = {
        "id": f"true_{CHAT}@c.us_3EB0{ord(emoji):X}",
        "target": TARGET,
        "sender": "",
        "emoji": emoji,
        "t": time() * 1000,
    }
    records = Records(store_env.store, kind_named("webdriver"), "webdriver-0.test")
    asyncio.run(journalled(store_env, records, {"event": "reaction", **raw}))
    assert len(store_env.query("SELECT 1 FROM inbound_messages WHERE from_me AND type = 'reaction'")) == kept
