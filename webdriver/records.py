"""The `SessionStore` over PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.kinds import ProcessKind
from shared.messages import InboundMessage, Receipt
from shared.states import DesiredSession, SessionState
from shared.store import connections, inbound, messages
from shared.store.pool import Transaction
from shared.store.store import Store
from webdriver.ports import WantedSession


class _KnownAlready(Exception):
    """Raised inside a transaction to take back the journal row of a message that is there already."""


class Records:
    """Reads desired state and writes what is seen.

    Args:
        kind: whose connections. incarnation: written beside every observation.
    """

    def __init__(self, store: Store, kind: ProcessKind, incarnation: str) -> None:
        self._store, self._kind, self._incarnation = store, kind, incarnation

    async def wanted(self) -> Sequence[WantedSession]:
        """See `SessionStore`."""
        rows = await self._store.call(connections.of_kind, self._kind.name)
        return [WantedSession(connection_id=row.id, company_id=row.company_id, desired=DesiredSession(row.desired_state)) for row in rows]

    async def observe(self, connection_id: int, state: SessionState, *, detail: str, qr: str, proved_at: datetime | None) -> None:
        """See `SessionStore`."""
        await self._store.call(
            connections.observe,
            connection_id=connection_id,
            status=state,
            incarnation=self._incarnation,
            detail=detail,
            qr=qr,
            proved_at=proved_at,
        )

    async def journal_inbound(self, connection_id: int, raw: Mapping[str, Any], message: InboundMessage | None) -> None:
        """See `SessionStore`."""
        event = inbound.RawEvent(source="webdriver", body=json.dumps(raw).encode(), connection_id=connection_id)
        try:
            await self._store.call(_keep, self._kind.name, event, message)
        except _KnownAlready:
            return

    async def record_receipt(self, receipt: Receipt) -> None:
        """See `SessionStore`."""
        await self._store.call(messages.apply_receipts, [receipt])


def _keep(transaction: Transaction, kind: str, event: inbound.RawEvent, message: InboundMessage | None) -> None:
    (journal_id,) = inbound.journal(transaction, kind, [event])
    if message is not None and not inbound.insert(transaction, [(message, journal_id)]):
        raise _KnownAlready
    inbound.finish(transaction, {journal_id: "" if message is not None else "nothing to read yet"})
