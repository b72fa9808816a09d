"""An outage that is longer than the window in which reconciliation waits for proof."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from chaos.calls import Calls
from chaos.installation import ChaosInstallation, until
from chaos.load import ChaosLoad
from chaos.plans import PlanStep
from chaos.program import OWN_INSTALLATION
from chaos.report import table
from chaos.run import Run, new_mark
from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import patience_s

SLOW_PROVIDER = {"retry_base_ms": 6500, "retry_cap_ms": 6500}
"""A refused webhook comes again at once, and then after so long: well after PostgreSQL is back."""


@pytest.mark.timeout(400)
def test_an_outage_of_the_database_that_is_longer_than_the_window_doubles_nothing(
    bulkhead: Callable[..., Bulkhead],
) -> None:
    """Messages that the provider took, whose answers were lost, and whose webhooks met the outage: they come after it,
    at the provider's pace.

    Without the outages, all that the senders see is a window of silence, and others' webhooks at its end.
    """
    installation = (
        bulkhead(**OWN_INSTALLATION, only="postgres,redis,recorder,api,meta,sandbox", in_doubt_window_s=2)
        .start()
        .wait_ready("recorder", "api", "meta")
    )

    async def scenario() -> None:
        async with Calls() as calls:
            outside = ChaosInstallation(installation.home, installation.variables, environment.clean(), calls)
            await outside.join()
            mark = new_mark()
            load = ChaosLoad(outside, mark=mark, rate=60.0, chats=20, phone_indexes=(0, 2, 3))
            run = Run(outside, load, [], mark=mark, settle_s=patience_s(60.0))

            async def be_away() -> None:
                watcher = outside.pid("postgres-0")
                assert watcher is not None
                for call, body in (
                    ("settings", SLOW_PROVIDER),
                    ("faults", {"fault": "webhook_delay", "latency_ms": 900, "count": 60}),
                    ("faults", {"fault": "cut_after", "count": 20}),
                ):
                    answer = await outside.sandbox("POST", call, body=body)
                    assert answer is not None
                    assert answer.status == 200, answer
                await asyncio.sleep(0.6)  # some of them are taken, and none of their webhooks is due
                # the process that would start the server again stands still, until the orchestrator has had enough of
                # it
                os.kill(watcher, signal.SIGSTOP)
                await run.injector.do(PlanStep(at_s=0.0, fault="kill_postgres", target="postgres-0", lasts_s=0.0))
                await until(lambda: outside.pid("postgres-0") not in (None, watcher), 30.0, "another watcher")

            outcome = await run.run(be_away)
        assert outcome.done == {"kill_postgres": 1}
        assert outcome.result.is_clean, table(outcome)
        assert outcome.settled, table(outcome)

    asyncio.run(scenario())
