"""Reports of providers about our messages: the statements `match_receipts` and `apply_receipts` of
`queries/messages.sql`, in one transaction.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from shared.messages import Receipt
from shared.states import MESSAGE_TRANSITIONS, MessageState, predecessors
from shared.store import people
from shared.store.messages import apply_to_targets
from shared.store.people import OnePerson
from shared.store.pool import Transaction, records


def apply(
    transaction: Transaction, receipts: Sequence[Receipt], *, ids: MutableMapping[int, int] | None = None
) -> list[bool]:
    """Move messages on by what the provider reports; duplicates, skipped steps and wrong order are harmless.

    A receipt counts only for an attempt that this installation made and that is not closed: one that was redriven as a
    dead letter is.

    Args:
        ids: gets the message that each receipt is about, by the receipt's place.
    Returns:
        For each receipt whether a message of ours was found for it.
    """
    if not receipts:
        return []
    names = [
        {
            "position": position,
            "connection_id": receipt.connection_id,
            "provider_id": receipt.provider_id,
            "token": receipt.token,
        }
        for position, receipt in enumerate(receipts)
    ]
    # locked first and in one order: two processes with the same receipts do not write them twice, and do not wait for
    # each other in a circle
    locked = transaction.rows("match_receipts", rows=records(names))
    if ids is not None:
        ids.update({row["position"]: row["id"] for row in locked})
    # Also from receipts of closed attempts: that two ids name one person stays true.
    people.learn(
        transaction,
        [
            OnePerson(
                connection_id=receipt.connection_id, first=row["chat_id"], second=receipt.recipient, at=receipt.at
            )
            for row in locked
            if (receipt := receipts[row["position"]]).recipient
        ],
    )
    matches = [row for row in locked if not row["is_closed"]]
    # In the order of a message's life, so that a batch which holds several steps of one message applies each of them.
    for state in (MessageState.SENT, MessageState.DELIVERED, MessageState.READ, MessageState.FAILED):
        rows = [
            {
                "position": match["position"],
                "id": match["id"],
                "at": receipt.at.isoformat(),
                "provider_id": receipt.provider_id,
                "attempt": match["attempt"],
                "code": receipt.code,
                "detail": receipt.detail,
                "extra": dict(receipt.extra),
            }
            for match in matches
            if (receipt := receipts[match["position"]]).state is state
        ]
        if rows:
            transaction.execute(
                "apply_receipts", rows=records(rows), state=state, before=list(predecessors(MESSAGE_TRANSITIONS, state))
            )
    # After the states are written: an edit takes hold once it counts as sent, in this same transaction.
    apply_to_targets(transaction, [match["id"] for match in matches if match["acts"]])
    # Also those of closed attempts: the message is ours, and the receipt must not count as one that has no owner.
    found = {row["position"] for row in locked}
    return [position in found for position in range(len(receipts))]
