"""What comes in: every message once, though the page may say it twice or say it while nobody listens."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shared.clock import monotonic
from shared.messages import InboundMessage
from shared.states import SessionState
from tests.webdriver.rig import Tokens, Web, message, run, soon, town

PHONE = "60111222333"


def test_text_is_journalled_once_though_its_event_fires_twice(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with town(home, web) as here:
            await here.link()
            written = {"from": "60123456789", "body": "Hi 👋\0 there", "name": "Aminah"}
            message_id = (await here.order(PHONE, "messages", written))["id"]
            await soon(lambda: len(here.store.raw) == 2, describe=lambda: here.store.raw)
            assert [row["type"] for row in here.store.raw] == ["ciphertext", "chat"]
            ((key, found),) = here.store.messages.items()
            assert key == (1, message_id)
            assert abs((found.at - datetime.now(UTC)).total_seconds()) < 60
            assert found == InboundMessage(
                connection_id=1,
                provider_id=message_id,
                chat_id="60123456789",
                sender="60123456789@c.us",
                type="text",
                content={"body": "Hi 👋 there"},
                at=found.at,
                sender_name="Aminah",
            )

    run(scenario())


def test_group_message_names_its_author_and_own_messages_from_the_phone_are_marked(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with town(home, web) as here:
            await here.link()
            await here.order(PHONE, "messages", {"from": "60123456789", "body": "in a group", "chat": "120363012345678901@g.us"})
            await here.order(PHONE, "messages", {"from": "60123456789", "body": "from my phone", "from_me": True})
            await soon(lambda: len(here.store.messages) == 2)
            group, own = sorted(here.store.messages.values(), key=lambda row: row.from_me)
            assert (group.chat_id, group.from_me) == ("120363012345678901@g.us", False)
            assert group.sender.endswith("@lid")
            assert (own.chat_id, own.from_me, own.sender) == ("60123456789", True, f"{PHONE}@c.us")

    run(scenario())


def test_what_came_while_the_browser_or_the_database_was_away_is_fetched_afterwards(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with town(home, web) as here:
            await here.link()
            await here.order(PHONE, "offline")
            await here.until(SessionState.OFFLINE)
            await here.order(PHONE, "messages", {"from": "60123456789", "body": "while the phone was away"})
            await here.order(PHONE, "online")
            await soon(lambda: len(here.store.messages) == 1)
            here.store.away = True
            await here.order(PHONE, "messages", {"from": "60123456789", "body": "while the database was away"})
            await here.order(PHONE, "reload")
            here.store.away = False
            await soon(lambda: len(here.store.messages) == 2, describe=lambda: here.store.messages)
        async with town(home, web) as again:
            await again.order(PHONE, "messages", {"from": "60123456789", "body": "while nobody ran"})
            again.store.want(1)
            await soon(lambda: len(again.store.messages) == 3, 20, lambda: again.store.messages)
            assert sorted(row.content["body"] for row in again.store.messages.values()) == [
                "while nobody ran",
                "while the database was away",
                "while the phone was away",
            ]

    run(scenario())


def test_events_between_navigation_and_installation_are_asked_for(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with town(home, web) as here:
            await here.link()
            tokens = Tokens()
            await here.order(PHONE, "faults", {"delivered_after_s": 1.0, "read_after_s": 1.2, "sync_s": 0.0})
            await here.channel.send(message(), tokens.record, monotonic() + 10)
            await here.order(PHONE, "reload")
            await here.order(PHONE, "messages", {"from": "60123456789", "body": "in between"})
            await soon(lambda: here.store.messages and len(here.store.receipts) >= 3, describe=lambda: (here.store.messages, here.store.receipts))
            assert [row.state for row in here.store.receipts][-1] == "read"

    run(scenario())
