"""One linked session for several tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from sandbox.web.devices import DeviceFaults
from tests.webdriver.env import SessionEnv, Web, chromiums, session_env, soon, watched


class KeptSession:
    """One linked session for the tests of a file that leave it ready: starting a Chromium is most of what they cost.

    Args:
        home: of the sessions. directory: of the page's ledger.
    """

    phone = "60111222333"

    def __init__(self, home: Path, directory: Path) -> None:
        self.home, self.web = home, Web(directory)
        self._open = AsyncExitStack()
        # one loop for all tests: it stands still between them
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._env = self._runner.run(self._link())

    async def _link(self) -> SessionEnv:
        made = await self._open.enter_async_context(session_env(self.home, self.web))
        await made.link(phone=self.phone)
        return made

    def run(self, scenario: Callable[[SessionEnv], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario that begins with a ready session, no fault, and nothing sent or received."""
        self._runner.run(watched(self._fresh(scenario)))

    async def _fresh(self, scenario: Callable[[SessionEnv], Coroutine[Any, Any, None]]) -> None:
        await self._env.order(self.phone, "faults", asdict(DeviceFaults()))
        self.web.since = self.web.ledger.seq
        self._env.store.forget()
        await soon(self._env.session().page, 40)
        await scenario(self._env)
        assert not self._env.failed, self._env.failed

    @property
    def roots(self) -> set[int]:
        """The browser, for the suite's watch over processes."""
        pid = self._env.session().pid
        return {pid} if pid else set()

    @property
    def members(self) -> set[int]:
        """Every process of the browser, for the suite's watch over processes."""
        return set(chromiums(self.home))

    def close(self) -> None:
        """End the session and the page; nothing of Chromium is left afterwards."""
        try:
            self._runner.run(self._open.aclose())
        finally:
            self._runner.close()
            self.web.stop()
