"""A kind's process whose room does what the environment says; run as a module in place of an entry file.

`ROOM` names what goes wrong at start, drain or close; over the public port the test makes the rest happen. What is
called is notified in the log.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared.clock import left
from shared.errors import SettingsInvalid
from shared.process.child import run_child
from shared.process.service import Child, Service, Severity

KIND = os.environ["TEST_KIND"]
FAULT = os.environ.get("ROOM", "")


def say(word: str) -> None:
    """Report to the test."""
    sys.stderr.write(f"said: {word}\n")
    sys.stderr.flush()


class Survivable(Exception):
    """An error that this kind knows how to survive."""


class Accidents:
    """A room with a door for every accident."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._released = asyncio.Event()
        self.lacks: dict[str, str] = {}
        routes = [Route("/do/{what}", self._do), Route("/livez/mine", lambda _: PlainTextResponse("the room's"))]
        self.app: ASGIApp | None = Starlette(routes=routes)
        child.on_notify.append(lambda: say("notified"))

    async def start(self) -> None:
        """Start, or do not."""
        if FAULT == "start-hangs":
            say("starting")
            await asyncio.Event().wait()
        if FAULT == "start-raises":
            raise RuntimeError("cannot reach +49 170 1234567")

    async def drain(self, by: float) -> bool:
        """Drain, or do not."""
        say("draining")
        if FAULT == "drain-hangs":
            await asyncio.sleep(left(by) + 60)
        if FAULT == "drain-raises":
            raise LookupError("a bug")
        return FAULT != "drain-leaves-something"

    async def close(self) -> None:
        """Close, or do not."""
        say("closed")
        if FAULT == "close-hangs":
            await asyncio.sleep(60)
        if FAULT == "close-raises":
            raise LookupError("a bug")

    def readiness(self) -> Mapping[str, str]:
        """Say what the test said is missing."""
        return self.lacks

    def health(self) -> Mapping[str, Any]:
        """Return one fact."""
        return {"fact": 7}

    def classify(self, error: BaseException) -> Severity:
        """Survive what is made for it."""
        return Severity.RECOVERABLE if isinstance(error, Survivable) else Severity.CRITICAL

    async def _do(self, request: Request) -> Response:
        what = request.path_params["what"]
        error = Survivable("tame") if "tame" in what else LookupError("wild")
        loop = asyncio.get_running_loop()
        if what.startswith("crash-task"):
            self._child.spawn(_raise_soon(error), "doomed")
        elif what.startswith("crash-callback"):
            loop.call_soon(_raise, error)
        elif what.startswith("crash-thread"):
            threading.Thread(target=_raise, args=[error], name="doomed").start()
        elif what.startswith("crash-forgotten"):
            asyncio.create_task(_raise_soon(error))  # noqa: RUF006 - forgotten on purpose
        elif what == "stall":
            self._child.beats.loop("mill", 0.2)
        elif what == "unstall":
            self._child.beats.forget("mill")
        elif what == "lack":
            self.lacks["glue"] = "none left"
        elif what == "slow":
            say("slow")
            await self._released.wait()
        elif what == "release":
            self._released.set()
        elif what == "block-loop":
            threading.Event().wait(1.5)
        return PlainTextResponse(what)


def _raise(error: BaseException) -> None:
    raise error


async def _raise_soon(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def open_service(child: Child) -> Service:
    """Open the room, or do not."""
    if FAULT == "open-invalid":
        raise SettingsInvalid(["GLUE=none is not glue"])
    if FAULT == "open-raises":
        raise OSError("no space left")
    return Accidents(child)


if __name__ == "__main__":
    sys.exit(run_child(KIND, open_service))
