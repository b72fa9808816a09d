"""The law of exit codes of operator's commands, as data: what a command needs, what it answers without it, and which
code belongs to which trouble. docs/exit-codes.md is made from this file.

May be loaded by the supervisor's process: it imports no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from http import HTTPStatus
from typing import Final

from shared.errors import BulkheadError, SettingsInvalid
from shared.process.control_client import NoOrchestrator, OrchestratorRefused
from shared.process.exit_codes import ExitCode
from supervision.decisions.plan import KindUnknown


class CommandExit(IntEnum):
    """Exit codes of operator's commands beside those of `ExitCode`."""

    UNWELL = 1
    """Done, but the result is not well, did not become well in time, or was refused in this state."""
    NOT_RUNNING = 3
    """The command needs a running Bulkhead, and none runs over this home."""
    INTERRUPTED = 130
    """Ended by Ctrl-C before it was done. A command that only follows (`--follow`, `--watch`, `top`) leaves with 0."""


class Needs(StrEnum):
    """What a command needs; without it, it leaves with one code, whichever command it is."""

    NOTHING = "nothing"
    """Works over an empty home: it reads files, or starts what it needs."""
    ORCHESTRATOR = "a running Bulkhead"
    """3 when none runs over this home."""
    DATABASE = "the database"
    """3 when the database is the embedded one and no Bulkhead runs, 70 when it cannot be reached. No process of the API
    is needed."""


NEEDS: Final[Mapping[str, Needs]] = {
    "run": Needs.NOTHING,
    "status": Needs.ORCHESTRATOR,
    "top": Needs.ORCHESTRATOR,
    "ps": Needs.ORCHESTRATOR,
    "restart": Needs.ORCHESTRATOR,
    "drain": Needs.ORCHESTRATOR,
    "stop": Needs.ORCHESTRATOR,
    "logs": Needs.NOTHING,
    "events": Needs.NOTHING,
    "send": Needs.DATABASE,
    "messages": Needs.DATABASE,
    "alerts": Needs.DATABASE,
    "env": Needs.NOTHING,
    "doctor": Needs.NOTHING,
    "migrate": Needs.DATABASE,
    "import": Needs.DATABASE,
    "move": Needs.DATABASE,
    "shadow": Needs.NOTHING,
    "dead-letters": Needs.DATABASE,
    "hooks": Needs.DATABASE,
    "companies": Needs.DATABASE,
    "keys": Needs.DATABASE,
    "connections": Needs.DATABASE,
    "reseal": Needs.DATABASE,
    "sessions": Needs.DATABASE,
    "webhooks": Needs.DATABASE,
    "backup": Needs.DATABASE,
    "restore": Needs.NOTHING,
    "chaos": Needs.NOTHING,
    "completion": Needs.NOTHING,
}
"""Each command, and what it needs."""


class CommandRefused(BulkheadError):
    """Raised when a command cannot be carried out; its text says why, and what to do next.

    Attributes:
        code: exit code of the command.
    """

    def __init__(self, reason: str, code: int = CommandExit.UNWELL) -> None:
        super().__init__(reason)
        self.code = code


CODES: Final[Mapping[type[BulkheadError], int]] = {
    SettingsInvalid: ExitCode.CONFIGURATION,
    KindUnknown: ExitCode.USAGE,
    OrchestratorRefused: ExitCode.USAGE,
    NoOrchestrator: CommandExit.NOT_RUNNING,
}
"""The code of each error that an operator can cause; by exact class, so that each has its row."""

CODES_OF_ANSWERS: Final[Mapping[int, int]] = {
    # what was named does not exist or is not allowed, as an unknown kind is
    HTTPStatus.NOT_FOUND: ExitCode.USAGE,
    HTTPStatus.UNPROCESSABLE_ENTITY: ExitCode.USAGE,
    HTTPStatus.BAD_REQUEST: ExitCode.USAGE,
    HTTPStatus.SERVICE_UNAVAILABLE: ExitCode.BOOT,
}
"""The code for each status with which an operation of the API refuses; others: `UNWELL`."""


def code_of(problem: BulkheadError) -> int | None:
    """Return the exit code of an error; None: it is no operator's error, and must not be hidden."""
    if isinstance(problem, CommandRefused):
        return problem.code
    return CODES.get(type(problem))


def sentences(problem: BulkheadError) -> list[str]:
    """Return what is printed of an error."""
    return list(problem.problems) if isinstance(problem, SettingsInvalid) else [str(problem)]
