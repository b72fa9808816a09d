"""Every operation through a real page, judged by what the phone got: each type of message, and everything that is done
to one afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.clock import monotonic, utc_now
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.store.messages import Doubt
from tests.support.waiting import deadline_s, patient_by
from tests.webdriver.env import SessionEnv, Tokens, Web, kill_browser, message, run, session_env, soon
from tests.webdriver.kept_session import KeptSession
from webdriver.chromium.browser import Browser
from webdriver.page import vcards
from webdriver.page.operations import OPERATIONS

PHONE = "60111222333"
CUSTOMER = "60123456789"
CHAT = f"{CUSTOMER}@c.us"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40

ALICE: Mapping[str, Any] = {
    "name": {"formatted_name": "Ali; Baba, \\o/", "first_name": "Ali"},
    "phones": [{"phone": "+60 12-345 6780", "type": "WORK", "wa_id": "60123456780"}, {"phone": "+60123456781"}],
    "emails": [{"email": "ali@example.com"}],
    "org": {"company": "Forty & Co"},
}


def by(seconds: float = 20.0) -> float:
    return patient_by(seconds)


async def stored(here: SessionEnv, content: bytes) -> str:
    """Put a file into storage and return its digest."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return (await here.storage.put("demo", pieces(), most=len(content))).sha256


class Sender:
    """Sends rows of rising ids and remembers their tokens."""

    def __init__(self, here: SessionEnv) -> None:
        self._here, self._id = here, 100
        self.rows: list[OutboundMessage] = []

    async def send(self, type_: str, content: Mapping[str, Any], chat_id: str = CUSTOMER, **more: Any) -> Outcome:
        self._id += 1
        tokens = Tokens()
        row = message(id=self._id, type=type_, content=content, chat_id=chat_id, **more)
        outcome = await self._here.channel.send(row, tokens.record, by())
        self.rows.append(
            message(
                id=self._id, type=type_, content=content, chat_id=chat_id, token=tokens[-1] if tokens else "", **more
            )
        )
        return outcome

    async def sent(self, type_: str, content: Mapping[str, Any], chat_id: str = CUSTOMER) -> str:
        """Send one that must go out and return its name at WhatsApp."""
        outcome = await self.send(type_, content, chat_id)
        assert isinstance(outcome, Sent), outcome
        return outcome.provider_id

    async def look_up(self, row: OutboundMessage | None = None) -> Outcome | None:
        """Look up the newest row, or another one."""
        return await self._here.channel.look_up(
            Doubt(message=row or self.rows[-1], doubt_s=1.0, age_s=1.0, claimed_at=utc_now(), policy=None)
        )


def media(sha256: str, mimetype: str, filename: str = "", **more: Any) -> dict[str, Any]:
    return {"media": {"sha256": sha256, "mimetype": mimetype, "size": len(PNG), "filename": filename}, **more}


