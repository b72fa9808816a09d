"""Files go when no process asked for them for long enough, not before, and never while an open message needs them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from recorder.files import OldFiles
from shared.inbound_events import MediaSource
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.local import LocalStorage
from shared.messages import InboundMessage
from shared.process.metrics import Metrics
from shared.store import inbound, inbound_media, media
from shared.store.inbound_media import TakenMedia
from tests.store.env import LONG_AGO, StoreEnv
from tests.support.database import query

COMPANY = "acme"


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


class Shelf:
    """Files of one company, each put and noted as the API does."""

    def __init__(self, env: StoreEnv, url: str, home: Path) -> None:
        self.env, self.url, self.home, self.storage = env, url, home, LocalStorage(home)

    def keep(self, content: bytes, *, days: float, received: bool = False) -> str:
        """Keep a file that was put, and asked for last, so many days ago. Returns its digest."""
        stored = asyncio.run(self.storage.put(COMPANY, pieces(content), most=1000))
        if received:
            self.env.store.run(media.remember_received, COMPANY, stored.sha256, size=stored.size, mimetype="image/png")
        else:
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


class Received:
    """A customer's message with a file, fetched or waiting."""

    def __init__(self, shelf: Shelf, name: str, sender: str = "15550100200") -> None:
        self.shelf, self.name, self.sender = shelf, name, sender
        self.env = shelf.env

    def _line(self, **fields: Any) -> InboundMessage:
        defaults: dict[str, Any] = {"type": "image", "content": {"media": {"id": "9"}}, "provider_id": self.name}
        return InboundMessage(
            connection_id=self.env.connection,
            chat_id=self.sender,
            sender=self.sender,
            at=LONG_AGO,
            **(defaults | fields),
        )

    def arrive(self) -> None:
        (row,) = self.env.store.run(inbound.insert, [(self._line(), None)])
        source = MediaSource(connection_id=self.env.connection, provider_id=self.name, id="9")
        self.env.store.run(inbound_media.media_pending, [(row["id"], source)])

    def revoke(self) -> None:
        line = self._line(provider_id=f"revoke {self.name}", type="revoke", content={"target": self.name})
        self.env.store.run(inbound.insert, [(line, None)])

    def take(self) -> list[TakenMedia]:
        return self.env.store.run(inbound_media.take_media, "meta", incarnation="m.1", lease_s=60.0, most=9)

    def store(self, taken: TakenMedia, content: bytes, *, minutes: float = 10) -> str:
        """Note the fetched file, so many minutes ago. Returns its digest."""
        sha256 = self.shelf.keep(content, days=minutes / 1440, received=True)
        self.env.store.run(
            inbound_media.media_stored, taken, incarnation="m.1", sha256=sha256, mimetype="image/png", size=3
        )
        return sha256

    def state(self) -> tuple[str, str]:
        (row,) = query(
            self.shelf.url,
            "SELECT f.state, reason FROM inbound_media f JOIN inbound_messages i ON i.id = f.message_id"
            " WHERE i.provider_id = %(name)s",
            name=self.name,
        )
        return row["state"], row["reason"]


DROPPED = ("refused", "message_deleted")


class TestDeletedMessages:
    def test_the_fetch_of_a_file_is_cancelled(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        message.revoke()
        assert message.state() == DROPPED
        assert message.take() == []
        assert shelf.env.store.run(inbound_media.fetch_again, "meta", ids=None, most=9) == []
        assert message.state() == DROPPED

    def test_a_revoke_that_comes_first_counts_too(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.revoke()
        message.arrive()
        assert (message.state(), message.take()) == (DROPPED, [])

    def test_the_stored_bytes_are_removed(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        sha256 = message.store(message.take()[0], b"theirs")
        assert shelf.prune(days=0) == 0
        message.revoke()
        assert shelf.prune(days=0) == 1
        assert (shelf.has(sha256), shelf.known()) == (False, set())

    def test_what_is_fetched_while_the_message_is_deleted_is_removed_too(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        (taken,) = message.take()
        message.revoke()
        sha256 = message.store(taken, b"theirs")
        assert message.state() == DROPPED
        assert shelf.prune(days=0) == 1
        assert not shelf.has(sha256)

    def test_bytes_of_another_message_stay_until_it_is_deleted_too(self, shelf: Shelf) -> None:
        messages = [
            Received(shelf, name, sender) for name, sender in (("mid.1", "15550100200"), ("mid.2", "1555010099"))
        ]
        for message in messages:
            message.arrive()
        taken = sorted(messages[0].take(), key=lambda one: one.message_id)
        (sha256,) = {message.store(one, b"same") for message, one in zip(messages, taken, strict=True)}
        messages[0].revoke()
        assert shelf.prune(days=0) == 0
        assert shelf.has(sha256)
        messages[1].revoke()
        assert shelf.prune(days=0) == 1

    def test_what_the_company_uploaded_itself_stays(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        sha256 = message.store(message.take()[0], b"ours too")
        shelf.keep(b"ours too", days=1)
        message.revoke()
        assert shelf.prune(days=0) == 0
        assert shelf.has(sha256)

    def test_bytes_that_an_open_message_needs_stay_until_it_is_sent(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        sha256 = message.store(message.take()[0], b"forwarded")
        (row,) = shelf.env.accept("a")
        content = f'{{"media": {{"sha256": "{sha256}"}}}}'
        query(shelf.url, "UPDATE messages SET content = %(content)s WHERE id = %(id)s", content=content, id=row)
        message.revoke()
        assert shelf.prune(days=0) == 0
        query(shelf.url, "UPDATE messages SET state = 'sent' WHERE id = %(id)s", id=row)
        assert shelf.prune(days=0) == 1

    def test_bytes_that_were_stored_just_now_stay_for_a_moment(self, shelf: Shelf) -> None:
        message = Received(shelf, "mid.1")
        message.arrive()
        sha256 = message.store(message.take()[0], b"young", minutes=1)
        message.revoke()
        assert shelf.prune(days=0) == 0
        assert shelf.has(sha256)


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
            raise StorageUnavailable("away", outage="away")

    kept = shelf.keep(b"kept", days=31)
    assert shelf.prune(days=30, storage=Away(shelf.home)) == 0
    assert (shelf.known(), shelf.has(kept)) == ({kept}, True)
