"""The first company and its connections: a real number when its credentials are set, the sandbox's numbers when the sandbox runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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


DEMO_ACCOUNTS: Final = {0: "100000000000001", 2: "100000000000002", 3: "100000000000003"}
"""Phone number ids of company demo by phone index: the sandbox's numbers (docs/sandbox.md), which a tester's own provider may use too."""
DEMO_WABAS: Final = {0: "200000000000001", 2: "200000000000002", 3: "200000000000003"}
"""Their WhatsApp Business Accounts."""


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
        token = {"access_token": settings.sandbox_access_token}
        key = {"api_key": settings.sandbox_d360_api_key, "webhook_secret": settings.sandbox_d360_webhook_secret}
        if not wanted:
            wanted.append(
                FirstConnection(
                    phone_index=0,
                    connection_type="meta_direct",
                    account_id=DEMO_ACCOUNTS[0],
                    waba_id=DEMO_WABAS[0],
                    credentials=token,
                )
            )
        wanted += [
            FirstConnection(phone_index=1, connection_type="wwebjs", credentials={}),
            FirstConnection(
                phone_index=2,
                connection_type="360dialog",
                account_id=DEMO_ACCOUNTS[2],
                waba_id=DEMO_WABAS[2],
                credentials=key,
            ),
            FirstConnection(
                phone_index=3,
                connection_type="meta_embedded",
                account_id=DEMO_ACCOUNTS[3],
                waba_id=DEMO_WABAS[3],
                credentials=token,
            ),
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
