"""What messages do to conversations when they come in, in the transaction that stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shared.channels.chat_ids import ChatIdForm, ChatInvalid, canonical, read
from shared.clock import utc_now
from shared.conversations import keywords, rows
from shared.conversations.rows import ArrivedChat, HandWritten, MoveOrder, TurnInput
from shared.conversations.states import NOT_SAID, OLDEST, ConversationState, on_arrival
from shared.inbound_events import Arrived
from shared.messages import InboundMessage
from shared.store.pool import Transaction
from shared.tenancy.company_settings import CompanySettings

_PERSONS: Final = frozenset(
    {ChatIdForm.PHONE, ChatIdForm.SHORT_CODE, ChatIdForm.LID, ChatIdForm.BUSINESS_SCOPED, ChatIdForm.NUMERIC}
)
"""Forms of ids that name one person. A group of Meta may have a number too: there, the sender is another one."""


def note(transaction: Transaction, arrived: Sequence[Arrived]) -> list[int]:
    """Bring the conversations of companies that keep them up to date with messages that were stored just now. Return
    the turns of the assistant that were opened or joined.

    Called last in the transaction, since it locks conversations: ids of people are linked by then.
    """
    if not arrived:
        return []
    known = rows.companies(transaction, (one.company_id for one in arrived))
    lines = [one for one in arrived if one.company_id in known and one.message.type not in NOT_SAID]
    lines = [one for one in lines if _is_of_one_person(one.message)]
    turns = _received(transaction, [one for one in lines if not one.message.from_me], known)
    # after the customers' messages: a human who answers them has read them
    rows.written_by_hand(
        transaction,
        [
            HandWritten(
                id=one.id,
                company_id=one.company_id,
                connection_id=one.message.connection_id,
                chat_id=one.message.chat_id,
                at=one.message.at,
                body=_text(one.message),
            )
            for one in lines
            if one.message.from_me and not one.message.context.get("history")
        ],
    )
    return turns


@dataclass(kw_only=True, slots=True)
class _Chat:
    """What came in of one chat. `asks`: for a human. `answerable`: ids of what may be answered."""

    company_id: str
    connection_id: int
    chat_id: str = field(repr=False)
    at: datetime
    asks: bool = False
    answerable: list[int] = field(default_factory=list)


def _received(transaction: Transaction, lines: Sequence[Arrived], known: Mapping[str, CompanySettings]) -> list[int]:
    chats: dict[tuple[int, str], _Chat] = {}
    oldest = utc_now() - OLDEST
    for one in lines:
        message, settings = one.message, known[one.company_id]
        chat = chats.setdefault(
            (message.connection_id, message.chat_id),
            _Chat(
                company_id=one.company_id,
                connection_id=message.connection_id,
                chat_id=message.chat_id,
                at=message.at,
            ),
        )
        chat.at = max(chat.at, message.at)
        if message.may_trigger and message.at > oldest:
            chat.answerable.append(one.id)
            chat.asks = chat.asks or keywords.asks_for_human(
                keywords.said(message.content), keywords.keywords_of(settings), settings.locales
            )
    if not chats:
        return []
    # in one order everywhere, as their rows are begun
    ordered = [chat for _, chat in sorted(chats.items(), key=lambda one: one[0])]
    first = [
        on_arrival(
            None, rows.rules_of(known[chat.company_id]), asks_for_human=chat.asks, may_trigger=bool(chat.answerable)
        )
        for chat in ordered
    ]
    found = rows.begin(
        transaction,
        [
            ArrivedChat(
                company_id=chat.company_id,
                connection_id=chat.connection_id,
                chat_id=chat.chat_id,
                first=decision.state if chat.answerable else None,
                reason=decision.reason,
                at=chat.at,
            )
            for chat, decision in zip(ordered, first, strict=True)
        ],
    )
    moves: dict[int, MoveOrder] = {}
    inputs: list[TurnInput] = []
    for chat, begun, conversation in zip(ordered, first, found, strict=True):
        if conversation is None:
            continue
        settings = known[chat.company_id]
        decision = begun
        # of two chats of one person in a batch the second meets what the first has done
        state = moves[conversation.id].after if conversation.id in moves else conversation.state
        if not conversation.is_new or state is not begun.state:
            decision = on_arrival(
                state, rows.rules_of(settings), asks_for_human=chat.asks, may_trigger=bool(chat.answerable)
            )
            if decision.state is not state:
                moves[conversation.id] = MoveOrder(
                    id=conversation.id, before={conversation.state}, after=decision.state, reason=decision.reason
                )
        if decision.opens_turn:
            inputs.append(
                TurnInput(
                    company_id=chat.company_id,
                    conversation_id=conversation.id,
                    first_id=min(chat.answerable),
                    last_id=max(chat.answerable),
                    delay_s=settings.answer_delay_s,
                )
            )
    rows.move(transaction, list(moves.values()))
    handed_over = {one.id for one in moves.values() if one.after is not ConversationState.BOT}
    return rows.join_turns(transaction, [one for one in inputs if one.conversation_id not in handed_over])


def _is_of_one_person(message: InboundMessage) -> bool:
    try:
        form = read(message.chat_id).form
        if form is ChatIdForm.NUMERIC and not message.from_me and message.sender:
            return canonical(message.sender) == message.chat_id
    # the provider's own name of something else
    except ChatInvalid:
        return False
    return form in _PERSONS


def _text(message: InboundMessage) -> str | None:
    body = message.content.get("body")
    return body if isinstance(body, str) else None
