"""Every crash point goes off at least once in a running copy, in each kind of process that has it, and nothing is lost, doubled or reordered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from chaos.copy import Copy
from chaos.load import NUMBERS, Load
from chaos.plans import Step
from chaos.report import table
from chaos.trial import Trial, crash_points_of
from shared.clock import left, monotonic
from shared.crash_points import CRASH_POINTS
from tests.chaos.arena import open_arena
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.timeout(300)

_SENDING = ("claim.begun", "claim.committed", "claim.recorded", "send.writing", "send.answered", "send.recorded", "settle.begun", "settle.committed")
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
    "recorder": ("reclaim.written", "keeper.kept", "keeper.forgotten"),
    "webdriver": ("page.token_stored", "page.answered"),
}
"""Which kinds reach which points."""

ONCE_EACH = [f"{kind}:{name}" for kind, names in WHERE.items() for name in names]
BUSY = frozenset(name for name in CRASH_POINTS if name.split(".")[0] in ("accept", "claim", "send", "settle", "journal", "processor"))
"""Reached with every batch of messages: these go off at a later visit, so that a life gets somewhere."""


def armed() -> str:
    """Return CRASH_POINTS: every point at a visit of its own, so that one life does not stand in the way of the next."""
    return ",".join(f"{point}=kill@{10 + 3 * number if point.split(':')[1] in BUSY else 1}" for number, point in enumerate(ONCE_EACH))


def test_the_table_has_every_point() -> None:
    assert {name for names in WHERE.values() for name in names} == set(CRASH_POINTS)


def test_every_crash_point_once() -> None:
    with open_arena(crash_points=armed()) as arena:
        arena.link()

        async def provoke(copy: Copy, trial: Trial, load: Load) -> None:
            """Bring about what some points wait for: lost hints, doubt that only evidence ends, a death that the recorder does not see."""
            by = monotonic() + 150.0
            while (missing := set(ONCE_EACH) - set(crash_points_of(copy))) and left(by) > 0:
                load.raise_if_failed()
                if missing & {"meta:reconcile.found", "meta:reconcile.resolved"}:
                    await trial.vandal.do(Step(at_s=0.0, fault="cut_before", target="provider", lasts_s=0.0))
                if any(point.startswith("meta:media.") for point in missing):
                    await copy.sandbox("POST", "customers", body={"phone_number_id": NUMBERS[0], "from": "15550109999", "kind": "image"})
                if "meta:relay.found" in missing:
                    await trial.vandal.do(Step(at_s=0.0, fault="flush_redis", target="redis-0", lasts_s=0.0))
                if "meta:leftovers.reclaimed" in missing and "recorder:keeper.forgotten" not in missing:
                    await without_recorder(copy, trial)
                await asyncio.sleep(2.0)

        outcome, _ = arena.trial(provoke, rate=40.0, chats=12)
    missing = sorted(set(ONCE_EACH) - set(outcome.crash_points))
    assert not missing, f"did not go off: {missing}\n{table(outcome)}"
    assert outcome.verdict.is_clean, table(outcome)
    assert outcome.settled, table(outcome)
    assert not (outcome.verdict.held or outcome.verdict.behind), table(outcome)


async def without_recorder(copy: Copy, trial: Trial) -> None:
    """Kill a sender while the recorder stands still, so that its next life gives the rows back itself."""
    before = copy.pid("meta-0")
    pausing = asyncio.create_task(trial.vandal.do(Step(at_s=0.0, fault="pause_recorder", target="recorder-0", lasts_s=2.5)))
    await trial.vandal.do(Step(at_s=0.0, fault="kill_meta", target="meta-0", lasts_s=0.0))

    async def another() -> bool:
        return copy.pid("meta-0") not in (None, before)

    await eventually_async(another, 30.0, "meta-0 lives again", poll_s=0.02)
    await pausing
