"""The first company and its connections: a real number when its credentials are set, the sandbox's numbers when the sandbox runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from shared.channels.registry import CHANNELS
from shared.secrets import Sealed, Vault
from shared.settings import Settings
from shared.store import connections
from shared.store.pool import Transaction


@dataclass(frozen=True, kw_only=True)
class FirstConnection:
    """One connection to make; `credentials` are sealed before they are stored."""

    phone_index: int
    connection_type: str
    account_id: str = ""
    waba_id: str = ""
    credentials: Mapping[str, str]


def first_connections(settings: Settings) -> list[FirstConnection]:
    """Return the connections that the settings ask for; none when there are neither credentials nor a sandbox."""
    wanted = []
    if settings.meta_access_token:
        token = {"access_token": settings.meta_access_token}
        wanted.append(
            FirstConnection(
                phone_index=0,
                connection_type="meta_direct",
                account_id=settings.meta_phone_number_id,
                credentials=token,
            )
        )
    if settings.sandbox_access_token:
        taken = {connection.phone_index for connection in wanted}
        wanted += [
            FirstConnection(
                phone_index=channel.demo.phone_index,
                connection_type=channel.name,
                account_id=channel.demo.account_id,
                waba_id=channel.demo.waba_id,
                credentials={name: getattr(settings, setting) for name, setting in channel.demo.credentials.items()},
            )
            for channel in CHANNELS
            if channel.demo and channel.demo.phone_index not in taken
        ]
    return wanted


def ensure(transaction: Transaction, settings: Settings, vault: Vault) -> int:
    """Make the company and its first connections, or bring their credentials up to date. Returns how many there are."""
    wanted = first_connections(settings)
    if not wanted:
        return 0
    company_id = settings.company_id
    connections.ensure_company(transaction, company_id)
    for connection in wanted:
        context = connections.credentials_context(company_id, connection.phone_index)
        sealed: Sealed | None = (
            vault.seal(json.dumps(dict(connection.credentials)), context=context) if connection.credentials else None
        )
        connection_id = connections.ensure(
            transaction,
            company_id=company_id,
            phone_index=connection.phone_index,
            connection_type=connection.connection_type,
            account_id=connection.account_id,
            credentials=sealed.to_text() if sealed else "",
        )
        if connection.waba_id:
            connections.update(transaction, connection_id, waba_id=connection.waba_id)
    return len(wanted)
