"""Which installation a process belongs to, and so which hints are its own. The database knows it.

It is no setting: two installations on one Redis would take each other's hints until it was set on both, and all hosts
of one installation would have to agree.
"""

from __future__ import annotations

import asyncio
from typing import Final

from shared.errors import StoreUnavailable
from shared.process.service import Child
from shared.queues.hints import Hints
from shared.store.store import Store, installation

_AGAIN_S: Final = 0.25
"""Seconds between two tries while the database is away."""


async def own_hints(child: Child, hints: Hints) -> None:
    """Let `hints` be those of this process's installation: at once when the database answers, else as soon as it
    does."""
    try:
        hints.belong_to(await child.store.call(installation))
    except StoreUnavailable:
        child.spawn(own_hints_later(child.store, hints), "installation")


async def own_hints_later(store: Store, hints: Hints) -> None:
    """Like `own_hints`, and wait for the database."""
    while True:
        try:
            hints.belong_to(await store.call(installation))
        except StoreUnavailable:
            await asyncio.sleep(_AGAIN_S)
            continue
        return
