"""People: which ids name one person. A chat is found by any alias of its person; typed functions for
`queries/people.sql`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shared.channels.chat_ids import ChatIdForm, ChatInvalid, read
from shared.clock import utc_now
from shared.logs import logger
from shared.store.pool import Transaction

log = logger(__name__)

_PERSONS: Final = frozenset({ChatIdForm.PHONE, ChatIdForm.LID, ChatIdForm.BUSINESS_SCOPED})
"""Forms of ids of people, of whom one may have several."""
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
    if forms == {ChatIdForm.PHONE}:
        return first[-_SAME_TAIL:] == second[-_SAME_TAIL:] and first[:_SAME_HEAD] == second[:_SAME_HEAD]
    # two lids are two persons; a user id may be followed by another one
    return forms != {ChatIdForm.LID}


@dataclass(frozen=True, kw_only=True, slots=True)
class OnePerson:
    """That two ids name one person, as reported to a connection.

    Attributes:
        at: when the provider said so. moves: whether a user id may leave the number that it named until then; not where
            the customer's own words are all that says so.
    """

    connection_id: int
    first: str = field(repr=False)
    second: str = field(repr=False)
    at: datetime = field(default_factory=utc_now)
    moves: bool = True


def learn(transaction: Transaction, pairs: Iterable[OnePerson]) -> None:
    """Record that pairs of ids name one person; pairs that cannot are left out; idempotent.

    A pair that contradicts what is known joins no chats: a user id that named one number and names another now leaves
    the first, and whatever else contradicts is left as it was. Both are an event (`contact.contradicted`).
    """
    # Sorted within and among pairs: a-b and b-a are one, and the locks of `link_aliases` are taken in one order. By
    # instant, so that of one pair the newest is kept.
    believed = {
        (pair.connection_id, *sorted((pair.first, pair.second))): pair
        for pair in sorted(pairs, key=lambda pair: pair.at)
        if may_be_one_person(pair.first, pair.second)
    }
    if not believed:
        return
    ordered = sorted(believed.items(), key=lambda one: one[0])
    contradictions = transaction.rows(
        "learn_aliases",
        connection_ids=[connection_id for (connection_id, _, _), _ in ordered],
        firsts=[first for (_, first, _), _ in ordered],
        seconds=[second for (_, _, second), _ in ordered],
        instants=[pair.at for _, pair in ordered],
        moves=[pair.moves for _, pair in ordered],
    )
    for row in contradictions:
        log.warning("contact_contradicted", connection_id=row["connection_id"], outcome=row["outcome"])


def learn_from_replies(transaction: Transaction, ids: Sequence[int]) -> None:
    """Learn from messages that came in and quote one of ours: their sender is the person to whom it was sent, unless
    the provider has named another person.
    """
    rows = transaction.rows("chats_of_quoted", ids=list(ids))
    learn(
        transaction,
        [
            OnePerson(
                connection_id=row["connection_id"],
                first=row["chat_id"],
                second=row["quoted_chat_id"],
                at=row["at"],
                moves=False,
            )
            for row in rows
        ],
    )
