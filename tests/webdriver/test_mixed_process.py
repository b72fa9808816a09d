"""The whole process under mixed work: killed with -9 in the middle of sends of every kind; each arrives once, and
the session needs no new code.

A longer run: `BULKHEAD_MIXED_SENDS=600 BULKHEAD_MIXED_KILLS=5 .venv/bin/python -m pytest -q -o faulthandler_timeout=0
tests/webdriver/test_mixed_process.py`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from shared.media.local import LocalStorage
from shared.process.exit_codes import ExitCode
from shared.process.runtime import slot_lock_file
from shared.process.slot_lock import read_holder
from shared.store import messages
from tests.support.entry import Entry
from tests.support.waiting import eventually
from tests.webdriver.env import Web, chromiums, run
from tests.webdriver.store_env import StoreEnv

PHONE = "60111222333"
SENDS: Final = int(os.environ.get("BULKHEAD_MIXED_SENDS", "60"))
KILLS: Final = int(os.environ.get("BULKHEAD_MIXED_KILLS", "1"))
PNG = b"\x89PNG\r\n\x1a\n"
ROUND: Final = ("text", "image", "reaction", "edit", "text", "document", "location", "reaction", "edit", "audio")
GONE_OUT = ("sent", "delivered", "read")


@pytest.mark.timeout(60 + SENDS // 2 + 60 * KILLS)
def test_mixed_sends_survive_kill_9_each_once(
    home: Path, web: Web, store_env: StoreEnv, redis_url: str, free_ports: Callable[[int], list[int]]
) -> None:
    port, admin = free_ports(2)
    addresses: dict[str, Any] = {
        "database_url": store_env.database_url,
        "redis_url": redis_url,
        "whatsapp_web_url": web.url,
    }
    with Entry("webdriver", home, webdriver_port=port, process_admin_port=admin, **addresses) as webdriver:
        webdriver.start().wait_ready()
        eventually(
            lambda: store_env.observed()["observed"] == "needs_link" and store_env.observed()["qr"],
            30,
            webdriver.log.read_text,
        )
        web.ask("/control/web/scan", {"code": store_env.observed()["qr"], "phone": PHONE})
        eventually(lambda: store_env.observed()["observed"] == "ready", 20, lambda: str(store_env.observed()))

        chats = [f"60120000{number:03d}" for number in range(SENDS // len(ROUND))]
        theirs = {
            chat: web.order(PHONE, "messages", {"from": chat, "body": f"question of {chat}"})["id"] for chat in chats
        }
        firsts = dict(zip(chats, store_env.accept(chats, "first"), strict=True))
        eventually(
            lambda: are_out(store_env, list(firsts.values())),
            30 + SENDS / 20,
            lambda: states(store_env, list(firsts.values())),
            poll_s=0.1,
        )
        rows = [
            row
            for chat in chats
            for row in a_round(store_env, home, chat, theirs[chat], store_env.row(firsts[chat])["provider_id"])
        ]
        before = done(web)
        many = store_env.accept_rows(rows)
        for kill in range(1, KILLS + 1):
            reached = before + kill * len(many) // (KILLS + 1)
            eventually(partial(has_done, web, reached), 30 + SENDS / 5, lambda: states(store_env, many), poll_s=0.1)
            # the phone takes one more, and its answer does not come before the end
            web.order(PHONE, "faults", {"hold_after_s": 30.0})
            eventually(partial(has_done, web, done(web) + 1), 20, lambda: states(store_env, many), poll_s=0.05)
            dead = read_holder(slot_lock_file(home, "webdriver-0"))
            assert dead is not None
            webdriver.process.kill()
            webdriver.wait_exit(5)
            eventually(lambda: not chromiums(home), 5, "no browser outlives its owner")
            store_env.store.run(messages.reclaim, incarnation=dead.incarnation)
            assert "in_doubt" in states(store_env, many), states(store_env, many)
            web.order(PHONE, "faults", {"hold_after_s": 0.0})
            picture = web.order(PHONE, "messages", picture_of(f"while it was dead {kill}"))["id"]
            webdriver.start().wait_ready()
            eventually(lambda: store_env.observed()["observed"] == "ready", 30, lambda: str(store_env.observed()))
        eventually(lambda: are_out(store_env, many), 30 + SENDS / 5, lambda: states(store_env, many), poll_s=0.2)
        judge(web, rows)
        files_of_customers_are_stored(store_env, home, picture)
        ours = store_env.query("SELECT provider_id, type FROM inbound_messages WHERE from_me")
        assert ours == [], "something that we did came in as if the owner had done it"
        assert len(web.events("device_linked")) == 1, "the session was linked anew"
        assert webdriver.stop() == ExitCode.OK
        assert chromiums(home) == []


def a_round(
    store_env: StoreEnv, home: Path, chat: str, theirs: str, ours: str
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return ten rows for one chat, each of which is identified by what arrives."""
    made: list[tuple[str, str, Mapping[str, Any]]] = []
    for number, kind in enumerate(ROUND):
        name = f"{chat}-{number}"
        contents: Mapping[str, dict[str, Any]] = {
            "text": {"body": name, "quoted": theirs if number else None},
            "reaction": {"target": theirs, "emoji": "👍" if number < 5 else "❤️"},
            "edit": {"target": ours, "body": name},
            "location": {"latitude": number, "longitude": int(chat[-3:]), "name": name},
        }
        if kind in MIMETYPES:
            content: dict[str, Any] = {
                "media": {
                    "sha256": store_env.keep(home, PNG + name.encode()),
                    "mimetype": MIMETYPES[kind],
                    "filename": name,
                }
            }
        else:
            content = contents[kind]
        made.append((chat, kind, content))
    return made