def test_every_type_of_message_arrives_as_it_was_meant(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        sender = Sender(here)
        digest = hashlib.sha256(PNG).hexdigest()
        assert await stored(here, PNG) == digest
        question = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "which one?"}))["id"]
        await soon(lambda: here.store.messages)
        names = {
            "image": await sender.sent(
                "image", media(digest, "image/png", "cat.png", caption="a <b>cat</b>", quoted=question)
            ),
            "video": await sender.sent("video", media(digest, "video/mp4")),
            "audio": await sender.sent("audio", media(digest, "audio/mpeg", "song.mp3")),
            "ptt": await sender.sent("audio", media(digest, "audio/ogg", voice=True)),
            "document": await sender.sent(
                "document", media(digest, "application/pdf", "offer.pdf", caption="our offer")
            ),
            "sticker": await sender.sent("sticker", media(digest, "image/webp")),
            "location": await sender.sent(
                "location", {"latitude": 3.139, "longitude": -101.6869, "name": "Here", "address": "1 Road"}
            ),
            "vcard": await sender.sent("contacts", {"contacts": [ALICE]}),
            "multi_vcard": await sender.sent(
                "contacts",
                {"contacts": [ALICE, {"name": {"formatted_name": "Bo"}, "phones": [{"phone": "60111"}]}]},
            ),
        }
        arrived = {row["type"]: row for row in here.web.events("message_arrived")}
        assert {kind: row["message_id"] for kind, row in arrived.items()} == names
        assert {row["times"] for row in arrived.values()} == {1}
        for kind in ("image", "video", "audio", "ptt", "document", "sticker"):
            assert arrived[kind]["sha256"] == digest, kind
            assert arrived[kind]["body"] == "", "a thumbnail is no text"
        assert (arrived["image"]["caption"], arrived["image"]["quoted"]) == ("a <b>cat</b>", question)
        assert arrived["document"]["media"] | {"filehash": ""} == {
            "filehash": "",
            "size": len(PNG),
            "mimetype": "application/pdf",
            "filename": "offer.pdf",
        }
        assert arrived["document"]["caption"] == "our offer"
        assert arrived["video"]["media"]["filename"] == "video.mp4", "a file without a name is named by its type"
        assert arrived["ptt"]["media"]["mimetype"] == "audio/ogg"
        assert (arrived["location"]["lat"], arrived["location"]["lng"], arrived["location"]["loc"]) == (
            3.139,
            -101.6869,
            "Here\n1 Road",
        )
        (read_back,) = vcards.contacts([arrived["vcard"]["body"]])
        assert read_back["name"]["formatted_name"] == "Ali; Baba, \\o/"
        assert [phone["wa_id"] for phone in read_back["phones"]] == ["60123456780", "60123456781"]
        assert read_back["org"] == ALICE["org"] and read_back["emails"] == ALICE["emails"]
        assert [row["displayName"] for row in arrived["multi_vcard"]["vcardList"]] == ["Ali; Baba, \\o/", "Bo"]
        assert list((here.context.home / "sessions" / "staged" / "1").glob("bulkhead-*")) == [], (
            "a copy of a file stayed behind"
        )
        await soon(lambda: len([row for row in here.store.receipts if row.state == "read"]) == len(names))

    kept_session.run(scenario)


def test_everything_that_is_done_to_a_message_arrives_once(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            sender = Sender(here)
            theirs = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "a question"}))["id"]
            await soon(lambda: (1, theirs) in here.store.messages)
            ours = await sender.sent("text", {"body": "an answrr"})

            edit = await sender.sent("edit", {"target": ours, "body": "an answer"})
            assert await sender.look_up() == Sent(provider_id=edit)
            (edited,) = web.events("edit_arrived")
            assert (edited["target"], edited["body"], edited["message_id"], edited["times"]) == (
                ours,
                "an answer",
                edit,
                1,
            )

            liked = await sender.sent("reaction", {"target": theirs, "emoji": "👍"})
            assert await sender.look_up() == Sent(provider_id=liked)
            taken_back = await sender.sent("reaction", {"target": theirs, "emoji": ""})
            assert await sender.look_up() == Sent(provider_id=taken_back)
            assert [(row["target"], row["body"]) for row in web.events("reaction_arrived")] == [
                (theirs, "👍"),
                (theirs, ""),
            ]

            forwarded = await sender.sent("forward", {"target": theirs, "source_chat": CUSTOMER}, "60129999999")
            assert await sender.look_up() == Sent(provider_id=forwarded)
            again = await sender.sent("forward", {"target": theirs, "source_chat": CUSTOMER}, "60129999999")
            assert again != forwarded, "the second one is not taken for the first"
            arrived = [row for row in web.events("message_arrived") if row.get("forwarded")]
            assert [(row["message_id"], row["chat"], row["body"]) for row in arrived] == [
                (forwarded, "60129999999@c.us", "a question"),
                (again, "60129999999@c.us", "a question"),
            ]

            await sender.sent("read", {"target": theirs})
            (read,) = web.events("read_arrived")
            assert (read["chat"], read["message_ids"]) == (CHAT, [theirs])
            await sender.sent("typing", {"lasts_s": 0.2})
            await soon(lambda: [row["state"] for row in web.events("typing_arrived")] == ["composing", "paused"])
            await sender.sent("typing", {"state": "recording"})
            await sender.sent("typing", {"state": "paused"})
            assert [row["state"] for row in web.events("typing_arrived")][2:] == ["recording", "paused"]

            await sender.sent("delete", {"target": ours, "everyone": True})
            assert isinstance(await sender.look_up(), Sent)
            assert [row["target"] for row in web.events("revoke_arrived")] == [ours]
            await sender.sent("delete", {"target": theirs, "everyone": False})
            assert isinstance(await sender.look_up(), Sent)
            assert [row["message_ids"] for row in web.events("deleted_for_me")] == [[theirs]]
            # nothing of it came back as another person's action
            assert [row.provider_id for row in here.store.messages.values()] == [theirs]

    run(scenario())


