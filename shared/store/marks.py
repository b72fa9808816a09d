"""Reactions to messages, what they quote, and files that came with them; typed functions for `queries/marks.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.store.pool import Row, Transaction


def reactions(
    transaction: Transaction, company_id: str, targets: Sequence[tuple[int, str, str]]
) -> Mapping[tuple[int, str], list[tuple[str, str]]]:
    """Return reactions to messages, each given as (connection id, chat id, the provider's id); those from other chats
    are left out.

    Returns:
        (sender, emoji) by connection id and the provider's id; sender is empty for the company itself.
    """
    found: dict[tuple[int, str], list[tuple[str, str]]] = {}
    if targets:
        rows = transaction.rows(
            "reactions_to",
            company_id=company_id,
            connection_ids=[connection_id for connection_id, _, _ in targets],
            chat_ids=[chat_id for _, chat_id, _ in targets],
            targets=[provider_id for _, _, provider_id in targets],
        )
        for row in rows:
            found.setdefault((row["connection_id"], row["target"]), []).append((row["sender"], row["emoji"]))
    return found


def quoted(
    transaction: Transaction, company_id: str, named: Sequence[tuple[int, str, str]]
) -> Mapping[tuple[int, str, str], Row]:
    """Return (id, direction, type, state, content) of messages that others quote, each named by connection id, chat id
    and the provider's id; those that the company does not know in that chat are left out.
    """
    if not named:
        return {}
    rows = transaction.rows(
        "quoted_messages",
        company_id=company_id,
        connection_ids=[connection_id for connection_id, _, _ in named],
        chat_ids=[chat_id for _, chat_id, _ in named],
        provider_ids=[provider_id for _, _, provider_id in named],
    )
    return {(row["connection_id"], row["asked_chat_id"], row["provider_id"]): row for row in rows}


def received_files(transaction: Transaction, ids: Sequence[int]) -> Mapping[int, Row]:
    """Return the state of files that came with messages: (state, sha256, mimetype, size, reason) by the message's
    id.
    """
    return {row["message_id"]: row for row in transaction.rows("received_files", ids=list(ids))} if ids else {}


def received(transaction: Transaction, company_id: str, message_id: int) -> Row | None:
    """Return one message of a company that came in, None when it has none with this id."""
    return transaction.row("received_by_id", company_id=company_id, id=message_id)