MIMETYPES: Final = {"image": "image/png", "document": "application/pdf", "audio": "audio/mpeg"}


def done(web: Web) -> int:
    """Return how much has arrived at the phone."""
    return sum(entry.event in ("message_arrived", "edit_arrived", "reaction_arrived") for entry in web.ledger.scan())


def has_done(web: Web, number: int) -> bool:
    """Whether so much has arrived at the phone."""
    return done(web) >= number


def judge(web: Web, rows: list[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Compare what was wanted with what the phone got."""
    expected: Counter[tuple[str, ...]] = Counter()
    for chat, kind, content in rows:
        if kind == "reaction":
            expected["reaction", chat, content["emoji"]] += 1
        elif kind == "edit":
            expected["edit", content["body"]] += 1
        else:
            expected[
                "message",
                content["body"]
                if kind == "text"
                else content["media"]["sha256"]
                if "media" in content
                else content["name"],
            ] += 1
    got: Counter[tuple[str, ...]] = Counter()
    for row in web.events("message_arrived"):
        if not row["body"].startswith("first "):
            got["message", row.get("sha256") or row.get("loc") or row["body"]] += 1
    for row in web.events("reaction_arrived"):
        got[
            "reaction",
            row["chat"].partition("@")[0] if row["chat"].endswith("@c.us") else chat_of_lid(rows, row["chat"]),
            row["body"],
        ] += 1
    for row in web.events("edit_arrived"):
        got["edit", row["body"]] += 1
    assert got - expected == Counter(), "twice, or never asked for"
    assert expected - got == Counter(), "lost"


def chat_of_lid(rows: list[tuple[str, str, Mapping[str, Any]]], lid: str) -> str:
    """Return the number behind a chat that is known by another id."""
    return next(chat for chat, kind, content in rows if kind == "reaction" and content["target"].split("_")[1] == lid)


def picture_of(caption: str) -> dict[str, Any]:
    return {
        "from": "60129999999",
        "type": "image",
        "data": base64.b64encode(PNG + caption.encode()).decode(),
        "mimetype": "image/png",
        "caption": caption,
    }


def files_of_customers_are_stored(store_env: StoreEnv, home: Path, picture: str) -> None:
    """What a customer sent while nothing ran came in, and its file lies in our storage as it was sent."""
    sql = (
        "SELECT m.state, m.sha256, i.content ->> 'caption', m.reason FROM inbound_media m "
        "JOIN inbound_messages i ON i.id = m.message_id"
        " WHERE i.provider_id = %s"
    )
    eventually(
        lambda: [row[0] for row in store_env.query(sql, picture)] == ["stored"],
        20,
        lambda: store_env.query(sql, picture),
    )
    ((_, sha256, caption, _),) = store_env.query(sql, picture)
    content = PNG + caption.encode()
    assert sha256 == hashlib.sha256(content).hexdigest()

    async def read() -> bytes:
        return await LocalStorage(home / "media").read("demo", sha256)

    assert run(read()) == content


def are_out(store_env: StoreEnv, ids: list[int]) -> bool:
    """Whether all of these rows were sent."""
    return store_env.query(
        "SELECT count(*) FROM messages WHERE id = ANY(%s) AND state = ANY(%s)", ids, list(GONE_OUT)
    ) == [(len(ids),)]


def states(store_env: StoreEnv, ids: list[int]) -> str:
    """Return how far rows are, for a failure's text."""
    rows = store_env.query("SELECT id, type, state, error_code FROM messages WHERE id = ANY(%s) ORDER BY id", ids)
    return f"{Counter(state for _, _, state, _ in rows)} {[row for row in rows if row[2] not in GONE_OUT][:20]}"
