"""Files that came with messages: what waits to be fetched from the provider, the fetching incarnation, and the
outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.filenames import with_clean_names
from shared.inbound_events import MediaSource
from shared.store import media
from shared.store.pool import Row, Transaction, records
from shared.store.texts import storable

_REASON_MOST: Final = 300
"""Characters of a reason that are kept: it is for a list that people read, and may quote a server's answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenMedia:
    """One file that an incarnation is to fetch.

    Attributes:
        message_id: row of the message that it came with. world: in which the provider has it; None: not
            known. type: of that message. source: how the provider names it.
            attempts: this one included.
    """

    message_id: int
    company_id: str
    connection_id: int
    world: str | None
    type: str
    source: Mapping[str, Any] = field(repr=False)
    attempts: int


def media_pending(transaction: Transaction, sources: Sequence[tuple[int, MediaSource]]) -> None:
    """Let files be fetched, each with the row of its message; those that are known already are left alone."""
    # The sender chose the file's name, and it becomes part of headers and paths: cleaned before it is stored.
    rows = [{"message_id": message_id, "source": with_clean_names(source.stored())} for message_id, source in sources]
    transaction.execute("add_inbound_media", rows=records(rows))


def take_media(transaction: Transaction, kind: str, *, incarnation: str, lease_s: float, most: int) -> list[TakenMedia]:
    """Make an incarnation the fetcher of files that are due; no other process takes them before the lease ends, in
    seconds.
    """
    rows = transaction.rows("take_inbound_media", kind=kind, incarnation=incarnation, lease_s=lease_s, most=most)
    return [TakenMedia(**row) for row in rows]


def media_stored(
    transaction: Transaction,
    taken: TakenMedia,
    *,
    incarnation: str,
    sha256: str,
    mimetype: str,
    size: int,
    reason: str = "",
) -> bool:
    """Record that a file is in our storage. Returns False when another process took it meanwhile."""
    is_written = _finish(
        transaction, taken, incarnation, state="stored", sha256=sha256, mimetype=mimetype, size=size, reason=reason
    )
    if not is_written:
        # the message may have been deleted meanwhile; if another process stored the file, its row keeps it
        media.release(transaction, taken.company_id, sha256)
    return is_written


def media_failed(
    transaction: Transaction,
    taken: TakenMedia,
    *,
    incarnation: str,
    reason: str,
    state: str = "failed",
    after_s: float = 0.0,
) -> bool:
    """Record that a file could not be fetched.

    Args:
        reason: why, without addresses. state: `failed` or `refused` for good, `pending` to try again `after_s` seconds
            from now.
    Returns:
        False when another process took it meanwhile.
    """
    return _finish(transaction, taken, incarnation, state=state, reason=reason, after_s=after_s)


def _finish(
    transaction: Transaction,
    taken: TakenMedia,
    incarnation: str,
    *,
    state: str,
    sha256: str = "",
    mimetype: str = "",
    size: int = 0,
    reason: str = "",
    after_s: float = 0.0,
) -> bool:
    row = transaction.row(
        "finish_inbound_media",
        message_id=taken.message_id,
        incarnation=incarnation,
        # Part of the fence: this process may have taken the file again since its lease ended.
        attempts=taken.attempts,
        state=state,
        sha256=sha256,
        mimetype=mimetype,
        size=size,
        # It may quote a server's answer, with any character in it.
        reason=storable(reason)[:_REASON_MOST],
        after_s=after_s,
    )
    return row is not None


def release_earlier_lives(transaction: Transaction, kind: str, *, slot: str, living: str) -> int:
    """Give back at once what earlier lives of a slot were fetching; the slot's lock proves that they are dead. Returns
    how many.
    """
    # An incarnation is `<slot>.<rest>`; the dot keeps `meta-1` apart from `meta-10`.
    return len(transaction.rows("release_inbound_media", kind=kind, slot=slot, living=living))


def media_of(transaction: Transaction, ids: Sequence[int]) -> dict[int, Row]:
    """Return what is known about the files of messages, by message: (state, sha256, mimetype, size, reason,
    attempts).
    """
    return {row["message_id"]: row for row in transaction.rows("inbound_media_of", ids=list(ids))}


def waiting(transaction: Transaction, kind: str) -> int:
    """Return how many files wait to be fetched."""
    return int(transaction.one("inbound_media_backlog", kind=kind)["files"])


def not_fetched(transaction: Transaction, kind: str, *, below: int | None = None, most: int) -> list[Row]:
    """Return files that could not be fetched, newest first, of messages with ids below `below`: (message_id,
    company_id, connection_id, state, attempts, reason, updated_at).
    """
    return transaction.rows("inbound_media_rows", kind=kind, below=below, most=most)


def fetch_again(transaction: Transaction, kind: str, *, ids: Sequence[int] | None, most: int) -> list[int]:
    """Let files that could not be fetched be fetched again: of these messages, or all. Returns the messages' ids."""
    return [
        row["message_id"]
        for row in transaction.rows(
            "replay_inbound_media", kind=kind, ids=None if ids is None else list(ids), most=most
        )
    ]
