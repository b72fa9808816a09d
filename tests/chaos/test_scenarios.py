"""The five scenarios that a user named, each under load on all four connection types: who dies, who does not notice, and what arrived."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.copy import Copy
from chaos.load import Load
from chaos.pages import wait_session
from chaos.trial import Trial
from tests.chaos.arena import Arena, do, more_accepted, open_arena, replaced, require_clean

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with open_arena() as opened:
        opened.link()
        yield opened


def require_only_replaced(before: dict[str, int], after: dict[str, int], *slots: str) -> None:
    """Fail unless exactly these slots have other processes than before."""
    assert {slot for slot in before if after.get(slot) != before[slot]} == set(slots)


def test_kill_webdriver(arena: Arena) -> None:
    async def kill(copy: Copy, trial: Trial, load: Load) -> None:
        await more_accepted(load, 10)
        before = copy.pids()
        await do(trial, "kill_webdriver", "webdriver-0")
        await more_accepted(load, 20)
        await replaced(copy, "webdriver-0", before["webdriver-0"])
        await wait_session(copy, "ready")
        await more_accepted(load, 20)
        require_only_replaced(before, copy.pids(), "webdriver-0")

    outcome, load = arena.trial(kill)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that the browser process died"


def test_kill_meta(arena: Arena) -> None:
    async def kill(copy: Copy, trial: Trial, load: Load) -> None:
        await more_accepted(load, 10)
        before = copy.pids()
        for slot in ("meta-0", "meta-1"):
            await do(trial, "kill_meta", slot)
        for slot in ("meta-0", "meta-1"):
            await replaced(copy, slot, before[slot])
        await more_accepted(load, 20)
        require_only_replaced(before, copy.pids(), "meta-0", "meta-1")

    outcome, load = arena.trial(kill)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that both senders died"
    assert len(outcome.verdict.recoveries) == 2


def test_database_loss_in_one_process(arena: Arena) -> None:
    cut = 0

    async def lose(copy: Copy, trial: Trial, load: Load) -> None:
        nonlocal cut
        await more_accepted(load, 10)
        before = copy.pids()
        await do(trial, "cut_database_meta", "meta-0", lasts_s=2.0)
        cut = trial.vandal.connections_cut
        await more_accepted(load, 20)
        require_only_replaced(before, copy.pids())
        assert await copy.is_ready("meta-0")

    outcome, load = arena.trial(lose)
    require_clean(outcome)
    assert cut > 0
    assert not load.reasons, "the API noticed that a sender lost its database"


def test_memory_leak_in_webdriver(arena: Arena) -> None:
    async def leak(copy: Copy, trial: Trial, load: Load) -> None:
        await more_accepted(load, 10)
        before = copy.pids()
        devices = await copy.sandbox("GET", "web/devices")
        assert devices is not None
        (device,) = [one["device"] for one in devices.body["devices"] if one["phone"]]
        ordered = await copy.sandbox("POST", f"web/devices/{device}/leak", body={"amount": 300})
        assert ordered is not None
        assert ordered.status == 200
        await replaced(copy, "webdriver-0", before["webdriver-0"], within_s=90.0)
        await wait_session(copy, "ready")
        await more_accepted(load, 20)
        require_only_replaced(before, copy.pids(), "webdriver-0")

    outcome, load = arena.trial(leak, rate=12.0)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that a page leaked"
    assert arena.happened("webdriver", "over_memory"), "it was replaced for another reason"


def test_api_restart(arena: Arena) -> None:
    async def restart(copy: Copy, trial: Trial, load: Load) -> None:
        await more_accepted(load, 10)
        before = copy.pids()
        # in order: connections wait in the kernel, so no client has to ask again
        done = await arena.restart("api")
        assert done.returncode == 0, done.stderr
        for slot in ("api-0", "api-1"):
            await replaced(copy, slot, before[slot])
        assert not load.reasons, "a rolling restart broke an answer off"
        # and by force, both at once: what was under way is asked for again with the same key
        killed = copy.pids()
        for slot in ("api-0", "api-1"):
            await do(trial, "kill_api", slot)
        for slot in ("api-0", "api-1"):
            await replaced(copy, slot, killed[slot])
        await more_accepted(load, 20)
        require_only_replaced(before, copy.pids(), "api-0", "api-1")

    outcome, _ = arena.trial(restart)
    require_clean(outcome)
