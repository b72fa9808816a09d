"""Companies and their connections: one typed function for each named statement of `queries/connections.sql`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.store.pool import Row, Transaction, json, storable


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """One company's phone on a channel.

    Attributes:
        account_id: the provider's name for it (Meta: phone number id). credentials: sealed, to be opened with the vault and the context
            `credentials_context`. options: channel's own, for example limits.
    """

    id: int
    company_id: str
    phone_index: int
    connection_type: str
    process_name: str
    status: str
    status_reason: str
    desired_state: str
    account_id: str
    credentials: str = field(repr=False)
    options: Mapping[str, Any]


def credentials_context(company_id: str, phone_index: int) -> str:
    """Return the associated data that ties a connection's credentials to its row."""
    return f"phone_configs/{company_id}/{phone_index}/credentials"


def ensure_company(transaction: Transaction, company_id: str, name: str = "") -> None:
    """Make a company unless it is there."""
    transaction.execute("ensure_company", id=company_id, name=name)


def company_exists(transaction: Transaction, company_id: str) -> bool:
    """Return whether a company is known."""
    return transaction.row("company_exists", id=company_id) is not None


def ensure(
    transaction: Transaction,
    *,
    company_id: str,
    phone_index: int,
    connection_type: str,
    account_id: str = "",
    credentials: str = "",
    options: Mapping[str, Any] | None = None,
) -> int:
    """Make a connection, or take over a changed type, account or credential; `options` None leaves those that are set. Returns its id."""
    row = transaction.one(
        "ensure_connection",
        company_id=company_id,
        phone_index=phone_index,
        connection_type=connection_type,
        account_id=account_id,
        credentials=credentials,
        options=None if options is None else json(dict(options)),
    )
    return int(row["id"])


def by_index(transaction: Transaction, company_id: str, phone_index: int) -> Connection | None:
    """Return one connection of a company, None when it has none with this index."""
    row = transaction.row("connection_by_index", company_id=company_id, phone_index=phone_index)
    return Connection(**row) if row else None


def of_kind(transaction: Transaction, kind: str) -> list[Connection]:
    """Return every connection that a process kind serves."""
    return [Connection(**row) for row in transaction.rows("connections_of_kind", kind=kind)]


def of_company(transaction: Transaction, company_id: str) -> list[Row]:
    """Return a company's connections with what is observed of them."""
    return transaction.rows("connections_of_company", company_id=company_id)


def overview(transaction: Transaction, *, most: int) -> list[Row]:
    """Return connections of all companies with what is observed of them, at most `most`."""
    return transaction.rows("connection_overview", most=most)


def wanted_kinds(transaction: Transaction) -> list[str]:
    """Return the process kinds that some connection needs."""
    return [row["process_name"] for row in transaction.rows("wanted_kinds")]


def pause(transaction: Transaction, connection_id: int, reason: str) -> bool:
    """Hold a connection's queue. Returns False when it was not active."""
    return transaction.row("pause_connection", id=connection_id, reason=reason) is not None


def resume(transaction: Transaction, connection_id: int) -> bool:
    """Let a paused connection send again. Returns False when it was not paused."""
    return transaction.row("resume_connection", id=connection_id) is not None


def observe(
    transaction: Transaction,
    *,
    connection_id: int,
    status: str,
    incarnation: str,
    detail: str = "",
    qr: str = "",
    proved_at: datetime | None = None,
) -> None:
    """Write what a connection is seen to be; `proved_at` None keeps the last proof."""
    transaction.execute(
        "observe_connection",
        connection_id=connection_id,
        status=status,
        # the wording may be a page's
        detail=storable(detail),
        qr=qr,
        proved_at=proved_at,
        incarnation=incarnation,
    )


def touch(transaction: Transaction, connection_ids: Iterable[int]) -> None:
    """Note that the provider was heard from about these connections just now."""
    transaction.execute("touch_connections", connection_ids=sorted(set(connection_ids)))
