"""The `SessionStore` over PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.arrivals import MediaSource
from shared.content import REACTION
from shared.kinds import ProcessKind
from shared.messages import InboundMessage, Receipt
from shared.states import DesiredSession, SessionState
from shared.store import connections, inbound, inbound_media, messages, pages, sessions
from shared.store.pool import Transaction
from shared.store.store import Store
from webdriver.page import parsing
from webdriver.page.operations import MESSAGES
from webdriver.session.ports import DesiredSessionRow

_SEND_DAYS, _SENDS = 7, 300
"""How old the messages of ours are, and how many, whose receipts are asked for after a gap."""


class _KnownAlready(Exception):
    """Raised inside a transaction to take back the journal row of a message that is there already."""


class Records:
    """Reads desired state and writes what is seen.

    Args:
        kind: whose connections. incarnation: written beside every observation.
    """

    def __init__(self, store: Store, kind: ProcessKind, incarnation: str) -> None:
        self._store, self._kind, self._incarnation = store, kind, incarnation

    async def wanted(self) -> Sequence[DesiredSessionRow]:
        """See `SessionStore`."""
        rows = await self._store.call(connections.of_kind, self._kind.name)
        return [
            DesiredSessionRow(
                connection_id=row.id, company_id=row.company_id, desired=DesiredSession(row.desired_state)
            )
            for row in rows
        ]

    async def observe(
        self,
        connection_id: int,
        state: SessionState,
        *,
        detail: str,
        qr: str,
        proved_s: float | None,
        link: str | None,
        stats: Mapping[str, Any],
    ) -> None:
        """See `SessionStore`."""
        await self._store.call(
            connections.observe,
            connection_id=connection_id,
            status=state,
            incarnation=self._incarnation,
            detail=detail,
            qr=qr,
            proved_s=proved_s,
            link=link,
            figures=stats,
        )

    async def linked_at(self, connection_id: int, link: str) -> datetime | None:
        """See `SessionStore`."""
        return await self._store.call(sessions.linked_at, connection_id=connection_id, link=link)

    async def note(self, connection_id: int, event: str, at: datetime, state: SessionState, detail: str) -> None:
        """See `SessionStore`."""
        await self._store.call(
            sessions.note,
            connection_id=connection_id,
            event=event,
            at=at,
            state=state,
            detail=detail,
            incarnation=self._incarnation,
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

    async def heard(self, connection_id: int, until: datetime) -> None:
        """See `SessionStore`."""
        await self._store.call(pages.heard, connection_id=connection_id, until=until)

    async def position(self, connection_id: int) -> datetime | None:
        """See `SessionStore`."""
        return await self._store.call(pages.position, connection_id)

    async def known(self, connection_id: int, ids: Sequence[str]) -> set[str]:
        """See `SessionStore`."""
        return await self._store.call(pages.known, connection_id=connection_id, ids=ids)

    async def unread_sends(self, connection_id: int) -> Sequence[str]:
        """See `SessionStore`."""
        return await self._store.call(
            pages.unread_sends, connection_id=connection_id, types=sorted(MESSAGES), days=_SEND_DAYS, most=_SENDS
        )


def _keep(transaction: Transaction, kind: str, event: inbound.RawEvent, message: InboundMessage | None) -> None:
    # an echo of what we sent, also while its answer is on the way
    if message is not None and message.from_me and _is_ours(transaction, message):
        raise _KnownAlready
    (journal_id,) = inbound.journal(transaction, kind, [event])
    if message is not None:
        _understand(transaction, message, journal_id)
    inbound.finish(transaction, {journal_id: "" if message is not None else "nothing to read yet"})


def _is_ours(transaction: Transaction, message: InboundMessage) -> bool:
    if pages.known(transaction, connection_id=message.connection_id, ids=[message.provider_id]):
        return True
    return message.type == REACTION and pages.is_our_reaction(
        transaction,
        connection_id=message.connection_id,
        chat_id=message.chat_id,
        target=str(message.content["target"]),
        emoji=str(message.content["emoji"]),
        at=message.at,
    )


def _understand(transaction: Transaction, message: InboundMessage, journal_id: int) -> None:
    rows = inbound.insert(transaction, [(message, journal_id)])
    if not rows:
        raise _KnownAlready
    if media := message.content.get("media"):
        source = MediaSource(
            connection_id=message.connection_id,
            provider_id=message.provider_id,
            id=message.provider_id,
            mimetype=media.get("mimetype", ""),
            sha256=media.get("sha256", ""),
            filename=media.get("filename", ""),
        )
        inbound_media.media_pending(transaction, [(row["id"], source) for row in rows])
    if person := parsing.person(message):
        inbound.see(transaction, [person])
