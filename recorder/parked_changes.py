"""Applies edits and deletions again that had found no message when they came."""

from __future__ import annotations

from typing import Final

from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.store import inbound
from shared.store.store import Store

log = logger(__name__)

_BATCH: Final = 100
"""Edits and deletions of one transaction."""


async def apply_parked(store: Store) -> None:
    """Apply all whose time has come. One that cannot be applied is logged, and stops no other. Raises
    `StoreUnavailable`.
    """
    while ids := await store.call(inbound.parked, most=_BATCH):
        try:
            await store.call(inbound.apply_parked, ids)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - some row is poison: find it, so that it stops no other
            log.warning("parked_changes_failed", reason=type(error).__name__, changes=len(ids))
            await _one_by_one(store, ids)
        if len(ids) < _BATCH:
            break


async def _one_by_one(store: Store, ids: list[int]) -> None:
    for change in ids:
        try:
            await store.call(inbound.apply_parked, [change])
        except StoreUnavailable:
            raise
        except Exception as error:
            log.error("parked_change_failed", exc_info=error, message_id=change)
            await store.call(inbound.unpark, change)
