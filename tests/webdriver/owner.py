"""A small owner of browsers, to be killed: starts Chromium on a profile, prints its pid, and waits for ever."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from shared.chromium_path import find
from tests.support.waiting import patient_by
from webdriver.chromium import processes, profile
from webdriver.chromium.process import Chromium, Launch


async def own(home: Path, connections: list[int]) -> None:
    """Start one Chromium for each connection."""
    launches = [
        Launch(
            executable=find(""),
            profile=profile.directory(home, number),
            marker=processes.mark(home, number),
            keep_open=(),
        )
        for number in connections
    ]
    started = [await Chromium.start(launch, patient_by(20)) for launch in launches]
    print(*(chromium.pid for chromium in started), flush=True)  # noqa: T201 - the test reads it
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(own(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]]))
