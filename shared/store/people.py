"""People: which ids name one person. A chat is found by any alias of its person; typed functions for
`queries/people.sql`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from shared.channels.chat_ids import ChatInvalid, Form, read
from shared.store.pool import Transaction

_PERSONS: Final = frozenset({Form.PHONE, Form.LID, Form.BUSINESS_SCOPED})
"""Forms of ids that name a person whom another id may name too."""
_SAME_TAIL: Final = 7
"""Digits at the end that two spellings of one phone number share: only what stands between country and subscriber
differs, such as the 9 of a Brazilian mobile number or the 1 of a Mexican one.
"""
_SAME_HEAD: Final = 2
"""Digits at the beginning that they share: the country."""


def may_be_one_person(first: str, second: str) -> bool:
    """Whether two chat ids can name one person. Only then is a provider's statement that they do applied: no chat is
    joined with another person's or a group's.
    """
    # Nothing to learn, and a row for an alias that stands alone is not wanted.
    if first == second:
        return False
    try:
        forms = {read(first).form, read(second).form}
    # A form that no channel knows names no person that could have a second name.
    except ChatInvalid:
        return False
    if not forms <= _PERSONS:
        return False
    if forms == {Form.PHONE}:
        return first[-_SAME_TAIL:] == second[-_SAME_TAIL:] and first[:_SAME_HEAD] == second[:_SAME_HEAD]
    # two lids are two persons; a user id may be followed by another one
    return forms != {Form.LID}


def learn(transaction: Transaction, pairs: Iterable[tuple[int, str, str]]) -> None:
    """Note that pairs of ids, each as reported to a connection (its id comes first), name one person; pairs that cannot
    are left out; idempotent.
    """
    believed = sorted(
        {
            # Sorted within and among pairs: a-b and b-a are one, and the locks of `link_aliases` are taken in one
            # order.
            (connection_id, *sorted((first, second)))
            for connection_id, first, second in pairs
            if may_be_one_person(first, second)
        }
    )
    if believed:
        transaction.rows(
            "learn_aliases",
            connection_ids=[connection_id for connection_id, _, _ in believed],
            firsts=[first for _, first, _ in believed],
            seconds=[second for _, _, second in believed],
        )


def learn_from_replies(transaction: Transaction, ids: Sequence[int]) -> None:
    """Learn from messages that came in and quote one of ours: their sender is the person to whom it was sent."""
    rows = transaction.rows("chats_of_quoted", ids=list(ids))
    learn(transaction, [(row["connection_id"], row["chat_id"], row["quoted_chat_id"]) for row in rows])
