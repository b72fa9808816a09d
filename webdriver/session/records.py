"""The `SessionStore` over PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.delivery.message_spans import apply_receipts
from shared.inbound_events import Contact
from shared.kinds import ProcessKind
from shared.messages import Receipt
from shared.process.tracing import NO_TRACER, Tracer
from shared.states import DesiredSession, SessionState
from shared.store import companies, connections, inbound, pages, sessions
from shared.store.sessions import TakenSessions
from shared.store.store import Store
from webdriver.page.operations import MESSAGES
from webdriver.session.inbound_events import SOURCE
from webdriver.session.ports import DesiredSessionRow

_SEND_DAYS, _SENDS = 7, 300
"""How old the messages of ours are whose receipts are asked for after a gap, and how many of them are read at once."""


class Records:
    """Reads desired state and writes what is seen.

    Args:
        kind: whose connections. incarnation: written beside every observation. journalled: called when the journal has
            a new event. tracer: records what receipts say.
    """

    def __init__(
        self,
        store: Store,
        kind: ProcessKind,
        incarnation: str,
        journalled: Callable[[], None] = lambda: None,
        *,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._store, self._kind, self._incarnation, self._journalled = store, kind, incarnation, journalled
        self._tracer = tracer

    async def desired(self) -> Sequence[DesiredSessionRow]:
        """See `SessionStore`."""
        rows = await self._store.call(sessions.here, kind=self._kind.name, incarnation=self._incarnation)
        return [
            DesiredSessionRow(
                connection_id=row["id"], company_id=row["company_id"], desired=DesiredSession(row["desired_state"])
            )
            for row in rows
        ]

    async def take(self, kept: Collection[int], *, any_linked: bool) -> TakenSessions:
        """See `SessionStore`."""
        return await self._store.call(
            sessions.take,
            kind=self._kind.name,
            incarnation=self._incarnation,
            kept=sorted(kept),
            any_linked=any_linked,
        )

    async def removed(self, connection_ids: Sequence[int]) -> set[int]:
        """See `SessionStore`."""
        return await self._store.call(connections.removed, connection_ids)

    async def confirm_deleted(self, kept: Collection[int]) -> None:
        """See `SessionStore`."""
        await self._store.call(
            companies.confirm_profiles_deleted, self._kind.name, sorted(kept), sessions.host_of(self._incarnation)
        )

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

    async def journal_inbound(self, connection_id: int, raw: Mapping[str, Any]) -> None:
        """See `SessionStore`."""
        event = inbound.RawEvent(source=SOURCE, body=json.dumps(raw).encode(), connection_id=connection_id)
        await self._store.call(inbound.journal, self._kind.name, [event])
        # after the commit: the pipeline would otherwise find nothing and sleep
        self._journalled()

    async def meet(self, contact: Contact) -> None:
        """See `SessionStore`."""
        await self._store.call(inbound.see, [contact])

    async def record_receipt(self, receipt: Receipt) -> None:
        """See `SessionStore`."""
        _, spans = await self._store.call(apply_receipts, [receipt], self._tracer)
        for span in spans:
            self._tracer.record(span)

    async def received(self, connection_id: int, until: datetime) -> None:
        """See `SessionStore`."""
        await self._store.call(pages.received, connection_id=connection_id, until=until)

    async def position(self, connection_id: int) -> datetime | None:
        """See `SessionStore`."""
        return await self._store.call(pages.position, connection_id)

    async def known(self, connection_id: int, ids: Sequence[str]) -> set[str]:
        """See `SessionStore`."""
        return await self._store.call(pages.known, connection_id=connection_id, ids=ids)

    async def unread_sends(self, connection_id: int, below: int | None = None) -> tuple[Sequence[str], int | None]:
        """See `SessionStore`."""
        return await self._store.call(
            pages.unread_sends,
            connection_id=connection_id,
            types=sorted(MESSAGES),
            days=_SEND_DAYS,
            most=_SENDS,
            below=below,
        )
