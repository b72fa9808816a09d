"""Every crash point goes off at least once in a running installation, and the servers and the orchestrator die at
points of others: nothing is lost, doubled or reordered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chaos.installation import ChaosInstallation
from chaos.load import NUMBERS, ChaosLoad
from chaos.plans import PlanStep
from chaos.program import WITHOUT_BROWSER
from chaos.report import table
from chaos.run import Run, crash_points_of
from shared.clock import left, monotonic
from shared.fail_points import FAIL_POINTS
from tests.ai.test_crashes import OF_TURNS
from tests.chaos.env import BROWSER, ChaosEnv, DyingEnv, open_env
from tests.hooks.test_fail_points import OF_HOOKS
from tests.index.test_program import OF_INDEX
from tests.recorder.test_company_deletion import OF_DELETION
from tests.recorder.test_contact_import import OF_IMPORT
from tests.supervision.test_adoption import OF_ORCHESTRATOR
from tests.support.database import query
from tests.support.waiting import deadline_s, eventually_async, patience_s

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]

_SENDING = (
    "claim.begun",
    "claim.committed",
    "claim.recorded",
    "send.writing",
    "send.answered",
    "send.recorded",
    "settle.begun",
    "settle.committed",
)
WHERE: Mapping[str, tuple[str, ...]] = {
    "api": ("accept.gathered", "accept.committed", "accept.hinted", "accept.answering"),
    "meta": (
        *_SENDING,
        "relay.found",
        "reconcile.found",
        "reconcile.resolved",
        "leftovers.reclaimed",
        "journal.gathered",
        "journal.committed",
        "processor.written",
        "processor.committed",
        "media.taken",
        "media.fetched",
        "media.noted",
    ),
    "recorder": ("reclaim.written", "journal.followed", "journal.forgotten"),
    "webdriver": ("page.token_stored", "page.answered"),
    "sandbox": ("provider.taken",),
}
"""Which kinds reach which points."""
OTHERS = (
    "api:accept.gathered/postgres-0",
    "api:accept.committed/redis-0",
    "meta:claim.committed/redis-0",
    "meta:settle.begun/postgres-0",
    "meta:processor.written/postgres-0",
    "meta:send.writing/sandbox-0",
    "recorder:reclaim.written/orchestrator",
)
"""Who has no steps of its own to die between, or is to die between another's."""

LIVES_OF_SENDERS = 3
"""Senders at once: they have most of the points, and each death costs the time of a start."""
_VISIT = 4
"""Of what is reached with every batch: the first batches of a life end what the one before it had in hand, so that no
row is in hand at two deaths.
"""
_PAGE_VISITS = {"webdriver:page.token_stored": 2, "webdriver:page.answered": 3}
"""The session has one chat, and in hand at two deaths means parked: these hit different messages."""
_ENOUGH_S = patience_s(180.0)

ONCE_EACH = [*(f"{kind}:{name}" for kind, names in WHERE.items() for name in names), *OTHERS]
BUSY = frozenset(
    name
    for name in FAIL_POINTS
    if name.split(".")[0] in ("accept", "claim", "send", "settle", "journal", "processor", "provider")
    # the recorder follows the orchestrator's journal: a few batches in a whole run
    and name not in WHERE["recorder"]
)
"""Reached with every batch of messages: these go off at a later visit, so that a life gets somewhere."""


OF_PAGES = [point for point in ONCE_EACH if point.startswith("webdriver:")]


def armed(points: Sequence[str]) -> str:
    """Return CRASH_POINTS: each of `points` once."""
    return ",".join(map(_armed, points))


def _armed(point: str) -> str:
    place, slash, victim = point.partition("/")
    # what is reached once a death goes off at the first, and for others at the second
    visit = _VISIT if place.split(":")[1] in BUSY else _PAGE_VISITS.get(place, 2 if victim else 1)
    return f"{place}=kill{slash}{victim}@{visit}"


def test_the_table_has_every_point() -> None:
    elsewhere = {*OF_ORCHESTRATOR, *OF_HOOKS, *OF_INDEX, *OF_TURNS, *OF_DELETION, *OF_IMPORT}
    assert {name for names in WHERE.values() for name in names} | elsewhere == set(FAIL_POINTS)


def test_every_crash_point_of_servers_once(prepared_home: Callable[[], Path]) -> None:
    points = [point for point in ONCE_EACH if point not in OF_PAGES]
    # a short window: two points are reached when it ends
    settings = {"only": WITHOUT_BROWSER, "in_doubt_window_s": 2, "meta_instances": LIVES_OF_SENDERS}
    with open_env(
        prepared_home, DyingEnv, kinds=("recorder", "api", "meta"), crash_points=armed(points), **settings
    ) as env:
        require_reached(env, points, rate=16.0, chats=6, phone_indexes=(0, 2, 3))


