"""`proc_recorder.py --dead-letters list|redrive …`: lists messages that are not retried without an operator, or queues
them again.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from recorder.command_context import run_command
from shared.process.exit_codes import ExitCode
from shared.store import connections, interventions
from shared.store.interventions import MOST_AT_ONCE
from shared.store.pool import Row, Transaction
from shared.table import lines

_COLUMNS: Final = ("id", "company_id", "phone_index", "connection_type", "state", "attempt", "error_code", "updated_at")
"""Neither the chat nor the text: what is printed here ends up in tickets and in the history of terminals."""


def dead_letters(argv: Sequence[str]) -> int:
    """Do what the command line says, and return an exit code (`ExitCode`)."""
    given = _parser().parse_intermixed_args(argv)
    if given.action == "redrive" and not given.company:
        sys.stderr.write("redrive needs --company, so that no other company's messages are sent by mistake\n")
        return ExitCode.USAGE
    if not 1 <= given.limit <= MOST_AT_ONCE:
        sys.stderr.write(f"--limit is from 1 to {MOST_AT_ONCE}\n")
        return ExitCode.USAGE
    return run_command("dead-letters", lambda store, _: store.run(_list if given.action == "list" else _redrive, given))


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="bulkhead dead-letters",
        description="List messages that are not retried without an operator, and queue them again.",
    )
    parser.add_argument("action", choices=("list", "redrive"), help="what to do")
    parser.add_argument("--company", metavar="ID", default="", help="only of this company; needed for redrive")
    parser.add_argument("--id", type=int, metavar="N", default=0, help="only this message (redrive)")
    parser.add_argument("--code", metavar="CODE", default="", help="only those with this error code")
    parser.add_argument("--phone-index", type=int, metavar="N", default=-1, help="only those of this connection")
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        default=100,
        metavar="N",
        help="how many at most: list the newest, redrive the oldest (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _filter(given: Namespace) -> dict[str, Any]:
    return {
        "code": given.code or None,
        "phone_index": given.phone_index if given.phone_index >= 0 else None,
        "most": given.limit,
    }


def _list(transaction: Transaction, given: Namespace) -> int:
    rows = interventions.for_humans(transaction, company_id=given.company or None, **_filter(given))
    if given.json:
        sys.stdout.write("".join(json.dumps({name: _shown(row[name]) for name in _COLUMNS}) + "\n" for row in rows))
    elif rows:
        sys.stdout.write(_table(rows))
    else:
        sys.stdout.write("there are no dead letters\n")
    return ExitCode.OK


def _redrive(transaction: Transaction, given: Namespace) -> int:
    if not connections.company_exists(transaction, given.company):
        sys.stderr.write(f"there is no company {given.company!r}\n")
        return ExitCode.USAGE
    # Without worlds: this command has no settings of the kinds that send. The world that each connection has entered
    # counts.
    ids = interventions.redrive(transaction, company_id=given.company, message_id=given.id or None, **_filter(given))
    # An id that moves nothing is the operator's mistake; a filter that matches nothing is an answer.
    if given.id and not ids:
        sys.stderr.write(
            f"company {given.company} has no dead letter {given.id} that can be sent where its connection sends now\n"
        )
        return ExitCode.USAGE
    if given.json:
        sys.stdout.write(json.dumps({"redriven": len(ids), "more": len(ids) == given.limit}) + "\n")
    else:
        sys.stdout.write(
            f"queued again: {len(ids)}{'; there may be more' if len(ids) == given.limit and not given.id else ''}\n"
        )
    return ExitCode.OK


def _table(rows: Sequence[Row]) -> str:
    return "\n".join(lines(_COLUMNS, [[_shown(row[name]) for name in _COLUMNS] for row in rows])) + "\n"


def _shown(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
