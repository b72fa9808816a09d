"""Money that companies spend on models in a month: typed functions for `queries/spend.sql`."""

from __future__ import annotations

from datetime import date

from shared.store.pool import Transaction


def charge(transaction: Transaction, company_id: str, *, micros: int, budget_micros: int | None) -> date | None:
    """Charge what a call may cost, in millionths of a dollar. Returns the month it was charged to; None, and nothing is
    charged: the company's budget has not so much left.
    """
    row = transaction.row("charge_spend", company_id=company_id, micros=micros, budget=budget_micros)
    return None if row is None else row["month"]


def correct(transaction: Transaction, company_id: str, month: date, *, micros: int, tokens_in: int) -> None:
    """Correct what was charged by `micros` when it is known, and count the call."""
    transaction.execute("correct_spend", company_id=company_id, month=month, micros=micros, tokens_in=tokens_in)
