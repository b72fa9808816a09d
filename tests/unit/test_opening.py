"""A file that a thread opens is never left open by who waited for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from shared.opening import opened

pytestmark = pytest.mark.fast


def test_what_is_opened_after_the_cancellation_is_closed(tmp_path: Path) -> None:
    files: list[IO[Any]] = []
    begun, may_open = threading.Event(), threading.Event()

    def slowly(path: Path) -> IO[Any]:
        begun.set()
        may_open.wait(10)
        files.append(path.open("wb"))
        return files[0]

    async def scenario() -> None:
        task = asyncio.create_task(opened(slowly, tmp_path / "one"))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_open.set()

    # the end of the loop waits for its threads
    asyncio.run(scenario())
    assert [file.closed for file in files] == [True]


def test_errors_of_opening_reach_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(opened((tmp_path / "missing").open, "rb"))
