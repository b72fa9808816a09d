"""One life of a session's browser: a Chromium on the profile, its tab, and the page bridge in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.chromium_path import find
from shared.clock import monotonic
from shared.logs import logger
from webdriver.chromium import processes
from webdriver.chromium.browser import Browser, BrowserLost, CallTimedOut, ScriptFailed
from webdriver.chromium.process import Chromium, Launch
from webdriver.page.bridge import Bridge, PageEvent, PageRefused, PageState
from webdriver.session.connects import Connects
from webdriver.session.policy import SessionContext

log = logger(__name__)

_LOG_OUT_ANSWER_S: Final = 10.0
"""How long a page may take to end its link; the phone is notified meanwhile."""


class BrowserLife:
    """Drives the browser of one session from its start to its end.

    Args:
        handle: called with each event of the page. moved: called with the address after each navigation. lost: called
            once, with the reason, when tab, browser or pipe are gone.
    """

    def __init__(
        self,
        context: SessionContext,
        connection_id: int,
        profile_directory: Path,
        *,
        handle: Callable[[PageEvent], None],
        moved: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self._context, self._connection_id, self._profile = context, connection_id, profile_directory
        self._handle, self._moved, self._lost = handle, moved, lost
        self._chromium: Chromium | None = None
        self._browser: Browser | None = None
        self.bridge: Bridge | None = None

    @property
    def chromium(self) -> Chromium | None:
        """The process; None before and after."""
        return self._chromium

    async def start(self, connects: Connects) -> None:
        """Start Chromium and begin to open the page.

        Args:
            connects: noted when the page is opened, and taken back when the address could not be opened: a browser that
                does not start, or a network that is down, is no connect to WhatsApp.
        Raises:
            ChromiumMissing, and whatever `Chromium.start`, `Browser.open` and `Bridge.open` raise. What was started is
            ended by `end`.
        """
        context = self._context
        # one deadline for the whole start, which holds one of the few start slots
        by = monotonic() + context.policy.start_s
        launch = Launch(
            executable=find(context.chromium_path),
            profile=self._profile,
            marker=processes.mark(context.home, self._connection_id),
            keep_open=(context.slot_lock_fd,) if context.slot_lock_fd >= 0 else (),
            flags=context.flags,
        )
        self._chromium = await Chromium.start(launch, by)
        # each part is stored as soon as it exists, so that `end` finds what an interrupted start has created
        self._browser = browser = await Browser.open(self._chromium.pipe, by)
        browser.lost.add_done_callback(lambda done: self._lost(done.result()))
        # before the page is opened: no navigation is missed
        browser.on_navigated(self._moved)
        if context.web_build is not None:
            await browser.pin(context.url, await asyncio.to_thread(context.web_build.read_bytes), by)
        bridge = Bridge(browser, context.page_library, self._handle)
        await bridge.prepare(by)
        # before the page is requested: a process that is killed again and again must not lose the count
        connects.note()
        try:
            await bridge.open(context.url, by)
        # a timeout is not taken back: the page may have connected
        except BrowserLost:
            connects.take_back()
            raise
        self.bridge = bridge
        log.info(
            "browser_started",
            connection_id=self._connection_id,
            pid=self._chromium.pid,
            sandboxed=self._chromium.sandboxed,
        )

    async def probe(self) -> PageState | None:
        """Ask the page for its state; None when the document is about to be replaced.

        Raises:
            CallTimedOut: no answer in time.
        """
        if self.bridge is None:
            return None
        try:
            page = await self.bridge.probe(monotonic() + self._context.policy.probe_within_s)
        # another document follows, which gets a bridge of its own; if none does, `silent_s` notices it
        except (BrowserLost, ScriptFailed, PageRefused) as error:
            log.debug("probe_unanswered", connection_id=self._connection_id, reason=str(error))
            return None
        if self._chromium:
            self._chromium.trim_log()
        return page

    async def log_out(self) -> None:
        """Have the page end its link to the phone; it answers, or leaves at once for its new address."""
        if self.bridge is not None:
            # after a logout the page goes to another address, which may cut off its answer; the profile is removed in
            # any case
            with suppress(BrowserLost, CallTimedOut, ScriptFailed, PageRefused):
                await self.bridge.log_out(monotonic() + _LOG_OUT_ANSWER_S)

    def kill(self) -> None:
        """Kill the browser now; `end` follows."""
        if self._chromium:
            self._chromium.kill()

    async def end(self, *, politely: bool) -> None:
        """End the browser and see that it is gone; again does nothing.

        Args:
            politely: it may write its profile first, for `SessionPolicy.close_s`.
        Raises:
            ChromiumFailed: something survived.
        """
        # first, so that no send begins on a page that is being closed
        self.bridge = None
        browser, self._browser = self._browser, None
        close_s = self._context.policy.close_s if politely else 0.0
        try:
            if browser is not None and await browser.close(monotonic() + close_s) and self._chromium and politely:
                # Chromium writes cookies and databases after it has accepted; killed earlier, it may lose the link
                await asyncio.wait({self._chromium.gone}, timeout=close_s)
        finally:
            # kept until it is gone, so that an interrupted end can be repeated
            if self._chromium:
                await self._chromium.end()
                self._chromium = None
