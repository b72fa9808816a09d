"""One running installation that several tests break, and one run in it: load, what the test does meanwhile, and the
result.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from chaos.calls import Calls
from chaos.installation import ChaosInstallation
from chaos.load import ChaosLoad
from chaos.pages import link
from chaos.plans import FAULTS, PlanStep
from chaos.program import OWN_INSTALLATION
from chaos.report import table
from chaos.run import Outcome, Run, new_mark
from shared.process import runtime
from tests.conftest import kept_running
from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually_async, patience_s

Meanwhile = Callable[[ChaosInstallation, Run, ChaosLoad], Awaitable[None]]

EVERYWHERE = (0, 1, 2, 3)
"""Phone indexes of company demo: all four connection types."""
BROWSER = 1
"""The one of the browser session."""


class ChaosEnv(Bulkhead):
    """An installation that is linked once and broken by one test after the other."""

    program = "tests/chaos/orchestrator_with_low_ceiling.py"

    def run(
        self,
        meanwhile: Meanwhile,
        *,
        rate: float = 25.0,
        chats: int = 4,
        phone_indexes: tuple[int, ...] = EVERYWHERE,
        settle_s: float = 90.0,
    ) -> tuple[Outcome, ChaosLoad]:
        """Let messages flow while `meanwhile` runs, until all that was accepted came to an end, and return the outcome
        and the load.
        """

        async def scenario() -> tuple[Outcome, ChaosLoad]:
            async with Calls() as calls:
                installation = ChaosInstallation(self.home, self.variables, environment.clean(), calls)
                await installation.join()
                mark = new_mark()
                load = ChaosLoad(installation, mark=mark, rate=rate, chats=chats, phone_indexes=phone_indexes)
                run = Run(
                    installation,
                    load,
                    [],
                    mark=mark,
                    settle_s=patience_s(settle_s),
                    # `meanwhile` waits itself until messages flow, before and after
                    lead_s=0.2,
                    tail_s=0.3,
                )
                return await run.run(lambda: meanwhile(installation, run, load)), load

        return asyncio.run(scenario())

    def link(self) -> None:
        """Scan the session's code."""

        async def scan() -> None:
            async with Calls() as calls:
                installation = ChaosInstallation(self.home, self.variables, environment.clean(), calls)
                await installation.join()
                await link(installation)

        asyncio.run(scan())

    def happened(self, kind: str, event: str) -> list[dict[str, Any]]:
        """Return what the orchestrator wrote into its journal about a kind's processes."""
        lines = runtime.events_file(self.home).read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event and entry["kind"] == kind]

    async def restart(self, target: str) -> subprocess.CompletedProcess[str]:
        """Run the operator's command, beside the load."""
        return await asyncio.to_thread(self.command, "restart", target, within_s=90.0)


class DyingEnv(ChaosEnv):
    """An installation whose processes die often, and are restarted at once."""

    program = "tests/chaos/orchestrator_without_backoff.py"


def open_env(
    prepared_home: Callable[[], Path],
    make: type[ChaosEnv] = ChaosEnv,
    *,
    kinds: tuple[str, ...] = (),
    **variables: object,
) -> AbstractContextManager[ChaosEnv]:
    """An installation that several tests break, started and ready (all of it, or `kinds`)."""
    return kept_running(prepared_home, make, kinds=kinds, **OWN_INSTALLATION, **variables)


async def do(run: Run, fault: str, target: str, lasts_s: float = 0.0) -> None:
    """Do one fault now, and fail when its target was not there."""
    assert target in FAULTS[fault].targets
    await run.injector.do(PlanStep(at_s=0.0, fault=fault, target=target, lasts_s=lasts_s))
    assert run.injector.done.get(fault), f"{fault} found nobody to hit"


async def replaced(installation: ChaosInstallation, slot: str, before: int, within_s: float = 40.0) -> None:
    """Wait until another process than `before` serves a slot."""

    async def is_other() -> bool:
        return installation.pid(slot) not in (None, before) and await installation.is_ready(slot)

    await eventually_async(is_other, within_s, f"{slot} is served by another process", poll_s=0.05)


async def more_accepted(load: ChaosLoad, count: int, within_s: float = 30.0) -> None:
    """Wait until so many more messages are accepted."""
    desired = len(load.accepted) + count

    async def there() -> bool:
        load.raise_if_failed()
        return len(load.accepted) >= desired

    await eventually_async(
        there, within_s, lambda: f"{desired} messages are accepted; {len(load.accepted)} are", poll_s=0.02
    )


def require_clean(outcome: Outcome) -> None:
    """Fail with the whole table unless nothing was lost, doubled, reordered, held or left open."""
    result = outcome.result
    assert result.is_clean, table(outcome)
    assert outcome.settled, table(outcome)
    assert not (result.held or result.behind or result.parked or result.in_doubt), table(outcome)
    assert result.arrived >= result.accepted > 0, table(outcome)
