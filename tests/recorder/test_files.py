"""Files go when no process asked for them for long enough, not before, and never while an open message needs them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from recorder.files import OldFiles
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.local import LocalStorage
from shared.process.metrics import Metrics
from shared.store import media
from tests.store.env import StoreEnv, query

COMPANY = "acme"


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


class Shelf:
    """Files of one company, each put and noted as the API does."""

    def __init__(self, env: StoreEnv, url: str, home: Path) -> None:
        self.env, self.url, self.home, self.storage = env, url, home, LocalStorage(home)

    def keep(self, content: bytes, *, days: float) -> str:
        """Keep a file that was put, and asked for last, so many days ago. Returns its digest."""
        stored = asyncio.run(self.storage.put(COMPANY, pieces(content), most=1000))
        self.env.store.run(
            media.remember, COMPANY, stored.sha256, size=stored.size, mimetype="text/plain", filename="a.txt"
        )
        query(
            self.url,
            "UPDATE media_files SET used_at = now() - make_interval(secs => %(s)s) WHERE sha256 = %(name)s",
            s=days * 86400,
            name=stored.sha256,
        )
        os.utime(next(self.home.rglob(stored.sha256)), (time.time() - days * 86400,) * 2)
        return stored.sha256

    def has(self, sha256: str) -> bool:
        try:
            asyncio.run(self.storage.read(COMPANY, sha256))
        except MediaUnknown:
            return False
        return True

    def known(self) -> set[str]:
        return {row["sha256"] for row in query(self.url, "SELECT sha256 FROM media_files")}

    def prune(self, *, days: float, storage: LocalStorage | None = None) -> float:
        """Let one round run. Returns how many files it deleted."""
        metrics = Metrics()
        asyncio.run(OldFiles(self.env.store, storage or self.storage, metrics, days=days).prune())
        return float(metrics.snapshot()["deleted_files_total"])


@pytest.fixture
def shelf(database_url: str, home: Path) -> Iterator[Shelf]:
    env = StoreEnv(database_url)
    yield Shelf(env, database_url, home)
    env.close()


def test_old_files_go_and_young_ones_stay(shelf: Shelf) -> None:
    old, young = shelf.keep(b"old", days=31), shelf.keep(b"young", days=29)
    assert shelf.prune(days=0) == 0, "0 keeps for ever"
    assert shelf.prune(days=30) == 1
    assert (shelf.known(), shelf.has(old), shelf.has(young)) == ({young}, False, True)
    assert shelf.prune(days=30) == 0


def test_a_file_that_is_requested_is_kept(shelf: Shelf) -> None:
    asked = shelf.keep(b"asked", days=31)
    found = shelf.env.store.run(media.find, COMPANY, asked)
    assert found is not None
    assert (found.size, found.mimetype, found.filename) == (5, "text/plain", "a.txt")
    assert shelf.prune(days=30) == 0
    assert shelf.has(asked)


@pytest.mark.parametrize(
    "content", ["""{"media": {"sha256": "%s"}}""", """{"type": "button", "header": {"image": {"sha256": "%s"}}}"""]
)
def test_what_an_open_message_needs_stays(shelf: Shelf, content: str) -> None:
    needed = shelf.keep(b"needed", days=31)
    (row,) = shelf.env.accept("a")
    query(shelf.url, "UPDATE messages SET content = %(content)s WHERE id = %(id)s", content=content % needed, id=row)
    assert shelf.prune(days=30) == 0
    assert shelf.has(needed)
    query(shelf.url, "UPDATE messages SET state = 'sent' WHERE id = %(id)s", id=row)
    assert shelf.prune(days=30) == 1
    assert not shelf.has(needed)


def test_a_file_that_was_put_again_meanwhile_stays(shelf: Shelf) -> None:
    again = shelf.keep(b"again", days=31)
    os.utime(next(shelf.home.rglob(again)))
    assert shelf.prune(days=30) == 0
    assert shelf.has(again), "whoever put it is about to note it"


def test_a_storage_that_is_away_loses_nothing(shelf: Shelf) -> None:
    class Away(LocalStorage):
        async def delete(self, company_id: str, sha256: str, *, unless_since: datetime | None = None) -> bool:
            raise StorageUnavailable("away")

    kept = shelf.keep(b"kept", days=31)
    assert shelf.prune(days=30, storage=Away(shelf.home)) == 0
    assert (shelf.known(), shelf.has(kept)) == ({kept}, True)