def test_what_cannot_be_done_is_dead_and_touches_nothing(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        sender = Sender(here)
        theirs = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "a question"}))["id"]
        await soon(lambda: here.store.messages)
        unknown = f"true_{CHAT}_3EB0000000000000000000"
        digest = await stored(here, PNG)
        refused = {
            "message_not_ours": await sender.send("delete", {"target": theirs, "everyone": True}),
            "message_not_editable": await sender.send("edit", {"target": theirs, "body": "x"}),
            "message_unknown": await sender.send("reaction", {"target": unknown, "emoji": "👍"}),
            "media_unknown": await sender.send("image", media("0" * 64, "image/png")),
            "media_refused": await sender.send("image", media(digest, "application/pdf")),
            "media_unusable": await sender.send("image", {"media": {"id": "900"}}),
            "address_refused": await sender.send("image", {"media": {"link": "ftp://127.0.0.1/cat.png"}}),
            "expired": await sender.send("typing", {"lasts_s": 5}, created_at=utc_now() - timedelta(seconds=40)),
        }
        assert {code: (type(outcome), getattr(outcome, "code", "")) for code, outcome in refused.items()} == {
            code: (Dead, code) for code in refused
        }
        for wrong in ("forged", "wamid.AAA"):
            outcome = await sender.send("edit", {"target": wrong, "body": "x"})
            assert isinstance(outcome, Dead) and outcome.code == "message_unknown"
        assert {entry.event for entry in here.web.ledger.scan(here.web.since)} == {"customer_wrote"}

        await here.order(PHONE, "faults", {"fail_sends": ["ERROR_UPLOAD"]})
        upload = await sender.send("image", media(digest, "image/png"))
        assert isinstance(upload, Retry) and upload.code == "upload_failed"
        await here.order(PHONE, "faults", {"fail_sends": ["ERROR_NETWORK"]})
        ours = await sender.send("text", {"body": "maybe"})
        assert isinstance(ours, InDoubt)
        answer = await sender.sent("text", {"body": "before"})
        await here.order(PHONE, "faults", {"fail_sends": ["ERROR_EXPIRED"]})
        edit = await sender.send("edit", {"target": answer, "body": "after"})
        assert isinstance(edit, InDoubt), "wa-js returns no result of an edit"
        unmade = await sender.look_up()
        assert isinstance(unmade, Retry) and unmade.code == "not_sent"

    kept_session.run(scenario)


def test_a_file_from_an_address_is_fetched_and_sent(kept_session: KeptSession) -> None:
    async def scenario(here: SessionEnv) -> None:
        # the sandbox's own code is a picture that any client may fetch
        link = f"http://127.0.0.1:{here.web.port}/web/qr.svg?code=hello"
        sent = await Sender(here).send("document", {"media": {"link": link}, "filename": "code.svg"})
        assert isinstance(sent, Sent), sent
        (arrived,) = here.web.events("message_arrived")
        assert arrived["media"]["filename"] == "code.svg"
        assert await here.storage.read("demo", arrived["sha256"])
        gone = await Sender(here).send("document", {"media": {"link": f"http://127.0.0.1:{here.web.port}/nowhere"}})
        assert isinstance(gone, Dead) and gone.code == "http_404"

    kept_session.run(scenario)


