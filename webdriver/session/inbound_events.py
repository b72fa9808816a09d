"""The handler of the journal of page events: raw events become messages, files to fetch and contacts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shared.content import REACTION
from shared.inbound.pipeline import JournalRow, Processed
from shared.inbound_events import MediaSource
from shared.messages import InboundMessage
from shared.store import erasure, inbound, inbound_media, pages
from shared.store.pool import Transaction
from webdriver.page import parsing

SOURCE = "webdriver"
"""Names the page in the journal."""


def handle(transaction: Transaction, rows: Sequence[JournalRow]) -> Processed[int]:
    """Write the messages, files and contacts of a batch of page events; see `JournalPipeline`.

    The result is how many messages were new.
    """
    outcomes: dict[int, str] = {}
    messages: list[tuple[InboundMessage, int]] = []
    ours: set[tuple[int, str, int]] = set()
    for row in rows:
        try:
            message = _read(row)
        # kept in the journal with its reason: one unreadable row holds up no other, and a fixed parser can process it
        # again
        except (parsing.EventUnreadable, ValueError) as error:
            outcomes[row.id] = f"unreadable: {error}"
            continue
        if message is None:
            # its text is still encrypted: the page reports it again when it is not
            outcomes[row.id] = "nothing to read yet"
        # what was written on the phone is reported, what we sent ourselves is not
        elif message.from_me and _is_ours(transaction, message):
            ours.add((message.connection_id, message.provider_id, row.id))
        else:
            messages.append((message, row.id))
    erasure.note_copies(transaction, ours)
    # before the insert, which fixes the chat of a row
    messages = _in_known_chats(transaction, messages)
    # the insert leaves out what is there already: the page may report a message any number of times
    kept = inbound.insert(transaction, messages)
    new = {(row["connection_id"], row["provider_id"]): row["id"] for row in kept}
    # files and contacts follow new messages only: a second report must not fetch a file again
    fresh = [message for message, _ in messages if (message.connection_id, message.provider_id) in new]
    if files := [
        (new[message.connection_id, message.provider_id], _file(message)) for message in fresh if _has_file(message)
    ]:
        inbound_media.media_pending(transaction, files)
    if people := [person for message in fresh if (person := parsing.person(message))]:
        inbound.see(transaction, people)
    return Processed(len(new), outcomes, [row["arrived"] for row in kept if row["arrived"]])


def _read(row: JournalRow) -> InboundMessage | None:
    raw: Any = json.loads(row.body)
    if row.connection_id is None or not isinstance(raw, dict):
        raise parsing.EventUnreadable("not an event of a connection")
    return parsing.read(row.connection_id, str(raw.get("event") or "message"), raw, row.received_at)


def _in_known_chats(
    transaction: Transaction, messages: Sequence[tuple[InboundMessage, int]]
) -> list[tuple[InboundMessage, int]]:
    """Put what came under an id of the page's own into the chat with the person's number, where the number is known."""
    phones = inbound.phones_of(
        transaction, [(one.connection_id, one.chat_id) for one, _ in messages if one.chat_id.endswith("@lid")]
    )
    return [
        (replace(one, chat_id=phones.get((one.connection_id, one.chat_id), one.chat_id)), journal_id)
        for one, journal_id in messages
    ]


def _is_ours(transaction: Transaction, message: InboundMessage) -> bool:
    """Whether the page shows what we sent, also while the answer is on the way, or by a process that is dead by now."""
    if pages.known(transaction, connection_id=message.connection_id, ids=[message.provider_id]):
        return True
    return message.type == REACTION and pages.is_our_reaction(
        transaction,
        connection_id=message.connection_id,
        chat_id=message.chat_id,
        target=str(message.content["target"]),
        emoji=str(message.content["emoji"]),
        at=message.at,
    )


def _has_file(message: InboundMessage) -> bool:
    return bool(message.content.get("media"))


def _file(message: InboundMessage) -> MediaSource:
    media = message.content["media"]
    return MediaSource(
        connection_id=message.connection_id,
        provider_id=message.provider_id,
        id=message.provider_id,
        mimetype=media.get("mimetype", ""),
        sha256=media.get("sha256", ""),
        filename=media.get("filename", ""),
    )
