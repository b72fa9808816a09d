"""States of a conversation and what moves it, as data and pure functions. Nothing else decides what may follow what;
the tables in docs/conversations.md are made from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared import content


class ConversationState(StrEnum):
    """Who answers in a chat."""

    BOT = "bot"
    """The assistant."""
    WAITING = "waiting"
    """No one yet: the customer waits for a human."""
    HUMAN = "human"
    """A human."""
    CLOSED = "closed"
    """No one: it is finished. The next message of the customer opens it again."""


class TurnState(StrEnum):
    """Life of one answer of the assistant."""

    OPEN = "open"
    RUNNING = "running"
    ANSWERED = "answered"
    HANDED_OFF = "handed_off"
    DROPPED = "dropped"
    FAILED = "failed"


S, T = ConversationState, TurnState


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationMove:
    """One way in which a conversation changes its state: one UPDATE, conditional on `before`.

    Attributes:
        after: None: `bot` where the company has an assistant; otherwise what `without_assistant` says.
        without_assistant: None: the move does not exist for a company without one.
        purpose: what moves it, for people.
    """

    before: frozenset[ConversationState]
    after: ConversationState | None
    without_assistant: ConversationState | None = None
    purpose: str

    def target(self, *, has_assistant: bool) -> ConversationState | None:
        """Return the state after it; None: it does not exist for such a company."""
        if self.after is not None:
            return self.after
        return S.BOT if has_assistant else self.without_assistant


MOVES: Final[Mapping[str, ConversationMove]] = {
    "reopened": ConversationMove(
        before=frozenset({S.CLOSED}),
        after=None,
        without_assistant=S.WAITING,
        purpose="The customer writes again.",
    ),
    "handed_over": ConversationMove(
        before=frozenset({S.BOT, S.CLOSED}),
        after=S.WAITING,
        purpose="The customer asks for a human (a keyword), or the assistant cannot go on.",
    ),
    "taken_over": ConversationMove(
        before=frozenset({S.BOT, S.WAITING, S.CLOSED}),
        after=S.HUMAN,
        purpose="A human writes: by the API, on the phone, or in the provider's app.",
    ),
    "assigned": ConversationMove(
        before=frozenset({S.BOT, S.WAITING, S.HUMAN}),
        after=S.HUMAN,
        purpose="A human is named who looks after it.",
    ),
    "put_back": ConversationMove(
        before=frozenset({S.HUMAN}),
        after=S.WAITING,
        purpose="The human who looked after it gives it up (`assignee` null).",
    ),
    "handed_back": ConversationMove(
        before=frozenset({S.WAITING, S.HUMAN}),
        after=None,
        purpose="A human gives it back to the assistant.",
    ),
    "closed": ConversationMove(
        before=frozenset({S.BOT, S.WAITING, S.HUMAN}),
        after=S.CLOSED,
        purpose="It is finished.",
    ),
    "human_timeout": ConversationMove(
        before=frozenset({S.HUMAN}),
        after=None,
        without_assistant=S.CLOSED,
        purpose="No human wrote for `humanTimeoutMinutes`.",
    ),
    "waiting_timeout": ConversationMove(
        before=frozenset({S.WAITING}),
        after=None,
        without_assistant=S.CLOSED,
        purpose="No human came within `waitingTimeoutMinutes`.",
    ),
    "idle": ConversationMove(
        before=frozenset({S.BOT}),
        after=S.CLOSED,
        purpose="The customer wrote nothing for `conversationTimeoutMinutes`.",
    ),
    "connection_removed": ConversationMove(
        before=frozenset({S.BOT, S.WAITING, S.HUMAN}),
        after=S.CLOSED,
        purpose="Its connection was removed.",
    ),
    "switched_off": ConversationMove(
        before=frozenset({S.BOT, S.WAITING, S.HUMAN}),
        after=S.CLOSED,
        purpose="The company has neither an assistant nor humans to reach any more.",
    ),
}
"""Every change of a state, by its name."""

MERGE_PRECEDENCE: Final = (S.HUMAN, S.WAITING, S.BOT, S.CLOSED)
"""Which state is kept when a person turns out to have two conversations: a human who answers goes on, who waits goes on
waiting, and what is open stays open.
"""

TURN_TRANSITIONS: Final[Mapping[TurnState, frozenset[TurnState]]] = {
    T.OPEN: frozenset({T.RUNNING, T.DROPPED}),
    # running -> open: its process died, or is stopped
    T.RUNNING: frozenset({T.OPEN, T.ANSWERED, T.HANDED_OFF, T.DROPPED, T.FAILED}),
    **dict.fromkeys((T.ANSWERED, T.HANDED_OFF, T.DROPPED, T.FAILED), frozenset()),
}

NOT_SAID: Final = frozenset({"edit", "revoke", "call", "system", content.REACTION})
"""Types that a customer's line may have without saying anything that could be answered."""
NO_REPLY: Final = frozenset(
    {content.TEMPLATE, content.REACTION, content.EDIT, content.DELETE, content.READ, content.TYPING}
)
"""Types of ours with which no human takes over: a template is a notification, the others are no words of their own."""

