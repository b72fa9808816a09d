"""The store behind the sessions, as a protocol; tests have one in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.inbound_events import Contact
from shared.messages import Receipt
from shared.states import DesiredSession, SessionState
from shared.store.sessions import TakenSessions


@dataclass(frozen=True, kw_only=True, slots=True)
class DesiredSessionRow:
    """What the API wants one connection's session to be."""

    connection_id: int
    company_id: str
    desired: DesiredSession


class SessionStore(Protocol):
    """Where desired state is read and what is seen is written.

    Every method raises `StoreUnavailable` when the database is away.
    """

    async def desired(self) -> Sequence[DesiredSessionRow]:
        """Return every connection whose browser session runs on this host."""

    async def take(self, kept: Collection[int], *, any_linked: bool) -> TakenSessions:
        """Take sessions that run on no host, or whose host is dead.

        Args:
            kept: connections whose profile is here. any_linked: take linked ones too whose profile is not.
        """

    async def removed(self, connection_ids: Sequence[int]) -> set[int]:
        """Return those of these connections that were removed.

        One that the store does not know is not among them: it may be another store's.
        """

    async def confirm_deleted(self, kept: Collection[int]) -> None:
        """Confirm that no profile is left of connections whose company is being deleted, but of those in `kept`."""

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
        """Write what a session is observed to be.

        Args:
            detail: why, for operators. qr: text for the QR picture while the session waits for a scan, else empty.
            proved_s: seconds since the page itself reported its state, so that the store's clock alone decides how old
                that is; None keeps the last one. link: names the link to the phone, empty: there is none, None: it
                stays. stats: what its browser uses.
        """

    async def linked_at(self, connection_id: int, link: str) -> datetime | None:
        """Return since when this link is the connection's, by the store's clock; None when another one is, or none."""

    async def note(self, connection_id: int, event: str, at: datetime, state: SessionState, detail: str) -> None:
        """Write what happened to a session."""

    async def journal_inbound(self, connection_id: int, raw: Mapping[str, Any]) -> None:
        """Keep one event of the page as it came; it is processed afterwards, and a second arrival changes nothing."""

    async def meet(self, contact: Contact) -> None:
        """Note a person, for example that a number and an id of the page name the same one."""

    async def record_receipt(self, receipt: Receipt) -> None:
        """Move the message that a receipt is about."""

    async def received(self, connection_id: int, until: datetime) -> None:
        """Record that everything that the page reported until an instant is kept."""

    async def position(self, connection_id: int) -> datetime | None:
        """Return until when everything that the page reported is kept, None when nothing was ever received."""

    async def known(self, connection_id: int, ids: Sequence[str]) -> set[str]:
        """Return those of these message ids that are kept, in either direction."""

    async def unread_sends(self, connection_id: int, below: int | None = None) -> tuple[Sequence[str], int | None]:
        """Return the ids of our messages of the last days that the receiver has not read, as far as we know, a page of
        them, newest first; and the `below` of the next page, None when there is none."""
