"""Serializes messages for clients: sent and received ones in one form, with the field names of the sending requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.messages.paths import message_unknown
from api.messages.steps import shown_steps
from shared.compose.directory import Directory
from shared.events.message_json import JsonObject, RelatedRows, described, received, sent
from shared.store import events, marks, messages, targets
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.timestamps import iso


class MessageSerializer:
    """Reads messages for clients."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    async def one(self, company_id: str, chat_id: str, message_id: int | str) -> JsonObject:
        """Return one message with its history. Raises `Problem` when the chat has no such message.

        Args:
            message_id: our id, or the provider's as text, by which a reply names the quoted message.
        """
        row, steps, related = await self._store.as_company(company_id).call(_whole, company_id, chat_id, message_id)
        # a chat has several ids (a number, an id of the provider's), any of which is valid here
        if row is None or chat_id not in row["chat_ids"]:
            # only now: the usual request needs no second query for the company
            await self._directory.require_company(company_id)
            raise message_unknown()
        if steps is None:
            return {**received(row, related), "history": []}
        by = {"requestId": row["request_id"], "traceparent": row["traceparent"], "held": row["held"]}
        return {**sent(row, related), **by, "history": shown_steps(steps)}

    async def page(
        self, company_id: str, chat_id: str, *, before: tuple[Any, int], most: int
    ) -> tuple[list[Row], list[JsonObject]]:
        """Return both directions of a chat, newest first: the rows, and what clients see of them."""
        rows, related = await self._store.as_company(company_id).call(_page, company_id, chat_id, before, most)
        return rows, [_entry(row, company_id, related) for row in rows]


def entries(transaction: Transaction, company_id: str, ids: Sequence[int]) -> Mapping[int, JsonObject]:
    """Return what clients see in lists of a company's messages, by id; those that are gone are left out."""
    rows = [row for row in events.messages_of(transaction, ids).values() if row["company_id"] == company_id]
    related = RelatedRows(transaction, company_id, rows)
    return {row["id"]: _entry(row, company_id, related) for row in rows}


def _whole(
    transaction: Transaction, company_id: str, chat_id: str, message_id: int | str
) -> tuple[Row | None, list[Row] | None, RelatedRows]:
    """Return the row, its steps (None for a received message), and its reactions and files."""
    if isinstance(message_id, str):
        # the same id of the provider may be known on several connections: the chat decides
        found = targets.find(transaction, company_id, message_id, acting=True)
        message_id = next((target.id for target in found if chat_id in target.chat_ids), 0)
    row = messages.by_id(transaction, company_id, message_id)
    # sent and received messages share one sequence of ids, so at most one of the two tables has this one
    steps = messages.history(transaction, message_id) if row else None
    row = row or marks.received(transaction, company_id, message_id)
    return row, steps, RelatedRows(transaction, company_id, [row] if row else [])


def _page(
    transaction: Transaction, company_id: str, chat_id: str, before: tuple[Any, int], most: int
) -> tuple[list[Row], RelatedRows]:
    rows = messages.chat_page(transaction, company_id=company_id, chat_id=chat_id, before=before, most=most)
    return rows, RelatedRows(transaction, company_id, rows)


def _entry(row: Row, company_id: str, related: RelatedRows) -> JsonObject:
    return {
        "id": str(row["id"]),
        "direction": row["direction"],
        "status": row["state"],
        "chatId": row["chat_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        **described(row, company_id, related),
        "sender": row["sender"] or None,
        "senderName": row["sender_name"] or None,
        "senderUsername": row["sender_username"] or None,
        "providerMessageId": row["provider_id"] or None,
        "errorCode": row["error_code"] or None,
        "at": iso(row["at"]),
        "createdAt": iso(row["created_at"]),
    }
