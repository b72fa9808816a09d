"""A Redis of the test's own, to be stopped, frozen and started again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil

from embedded import addresses
from shared.settings import Settings
from tests.support.entry import Entry


class Redis:
    """One embedded Redis over a home of its own; `stop` and `start` it as often as needed. It keeps nothing.

    Attributes:
        url: its address, the same after each start.
    """

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="bh-"))
        self._entry = Entry("redis", self._home)
        self.url = addresses.redis_url(Settings(bulkhead_home=self._home))

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self._entry.start().wait_ready()
        return self

    def stop(self) -> None:
        """Stop it in order."""
        assert self._entry.stop() == 0

    @property
    def pid(self) -> int:
        """The server's own process."""
        (server,) = psutil.Process(self._entry.process.pid).children()
        return server.pid

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's process from running, without ending it, for the length of a block."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._entry.close()
        shutil.rmtree(self._home)