def test_every_crash_point_of_browser_sends_once(prepared_home: Callable[[], Path]) -> None:
    """In an installation of its own: Chromium and forty deaths of others would take the CPU from each other."""
    with open_env(prepared_home, DyingEnv, crash_points=armed(OF_PAGES)) as env:
        env.link()
        # few: what piles up while the session is away is waited for at the end
        require_reached(env, OF_PAGES, rate=0.5, chats=1, phone_indexes=(BROWSER,), settle_s=150.0)


def require_reached(env: ChaosEnv, points: Sequence[str], **load_settings: Any) -> None:
    """Let messages flow until each of `points` went off, and fail unless all did and nothing was lost."""

    async def provoke(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        serving = asyncio.create_task(service_manager(installation, env))
        by = monotonic() + _ENOUGH_S
        while (missing := set(points) - set(crash_points_of(installation))) and left(by) > 0:
            load.raise_if_failed()
            await bring_about(missing, installation, run)
            await fewer_missing(points, missing, installation, within_s=2.0)
        serving.cancel()

    outcome, _ = env.run(provoke, **load_settings)
    missing = sorted(set(points) - set(outcome.crash_points))
    assert not missing, f"did not go off: {missing}\n{table(outcome)}"
    assert outcome.result.is_clean, table(outcome)
    assert outcome.settled, table(outcome)
    assert not (outcome.result.held or outcome.result.behind), table(outcome)


async def bring_about(missing: set[str], installation: ChaosInstallation, run: Run) -> None:
    """Do what some points wait for: doubt that only evidence ends, files, lost hints, a death that no recorder sees."""
    if missing & {"meta:reconcile.found", "meta:reconcile.resolved"}:
        await run.injector.do(PlanStep(at_s=0.0, fault="cut_before", target="provider", lasts_s=0.0))
    if any(point.startswith("meta:media.") for point in missing):
        await installation.sandbox(
            "POST", "customers", body={"phone_number_id": NUMBERS[0], "from": "15550109999", "kind": "image"}
        )
    if "meta:relay.found" in missing:
        await run.injector.do(PlanStep(at_s=0.0, fault="flush_redis", target="redis-0", lasts_s=0.0))
    if missing == {"recorder:reclaim.written/orchestrator"}:
        # The recorder has to reclaim rows twice in one life, and of the other points none is left to kill a sender: one
        # that waits for slow answers has rows in hand.
        await run.injector.do(PlanStep(at_s=0.0, fault="slow_answers", target="provider", lasts_s=0.0))
        if await has_in_hand(installation, "meta-0"):
            await run.injector.do(PlanStep(at_s=0.0, fault="kill_meta", target="meta-0", lasts_s=0.0))
    if "meta:leftovers.reclaimed" in missing and "recorder:journal.forgotten" not in missing:
        await without_recorder(installation, run)


async def has_in_hand(installation: ChaosInstallation, slot: str) -> bool:
    """Wait until a process sends something, which a kill then leaves behind; False: it does not, or has died."""
    claimed = """SELECT count(*) AS rows FROM messages WHERE state = 'sending'
                 AND incarnation LIKE %(slot)s || '.%%' AND claimed_at > now() - interval '1 s'"""
    by = monotonic() + patience_s(10.0)
    while left(by) > 0:
        # the database is one of those that die
        with suppress(psycopg2.OperationalError):
            (found,) = await asyncio.to_thread(query, installation.settings.database_url, claimed, slot=slot)
            if found["rows"]:
                return True
        await asyncio.sleep(0.05)
    return False


async def fewer_missing(
    points: Sequence[str], missing: set[str], installation: ChaosInstallation, within_s: float
) -> None:
    """Wait until another point has gone off, or the time has passed."""
    by = monotonic() + within_s
    while missing <= set(points) - set(crash_points_of(installation)) and left(by) > 0:
        await asyncio.sleep(0.1)


async def service_manager(installation: ChaosInstallation, env: ChaosEnv) -> None:
    """Start the orchestrator again whenever it is gone."""
    while True:
        if installation.pid("orchestrator") is None:
            assert env.process is not None
            env.process.wait(deadline_s(10))
            # in this very thread: the orchestrator is notified of the death of the one that started it
            env.start()
            await eventually_async(lambda: _lives(installation), 30.0, "the orchestrator lives again", poll_s=0.02)
        await asyncio.sleep(0.1)


async def _lives(installation: ChaosInstallation) -> bool:
    return installation.pid("orchestrator") is not None


async def without_recorder(installation: ChaosInstallation, run: Run) -> None:
    """Kill a sender while there is no recorder, so that its next life gives the rows back itself."""
    before = installation.pid("meta-0")
    # longer than the recorder's watchdog allows: the time of its restart is added to the time without one
    pausing = asyncio.create_task(
        run.injector.do(PlanStep(at_s=0.0, fault="pause_recorder", target="recorder-0", lasts_s=6.0))
    )
    await run.injector.do(PlanStep(at_s=0.0, fault="kill_meta", target="meta-0", lasts_s=0.0))

    async def another() -> bool:
        return installation.pid("meta-0") not in (None, before)

    await eventually_async(another, 30.0, "meta-0 lives again", poll_s=0.02)
    await pausing
