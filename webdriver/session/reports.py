"""The reports of one session to the store: written in order, repeated until they are written, and without making the
page wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

from shared.backoff import BackoffPolicy
from shared.clock import left, monotonic, utc_now
from shared.errors import StoreUnavailable
from shared.inbound_events import Contact
from shared.logs import logger
from shared.messages import Receipt
from shared.states import SessionState
from webdriver.session.ports import SessionStore

log = logger(__name__)

_MOST: Final = 10_000
"""Reports that may wait for the store; further ones are dropped, and the page is queried later."""
_RETRIES: Final = BackoffPolicy(base_s=0.1, cap_s=5.0)
"""Waits while the store is away."""


class SessionReports:
    """The way from one session to the store.

    Args:
        store: takes the reports. connection_id: whose they are.
        overflowed: called when the store was away for so long that something had to be left out; the page is asked for
            it later.

    Attributes:
        written_link: the link that the store has accepted last. store: for queries; what is written to it goes through
            here, so that the order stays.
    """

    def __init__(self, store: SessionStore, connection_id: int, overflowed: Callable[[], None]) -> None:
        self.store = self._store = store
        self._connection_id, self._overflowed = connection_id, overflowed
        self.written_link = ""
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        # two events for one queue: `run` waits for the first, `flush` for the second
        self._something, self._nothing = asyncio.Event(), asyncio.Event()
        self._nothing.set()

    @property
    def are_taken(self) -> bool:
        """Whether the store has taken everything so far."""
        return not self._waiting

    def observed(
        self,
        state: SessionState,
        *,
        detail: str = "",
        qr: str = "",
        proved_at: float | None = None,
        link: str | None = None,
        stats: Mapping[str, Any] | None = None,
    ) -> None:
        """Report what the session is, and what its browser uses; `proved_at` is monotonic.

        Arguments as for `SessionStore.observe`.
        """

        async def write() -> None:
            # how old the proof is when it is written, not when it was reported
            proved_s = None if proved_at is None else monotonic() - proved_at
            await self._store.observe(
                self._connection_id, state, detail=detail, qr=qr, proved_s=proved_s, link=link, stats=stats or {}
            )
            # after the write, not at the report: sends are allowed once the store knows the account (`Session.page`)
            if link is not None:
                self.written_link = link

        self._put(write)

    def event(self, event: str, state: SessionState, detail: str = "") -> None:
        """Report what happened to the session just now; docs/browser.md lists the events."""
        # now, not when it is written: the store may be away for minutes
        at = utc_now()
        self._put(lambda: self._store.note(self._connection_id, event, at, state, detail))

    def inbound(self, raw: Mapping[str, Any]) -> None:
        """Report an event of the page."""
        self._put(lambda: self._store.journal_inbound(self._connection_id, raw))

    def contact(self, contact: Contact) -> None:
        """Report a person."""
        self._put(lambda: self._store.meet(contact))

    def receipt(self, receipt: Receipt) -> None:
        """Report a receipt of one of our messages."""
        self._put(lambda: self._store.record_receipt(receipt))

    def received(self, until: datetime) -> None:
        """Report that everything until an instant was reported."""
        self._put(lambda: self._store.received(self._connection_id, until))

    async def run(self) -> None:
        """Hand the reports over, oldest first, for ever.

        A report that the store refuses is logged and left out: the others go on, and so do all sessions.
        """
        failures = 0
        while True:
            await self._something.wait()
            while self._waiting:
                write = self._waiting.popleft()
                try:
                    await write()
                    failures = 0
                # back to the front: receipts and events of one message keep their order
                except StoreUnavailable:
                    self._waiting.appendleft(write)
                    failures += 1
                    if failures == 1:
                        log.warning(
                            "session_reports_waiting", connection_id=self._connection_id, waiting=len(self._waiting)
                        )
                    await asyncio.sleep(_RETRIES.wait_s(failures))
                # any other error is caused by this report: its connection is gone, or no column can hold a value of it
                except Exception as error:
                    log.error("session_report_refused", connection_id=self._connection_id, exc_info=error)
            # no await since the queue was seen empty, so no report can have come in between
            self._something.clear()
            self._nothing.set()

    async def flush(self, by: float) -> bool:
        """Wait until the monotonic instant `by` for everything to be taken. Returns whether it was."""
        try:
            await asyncio.wait_for(self._nothing.wait(), left(by, monotonic()))
        except TimeoutError:
            return False
        return True

    def _put(self, write: Callable[[], Awaitable[None]]) -> None:
        if len(self._waiting) >= _MOST:
            # dropped, but not lost: catch-up queries the page from the last position on
            self._overflowed()
            return
        self._waiting.append(write)
        self._nothing.clear()
        self._something.set()
