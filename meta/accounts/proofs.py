"""Proves that each connection's token reaches the account that the connection names, before any inbound event is
attributed to it.

A proof is a call that the provider answers for the account's owner only, or a message that it accepted for that
account. Without one, a company could name another's number in its own connection and receive that number's messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meta.accounts.health import ConnectionHealth, HealthFinding
from meta.accounts.registry import D360, PAGES, Account, AccountRegistry
from meta.events.parsed import OWNERLESS
from shared.backoff import BackoffPolicy
from shared.clock import Monotonic, monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.store import connections, inbound_journal
from shared.store.connections import Connection
from shared.store.store import Store
from shared.store.tasks import TaskFailed

log = logger(__name__)

_INTERVAL_S: Final = 1.0
"""Seconds between two checks: a new connection receives nothing before its proof, so this is part of its setup time."""
_RETRY: Final = BackoffPolicy(base_s=5.0, growth=2.0, cap_s=1800.0)
"""Seconds between attempts to prove one connection, up to half an hour: a wrong token must not use up the app's limit
of calls, and an account that is linked later is still found.
"""
_REPLAY_S: Final = 30.0
"""Seconds after a proof in which unowned events are searched again: a transaction that began before the proof may write
some later, and lasts at most 20 s.
"""


class AccountProofs:
    """Proves one process's connections.

    Args:
        replayed: called when events wait to be processed again.
    """

    def __init__(
        self,
        store: Store,
        accounts: AccountRegistry,
        health: ConnectionHealth,
        *,
        replayed: Callable[[], None],
        clock: Monotonic = monotonic,
    ) -> None:
        self._store, self._accounts, self._health, self._replayed, self._clock = (
            store,
            accounts,
            health,
            replayed,
            clock,
        )
        self._attempts: dict[tuple[int, tuple[str, ...]], int] = {}
        self._due_at: dict[tuple[int, tuple[str, ...]], float] = {}
        self._replay_by: dict[int, float] = {}

    async def run(self, beat: LoopBeat) -> None:
        """Prove for ever; a database that is away is waited for."""
        while True:
            beat.beat()
            try:
                await self.prove_all(beat)
                await self._replay()
            except StoreUnavailable as error:
                log.info("connections_not_proved", reason=str(error))
            await asyncio.sleep(_INTERVAL_S)

    async def prove_all(self, beat: LoopBeat | None = None) -> None:
        """Try to prove each connection that is due. Raises `StoreUnavailable`."""
        for account in self._accounts.usable_accounts():
            missing = unproved(account.connection)
            # with the missing ids: a connection that names another account begins with the first wait again
            key = (account.connection.id, missing)
            if not missing or self._due_at.get(key, 0.0) > self._clock():
                continue
            if beat is not None:
                beat.beat()
            attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
            # before the call: a failure of any kind must not lead to an attempt each second
            self._due_at[key] = self._clock() + _RETRY.wait_s(attempt)
            await self._prove(account, missing)

    async def _prove(self, account: Account, missing: tuple[str, ...]) -> None:
        finding, reason = HealthFinding(), ""
        try:
            await self._health.look(account, finding)
        # what was proved before the failure counts: the ids are proved one by one, and a later call may be down
        except TaskFailed as failure:
            reason = failure.detail
            proved = await self._store.call(
                connections.prove, account.connection.id, finding.proved, account.connection.credentials
            )
        else:
            proved = bool(finding.proved - set(account.connection.proved_ids))
            await self._store.call(self._health.write, account, finding)
        if proved:
            log.info("connection_proved", connection_id=account.connection.id)
            self._replay_by[account.connection.id] = self._clock() + _REPLAY_S
            # so that the replay below, in this process, finds the connection as the owner
            await self._accounts.refresh()
        if not finding.proved.issuperset(missing):
            log.warning(
                "connection_not_proved",
                connection_id=account.connection.id,
                reason=reason or finding.dead or "the provider did not confirm it",
            )

    async def _replay(self) -> None:
        """Let events be processed again that came for a connection before it was proved."""
        now = self._clock()
        self._replay_by = {one: by for one, by in self._replay_by.items() if by > now}
        for connection_id in self._replay_by:
            # only events that were journalled as unowned: a replayed event is marked, and proves and pauses nothing
            if count := await self._store.call(inbound_journal.replay_unowned, connection_id, OWNERLESS):
                log.info("unowned_events_replayed", connection_id=connection_id, events=count)
                self._replayed()


def unproved(connection: Connection) -> tuple[str, ...]:
    """Return the ids that a connection names and that its token was not proved to reach yet."""
    if connection.connection_type == D360:
        # its events come through a door of its own
        return ()
    names = [connection.account_id]
    if connection.connection_type in PAGES:
        names += [
            name for option in ("page_id", "instagram_id") if isinstance(name := connection.options.get(option), str)
        ]
    else:
        names.append(connection.waba_id)
    return tuple(name for name in names if name and not connection.is_proved(name))
