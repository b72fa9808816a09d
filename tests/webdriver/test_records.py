"""What the page tells and nobody in this life has asked for: kept as the owner's, unless a dead process asked for it."""

from __future__ import annotations

import asyncio
from time import time

import pytest

from shared.kinds import kind_named
from tests.webdriver.desk import Desk
from webdriver.page import parsing
from webdriver.session.records import Records

CHAT = "60120000001"
TARGET = f"true_{CHAT}@c.us_3EB0AA"


@pytest.mark.parametrize(("emoji", "kept"), [("👍", 0), ("🙏", 1)])
def test_a_reaction_that_a_dead_process_made_is_not_the_owners(desk: Desk, emoji: str, kept: int) -> None:
    (row_id,) = desk.accept_rows([(CHAT, "reaction", {"target": TARGET, "emoji": "👍"})])
    # the page was asked, and the process died before the answer
    desk.store.run(
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
    records = Records(desk.store, kind_named("webdriver"), "webdriver-0.test")
    asyncio.run(
        records.journal_inbound(
            desk.connection_id, {"event": "reaction", **raw}, parsing.reacted(desk.connection_id, raw)
        )
    )
    assert len(desk.query("SELECT 1 FROM inbound_messages WHERE from_me AND type = 'reaction'")) == kept
