"""The debugging pipe's descriptors belong to it until it closes them, and to others from then on."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.webdriver.env import run
from webdriver.chromium.pipe import DebuggingPipe


def test_each_descriptor_is_closed_once() -> None:
    """A second close would hit a descriptor that another thread has opened since under the same number."""
    stop, lost = threading.Event(), list[OSError]()

    def open_and_read() -> None:
        while not stop.is_set():
            try:
                os.listdir("/proc/self/task")  # noqa: PTH208 - the descriptor is opened and read in one call
            except OSError as error:
                lost.append(error)

    async def scenario() -> None:
        for _ in range(1000):
            our_input, its_output = os.pipe()
            its_input, our_output = os.pipe()
            pipe = await DebuggingPipe.connect(our_input, our_output)
            pipe.close()
            # the transports close their descriptors in the loop's next rounds
            for _ in range(3):
                await asyncio.sleep(0)
            os.close(its_output)
            os.close(its_input)

    before = len(list(Path("/proc/self/fd").iterdir()))
    others = [threading.Thread(target=open_and_read) for _ in range(4)]
    for other in others:
        other.start()
    try:
        run(scenario())
    finally:
        stop.set()
        for other in others:
            other.join()
    assert lost == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 10, "descriptors were not closed at all"


@pytest.mark.parametrize("rounds", range(1, 6))
def test_a_cancelled_connect_leaves_nothing_open(rounds: int) -> None:
    """The loop opens the two ends one after the other: a session that is stopped between them has none of them."""

    async def scenario() -> list[str]:
        (our_input, its_output), (its_input, our_output) = os.pipe(), os.pipe()
        connecting = asyncio.create_task(DebuggingPipe.connect(our_input, our_output))
        for _ in range(rounds):
            await asyncio.sleep(0)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            (await connecting).close()
        for _ in range(3):
            await asyncio.sleep(0)
        left = [str(end) for end in (our_input, our_output) if Path(f"/proc/self/fd/{end}").exists()]
        os.close(its_output)
        os.close(its_input)
        return left

    assert run(scenario()) == []
