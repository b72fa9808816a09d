"""`browser`: the cost of a browser session: memory at 1, 5 and 10 sessions, time until ready, and the saving by each of
Chromium's flags.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil
import uvloop

from bench.figures import Figures
from shared.clock import monotonic
from shared.states import SessionState
from tests.support.waiting import eventually_async
from tests.webdriver.env import SessionEnv, Web, session_env
from webdriver.chromium import processes
from webdriver.chromium.process import FLAGS
from webdriver.session.policy import SessionPolicy

_FEATURES: Final = "--disable-features="
_READY_S: Final = 240.0
"""Seconds for a session to become ready while many others start."""


def _without(*words: str) -> tuple[str, ...]:
    return tuple(flag for flag in FLAGS if not any(word in flag for word in words))


def _few_features(flags: Sequence[str]) -> tuple[str, ...]:
    dropped = ("SpareRendererForSitePerProcess", "PreloadTopChromeWebUI", "WebUIOmniboxPopup")
    return tuple(
        _FEATURES + ",".join(name for name in flag.removeprefix(_FEATURES).split(",") if name not in dropped)
        if flag.startswith(_FEATURES)
        else flag
        for flag in flags
    )


VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    # each row adds one flag to the row before, so that the difference of two rows is the flag's saving
    "none of those below": _few_features(
        _without("NetworkServiceInProcess", "software-rasterizer", "breakpad", "crashpad")
    ),
    "+ no spare renderer, no preloaded pages": _without(
        "NetworkServiceInProcess", "software-rasterizer", "breakpad", "crashpad"
    ),
    "+ network service in the browser": _without("software-rasterizer", "breakpad", "crashpad"),
    "+ no software rasterizer": _without("breakpad", "crashpad"),
    "+ no crash handlers: what is used": FLAGS,
    "used, and GPU work in the browser": (*FLAGS, "--in-process-gpu"),
    "used, and one renderer for a site": (*FLAGS, "--process-per-site", "--renderer-process-limit=1"),
    "used, and V8 for size": (*FLAGS, "--js-flags=--optimize-for-size --max-semi-space-size=1"),
}
"""Sets of flags, by name. `--no-zygote` is not among them: with it, Chromium 156 exits after a while ("GPU process
isn't usable").
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--sessions", default="1,5,10", help="numbers of sessions, measured one after the other")
    parser.add_argument("--compare", type=int, default=2, help="sessions for the comparison of flags; 0: no comparison")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds between ready and the look at the memory")
    parser.add_argument("--starts", type=int, default=2, help="sessions that start at the same time")


def quick(given: argparse.Namespace) -> None:
    """Reduce the parameters to a run of seconds."""
    given.sessions, given.compare, given.settle = "1", 0, 0.5


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="browser", parameters=vars(given), axes=("sessions", "PSS of one, MB"))
    figures.values["other browsers on this machine"] = _foreign_browsers()
    for count in (int(word) for word in given.sessions.split(",")):
        measured = uvloop.run(_measure(count, FLAGS, given))
        figures.values[f"{count} sessions"] = measured
        figures.series.setdefault("used", []).append((float(count), measured["PSS a session, MB"]))
    if given.compare:
        for name, flags in VARIANTS.items():
            figures.values[name] = uvloop.run(_measure(given.compare, flags, given))
    return figures


async def _measure(count: int, flags: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    """Link `count` sessions, start them again on their profiles as after a restart of the process, and measure their
    memory.
    """
    home = Path(tempfile.mkdtemp(prefix="bhb-"))
    # in threads: starting and stopping the stand-in blocks, and the sessions run in this event loop
    web = await asyncio.to_thread(Web, home / "sandbox")
    context: dict[str, Any] = {"flags": flags, "starts": asyncio.Semaphore(given.starts)}
    policy = SessionPolicy(
        # wide limits and no CPU limit: with ten browsers on a small machine, the figures would include restarts
        start_s=60.0,
        longest={SessionState.STARTING: 180.0},
        silent_s=60.0,
        probe_within_s=30.0,
        cpu_most=0.0,
    )
    try:
        # linked first, in an environment of its own: a start on a linked profile is the usual one, and costs more
        async with session_env(home, web, policy, **context) as first:
            await asyncio.gather(*(_link(first, number) for number in range(1, count + 1)))
        # a new semaphore: the closed environment may not have released all of the old one
        context["starts"] = asyncio.Semaphore(given.starts)
        async with session_env(home, web, replace(policy), **context) as here:
            began_at = monotonic()
            for number in range(1, count + 1):
                here.store.want(number)
            here.sessions.notify()
            ready_after = await asyncio.gather(*(_ready(here, number, began_at) for number in range(1, count + 1)))
            # a page continues to load for a moment after it is ready
            await asyncio.sleep(given.settle)
            each = sorted(session.browser_stats()["readyAfterSeconds"] for session in here.sessions.all())
            return {**await asyncio.to_thread(_memory, here), **_times(sorted(ready_after), each)}
    finally:
        await asyncio.to_thread(web.stop)
        shutil.rmtree(home)


async def _link(here: SessionEnv, number: int) -> None:
    here.store.want(number)
    here.sessions.notify()
    await here.until(SessionState.NEEDS_LINK, number, _READY_S)
    await here.ask("/control/web/scan", {"code": here.store.qr(number), "phone": f"601112223{number:02d}"})
    await here.until(SessionState.READY, number, _READY_S)


async def _ready(here: SessionEnv, number: int, began_at: float) -> float:
    async def is_ready() -> bool:
        session = here.sessions.find(number)
        return session is not None and session.state is SessionState.READY

    await eventually_async(is_ready, _READY_S, f"session {number} is ready")
    return monotonic() - began_at


def _memory(here: SessionEnv) -> dict[str, Any]:
    pids = [processes.pids_of_session(session.pid) for session in here.sessions.all() if session.pid]
    # PSS can be added up: all browsers share the program's pages, which RSS counts for each
    used = [processes.memory(one) for one in pids]
    count = len(used)
    pss = sum(one.pss for one in used) / count
    return {
        "processes a session": round(sum(map(len, pids)) / count, 1),
        "RSS a session, MB": round(sum(one.rss for one in used) / count, 1),
        "PSS a session, MB": round(pss, 1),
        "USS a session, MB": round(sum(one.uss for one in used) / count, 1),
        "sessions to a gigabyte (PSS)": round(1024 / pss, 1),
    }


def _times(since_desired: list[float], since_started: list[float]) -> dict[str, Any]:
    return {
        "start to ready, median, s": since_started[len(since_started) // 2],
        "desired to ready, first, s": round(since_desired[0], 1),
        "desired to ready, last, s": round(since_desired[-1], 1),
    }


def _foreign_browsers() -> int:
    """Return the number of other browsers on this machine: they share pages with ours, which reduces our figures."""
    count = 0
    for process in psutil.process_iter(["name", "cmdline"]):
        # a process with `--type=` is a helper of a browser that is already counted
        count += "chrom" in (process.info["name"] or "") and "--type=" not in " ".join(process.info["cmdline"] or ())
    return count
