"""How a turn ends, in one transaction: the state of its conversation is read again, the answer accepted, the turn
closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ai import rows
from ai.rows import AssistantTurn, TurnLost
from shared.conversations import rows as conversations
from shared.conversations.states import ConversationState, TurnState
from shared.delivery.accept import Acceptor
from shared.fail_points import hit
from shared.process.metrics import Metrics
from shared.store import messages
from shared.store.messages import Accepted, NewMessage
from shared.store.pool import Transaction
from shared.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """How a turn ends. `hands_over`: the conversation waits for a human from then on."""

    turn: AssistantTurn
    state: TurnState
    reason: str = ""
    hands_over: bool = False


class _Concluded(NamedTuple):
    """How a turn ended; `accepted`: its answer."""

    accepted: Accepted | None
    state: TurnState
    reason: str


class TurnAcceptor:
    """Accepts what the assistant writes (`shared.compose.acceptance.RowAcceptor`); one for a process.

    Args:
        acceptor: of everything that ends no turn, and of hints. worlds: see `shared.store.messages.accept`.
    """

    def __init__(
        self, store: Store, acceptor: Acceptor, worlds: Mapping[str, str], metrics: Metrics, *, incarnation: str
    ) -> None:
        self._store, self._acceptor, self._worlds, self._incarnation = store, acceptor, worlds, incarnation
        self._concluding: dict[str, Conclusion] = {}
        self._turns = metrics.counter("turns", "Turns of the assistant, by how they ended.", ("outcome", "reason"))

    def conclude_with(self, conclusion: Conclusion) -> None:
        """Let the message whose key is the turn's own end the turn."""
        self._concluding[conclusion.turn.run] = conclusion

    def forget(self, turn: AssistantTurn) -> None:
        """The message that was to end the turn is accepted, or will not be."""
        self._concluding.pop(turn.run, None)

    async def accept(self, message: NewMessage) -> Accepted:
        """Accept a message; one that ends a turn only if the turn is ours and its conversation the assistant's.

        Raises:
            TurnLost: they are not; nothing was accepted. Otherwise as for `Acceptor.accept`.
        """
        written = replace(message, author="assistant")
        conclusion = self._concluding.get(message.idempotency_key or "")
        if conclusion is None:
            return await self._acceptor.accept(written)
        accepted = (await self._end(conclusion, written)).accepted
        if accepted is None:
            raise TurnLost("the conversation is not the assistant's any more")
        if not accepted.replayed:
            self._acceptor.hint(message.process_name, accepted.id)
        return accepted

    async def conclude(self, conclusion: Conclusion) -> None:
        """End a turn without a message. Raises `TurnLost`."""
        await self._end(conclusion, None)

    async def _end(self, conclusion: Conclusion, message: NewMessage | None) -> _Concluded:
        ended = await self._store.call(self._conclude, conclusion, message)
        hit("turn.concluded")
        self._turns.labels(ended.state, ended.reason or "none").inc()
        return ended

    def _conclude(self, transaction: Transaction, conclusion: Conclusion, message: NewMessage | None) -> _Concluded:
        turn = conclusion.turn
        # the row lock: a human who takes over waits for this answer, or this answer sees them
        state = conversations.lock_for_answer(transaction, turn.conversation_id)
        now = rows.ended(transaction, turn)
        if message is not None and now is not None and now["message_id"] is not None:
            # our own commit, whose answer was lost
            accepted = messages.accept(transaction, [message], self._worlds)[0]
            return _Concluded(accepted, TurnState(now["state"]), conclusion.reason)
        rows.hold(transaction, turn.id, incarnation=self._incarnation)
        if state is not ConversationState.BOT:
            dropped = _Concluded(None, TurnState.DROPPED, state or "gone")
            rows.end(transaction, turn, incarnation=self._incarnation, state=dropped.state, reason=dropped.reason)
            return dropped
        kept = None if message is None else messages.accept(transaction, [message], self._worlds)[0]
        if conclusion.hands_over:
            conversations.hand_over(transaction, turn.conversation_id, reason=conclusion.reason)
        rows.end(
            transaction,
            turn,
            incarnation=self._incarnation,
            state=conclusion.state,
            reason=conclusion.reason,
            message_id=kept.id if kept else None,
        )
        hit("turn.concluding")
        return _Concluded(kept, conclusion.state, conclusion.reason)
