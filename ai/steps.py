"""What is done for a turn, step by step. Each returns how the turn ends, or None to go on with the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from ai import context, rows
from ai.answer_time import AnswerTime
from ai.answers import Conclusion, TurnAcceptor
from ai.context import KnownPassage
from ai.models import ModelTargets
from ai.rows import AssistantTurn, TurnChat
from ai.runs import CAP_FAILURES, AnswerRun
from ai.talking import Talk, Talker
from ai.tools.registry import ToolBox
from ai.tools.tool import ToolContext
from shared import content
from shared.channels import capabilities
from shared.clock import utc_now
from shared.compose.composer import Composer, Draft
from shared.conversations import keywords
from shared.conversations.states import TurnState
from shared.errors import Refused
from shared.llm.failures import ModelFailed
from shared.llm.questions import ChatMessage
from shared.logs import logger
from shared.states import CompanyState
from shared.store import connections
from shared.store.connections import Connection
from shared.store.store import Store
from shared.tenancy.known_companies import KnownCompanies

log = logger(__name__)

_T = TypeVar("_T")

TURN_ATTEMPTS: Final = 3
"""Lives that may take a turn; after that it is given to a human, so that a turn that kills its process does not do so
for ever.
"""
_OF_THE_CUSTOMER: Final = 4000
"""Characters of what the customer wrote since the last answer that documents are searched for."""


class TurnFailed(Exception):
    """Raised by a step when there will be no answer; `reason`: a code."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Librarian(Protocol):
    """Finds passages of a company's documents."""

    async def find(self, run: AnswerRun, question: str) -> Sequence[KnownPassage]:
        """Return those that answer a question, the best first."""


@dataclass(kw_only=True, slots=True)
class TurnWork:
    """A turn while it is worked on; each step adds what it found.

    Attributes:
        time: how long it may take.
    """

    turn: AssistantTurn
    time: AnswerTime
    run: AnswerRun | None = None
    chat: TurnChat | None = None
    connection: Connection | None = None
    history: list[ChatMessage] = field(default_factory=list)
    asked: str = ""
    passages: Sequence[KnownPassage] | None = None
    messages: list[ChatMessage] = field(default_factory=list)

    @staticmethod
    def known(found: _T | None) -> _T:
        """Return what an earlier step found. Raises `RuntimeError` when the steps are in a wrong order."""
        if found is None:
            raise RuntimeError("a step ran before the one that it needs")
        return found


class Ended(NamedTuple):
    """How a turn ends: its state, a code, and what the customer gets (empty: nothing)."""

    state: TurnState
    reason: str
    text: str = ""
    hands_over: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class StepParts:
    """What the steps need; one for a process."""

    store: Store
    composer: Composer
    acceptor: TurnAcceptor
    talker: Talker
    targets: ModelTargets
    tools: ToolBox
    librarian: Librarian
    incarnation: str


