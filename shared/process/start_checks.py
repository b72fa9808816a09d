"""What a process checks at its start that only the database knows: its keys, and its place among the hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from shared.errors import SettingsInvalid, StoreUnavailable
from shared.kinds import ProcessKind
from shared.process import place
from shared.process.place import HostPlace
from shared.process.service import Child
from shared.settings import Settings

_VAULT_KEY: Final = "secret_encryption_key"
"""Setting of kinds that open secrets."""
_SERVERS: Final = ("database_url", "redis_url")
_PLACE_S: Final = 30.0
"""Seconds of a startup beyond the lease that it waits for: as much as a startup has without."""


def require_servers(kind: ProcessKind, settings: Settings) -> None:
    """Refuse to start without the address of a server that the kind uses. Raises `SettingsInvalid`."""
    if problems := [
        f"{name.upper()} is empty; the orchestrator fills it in for its children, set it to start {kind.name} by hand"
        for name in _SERVERS
        if name in kind.secrets and not getattr(settings, name)
    ]:
        raise SettingsInvalid(problems)


class StartChecks:
    """The checks of one process. While the database is away, they follow after the start.

    Args:
        refuse: ends the process, because a check that followed later has failed.
    """

    def __init__(self, child: Child, refuse: Callable[[SettingsInvalid], None]) -> None:
        self._child, self._refuse = child, refuse

    async def run(self) -> None:
        """Check.

        Raises:
            SettingsInvalid: a key is missing or wrong, or a host has the same name, other keys or other files.
        """
        await asyncio.gather(self._check_keys(), self._check_place())

    async def _check_keys(self) -> None:
        kind = self._child.kind
        # the recorder itself checks after its migrations
        if _VAULT_KEY not in kind.secrets or kind.reads_journal:
            return
        # imported here: kinds without secrets never load the library behind it
        from shared.process.key_check import check_keys  # noqa: PLC0415

        if not await check_keys(self._child.store, self._child.settings):
            self._child.spawn(self._check_keys_later(), "keys")

    async def _check_keys_later(self) -> None:
        from shared.process.key_check import check_until_known  # noqa: PLC0415 - see `_check_keys`

        try:
            await check_until_known(self._child.store, self._child.settings)
        except SettingsInvalid as error:
            self._refuse(error)

    async def _check_place(self) -> None:
        child = self._child
        if not child.kind.pool_size:
            return
        heartbeat, settings = child.heartbeat, child.settings
        # files, possibly on a disk of another machine
        heartbeat.home_id = await asyncio.to_thread(place.home_id, settings.bulkhead_home)
        heartbeat.shared_facts = await asyncio.to_thread(place.shared_facts, settings)
        own = HostPlace(host=settings.host, home_id=heartbeat.home_id, shared_facts=heartbeat.shared_facts)
        waited = False

        def wait(left_s: float) -> None:
            nonlocal waited
            waited = True
            child.supervised.extend(left_s + _PLACE_S, "start: waits for another home's lease of this host's name")

        needed_later = False
        try:
            await place.require_place(child.store, own, wait)
        except StoreUnavailable:
            needed_later = True
        finally:
            if waited:
                child.supervised.extend(0.0, "")
        child.spawn(self._check_place_later(own, needed=needed_later), "place")

    async def _check_place_later(self, own: HostPlace, *, needed: bool) -> None:
        """Compare with hosts that come, or come back, later; first as at a start, where that is still `needed`."""
        try:
            if needed:
                await place.require_place_later(self._child.store, own)
            await place.watch_place(self._child.store, own, lambda: self._child.heartbeat.uptime_s)
        except SettingsInvalid as error:
            self._refuse(error)
