"""How a call of a model fails, as data: what is tried next, and whether it may have cost money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import BulkheadError


class Next(StrEnum):
    """What follows a failed call."""

    AGAIN = "again"
    """The same model, after a wait; the next one when its tries are used up."""
    OTHER = "other"
    """The next model: this one will not answer this question."""
    NOTHING = "nothing"
    """No model: the question is at fault."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """One way to fail. `may_cost`: the provider may have done the work, so that it counts as spent."""

    next: Next
    may_cost: bool
    meaning: str


CALL_FAILURES: Final[Mapping[str, CallFailure]] = {
    "unreachable": CallFailure(Next.AGAIN, False, "no connection to the provider"),
    "address_refused": CallFailure(Next.OTHER, False, "the address may not be reached"),
    "timeout": CallFailure(Next.OTHER, True, "no answer within the time of one call"),
    "cut": CallFailure(Next.AGAIN, True, "the connection ended before the answer did"),
    "rate_limited": CallFailure(Next.AGAIN, False, "the provider asks to wait"),
    "quota": CallFailure(Next.OTHER, False, "the account at the provider has no money left"),
    "server_error": CallFailure(Next.AGAIN, False, "the provider answered with an error of its own"),
    "credentials": CallFailure(Next.OTHER, False, "the provider does not accept the key"),
    "unknown_model": CallFailure(Next.OTHER, False, "the provider has no such model"),
    "refused": CallFailure(Next.OTHER, False, "the provider did not accept the question"),
    "invalid_answer": CallFailure(Next.AGAIN, True, "the answer is none of the API"),
    "empty": CallFailure(Next.AGAIN, True, "neither a text nor a call of a tool"),
    "incomplete": CallFailure(Next.AGAIN, True, "the answer ends in the middle"),
    "blocked": CallFailure(Next.NOTHING, True, "the provider's filter, or the model itself, refused"),
}
"""Every way in which one call fails."""


class ModelFailed(BulkheadError):
    """Raised when a call of a model, or all of them, brought no answer.

    Attributes:
        code: row of `CALL_FAILURES`, or `budget`, `deadline`, `no_model`. wait_s: what the provider asks to wait; None:
            nothing.
    """

    def __init__(self, code: str, detail: str = "", *, wait_s: float | None = None) -> None:
        self.code, self.detail, self.wait_s = code, detail, wait_s
        super().__init__(f"{code}: {detail}" if detail else code)
