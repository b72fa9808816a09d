"""Typed functions for `queries/turns.sql` and `queries/model_calls.sql`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.errors import Fenced
from shared.store.pool import Row, Transaction, json
from shared.store.texts import all_storable, storable


class TurnLost(Fenced):
    """Raised when a turn is not this incarnation's any more, or its conversation is not the assistant's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssistantTurn:
    """One answer to give.

    Attributes:
        first_inbound_id, last_inbound_id: what the customer wrote since the last answer. attempts: lives that took it,
            this one included.
    """

    id: int
    company_id: str
    conversation_id: int
    first_inbound_id: int
    last_inbound_id: int
    attempts: int
    opened_at: datetime

    @property
    def run(self) -> str:
        """Names its calls of models and tools, and is the key of its answer."""
        return f"turn-{self.id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnChat:
    """Where a turn's conversation takes place. `inbound_id`: its last message; None: retention has deleted it."""

    state: str
    connection_id: int
    phone_index: int
    chat_id: str = field(repr=False)
    inbound_id: int | None


def claim(transaction: Transaction, *, incarnation: str, most: int, each: int) -> list[AssistantTurn]:
    """Make an incarnation the one that answers turns, at most `most`, and `each` of one company at once."""
    rows = transaction.rows("claim_turns", incarnation=incarnation, most=most, each=each)
    return sorted((AssistantTurn(**row) for row in rows), key=lambda turn: turn.id)


def next_in_s(transaction: Transaction) -> float:
    """Return in how many seconds the next turn is due: 0 or less: one is, infinity: none waits."""
    due_in_s = transaction.one("next_turn")["due_in_s"]
    return math.inf if due_in_s is None else float(due_in_s)


def release_earlier_lives(transaction: Transaction, *, slot: str, living: str) -> int:
    """Give back what earlier lives of a slot were answering; the caller holds the slot, so they are dead."""
    return len(transaction.rows("release_turns", slot=slot, living=living))


def release_own(transaction: Transaction, *, incarnation: str) -> int:
    """Give back what this life has no time for."""
    return len(transaction.rows("release_turns", slot="", living=incarnation))


def hold(transaction: Transaction, turn_id: int, *, incarnation: str) -> Row:
    """Lock a turn for what is written for it. Raises `TurnLost`."""
    row = transaction.row("hold_turn", turn_id=turn_id, incarnation=incarnation)
    if row is None:
        raise TurnLost("the turn is another incarnation's, or has ended")
    return row


def ended(transaction: Transaction, turn: AssistantTurn) -> Row | None:
    """Return (state, message_id) of a turn as it is now."""
    return transaction.row("turn_ended", turn_id=turn.id, company_id=turn.company_id)


def end(
    transaction: Transaction,
    turn: AssistantTurn,
    *,
    incarnation: str,
    state: str,
    reason: str = "",
    message_id: int | None = None,
) -> None:
    """Write how a turn ended, settle what it asked for in vain, and forget what was said for it. Raises `TurnLost`."""
    row = transaction.row(
        "end_turn", turn_id=turn.id, incarnation=incarnation, state=str(state), reason=reason, message_id=message_id
    )
    if row is None:
        raise TurnLost("the turn is another incarnation's, or has ended")
    settle_lost(transaction, turn.company_id, turn.run, turn_id=turn.id)
    forget(transaction, turn.company_id, turn.run)


def chat(transaction: Transaction, turn: AssistantTurn) -> TurnChat | None:
    """Return a turn's chat, None when the conversation is gone."""
    row = transaction.row(
        "turn_chat",
        conversation_id=turn.conversation_id,
        company_id=turn.company_id,
        last_inbound_id=turn.last_inbound_id,
    )
    return TurnChat(**row) if row else None


def lines(transaction: Transaction, turn: AssistantTurn, where: TurnChat, *, most: int) -> list[Row]:
    """Return the newest lines of a chat, oldest first: (at, id, is_ours, type, content)."""
    return transaction.rows(
        "turn_lines",
        company_id=turn.company_id,
        chat_id=where.chat_id,
        connection_id=where.connection_id,
        last_inbound_id=turn.last_inbound_id,
        most=most,
    )


