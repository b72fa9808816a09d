"""Keys of API clients: typed functions for `queries/keys.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from shared.store.pool import Row, Transaction


def find(transaction: Transaction, digest: bytes) -> Row | None:
    """Return the key with this SHA-256 if it may be used now."""
    return transaction.row("find_key", digest=digest)


def add(
    transaction: Transaction,
    *,
    company_id: str | None,
    name: str,
    prefix: str,
    digest: bytes,
    scopes: Sequence[str],
    expires_at: datetime | None,
    maker_id: int | None = None,
) -> Row:
    """Make a key; `company_id` None: of the installation. `maker_id`: the key that makes it, whose limits it gets."""
    return transaction.one(
        "add_key",
        company_id=company_id,
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=list(scopes),
        expires_at=expires_at,
        maker_id=maker_id,
    )


def lock(transaction: Transaction, key_id: int) -> Row | None:
    """Return a key, which stays as it is until the transaction ends."""
    return transaction.row("lock_key", id=key_id)


def rotate(transaction: Transaction, key_id: int, *, prefix: str, digest: bytes, overlap_s: int) -> Row | None:
    """Give a key another text; its current one is taken for `overlap_s` more seconds. None: it is revoked."""
    return transaction.row("rotate_key", id=key_id, prefix=prefix, digest=digest, overlap_s=overlap_s)


def revoke(transaction: Transaction, key_id: int) -> Row:
    """End a key, which is locked, for good."""
    return transaction.one("revoke_key", id=key_id)


def listed(transaction: Transaction, *, company_id: str | None, after: int, most: int) -> list[Row]:
    """Return keys by id: of one company, or (None) all."""
    return transaction.rows("list_keys", company_id=company_id, after=after, most=most)


def note_use(transaction: Transaction, used: Mapping[int, datetime]) -> None:
    """Note when keys were used last, by id."""
    # in one order everywhere, so that two processes do not wait for each other's row locks
    ids = sorted(used)
    transaction.execute("note_key_use", ids=ids, ats=[used[key_id] for key_id in ids])
