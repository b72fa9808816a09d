"""Checks at the start that this process has the keys that sealed the database's secrets."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import sealed
from shared.store.store import Store

log = logger(__name__)

_LONGEST_S: Final = 2.0
"""Seconds for the check: a start does not wait longer for a database that is frozen, and the check follows."""
_AGAIN_S: Final = 2.0
"""Seconds between attempts while the database is unavailable."""


async def check_keys(store: Store, settings: Settings) -> bool:
    """Check the keys once. Returns False when the database is away.

    Raises:
        SettingsInvalid: a key is missing or wrong; one sentence for each.
    """
    try:
        await store.call_by(monotonic() + _LONGEST_S, sealed.require_keys, Vault.from_settings(settings))
    except StoreUnavailable as error:
        log.info("keys_not_checked_yet", reason=str(error))
        return False
    return True


async def check_until_known(store: Store, settings: Settings) -> None:
    """Check the keys as soon as the database answers. Raises `SettingsInvalid` as `check_keys`."""
    while not await check_keys(store, settings):
        await asyncio.sleep(_AGAIN_S)
