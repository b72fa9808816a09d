"""Files of received messages: read from the pages in the background, a few at a time, and put into storage."""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import suppress
from typing import Final

from shared.channels.files import LARGEST
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.media.errors import MediaTooLarge, StorageUnavailable
from shared.media.kinds import is_animated, mimetype_of
from shared.media.storage import Storage, Stored
from shared.process.leased_work import LeasedRows
from shared.store import inbound_media, media
from shared.store.inbound_media import TakenMedia
from shared.store.pool import Transaction
from shared.store.store import Store
from webdriver.chromium.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.page.bridge import Bridge, PageRefused
from webdriver.session.sessions import Sessions

log = logger(__name__)

AT_ONCE: Final = 2
"""Files that are read from pages at the same time: all of them pass through this process's event loop."""
INTERVAL_S: Final = 1.0
"""Seconds between two queries for files that are due; a new message's file does not wait for it (`LeasedWork.wake`)."""
BEAT_LIMIT_S: Final = 30.0
"""Watchdog limit of the loop, in seconds: one database call with its deadline; fetches run in tasks of their own."""
_FETCH_S: Final = 120.0
"""Longest time to read one file out of a page: 100 MB in pieces."""
_LEASE_S: Final = 180.0
"""Lease in seconds, longer than one fetch: a file belongs to one process until it is stored or given up."""
_NOT_READY_S: Final = 15.0
"""Pause before a file of a session that is not ready is due again."""
_ATTEMPTS: Final = 8
"""Attempts to read a file out of the page; WhatsApp may have to fetch an old one from the phone first."""
_WAITS: Final = 20_000
"""How often a session may be found not ready before its file is given up, which takes days."""
_AGAIN_S: Final = 20.0
"""Pause before a page is asked for a file again; the phone may have to upload it first."""
_GONE: Final = frozenset({"msg_not_found", "chat_not_found", "message_not_contains_media"})
"""Codes of wa-js that no later attempt changes."""


class _Damaged(Exception):
    """Raised when the page's bytes are not those of the announced file."""


class Downloads:
    """Fetches the files of one process's sessions.

    Args:
        store: has the files that are due. storage: receives them. kind, slot, incarnation: of this process. most: bytes
            of the largest file that is accepted.
    """

    def __init__(
        self,
        store: Store,
        storage: Storage,
        sessions: Sessions,
        *,
        kind: str,
        slot: str,
        incarnation: str,
        most: int = LARGEST,
    ) -> None:
        self._store, self._storage, self._sessions = store, storage, sessions
        self._kind, self._slot, self._incarnation, self._most = kind, slot, incarnation, most
        # in memory, since the row's counter also counts waits for a session that is not ready; after a restart the
        # count begins again
        self._asked: Counter[int] = Counter()

    def rows(self) -> LeasedRows[TakenMedia]:
        """Return the files that are due, to be worked on by `LeasedWork`."""
        return LeasedRows(release=self._release, take=self._take, key=lambda taken: taken.message_id, work=self._one)

    async def _release(self) -> None:
        await self._store.call(
            inbound_media.release_earlier_lives, self._kind, slot=self._slot, living=self._incarnation
        )

    async def _take(self, most: int) -> list[TakenMedia]:
        return await self._store.call(
            inbound_media.take_media, self._kind, incarnation=self._incarnation, lease_s=_LEASE_S, most=most
        )

    async def _one(self, taken: TakenMedia) -> None:
        try:
            await self._fetch(taken)
        except StoreUnavailable as error:
            # the lease ends, and the file is due again
            log.info("inbound_files_not_taken", reason=str(error))

    async def _fetch(self, taken: TakenMedia) -> None:
        session = self._sessions.find(taken.connection_id)
        page = session.page() if session else None
        if page is None:
            # it was no attempt; the number is bounded, since it would outgrow its column in some days
            if taken.attempts >= _WAITS:
                await self._failed(taken, "the session was never ready", "failed")
            else:
                await self._wait(taken, "the session is not ready", _NOT_READY_S)
            return
        try:
            stored = await self._out_of(page, taken, monotonic() + _FETCH_S)
        # checked before anything is read; storage counts the bytes as well
        except MediaTooLarge as error:
            await self._failed(taken, str(error), "refused")
        except PageRefused as refused:
            if refused.code in _GONE:
                await self._failed(taken, "the page does not have the message any more", "failed")
            else:
                await self._again(taken, f"the page cannot have the file: {refused.code or refused.name}", _AGAIN_S)
        # temporary, or perhaps so: tried again, up to `_ATTEMPTS` times
        except (BrowserLost, CallTimedOut, ScriptFailed, StorageUnavailable, _Damaged) as error:
            await self._again(taken, str(error), _AGAIN_S)
        else:
            self._asked.pop(taken.message_id, None)
            await self._store.call(self._finish, taken, stored)
            log.info(
                "inbound_file_stored", connection_id=taken.connection_id, inbound_id=taken.message_id, size=stored.size
            )

    async def _out_of(self, page: Bridge, taken: TakenMedia, by: float) -> Stored:
        name, size = await page.open_file(str(taken.source["id"]), by)
        try:
            if size > self._most:
                raise MediaTooLarge(self._most)
            stored = await self._storage.put(taken.company_id, page.pieces(name, size, by), most=self._most)
        finally:
            # a page that is gone holds no file any more; the outcome is known already
            with suppress(BrowserLost, CallTimedOut, ScriptFailed, PageRefused):
                await page.drop_file(name, by)
        # WhatsApp announces the SHA-256 in base64; storage names files by the same hash in hexadecimal
        announced = str(taken.source.get("sha256") or "")
        if stored.size != size or (announced and announced != base64.b64encode(bytes.fromhex(stored.sha256)).decode()):
            raise _Damaged("what came out of the page is not the file that was announced")
        return stored

    def _finish(self, transaction: Transaction, taken: TakenMedia, stored: Stored) -> None:
        filename = str(taken.source.get("filename") or "")
        mimetype = mimetype_of(stored.head, str(taken.source.get("mimetype") or ""), filename)
        # in one transaction: the file is listed exactly when the message refers to it
        media.remember_received(
            transaction,
            taken.company_id,
            stored.sha256,
            size=stored.size,
            mimetype=mimetype,
            is_animated=is_animated(stored.head),
        )
        inbound_media.media_stored(
            transaction, taken, incarnation=self._incarnation, sha256=stored.sha256, mimetype=mimetype, size=stored.size
        )

    async def _again(self, taken: TakenMedia, reason: str, after_s: float) -> None:
        self._asked[taken.message_id] += 1
        if self._asked[taken.message_id] >= _ATTEMPTS:
            await self._failed(taken, reason, "failed")
        else:
            await self._wait(taken, reason, after_s)

    async def _wait(self, taken: TakenMedia, reason: str, after_s: float) -> None:
        await self._store.call(
            inbound_media.media_failed,
            taken,
            incarnation=self._incarnation,
            reason=reason,
            state="pending",
            after_s=after_s,
        )

    async def _failed(self, taken: TakenMedia, reason: str, state: str) -> None:
        self._asked.pop(taken.message_id, None)
        await self._store.call(
            inbound_media.media_failed, taken, incarnation=self._incarnation, reason=reason, state=state
        )
        log.warning(
            "inbound_file_abandoned",
            connection_id=taken.connection_id,
            inbound_id=taken.message_id,
            state=state,
            reason=reason,
        )