OLDEST: Final = timedelta(hours=24)
"""Age beyond which what a customer wrote is not answered any more: providers repeat for days what they could not
deliver, and after a day most of them allow no free answer.
"""
LONGEST_JOIN: Final = 5
"""By how many times the window an answer waits at most while the customer goes on writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationRules:
    """What a company has set, as far as states depend on it. Durations of None: never.

    Attributes:
        assists: it has an assistant. hands_over: its customers can reach a human.
    """

    assists: bool
    hands_over: bool
    waiting_timeout: timedelta | None = None
    idle_timeout: timedelta | None = None

    @property
    def first(self) -> ConversationState:
        """State of a new conversation, and of one that the customer opens again."""
        return S.BOT if self.assists else S.WAITING


@dataclass(frozen=True, slots=True)
class ArrivalDecision:
    """What a customer's message does.

    Attributes:
        state: of the conversation after it. reason: name of the move; empty: the state stays.
        opens_turn: the assistant answers it.
    """

    state: ConversationState
    reason: str
    opens_turn: bool


def on_arrival(
    state: ConversationState | None, rules: ConversationRules, *, asks_for_human: bool, may_trigger: bool
) -> ArrivalDecision:
    """Decide what a customer's message does to its conversation.

    Args:
        state: None: it is the first one. asks_for_human: it has one of the company's keywords. may_trigger: it may be
            answered; not what is old, or was imported.
    """
    # what is imported, or was on its way for days, opens nothing again
    if state in (S.WAITING, S.HUMAN) or (state is not None and not may_trigger):
        return ArrivalDecision(state, "", opens_turn=False)
    asked = asks_for_human and rules.hands_over
    if asked or not rules.assists:
        return ArrivalDecision(S.WAITING, "keyword" if asked else "no_assistant", opens_turn=False)
    reason = {None: "first_message", S.CLOSED: "reopened"}.get(state, "")
    return ArrivalDecision(S.BOT, reason, opens_turn=may_trigger)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What timeouts depend on.

    Attributes:
        since: when it came to its state. last_inbound_at: when the customer wrote last. human_until: see the column.
            is_removed: its connection is.
    """

    state: ConversationState
    since: datetime
    last_inbound_at: datetime | None
    human_until: datetime | None
    is_removed: bool = False


def overdue(conversation: Timed, rules: ConversationRules, now: datetime) -> str:
    """Return the name of the move that is due without anything that is written; empty: none."""
    if conversation.state is not S.CLOSED:
        # no reply can leave, or no one is there who would write it: who waits would wait for ever
        if conversation.is_removed:
            return "connection_removed"
        if not (rules.assists or rules.hands_over):
            return "switched_off"
    if conversation.state is S.HUMAN and conversation.human_until is not None and conversation.human_until <= now:
        return "human_timeout"
    if conversation.state is S.WAITING and _has_passed(conversation.since, rules.waiting_timeout, now):
        return "waiting_timeout"
    last = max(conversation.since, conversation.last_inbound_at or conversation.since)
    if conversation.state is S.BOT and _has_passed(last, rules.idle_timeout, now):
        return "idle"
    return ""


def _has_passed(since: datetime, limit: timedelta | None, now: datetime) -> bool:
    return limit is not None and since + limit <= now