def figures(transaction: Transaction) -> Row:
    """Return how many turns are open and running, and for how long the oldest has been due (`oldest_s`)."""
    return transaction.one("turn_figures")


# --- calls of models and tools


def reserve(
    transaction: Transaction, *, company_id: str, run: str, model: str, micros: int, budget_micros: int | None
) -> int | None:
    """Write that a model is about to be asked, and reserve its money. Returns the call's number; None: the budget of
    the month has not so much left.
    """
    spend = transaction.row("reserve_spend", company_id=company_id, micros=micros, budget=budget_micros)
    if spend is None:
        return None
    row = transaction.one(
        "add_model_call", company_id=company_id, run=run, model=model, month=spend["month"], micros=micros
    )
    return int(row["id"])


def end_call(
    transaction: Transaction,
    call_id: int,
    *,
    turn_id: int | None,
    state: str,
    reason: str = "",
    cost_micros: int | None,
    tokens_in: int = 0,
    tokens_out: int = 0,
    took_ms: int | None = None,
    answer: Mapping[str, Any] | None = None,
) -> bool:
    """Write how a call of a model ended and settle its money. `cost_micros`: None: what was reserved. Returns False
    when that was done before.
    """
    row = transaction.row(
        "end_model_call",
        id=call_id,
        turn_id=turn_id,
        state=state,
        reason=reason,
        cost=cost_micros,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        took_ms=took_ms,
        answer=None if answer is None else json(all_storable(answer)),
    )
    return row is not None


def add_kept(
    transaction: Transaction,
    *,
    company_id: str,
    run: str,
    turn_id: int | None,
    model: str,
    answer: Mapping[str, Any],
) -> int:
    """Write an answer that a model gave before: a call that was not made, and cost nothing. Returns its number."""
    number = reserve(transaction, company_id=company_id, run=run, model=model, micros=0, budget_micros=None)
    if number is None:
        raise AssertionError("without a budget, nothing refuses")
    end_call(transaction, number, turn_id=turn_id, state="answered", cost_micros=0, took_ms=0, answer=answer)
    return number


def settle_lost(transaction: Transaction, company_id: str, run: str, *, turn_id: int | None) -> int:
    """Settle calls of a run whose answer will never be known: they count as dear as they may have been."""
    lost = transaction.rows("lost_model_calls", company_id=company_id, run=run)
    for row in lost:
        end_call(transaction, row["id"], turn_id=turn_id, state="failed", reason="lost", cost_micros=None)
    return len(lost)


def calls(transaction: Transaction, company_id: str, run: str) -> list[Row]:
    """Return what models answered in a run, in order: (id, model, answer, …)."""
    return transaction.rows("run_calls", company_id=company_id, run=run)


def cost(transaction: Transaction, company_id: str, run: str) -> Row:
    """Return what a run has cost: (micros, tokens)."""
    return transaction.one("run_cost", company_id=company_id, run=run)


def tools(transaction: Transaction, company_id: str, run: str) -> list[Row]:
    """Return what tools answered in a run: (model_call_id, position, name, state, digest, result)."""
    return transaction.rows("run_tools", company_id=company_id, run=run)


def begin_tool(
    transaction: Transaction, *, company_id: str, run: str, model_call_id: int, position: int, name: str, digest: str
) -> bool:
    """Take the key of a tool's call. Returns False when it was taken before."""
    row = transaction.row(
        "begin_tool_call",
        company_id=company_id,
        run=run,
        model_call_id=model_call_id,
        position=position,
        name=storable(name),
        digest=digest,
    )
    return row is not None


def end_tool(transaction: Transaction, *, model_call_id: int, position: int, state: str, result: str) -> bool:
    """Write what a tool answered. Returns False when it was written before."""
    row = transaction.row(
        "end_tool_call", model_call_id=model_call_id, position=position, state=state, result=storable(result)
    )
    return row is not None


def forget(transaction: Transaction, company_id: str, run: str) -> None:
    """Remove what was said in a run."""
    transaction.execute("forget_run", company_id=company_id, run=run)
