"""The root of Bulkhead's errors and those that more than one room raises.

Each docstring says when it is raised. Outcomes of a send are values (`shared.messages`), not errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

Outage: TypeAlias = Literal["away", "slow", "read_only", "privilege", "full", "busy", "schema", "stopping"]
"""Why something that we depend on cannot serve now."""
OUTAGES: Final[Mapping[Outage, str]] = {
    "away": "{what} cannot be reached",
    "slow": "{what} did not answer in time",
    "read_only": "{what} is read-only",
    "privilege": "{what} denies access",
    "full": "{what} has no disk space, memory or connections left",
    "busy": "{what} is busy: connections or rows were in use for too long",
    "schema": "{what} has not the schema of this version yet",
    "stopping": "This process is stopping",
}
"""Each of them as a sentence for clients, who are not shown the texts of drivers; `what`: PostgreSQL, for example."""


class BulkheadError(Exception):
    """Root of all errors that Bulkhead raises on purpose."""


class SettingsInvalid(BulkheadError):
    """Raised when the process environment cannot be used; a process then leaves with exit code 78 and is not restarted.

    Attributes:
        problems: one sentence for each wrong variable, with its name, its value and what would be right.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        # all of them at once: an operator corrects a file in one go, not one restart for each mistake
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class Refused(BulkheadError):
    """Raised when what was asked for cannot be done as it was asked; nothing was changed.

    Attributes:
        code: kind of refusal, from a closed list (docs/problems.md). field: the input that is wrong, empty when it is
            none in particular.
        details: further facts for machines, for example `limit` and `length`; never message text, phone numbers or
            secrets.
    """

    def __init__(self, code: str, sentence: str, *, field: str = "", **details: Any) -> None:
        # clients decide by the code; the sentence may be reworded
        self.code, self.sentence, self.field, self.details = code, sentence, field, details
        super().__init__(f"{code}: {sentence}")


class StoreUnavailable(BulkheadError):
    """Raised when PostgreSQL cannot serve now, or did not answer by the deadline.

    Attributes:
        may_be_done: the connection was lost while the commit was under way, so that what was asked may have happened.
        outage: why, for clients.
    """

    def __init__(self, message: str, *, may_be_done: bool = False, outage: Outage = "away") -> None:
        self.may_be_done, self.outage = may_be_done, outage
        super().__init__(message)


class MigrationRefused(BulkheadError):
    """Raised when the schema cannot be brought up to date in this database, however often it is tried; its text is one
    sentence.
    """


class QueueUnavailable(BulkheadError):
    """Raised when Redis cannot be reached or did not answer by the deadline; harmless, since hints are derived again
    from rows."""


class Fenced(BulkheadError):
    """Raised when a write comes from an incarnation that no longer owns the row."""


class LeaseEnded(BulkheadError):
    """Raised right before a request would leave, when this process's lease may run out during it: another host may
    reclaim the row, so it is not sent."""


class IllegalTransition(BulkheadError):
    """Raised when code asks for a change of state that the transition table does not list."""


class SlotTaken(BulkheadError):
    """Raised when a slot's lock is held by another process; two copies of a slot never run."""