class Steps:
    """The steps, over what they need."""

    def __init__(self, parts: StepParts) -> None:
        self._store, self._composer, self._acceptor = parts.store, parts.composer, parts.acceptor
        self._talker, self._targets, self._tools = parts.talker, parts.targets, parts.tools
        self._librarian, self._incarnation = parts.librarian, parts.incarnation
        self._companies = KnownCompanies(parts.store)

    @property
    def in_order(self) -> Sequence[Callable[[TurnWork], Awaitable[Ended | None]]]:
        """The list."""
        return (
            self.resolve_company,
            self.find_conversation,
            self.check_handoff,
            self.show_attention,
            self.find_knowledge,
            self.build_context,
            self.ask_model,
        )

    async def resolve_company(self, work: TurnWork) -> Ended | None:
        """Whose turn is it, and what is the company set to?"""
        turn = work.turn
        found = await self._companies.find(turn.company_id)
        if found is None or found.state is not CompanyState.ACTIVE or not found.settings.assists:
            return Ended(TurnState.DROPPED, "no_assistant")
        work.run = AnswerRun(
            company_id=turn.company_id,
            name=turn.run,
            turn_id=turn.id,
            settings=found.settings,
            fence=lambda transaction: rows.hold(transaction, turn.id, incarnation=self._incarnation),
        )
        return None

    async def find_conversation(self, work: TurnWork) -> Ended | None:
        """Where does it take place, and whose is it now?"""
        work.chat = await self._store.call(rows.chat, work.turn)
        if work.chat is None or work.chat.inbound_id is None:
            return Ended(TurnState.DROPPED, "gone")
        if work.chat.state != "bot":
            return Ended(TurnState.DROPPED, work.chat.state)
        work.connection = await self._store.call(connections.by_index, work.turn.company_id, work.chat.phone_index)
        if work.connection is None:
            return Ended(TurnState.DROPPED, "connection_removed")
        if work.turn.attempts > TURN_ATTEMPTS:
            log.error("turn_given_up", turn_id=work.turn.id, attempts=work.turn.attempts - 1)
            raise TurnFailed("poison")
        return None

    async def check_handoff(self, work: TurnWork) -> Ended | None:
        """Does the customer ask for a human? (Keywords that were set since the message came.)"""
        run, chat = work.known(work.run), work.known(work.chat)
        lines = await self._store.call(
            rows.lines, work.turn, chat, most=run.settings.assistant.history + _since(work.turn)
        )
        new = [line for line in lines if not line["is_ours"] and line["id"] >= work.turn.first_inbound_id]
        # last, also where our answer to what came before is younger than them
        work.history = context.history([*(line for line in lines if line not in new), *new])
        said = (context.line_text(line["type"], line["content"]) for line in new)
        work.asked = "\n".join(filter(None, said))[:_OF_THE_CUSTOMER]
        if not work.asked:
            return Ended(TurnState.DROPPED, "nothing_said")
        words = keywords.keywords_of(run.settings)
        if run.settings.hands_off and keywords.asks_for_human(work.asked, words, run.settings.locales):
            return Ended(TurnState.HANDED_OFF, "keyword", hands_over=True)
        return None

    async def show_attention(self, work: TurnWork) -> Ended | None:
        """Mark what came in as read and show that an answer is being written, where the channel can."""
        for type_ in (content.READ, content.TYPING):
            fields = {"lastsSeconds": 25} if type_ == content.TYPING else {}
            draft = Draft(
                type=type_, connection=work.known(work.connection), chat_id=work.known(work.chat).chat_id, fields=fields
            )
            try:
                await self._composer.accept(draft, f"{work.turn.run}-{type_}")
            # a channel without it, or a message that is gone: the answer does not depend on it
            except Refused as refused:
                log.debug("attention_not_shown", type=type_, code=refused.code)
        return None

    async def find_knowledge(self, work: TurnWork) -> Ended | None:
        """What do the company's documents say about it?"""
        run = work.known(work.run)
        if run.settings.uses_rag:
            work.passages = await self._librarian.find(run, work.asked)
        return None

    async def build_context(self, work: TurnWork) -> Ended | None:
        """What does the model read?"""
        system = context.instructions(work.known(work.run).settings, work.passages, utc_now())
        work.messages = [{"role": "system", "content": system}, *context.cut(work.history)]
        return None

    async def ask_model(self, work: TurnWork) -> Ended | None:
        """What does the model answer, and what do its tools do?"""
        run, chat = work.known(work.run), work.known(work.chat)

        def tool_context(key: str) -> ToolContext:
            return ToolContext(
                company_id=run.company_id, connection_id=chat.connection_id, customer=chat.chat_id, key=key
            )

        try:
            end = await self._talker.talk(
                run,
                Talk(
                    messages=work.messages,
                    tools=await self._tools.of(run.settings, run.company_id, is_chat=True),
                    targets=await self._targets.of(run.settings, run.company_id),
                    context=tool_context,
                    time=work.time,
                ),
            )
        except ModelFailed as failure:
            log.warning("turn_without_answer", turn_id=work.turn.id, code=failure.code)
            raise TurnFailed(failure.code if failure.code in CAP_FAILURES else f"model_{failure.code}") from failure
        if end.hands_over:
            return Ended(TurnState.HANDED_OFF, "assistant", run.settings.assistant.handoff_text, hands_over=True)
        return Ended(TurnState.ANSWERED, "", end.text)

    async def conclude(self, work: TurnWork, ended: Ended) -> None:
        """Reply by the conversation's own connection, and close the turn, in one transaction.

        Raises:
            TurnLost: the turn is not ours any more, or a human has taken over. Refused: the text cannot be sent.
        """
        conclusion = Conclusion(turn=work.turn, state=ended.state, reason=ended.reason, hands_over=ended.hands_over)
        if not ended.text or work.connection is None or work.chat is None:
            await self._acceptor.conclude(conclusion)
            return
        text = clipped(ended.text, capabilities.of(work.connection.connection_type)[content.TEXT].limit("characters"))
        draft = Draft(
            type=content.TEXT, connection=work.connection, chat_id=work.chat.chat_id, fields={"message": text}
        )
        self._acceptor.conclude_with(conclusion)
        try:
            await self._composer.accept(draft, work.turn.run)
        finally:
            self._acceptor.forget(work.turn)

    def failure(self, work: TurnWork, reason: str) -> Ended:
        """Return how a turn ends for which there is no answer, as its company has set it."""
        if work.run is None:
            return Ended(TurnState.FAILED, reason)
        settings = work.run.settings
        wish = settings.assistant.on_failure
        if wish == "handoff" and settings.hands_off:
            return Ended(TurnState.HANDED_OFF, reason, settings.assistant.handoff_text, hands_over=True)
        return Ended(TurnState.FAILED, reason, "" if wish == "silence" else settings.assistant.apology)


def clipped(text: str, most: int) -> str:
    """Return a text that a channel takes, cut behind a sentence if it is too long."""
    text = text.strip()
    if not most or len(text) <= most:
        return text
    # a sentence may end where the text must
    place = max(text.rfind(mark, 0, most) for mark in (". ", "! ", "? ", "\n"))
    return text[: place + 1].rstrip() if place > most // 2 else f"{text[: most - 1]}…"


def _since(turn: AssistantTurn) -> int:
    """Return how many lines a turn has at most, about: all of them count as asked."""
    return min(50, turn.last_inbound_id - turn.first_inbound_id + 1)
