"""The five scenarios that a user named, each under load on all four connection types: who dies, who does not notice,
and what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.installation import ChaosInstallation
from chaos.load import ChaosLoad
from chaos.pages import wait_session
from chaos.run import Run
from tests.chaos.env import ChaosEnv, do, more_accepted, open_env, replaced, require_clean

pytestmark = [pytest.mark.serial, pytest.mark.timeout(600)]

LEAK_MB_S = 60
"""Little enough that the page still answers: one that hangs is started again by its session, and has leaked nothing."""


@pytest.fixture(scope="module")
def env(prepared_home: Callable[[], Path]) -> Iterator[ChaosEnv]:
    # the session would replace its browser before the process exceeds its ceiling: tests/webdriver/test_limits.py
    with open_env(prepared_home, session_memory_soft_mb=0, session_memory_hard_mb=0) as opened:
        opened.link()
        yield opened


def require_only_replaced(before: dict[str, int], after: dict[str, int], *slots: str) -> None:
    """Fail unless exactly these slots have other processes than before."""
    assert {slot for slot in before if after.get(slot) != before[slot]} == set(slots)


def test_kill_webdriver(env: ChaosEnv) -> None:
    async def kill(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        await more_accepted(load, 10)
        before = installation.pids()
        await do(run, "kill_webdriver", "webdriver-0")
        await more_accepted(load, 20)
        await replaced(installation, "webdriver-0", before["webdriver-0"])
        await wait_session(installation, "ready")
        await more_accepted(load, 20)
        require_only_replaced(before, installation.pids(), "webdriver-0")

    outcome, load = env.run(kill)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that the browser process died"


def test_kill_meta(env: ChaosEnv) -> None:
    async def kill(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        await more_accepted(load, 10)
        before = installation.pids()
        for slot in ("meta-0", "meta-1"):
            await do(run, "kill_meta", slot)
        for slot in ("meta-0", "meta-1"):
            await replaced(installation, slot, before[slot])
        await more_accepted(load, 20)
        require_only_replaced(before, installation.pids(), "meta-0", "meta-1")

    outcome, load = env.run(kill)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that both senders died"
    assert len(outcome.result.recoveries) == 2


def test_database_loss_in_one_process(env: ChaosEnv) -> None:
    cut = 0

    async def lose(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        nonlocal cut
        await more_accepted(load, 10)
        before = installation.pids()
        await do(run, "cut_database_meta", "meta-0", lasts_s=2.0)
        cut = run.injector.connections_cut
        await more_accepted(load, 20)
        require_only_replaced(before, installation.pids())
        assert await installation.is_ready("meta-0")

    outcome, load = env.run(lose)
    require_clean(outcome)
    assert cut > 0
    assert not load.reasons, "the API noticed that a sender lost its database"


def test_memory_leak_in_webdriver(env: ChaosEnv) -> None:
    async def leak(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        await more_accepted(load, 10)
        before = installation.pids()
        devices = await installation.sandbox("GET", "web/devices")
        assert devices is not None
        (device,) = [one["device"] for one in devices.body["devices"] if one["phone"]]

        ordered = await installation.sandbox("POST", f"web/devices/{device}/leak", body={"amount": LEAK_MB_S})
        assert ordered is not None
        assert ordered.status == 200
        await replaced(installation, "webdriver-0", before["webdriver-0"], within_s=60.0)
        await wait_session(installation, "ready")
        await more_accepted(load, 20)
        require_only_replaced(before, installation.pids(), "webdriver-0")

    # few: what the browser is to send piles up while it is replaced, and is waited for at the end
    outcome, load = env.run(leak, rate=6.0)
    require_clean(outcome)
    assert not load.reasons, "the API noticed that a page leaked"
    assert env.happened("webdriver", "over_memory"), "it was replaced for another reason"


def test_api_restart(env: ChaosEnv) -> None:
    async def restart(installation: ChaosInstallation, run: Run, load: ChaosLoad) -> None:
        await more_accepted(load, 10)
        before = installation.pids()
        # in order: connections wait in the kernel, so no client has to ask again
        done = await env.restart("api")
        assert done.returncode == 0, done.stderr
        for slot in ("api-0", "api-1"):
            await replaced(installation, slot, before[slot])
        assert not load.reasons, "a rolling restart broke an answer off"
        # and by force, both at once: what was under way is asked for again with the same key
        killed = installation.pids()
        for slot in ("api-0", "api-1"):
            await do(run, "kill_api", slot)
        for slot in ("api-0", "api-1"):
            await replaced(installation, slot, killed[slot])
        await more_accepted(load, 20)
        require_only_replaced(before, installation.pids(), "api-0", "api-1")

    outcome, _ = env.run(restart)
    require_clean(outcome)


def test_the_end_waits_for_the_last_status(env: ChaosEnv) -> None:
    """A run that ended before would judge states that the provider has not reported yet."""

    async def delay(installation: ChaosInstallation, _: Run, load: ChaosLoad) -> None:
        late = {"fault": "webhook_delay", "status": "delivered", "latency_ms": 3000, "count": 40}
        answer = await installation.sandbox("POST", "faults", body=late)
        assert answer is not None
        assert answer.status == 200
        await more_accepted(load, 40)

    outcome, _ = env.run(delay, phone_indexes=(0, 2, 3))
    require_clean(outcome)
    assert {state.state for state in outcome.reported.values()} == {"delivered"}
