"""What is known about the files in storage, and the names that providers gave to those that were uploaded; typed
functions for `queries/media.sql`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.store.pool import Row, Transaction
from shared.store.texts import storable

UPLOAD_DAYS: Final = 29
"""Days for which an upload is used again. Meta keeps it for 30, and a message that names it may still wait for
hours.
"""
RELEASED_GRACE_S: Final = 300.0
"""Seconds for which a released file that was stored or read just now is kept: longer than the time between storing its
bytes for another message and writing that down.
"""
_FILENAME_MOST: Final = 240
"""Characters of a file's name that are kept: as many as the API accepts; file systems take 255 bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """One file of a company in storage.

    Attributes:
        is_animated: see `shared.media.kinds.is_animated`; None also of files that an earlier version kept.
    """

    sha256: str
    size: int
    mimetype: str
    filename: str
    is_animated: bool | None
    created_at: datetime
    used_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderUpload:
    """What a provider calls a file, and for how long it has it (seconds)."""

    provider_id: str
    age_s: float


def remember(
    transaction: Transaction,
    company_id: str,
    sha256: str,
    *,
    size: int,
    mimetype: str,
    filename: str = "",
    is_animated: bool | None = None,
) -> None:
    """Record a file that was put into storage; one that is known keeps its first name and kind unless they are given
    anew.
    """
    transaction.execute(
        "remember_file",
        company_id=company_id,
        sha256=sha256,
        size=size,
        mimetype=mimetype,
        # From a client or a provider, with any character in it.
        filename=storable(filename)[:_FILENAME_MOST],
        is_animated=is_animated,
    )


def keep(
    transaction: Transaction,
    company_id: str,
    sha256: str,
    *,
    size: int,
    mimetype: str,
    filename: str,
    is_animated: bool | None,
) -> StoredFile:
    """As `remember`, and return the file: in one transaction, or retention could delete it between the two."""
    remember(
        transaction,
        company_id,
        sha256,
        size=size,
        mimetype=mimetype,
        filename=filename,
        is_animated=is_animated,
    )
    found = find(transaction, company_id, sha256)
    if found is None:
        # a bug, not a race: the row was written in this very transaction
        raise LookupError("a file that was remembered in this transaction is not there")
    return found


def remember_received(
    transaction: Transaction,
    company_id: str,
    sha256: str,
    *,
    size: int,
    mimetype: str,
    is_animated: bool | None = None,
) -> None:
    """Record a file that came with a message; one that is known keeps its name and kind, and the sender's name for it
    stays with the message.
    """
    transaction.execute(
        "remember_received",
        company_id=company_id,
        sha256=sha256,
        size=size,
        mimetype=mimetype,
        is_animated=is_animated,
    )


def find(transaction: Transaction, company_id: str, sha256: str) -> StoredFile | None:
    """Return a company's file, None when it has none with this digest. Asking for it counts as use."""
    row = transaction.row("find_file", company_id=company_id, sha256=sha256)
    return StoredFile(**row) if row else None


def uploaded(
    transaction: Transaction, connection_id: int, world: str | None, sha256: str, mimetype: str
) -> ProviderUpload | None:
    """Return the provider's id of a file that was uploaded for a connection and is still kept there, None when it must
    be uploaded.
    """
    row = transaction.row(
        "find_upload", connection_id=connection_id, world=world, sha256=sha256, mimetype=mimetype, days=UPLOAD_DAYS
    )
    return ProviderUpload(**row) if row else None


def remember_upload(
    transaction: Transaction,
    connection_id: int,
    world: str | None,
    sha256: str,
    *,
    mimetype: str,
    provider_id: str,
) -> None:
    """Note under what id the provider keeps a file."""
    transaction.execute(
        "remember_upload",
        connection_id=connection_id,
        world=world,
        sha256=sha256,
        mimetype=mimetype,
        provider_id=provider_id,
    )


def forget_upload(transaction: Transaction, connection_id: int, provider_id: str) -> None:
    """Forget an id that the provider does not know any more; a newer id of the same file stays."""
    transaction.execute("forget_upload", connection_id=connection_id, provider_id=provider_id)


def release(transaction: Transaction, company_id: str, sha256: str) -> None:
    """Let a file that came in be removed, unless something else refers to it."""
    transaction.execute("release_file", company_id=company_id, sha256=sha256)


def drop_files_of_deleted(transaction: Transaction, ids: Sequence[int]) -> None:
    """Cancel the fetches of the files of messages that came in and are deleted by now; stored ones are released."""
    transaction.execute("drop_files_of_deleted", ids=list(ids))


def remove_released(transaction: Transaction, *, most: int) -> list[Row]:
    """Forget files whose messages were deleted and that nothing else refers to, at most `most`. Returns the same as
    `expire`.
    """
    transaction.execute("keep_released_files")
    return transaction.rows("remove_released_files", grace_s=RELEASED_GRACE_S, most=most)


def expire(transaction: Transaction, *, days: float, most: int) -> list[Row]:
    """Forget files that were not used for `days` and that no open message needs, at most `most`.

    Returns:
        (company_id, sha256, size, mimetype, filename, used_at) of each.
    """
    return transaction.rows("expire_files", days=days, most=most)
