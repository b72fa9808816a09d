"""What comes in: every message once, though the page may report it twice, or without a listener."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.states import SessionState
from tests.support.waiting import patient_by
from tests.webdriver.env import (
    SessionEnv,
    Tokens,
    Web,
    kill_browser,
    message,
    run,
    session_env,
    soon,
    successor,
)
from tests.webdriver.kept_session import KeptSession

PHONE = "60111222333"


def test_text_is_journalled_once_though_its_event_fires_twice(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        written = {"from": "60123456789", "body": "Hi 👋\0 there", "name": "Aminah"}
        message_id = (await here.order(PHONE, "messages", written))["id"]
        await soon(lambda: len(here.store.raw) == 2, describe=lambda: here.store.raw)
        # in no order: each is stored as soon as a connection of the pool is free
        assert sorted(row["type"] for row in here.store.raw) == ["chat", "ciphertext"]
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

    kept_session.run(scenario)


def test_group_message_names_its_author_and_own_messages_from_the_phone_are_marked(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        await here.order(
            PHONE, "messages", {"from": "60123456789", "body": "in a group", "chat": "120363012345678901@g.us"}
        )
        await here.order(PHONE, "messages", {"from": "60123456789", "body": "from my phone", "from_me": True})
        await soon(lambda: len(here.store.messages) == 2)
        group, own = sorted(here.store.messages.values(), key=lambda row: row.from_me)
        assert (group.chat_id, group.from_me) == ("120363012345678901@g.us", False)
        assert group.sender.endswith("@lid")
        assert (own.chat_id, own.from_me, own.sender) == ("60123456789", True, f"{PHONE}@c.us")

    kept_session.run(scenario)


def test_what_came_while_the_browser_or_the_database_was_away_is_fetched_afterwards(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
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
        async with session_env(home, web) as again:
            await again.order(PHONE, "messages", {"from": "60123456789", "body": "while nothing ran"})
            again.store.want(1)
            await soon(lambda: len(again.store.messages) == 3, 20, lambda: again.store.messages)
            assert sorted(row.content["body"] for row in again.store.messages.values()) == [
                "while nothing ran",
                "while the database was away",
                "while the phone was away",
            ]

    run(scenario())


def test_events_between_navigation_and_installation_are_asked_for(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        tokens = Tokens()
        await here.order(PHONE, "faults", {"delivered_after_s": 1.0, "read_after_s": 1.2, "sync_s": 0.0})
        await here.channel.send(message(), tokens.record, patient_by(10))
        await here.order(PHONE, "reload")
        await here.order(PHONE, "messages", {"from": "60123456789", "body": "in between"})
        await soon(
            lambda: here.store.messages and here.store.receipts and here.store.receipts[-1].state == "read",
            20,
            lambda: (here.store.messages, here.store.receipts),
        )

    kept_session.run(scenario)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
CUSTOMER = "60123456789"
CARD = "BEGIN:VCARD\nVERSION:3.0\nN:Baba;Ali;;;\nFN:Ali Baba\nitem1.TEL;waid=60123456780:+60 12-345 6780\nEND:VCARD"


def file(kind: str, mimetype: str, **more: Any) -> dict[str, Any]:
    return {"from": CUSTOMER, "type": kind, "data": base64.b64encode(PNG).decode(), "mimetype": mimetype, **more}


def test_every_type_comes_in_in_the_shape_of_every_channel(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        names: dict[str, str] = {}

        async def write(name: str, order: dict[str, Any]) -> None:
            names[(await here.order(PHONE, "messages", order))["id"]] = name

        await write("picture", file("image", "image/png", caption="look", filename="cat.png"))
        await write("note", file("ptt", "audio/ogg"))
        await write("paper", file("document", "application/pdf", filename="order.pdf", caption="order.pdf"))
        await write("sticker", file("sticker", "image/webp"))
        await write(
            "place",
            {
                "from": CUSTOMER,
                "type": "location",
                "lat": 3.1,
                "lng": 101.5,
                "loc": "Shop\n1 Road",
                "clientUrl": "https://x.example",
            },
        )
        await write("card", {"from": CUSTOMER, "type": "vcard", "body": CARD, "vcardFormattedName": "Ali Baba"})
        await write("cards", {"from": CUSTOMER, "type": "multi_vcard", "vcardList": [{"vcard": CARD}, {"vcard": CARD}]})
        await write("button", {"from": CUSTOMER, "type": "buttons_response", "body": "Yes", "selectedId": "yes-1"})
        await write("poll", {"from": CUSTOMER, "type": "poll_creation", "pollName": "When?", "caption": "When?"})
        await write("joined", {"from": CUSTOMER, "type": "gp2", "chat": "120363012345678901@g.us"})
        await write("call", {"from": CUSTOMER, "type": "call_log"})
        await soon(
            lambda: len(here.store.messages) == len(names),
            describe=lambda: [row.type for row in here.store.messages.values()],
        )
        came = {names[row.provider_id]: row for row in here.store.messages.values()}
        assert {name: row.type for name, row in came.items()} == {
            "picture": "image", "note": "audio", "paper": "document", "sticker": "sticker", "place": "location", "card": "contacts", "cards": "contacts",  # noqa: E501
            "button": "button", "poll": "unknown", "joined": "system", "call": "call",
        }  # fmt: skip
        picture = dict(came["picture"].content)
        assert picture.pop("media") == {
            "id": came["picture"].provider_id,
            "mimetype": "image/png",
            "size": len(PNG),
            "filename": "cat.png",
            "sha256": base64.b64encode(hashlib.sha256(PNG).digest()).decode(),
        }
        assert picture == {"caption": "look"}
        assert came["note"].content["media"]["voice"] is True
        assert came["place"].content == {
            "latitude": 3.1,
            "longitude": 101.5,
            "name": "Shop",
            "address": "1 Road",
            "url": "https://x.example",
        }
        (card,) = came["card"].content["contacts"]
        assert card["name"]["formatted_name"] == "Ali Baba" and card["phones"] == [
            {"phone": "+60 12-345 6780", "wa_id": "60123456780"}
        ]
        assert len(came["cards"].content["contacts"]) == 2
        assert came["button"].content == {"text": "Yes", "payload": "yes-1"}
        assert came["poll"].content == {"type": "poll_creation", "keys": ["caption"]}
        assert [name for name, row in came.items() if not row.may_trigger] == ["joined", "call"]

    kept_session.run(scenario)


def test_edits_revokes_and_reactions_come_in_and_those_of_the_owner_are_attributed(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        tokens = Tokens()
        await here.channel.send(message("from us"), tokens.record, patient_by(10))
        theirs = (
            await here.order(
                PHONE, "messages", {"from": CUSTOMER, "body": "helo", "quoted": tokens[0], "forwarded": True}
            )
        )["id"]
        edit = (await here.order(PHONE, "changes", {"what": "edit", "target": theirs, "body": "hello"}))["id"]
        liked = (
            await here.order(
                PHONE, "changes", {"what": "reaction", "target": tokens[0], "body": "👍", "from": CUSTOMER}
            )
        )["id"]
        own = (await here.order(PHONE, "changes", {"what": "reaction", "target": theirs, "body": "❤️", "from": "me"}))[
            "id"
        ]
        await here.order(PHONE, "changes", {"what": "revoke", "target": theirs})
        await soon(lambda: len(here.store.messages) == 5, describe=lambda: here.store.messages)
        came = {row.provider_id: row for row in here.store.messages.values()}
        assert (came[theirs].content, came[theirs].context) == (
            {"body": "helo", "quoted": tokens[0]},
            {"forwarded": True},
        )
        assert (came[edit].type, came[edit].content, came[edit].from_me) == (
            "edit",
            {"target": theirs, "body": "hello"},
            False,
        )
        assert (came[liked].type, came[liked].content, came[liked].from_me) == (
            "reaction",
            {"target": tokens[0], "emoji": "👍"},
            False,
        )
        assert (came[own].type, came[own].from_me, came[own].may_trigger) == ("reaction", True, False)
        revoke = came[f"revoke:{theirs}"]
        assert (revoke.type, revoke.content, revoke.from_me, revoke.chat_id) == (
            "revoke",
            {"target": theirs},
            False,
            CUSTOMER,
        )

    kept_session.run(scenario)


@pytest.mark.parametrize("how", ["reload", "kill", "new process"])
def test_what_happened_silently_in_a_gap_is_found_by_comparing(home: Path, web: Web, how: str) -> None:
    """Messages that the owner has read on the phone, their own, edits, revokes, reactions and receipts: none is unread,
    and no event reports of them."""

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            await here.order(PHONE, "faults", {"quiet_sync": True, "delivered_after_s": 1.0, "read_after_s": 1.5})
            known = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "before"}))["id"]
            wrong = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "wrong"}))["id"]
            await soon(lambda: len(here.store.messages) == 2)
            tokens = Tokens()
            await here.channel.send(message("ours"), tokens.record, patient_by(10))
            here.store.sent.append(tokens[0])
            store = here.store
            if how == "new process":
                await here.sessions.close(patient_by(10))
            await here.order(PHONE, "offline")
            mine = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "from my phone", "from_me": True}))[
                "id"
            ]
            edit = (await here.order(PHONE, "changes", {"what": "edit", "target": known, "body": "after"}))["id"]
            liked = (
                await here.order(
                    PHONE, "changes", {"what": "reaction", "target": tokens[0], "body": "👍", "from": CUSTOMER}
                )
            )["id"]
            await here.order(PHONE, "changes", {"what": "revoke", "target": wrong})
            if how == "reload":
                await here.order(PHONE, "reload")
            elif how == "kill":
                kill_browser(here.session())
            await soon(lambda: web.phone(PHONE)["open"] is (how != "new process"), 40)
            await here.order(PHONE, "online")
            async with successor(home, web, here, store, how) as now:
                await soon(lambda: len(store.messages) == 6, 60, lambda: sorted(store.messages))
                assert {name for _, name in store.messages} == {known, wrong, mine, edit, liked, f"revoke:{wrong}"}
                assert store.messages[1, mine].from_me
                await soon(
                    lambda: [row.state for row in store.receipts if row.token == tokens[0]][-1:] == ["read"],
                    describe=lambda: store.receipts,
                )
                assert not [row for row in store.messages.values() if row.provider_id == tokens[0]], (
                    "our own message came in"
                )
                asked_again = len(store.raw)
                await now.order(PHONE, "reload")
                await soon(lambda: now.session().page() and not now.session().page().lost_events)  # type: ignore[union-attr]  # asked just before
                await now.channel.send(message("still here", "60128888888"), Tokens().record, patient_by(10))
                assert len(store.raw) == asked_again, "what is kept was journalled again"

    run(scenario())
