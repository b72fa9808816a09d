"""Every crash point goes off at least once in a running installation, in each process that has it, and the servers and
the orchestrator die at points of
others: nothing is lost, doubled or reordered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from chaos.installation import Installation
from chaos.load import NUMBERS, Load
from chaos.plans import Step
from chaos.report import table
from chaos.run import Run, crash_points_of
from shared.clock import left, monotonic
from shared.fail_points import FAIL_POINTS
from tests.chaos.env import ChaosEnv, open_env
from tests.supervision.test_adoption import OF_ORCHESTRATOR
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]

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

ONCE_EACH = [*(f"{kind}:{name}" for kind, names in WHERE.items() for name in names), *OTHERS]
BUSY = frozenset(
    name
    for name in FAIL_POINTS
    if name.split(".")[0] in ("accept", "claim", "send", "settle", "journal", "processor", "provider")
    # the recorder follows the orchestrator's journal: a few batches in a whole run
    and name not in WHERE["recorder"]
)
"""Reached with every batch of messages: these go off at a later visit, so that a life gets somewhere."""


def armed() -> str:
    """Return CRASH_POINTS: every point at a visit of its own, so that one life does not stand in the way of the
    next.
    """
    return ",".join(_armed(point, number) for number, point in enumerate(ONCE_EACH))


def _armed(point: str, number: int) -> str:
    place, slash, victim = point.partition("/")
    # what is reached once a death goes off at the first, and for others at the second
    visit = 10 + 3 * number if place.split(":")[1] in BUSY else 2 if victim else 1
    return f"{place}=kill{slash}{victim}@{visit}"


def test_the_table_has_every_point() -> None:
    assert {name for names in WHERE.values() for name in names} | set(OF_ORCHESTRATOR) == set(FAIL_POINTS)


def test_every_crash_point_once() -> None:
    with open_env(crash_points=armed()) as env:
        env.link()

        async def provoke(installation: Installation, run: Run, load: Load) -> None:
            """Bring about what some points wait for: lost hints, doubt that only evidence ends, a death that the
            recorder does not see.
            """
            serving = asyncio.create_task(service_manager(installation, env))
            by = monotonic() + 150.0
            while (missing := set(ONCE_EACH) - set(crash_points_of(installation))) and left(by) > 0:
                load.raise_if_failed()
                if missing & {"meta:reconcile.found", "meta:reconcile.resolved"}:
                    await run.injector.do(Step(at_s=0.0, fault="cut_before", target="provider", lasts_s=0.0))
                if any(point.startswith("meta:media.") for point in missing):
                    await installation.sandbox(
                        "POST",
                        "customers",
                        body={"phone_number_id": NUMBERS[0], "from": "15550109999", "kind": "image"},
                    )
                if "meta:relay.found" in missing:
                    await run.injector.do(Step(at_s=0.0, fault="flush_redis", target="redis-0", lasts_s=0.0))
                if "meta:leftovers.reclaimed" in missing and "recorder:journal.forgotten" not in missing:
                    await without_recorder(installation, run)
                await asyncio.sleep(2.0)
            serving.cancel()

        outcome, _ = env.run(provoke, rate=40.0, chats=12)
    missing = sorted(set(ONCE_EACH) - set(outcome.crash_points))
    assert not missing, f"did not go off: {missing}\n{table(outcome)}"
    assert outcome.result.is_clean, table(outcome)
    assert outcome.settled, table(outcome)
    assert not (outcome.result.held or outcome.result.behind), table(outcome)


async def service_manager(installation: Installation, env: ChaosEnv) -> None:
    """Start the orchestrator again whenever it is gone."""
    while True:
        if installation.pid("orchestrator") is None:
            assert env.process is not None
            env.process.wait(10)
            # in this very thread: the orchestrator is notified of the death of the one that started it
            env.start()
            await eventually_async(lambda: _lives(installation), 30.0, "the orchestrator lives again", poll_s=0.02)
        await asyncio.sleep(0.1)


async def _lives(installation: Installation) -> bool:
    return installation.pid("orchestrator") is not None


async def without_recorder(installation: Installation, run: Run) -> None:
    """Kill a sender while the recorder stands still, so that its next life gives the rows back itself."""
    before = installation.pid("meta-0")
    pausing = asyncio.create_task(
        run.injector.do(Step(at_s=0.0, fault="pause_recorder", target="recorder-0", lasts_s=2.5))
    )
    await run.injector.do(Step(at_s=0.0, fault="kill_meta", target="meta-0", lasts_s=0.0))

    async def another() -> bool:
        return installation.pid("meta-0") not in (None, before)

    await eventually_async(another, 30.0, "meta-0 lives again", poll_s=0.02)
    await pausing
