"""`proc_recorder.py --dead-letters list|redrive …`: shows what is not tried again without a human, or queues it again, and leaves."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from recorder.errand import errand
from shared.process.exit_codes import ExitCode
from shared.store import connections, interventions
from shared.store.interventions import MOST_AT_ONCE
from shared.store.pool import Row, Transaction

_COLUMNS: Final = ("id", "company_id", "phone_index", "connection_type", "state", "attempt", "error_code", "updated_at")


def dead_letters(argv: Sequence[str]) -> int:
    """Do what the command line says, and return an exit code (`ExitCode`)."""
    given = _parser().parse_args(argv)
    if given.action == "redrive" and not given.company:
        sys.stderr.write("redrive needs --company: nobody else's messages are sent by mistake\n")
        return ExitCode.USAGE
    if not 1 <= given.limit <= MOST_AT_ONCE:
        sys.stderr.write(f"--limit is from 1 to {MOST_AT_ONCE}\n")
        return ExitCode.USAGE
    return errand("dead-letters", lambda store, _: store.run(_list if given.action == "list" else _redrive, given))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="dead-letters")
    parser.add_argument("action", choices=("list", "redrive"))
    parser.add_argument("--company", default="")
    parser.add_argument("--id", type=int, default=0)
    parser.add_argument("--code", default="")
    parser.add_argument("--phone-index", type=int, default=-1)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    return parser


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
    ids = interventions.redrive(transaction, company_id=given.company, message_id=given.id or None, **_filter(given))
    if given.json:
        sys.stdout.write(json.dumps({"redriven": len(ids), "more": len(ids) == given.limit}) + "\n")
    else:
        sys.stdout.write(
            f"queued again: {len(ids)}{'; there may be more' if len(ids) == given.limit and not given.id else ''}\n"
        )
    return ExitCode.OK


def _table(rows: Sequence[Row]) -> str:
    cells = [list(_COLUMNS), *([str(_shown(row[name])) for name in _COLUMNS] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in cells
    )


def _shown(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
