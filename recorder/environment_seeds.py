"""The first company and its connections: a real number when its credentials are set, the sandbox's numbers when the
sandbox runs.

The environment is a seed, rows are the truth: what it says is applied once, and a change of it is applied once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from shared.channels.registry import CHANNELS
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings
from shared.store import companies, connections, seeds
from shared.store.connections import Connection
from shared.store.pool import Transaction
from shared.store.seeds import Seed


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
    configured = []
    if settings.meta_access_token:
        token = {"access_token": settings.meta_access_token}
        configured.append(
            FirstConnection(
                phone_index=0,
                connection_type="meta_direct",
                account_id=settings.meta_phone_number_id,
                credentials=token,
            )
        )
    if settings.sandbox_access_token:
        # A real number wins over the sandbox's at the same index: its credentials were set on purpose.
        taken = {connection.phone_index for connection in configured}
        configured += [
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
    return configured


class SeedOutcome(StrEnum):
    """What was done about one connection that the environment names."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    ADOPTED = "adopted"
    """It was there before seeds were recorded; it stays as it is."""
    CHANGED_BY_OPERATOR = "changed_by_operator"
    REMOVED_BY_OPERATOR = "removed_by_operator"
    ACCOUNT_IN_USE = "account_in_use"
    """Another connection serves the account already."""
    COMPANY_DELETED = "company_deleted"
    """The company was deleted, or is being deleted."""


def apply(transaction: Transaction, settings: Settings, vault: Vault) -> dict[int, SeedOutcome]:
    """Make the company and its first connections, each once; apply what changed in the environment once, but never over
    what an operator did.

    Returns:
        What was done, by phone index.
    """
    configured = first_connections(settings)
    if companies.was_deleted(transaction, settings.company_id):
        # made again at each start, it would undo the deletion
        return {connection.phone_index: SeedOutcome.COMPANY_DELETED for connection in configured}
    if configured:
        companies.ensure(transaction, settings.company_id)
    return {
        connection.phone_index: _apply_one(transaction, settings.company_id, connection, vault)
        for connection in configured
    }


def _apply_one(transaction: Transaction, company_id: str, configured: FirstConnection, vault: Vault) -> SeedOutcome:
    index, digest = configured.phone_index, _digest(configured)
    seed = seeds.find(transaction, company_id, index)
    # The usual start. Compared before the row is read, so that nothing is undone that an operator has changed since.
    if seed is not None and seed.digest == digest:
        return SeedOutcome.UNCHANGED
    row = connections.by_index(transaction, company_id, index)
    outcome = _decide(transaction, company_id, configured, seed=seed, row=row, vault=vault)
    if outcome is SeedOutcome.APPLIED:
        row = _write(transaction, company_id, configured, vault)
    # Recorded also when it was not applied: the reason is logged once, and only a further change is looked at again.
    seeds.record(transaction, company_id, index, Seed(digest, _state(row, vault) if row else ""))
    return outcome


def _decide(
    transaction: Transaction,
    company_id: str,
    configured: FirstConnection,
    *,
    seed: Seed | None,
    row: Connection | None,
    vault: Vault,
) -> SeedOutcome:
    # A connection from before there were seeds: nothing is known of the values that made it.
    if seed is None and row is not None:
        return SeedOutcome.ADOPTED
    # Made again at each start, it would undo the removal.
    if row is None and seeds.was_removed(transaction, company_id, configured.phone_index):
        return SeedOutcome.REMOVED_BY_OPERATOR
    # The row is not as the seed left it: an operator's change wins over the environment.
    if seed is not None and row is not None and _state(row, vault) != seed.written:
        return SeedOutcome.CHANGED_BY_OPERATOR
    # Two connections with one account would each receive the other's events, and share its rate without knowing.
    if configured.account_id and connections.account_in_use(
        transaction,
        connection_type=configured.connection_type,
        account_id=configured.account_id,
        but=row.id if row else None,
    ):
        return SeedOutcome.ACCOUNT_IN_USE
    return SeedOutcome.APPLIED


def _write(transaction: Transaction, company_id: str, configured: FirstConnection, vault: Vault) -> Connection | None:
    context = connections.credentials_context(company_id, configured.phone_index)
    sealed: Sealed | None = (
        vault.seal(json.dumps(dict(configured.credentials)), context=context) if configured.credentials else None
    )
    connection_id = connections.ensure(
        transaction,
        company_id=company_id,
        phone_index=configured.phone_index,
        connection_type=configured.connection_type,
        account_id=configured.account_id,
        credentials=sealed.to_text() if sealed else "",
    )
    if configured.waba_id:
        connections.update(transaction, connection_id, waba_id=configured.waba_id)
    return connections.by_index(transaction, company_id, configured.phone_index)


def _digest(configured: FirstConnection) -> str:
    return _sha256(
        [configured.connection_type, configured.account_id, configured.waba_id, dict(configured.credentials)]
    )


def _state(row: Connection, vault: Vault) -> str:
    """Return a digest of what a seed writes; credentials as they are opened, since rotating the key seals them anew."""
    context = connections.credentials_context(row.company_id, row.phone_index)
    try:
        opened = vault.open(Sealed.from_text(row.credentials), context=context) if row.credentials else ""
    # Sealed with a key that is gone. The sealed text is compared as it is: unchanged, it still counts as the seed's.
    except SecretUnreadable:
        opened = row.credentials
    return _sha256([row.connection_type, row.account_id, row.waba_id, opened])


def _sha256(values: list[object]) -> str:
    # A digest, since the table of seeds must not hold credentials in the clear.
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
