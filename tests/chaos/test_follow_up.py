"""The operator of a run decides nothing while its end is read, and nothing after it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.follow_up import FollowUp
from chaos.installation import ChaosInstallation
from chaos.ledger import LedgerReader
from chaos.load import ChaosLoad

pytestmark = pytest.mark.fast


class Asked:
    """An installation without dead letters. Attributes: calls: so far."""

    def __init__(self) -> None:
        self.calls = 0

    async def api(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        return SimpleNamespace(status=200, body={"letters": [], "next": None})


def test_nothing_is_decided_while_a_run_is_read_and_after_its_end() -> None:
    async def scenario() -> None:
        asked = Asked()
        load = cast(ChaosLoad, SimpleNamespace(accepted=[], companies=["demo"]))
        operator = FollowUp(cast(ChaosInstallation, asked), load, cast(LedgerReader, None))
        await operator.round()
        assert asked.calls == 1
        async with operator.paused():
            late = asyncio.create_task(operator.round())
            await asyncio.sleep(0)
            assert asked.calls == 1
            # the end of the run, in the step in which it was read
            operator.end()
        await late
        await operator.round()
        assert asked.calls == 1

    asyncio.run(scenario())
