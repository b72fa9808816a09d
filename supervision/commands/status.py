"""`status`: show every slot, its state and the reason; also works without an orchestrator."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from shared import table
from shared.process import control_client, runtime, status_file
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import is_free, read_holder
from shared.states import SlotState
from supervision.commands import screen
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context, ask_home
from supervision.commands.options import as_json

_HEAD: Final = ("SLOT", "STATE", "PID", "SINCE", "RESTARTS", "MB", "ADMIN", "PORT", "WHY")
_LOOK_EACH_S: Final = 1.0
"""Seconds between two looks with --watch; the orchestrator writes its snapshot as often."""


@click.command("status", short_help="Show every slot, its state and the reason.")
@as_json("The whole snapshot as JSON; with --watch one a line.")
@click.option("-w", "--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
@click.pass_obj
def command(context: Context, as_json: bool, watch: bool) -> int:
    """Show every slot, its state and the reason.

    Leaves with 0 when all that should run is ready, 1 when something is not, 3 when no Bulkhead runs.
    """
    home = context.settings().bulkhead_home
    code = _show(home, as_json=as_json, indent=None if watch else 2)
    try:
        while watch:
            time.sleep(_LOOK_EACH_S)
            if not as_json:
                click.clear()
            code = _show(home, as_json=as_json, indent=None)
    except KeyboardInterrupt:
        return ExitCode.OK
    return code


def _show(home: Path, *, as_json: bool, indent: int | None) -> int:
    status, lives = ask(home)
    if as_json:
        click.echo(json.dumps(status | {"orchestrator_lives": lives}, indent=indent))
    else:
        click.echo(_headline(status, home, lives=lives))
        if lives or status["slots"]:
            screen.show_table(_HEAD, slot_rows(status))
    if not lives:
        return CommandExit.NOT_RUNNING
    return ExitCode.OK if all(_is_well(slot) for slot in status["slots"].values()) else CommandExit.UNWELL


def ask(home: Path) -> tuple[dict[str, Any], bool]:
    """Return the status and whether an orchestrator lives; without one, what the slot locks say about its last
    snapshot."""
    try:
        return ask_home(home, {"command": "status"})["status"], True
    except control_client.NoOrchestrator:
        return without_orchestrator(home), False


def without_orchestrator(home: Path) -> dict[str, Any]:
    """Return a snapshot made from the slot locks, which the kernel keeps up to date whichever process lives."""
    if not (home / "run").is_dir():
        return {"slots": {}}
    found = status_file.read(runtime.status_file(home))
    last = found.values if found else {}
    known: dict[str, Any] = last.get("slots", {})
    slots: dict[str, Any] = {}
    # A lock that is held means that some process of the slot lives, whatever the last snapshot shows.
    for path in sorted(runtime.run_dir(home).glob("*-*.lock")):
        holder, slot = read_holder(path), path.stem
        if holder is None or is_free(path):
            continue
        kind, _, instance = slot.rpartition("-")
        # The snapshot's facts only where it is about this same incarnation.
        facts = known.get(slot, {}) if known.get(slot, {}).get("incarnation") == holder.incarnation else {}
        slots[slot] = {"kind": kind, "instance": int(instance), "state": "unsupervised"} | {
            name: facts.get(name)
            for name in (
                "since",
                "restarts",
                "memory_mb",
                "ready_at",
                "started_at",
                "last_exit",
                "next_try_at",
                "reason",
                "status",
            )
        }
        slots[slot] |= {
            "pid": holder.pid,
            "incarnation": holder.incarnation,
            "admin_port": holder.admin_port,
            "port": holder.public_port or None,
        }
    return {"at": last.get("at"), "pid": None, "state": "not running", "slots": slots}


def _headline(status: dict[str, Any], home: Path, *, lives: bool) -> str:
    if lives:
        return (
            f"orchestrator {status['pid']} {status['state']}, {status['memory_mb']} MB, kills by "
            f"{status['kill_method']}, home {home}"
        )
    if status["slots"]:
        return (
            f"No orchestrator runs over {home}, but these processes do; the next `bulkhead run` "
            "adopts them, `bulkhead stop` stops them."
        )
    return f"Nothing runs over {home}."


def slot_rows(status: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return one row of `_HEAD` for each slot of a snapshot."""
    return [
        (
            name,
            slot["state"],
            slot["pid"],
            table.age(slot["since"]),
            slot["restarts"],
            slot["memory_mb"],
            slot["admin_port"],
            slot["port"],
            " ".join(
                filter(
                    None,
                    [
                        slot["reason"] or _own_status(slot),
                        f"next try {table.age(slot['next_try_at'])}" if slot["next_try_at"] else "",
                    ],
                )
            ),
        )
        for name, slot in status["slots"].items()
    ]


def _own_status(slot: dict[str, Any]) -> str:
    said = str(slot["status"] or "")
    return "" if said == slot["state"] else said


def _is_well(slot: dict[str, Any]) -> bool:
    return slot["state"] in (SlotState.READY, SlotState.STOPPED)
