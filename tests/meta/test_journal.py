"""A post that was refused or answered late is reported as an outage: until its repetition nothing is evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from meta.inbound import journal as journals
from meta.inbound.journal import WebhookJournal
from shared.errors import StoreUnavailable
from shared.store.inbound import RawEvent

EVENT = RawEvent(source="meta", body=b"{}")


class Shelf:
    """A store whose next commits go as they are scripted."""

    def __init__(self, *commits: Callable[[], Any]) -> None:
        self._commits = list(commits)

    async def call_each(self, *_: Any) -> None:
        await self._commits.pop(0)()


async def at_once() -> None:
    return None


async def refused() -> None:
    raise StoreUnavailable("away")


async def late() -> None:
    await asyncio.sleep(0.06)


@pytest.mark.parametrize(
    ("commit", "is_answered", "least_s"), [(at_once, True, None), (refused, False, 0.0), (late, True, 0.05)]
)
def test_what_is_reported_as_an_outage(
    commit: Callable[[], Any], is_answered: bool, least_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "LATE_S", 0.05)
    outages: list[float] = []

    async def scenario() -> bool:
        journal = WebhookJournal(Shelf(commit), "meta", lambda: None, outages.append)  # type: ignore[arg-type]  # all that it asks of a store
        journal.start()
        try:
            await journal.keep(EVENT)
        except StoreUnavailable:
            return False
        finally:
            await journal.close()
        return True

    assert asyncio.run(scenario()) is is_answered
    assert len(outages) == (least_s is not None)
    assert all(for_s >= (least_s or 0.0) for for_s in outages)
