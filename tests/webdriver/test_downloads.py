"""Files that customers send: out of the page into storage, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.kinds import KINDS
from shared.media.errors import MediaUnknown
from shared.store import inbound_media
from tests.support.waiting import eventually_async, patient_by
from tests.webdriver.env import SessionEnv, Web, run, session_env
from tests.webdriver.store_env import StoreEnv
from webdriver import downloads
from webdriver.downloads import Downloads
from webdriver.session.records import Records

PHONE = "60111222333"
CUSTOMER = "60123456789"


def file(content: bytes, **more: Any) -> dict[str, Any]:
    return {
        "from": CUSTOMER,
        "type": "document",
        "data": base64.b64encode(content).decode(),
        "mimetype": "application/zip",
        "filename": "a.zip",
        **more,
    }


async def rows(store_env: StoreEnv, message_id: str) -> list[tuple[Any, ...]]:
    sql = (
        "SELECT m.state, m.sha256, m.reason, m.attempts FROM inbound_media m JOIN "
        "inbound_messages i ON i.id = m.message_id WHERE i.provider_id = %s"
    )
    return await asyncio.to_thread(store_env.query, sql, message_id)


async def until(store_env: StoreEnv, message_id: str, state: str, reason: str = "") -> tuple[Any, ...]:
    """Wait until a file is in a state, for a reason that holds some words."""
    found: list[tuple[Any, ...]] = []

    async def asked() -> bool:
        found[:] = [row for row in await rows(store_env, message_id) if row[0] == state and reason in row[2]]
        return bool(found)

    await eventually_async(asked, 20.0, f"file of {message_id} is {state} {reason}", poll_s=0.05)
    return found[0]


def test_files_are_fetched_in_the_background_and_what_cannot_be_had_is_said(
    home: Path, web: Web, store_env: StoreEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_AGAIN_S", 0.1)
    monkeypatch.setattr(downloads, "_ATTEMPTS", 2)

    async def scenario() -> None:
        async with session_env(home, web) as here:
            keep_in(here, store_env)
            await here.link(store_env.connection_id)
            fetcher = Downloads(
                store_env.store,
                here.storage,
                here.sessions,
                kind="webdriver",
                slot="webdriver-0",
                incarnation="webdriver-0.test",
                most=2 * 1024 * 1024,
            )
            here.spawn(work_on(fetcher), "downloads")
            content = os.urandom(1_500_000)
            whole = (await here.order(PHONE, "messages", file(content)))["id"]
            _, sha256, *_ = await until(store_env, whole, "stored")
            assert sha256 == hashlib.sha256(content).hexdigest()
            assert await here.storage.read("demo", sha256) == content
            with pytest.raises(MediaUnknown):
                await here.storage.read("another", sha256)

            large = (await here.order(PHONE, "messages", file(os.urandom(2_200_000))))["id"]
            await until(store_env, large, "refused", "larger than 2097152 bytes")

            await here.order(PHONE, "faults", {"lose_files": True})
            lost = (await here.order(PHONE, "messages", file(b"PK\x03\x04 lost")))["id"]
            await until(store_env, lost, "failed", "media_not_found")
            await here.order(PHONE, "faults", {"lose_files": False})
            (message_id,) = (
                row[0]
                for row in await asyncio.to_thread(
                    store_env.query, "SELECT id FROM inbound_messages WHERE provider_id = %s", lost
                )
            )
            await store_env.store.call(inbound_media.fetch_again, "webdriver", ids=[message_id], most=1)
            await until(store_env, lost, "stored")

            page = here.session(store_env.connection_id).page()
            assert page is not None
            swapped = "WPP.chat.downloadMedia = async () => new Blob(['something else'])"
            await page._browser.evaluate(f"({swapped}, null)", patient_by(5), "swapping files")
            damaged = (await here.order(PHONE, "messages", file(b"PK\x03\x04 as it was")))["id"]
            await until(store_env, damaged, "failed", "not the file that was announced")
            assert all(
                (await asyncio.to_thread(store_env.query, "SELECT count(*) FROM contacts WHERE phone = %s", CUSTOMER))[
                    0
                ]
            )

    run(scenario())


async def work_on(fetcher: Downloads) -> None:
    """Fetch what is due, again and again, as `LeasedWork` does."""
    due = fetcher.rows()
    await due.release()
    while True:
        await asyncio.gather(*(due.work(one) for one in await due.take(downloads.AT_ONCE)))
        await asyncio.sleep(0.05)


def keep_in(here: SessionEnv, store_env: StoreEnv) -> None:
    """Let what the sessions report go into the database; the desired state stays in the env's own store."""
    (kind,) = (row for row in KINDS if row.name == "webdriver")
    records = Records(store_env.store, kind, "webdriver-0.test")
    pipeline = store_env.pipeline()

    async def journal_inbound(connection_id: int, raw: Mapping[str, Any]) -> None:
        await records.journal_inbound(connection_id, raw)
        while await pipeline.process():
            pass

    here.store.journal_inbound = journal_inbound  # type: ignore[method-assign]  # the rest of the store stays in memory
    here.store.known = records.known  # type: ignore[method-assign]
