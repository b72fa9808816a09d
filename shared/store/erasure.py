"""Removes the content of messages that are deleted for everyone: from their rows, from the edits of them, and from the
raw events in which they came; typed functions for `queries/erasure.sql`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from shared.logs import logger
from shared.store import media
from shared.store.pool import Transaction

log = logger(__name__)

_PART: Final = "#"
"""Divides a provider's id from our number of a file, or of an edit, in the id of a line (`mid#2`)."""
_PARTS: Final = ("message", "message_edit", "postback")
"""Where Messenger and Instagram have the id."""
_NO_MESSAGES: Final = frozenset({"statuses"})
"""Lists whose items have ids of messages and are none: what they say about a message is no content of it."""
EMPTY: Final = b"{}"
"""Body of a raw event of which nothing is left."""


def erase_deleted(transaction: Transaction, ids: Collection[int]) -> None:
    """Remove the content of those of these messages, in both directions, that are deleted for everyone, with the words
    of their edits and their files; those that were cancelled before they left keep theirs. Done again, it changes
    nothing.

    Raw events follow in a later transaction (`erase_copies`): their rows may be in another process's hands.
    """
    if ids:
        media.drop_files_of_deleted(transaction, sorted(ids))
        transaction.execute("erase_deleted", ids=sorted(ids))


def erase_targets(transaction: Transaction, changes: Sequence[int]) -> None:
    """As `erase_deleted`, for the messages that these edits and deletions (our ids of them) name."""
    erase_deleted(transaction, {row["id"] for row in transaction.rows("deleted_targets", ids=list(changes))})


def note_copies(transaction: Transaction, copies: Collection[tuple[int, str, int]]) -> None:
    """Note raw events in which messages came that are kept already, each as (connection id, the provider's id, journal
    id): when the message is deleted, it is removed from them too.
    """
    if copies:
        transaction.execute("note_copies", **_columns(copies))


def erase_copies(transaction: Transaction, *, most: int) -> int:
    """Remove deleted messages from up to `most` raw events. Returns how many copies were looked at."""
    rows = transaction.rows("due_copies", most=most)
    names: dict[int, set[str]] = {}
    for row in rows:
        # an edit is part of an event that names its target
        given = {row["provider_id"], row["provider_id"].partition(_PART)[0], row["target"]} - {""}
        names.setdefault(row["journal_id"], set()).update(given)
    bodies = {row["journal_id"]: bytes(row["body"]) for row in rows}
    if rows:
        transaction.execute(
            "replace_bodies",
            ids=list(bodies),
            bodies=[without_messages(body, names[journal_id]) for journal_id, body in bodies.items()],
        )
        transaction.execute(
            "forget_copies", **_columns([(row["connection_id"], row["provider_id"], row["journal_id"]) for row in rows])
        )
    return len(rows)


def without_messages(body: bytes, names: Collection[str]) -> bytes:
    """Return the JSON of a raw event without the messages that have one of these ids of the provider's; everything
    else in it stays.
    """
    try:
        event: Any = json.loads(body)
        if _is_message(event, names):
            return EMPTY
        _remove(event, names)
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    # It was read once, or no message would have been made of it. What cannot be taken apart must not keep its text.
    except (ValueError, RecursionError) as error:
        log.warning("raw_event_removed", reason=type(error).__name__)
        return EMPTY


def _remove(value: object, names: Collection[str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, list) and key not in _NO_MESSAGES:
                inner[:] = [one for one in inner if not _is_message(one, names)]
            _remove(inner, names)
    elif isinstance(value, list):
        for one in value:
            _remove(one, names)


def _is_message(value: object, names: Collection[str]) -> bool:
    if not isinstance(value, Mapping):
        return False
    # `edit`: the id of an edit in a page's event
    ids = [value.get("id"), value.get("edit")]
    ids += [part.get("mid") for name in _PARTS if isinstance(part := value.get(name), Mapping)]
    return any(isinstance(one, str) and one in names for one in ids)


def _columns(copies: Collection[tuple[int, str, int]]) -> Mapping[str, Sequence[int | str]]:
    ordered = sorted(copies)
    return {
        "connection_ids": [connection_id for connection_id, _, _ in ordered],
        "provider_ids": [provider_id for _, provider_id, _ in ordered],
        "journal_ids": [journal_id for _, _, journal_id in ordered],
    }