@pytest.mark.parametrize("when", ["before", "after"])
def test_operations_that_a_kill_befell_are_looked_up_and_happen_once(home: Path, web: Web, when: str) -> None:
    """`before`: the browser dies before the page is asked. `after`: the phone has it, and the answer was lost."""

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            sender = Sender(here)
            theirs = (await here.order(PHONE, "messages", {"from": CUSTOMER, "body": "a question"}))["id"]
            await soon(lambda: here.store.messages)
            ours = await sender.sent("text", {"body": "an answrr"})
            kinds: list[tuple[str, Mapping[str, Any], str]] = [
                ("image", media(await stored(here, PNG), "image/png"), "message_arrived"),
                ("edit", {"target": ours, "body": "an answer"}, "edit_arrived"),
                ("reaction", {"target": theirs, "emoji": "❤️"}, "reaction_arrived"),
                ("forward", {"target": theirs}, "message_arrived"),
                ("delete", {"target": ours, "everyone": True}, "revoke_arrived"),
            ]
            for number, (kind, content, event) in enumerate(kinds):
                before, lives = len(web.events(event)), here.session().restarts
                tokens = Tokens(_kill_when_stored(here) if when == "before" else None)
                row = message(id=900 + number, type=kind, content=content)
                if when == "after":
                    await here.order(PHONE, "faults", {"hold_after_s": 30.0})
                sending = asyncio.create_task(here.channel.send(row, tokens.record, by(30)))
                if when == "after":
                    await soon(partial(_more, web, event, before), 15)
                    kill_browser(here.session())
                outcome = await sending
                assert isinstance(outcome, InDoubt), (kind, outcome)
                await here.order(PHONE, "faults", {"hold_after_s": 0})
                await soon(partial(_lives_again, here, lives), 30)
                kept = message(id=900 + number, type=kind, content=content, token=tokens[-1], attempt=2)
                found = await _until_settled(sender, kept)
                if isinstance(found, Retry):
                    assert found.code == "not_sent"
                    assert isinstance(await here.channel.send(kept, Tokens().record, by()), Sent), kind
                assert isinstance(found, Retry if when == "before" else Sent), (kind, found)
                assert len(web.events(event)) == before + 1, kind
            assert {row["times"] for row in web.events("message_arrived")} == {1}

    run(scenario())


def _more(web: Web, event: str, before: int) -> bool:
    return len(web.events(event)) > before


def _lives_again(here: SessionEnv, lives: int) -> bool:
    return here.session().restarts > lives and here.session().page() is not None


def _kill_when_stored(here: SessionEnv) -> Any:
    async def kill(_: str) -> None:
        kill_browser(here.session())

    return kill


async def _until_settled(sender: Sender, row: OutboundMessage) -> Outcome:
    found: list[Outcome] = []

    async def ask() -> bool:
        outcome = await sender.look_up(row)
        if outcome is not None and not isinstance(outcome, InDoubt):
            found.append(outcome)
        return bool(found)

    deadline = patient_by(20)
    while not await ask():
        assert monotonic() < deadline, row.type
        await asyncio.sleep(0.1)
    return found[0]


def test_a_file_that_the_browser_sees_with_another_size_is_not_sent(
    home: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without a free CPU, Chromium may not find out the size of a file in time, and shows it as empty."""
    give, empty = Browser.give_file, home / "empty"
    empty.touch(mode=0o644)
    monkeypatch.setattr(Browser, "give_file", lambda self, name, _, by: give(self, name, empty, by))

    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            sender = Sender(here)
            file = media(await stored(here, PNG), "application/pdf", "offer.pdf")
            outcome = await sender.send("document", file)
            assert isinstance(outcome, Retry), outcome
            assert "file_incomplete" in outcome.detail
            monkeypatch.undo()
            await sender.sent("document", file)
            (arrived,) = [row for row in web.events("message_arrived") if row["type"] == "document"]
            assert arrived["sha256"] == hashlib.sha256(PNG).hexdigest()

    run(scenario())


def test_a_large_file_neither_stops_the_loop_nor_keeps_others_waiting(home: Path, web: Web) -> None:
    async def scenario() -> None:
        async with session_env(home, web) as here:
            await here.link()
            sender = Sender(here)
            digest = await stored(here, os.urandom(1024) * 24 * 1024)
            await here.order(PHONE, "faults", {"hold_before_s": 0.5})
            large = asyncio.create_task(sender.sent("document", media(digest, "application/zip", "large.zip")))
            longest, texts, last = 0.0, 0, monotonic()
            text = asyncio.create_task(Sender(here).sent("text", {"body": "in between"}, "60128888888"))
            while not large.done():
                await asyncio.sleep(0.005)
                longest, last = max(longest, monotonic() - last), monotonic()
                texts += text.done() and not large.done()
            await large
            assert texts > 0, "the text waited for the file"
            assert longest < deadline_s(0.5), f"the event loop stood still for {longest:.2f} s"
            assert [row["sha256"] for row in web.events("message_arrived") if row["type"] == "document"] == [digest]

    run(scenario())


def test_every_operation_has_its_own_deadline() -> None:
    assert set(OPERATIONS) | {"delete"} == {
        "text", "image", "video", "audio", "document", "sticker", "location", "contacts", "reaction", "edit", "forward", "read", "typing", "delete",  # noqa: E501
    }  # fmt: skip
    assert all(0 < operation.lasts_s <= 120 for operation in OPERATIONS.values())
