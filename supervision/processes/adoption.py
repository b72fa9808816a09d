"""Survey of a home at start: processes to adopt, orphans to kill, and slots whose last holder is proved dead."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.clock import left, monotonic
from shared.logs import logger
from shared.process import runtime
from shared.process.slot_lock import Holder, boot_id, is_free, process_start, read_holder
from supervision.processes.markers import marked, scan
from supervision.processes.trees import Trees

log = logger(__name__)

_CLEARING_S: Final = 5.0
"""Seconds, for all held slots together, to kill what holds them: a start must not wait for an unkillable process (in
uninterruptible sleep)."""


@dataclass(frozen=True)
class Living:
    """A process of an earlier orchestrator that goes on."""

    slot: str
    pid: int
    incarnation: str
    age_s: float
    public_port: int


@dataclass
class Survey:
    """What was found.

    Attributes:
        living: to adopt.
        dead: slots that are free, with the incarnation that held them last.
        occupied: slots that are held by a process that cannot be seen or must not be touched.
    """

    living: list[Living] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)
    occupied: list[str] = field(default_factory=list)


def survey(home: Path, trees: Trees, kinds: Collection[str]) -> Survey:
    """Examine every slot lock of `home`, kill what is left of dead incarnations, and return the findings.

    A held lock with a living main process is adopted. A held lock whose main process is dead is kept by a helper that
    outlived it: its tree is killed, and then the slot is free.

    Args:
        home: BULKHEAD_HOME.
        trees: kills, and watches what is adopted.
        kinds: names in the registry; a process of any other kind is left alone and reported.
    """
    result = Survey()
    held: list[tuple[str, Path, Holder | None]] = []
    for path in sorted(runtime.run_dir(home).glob("*-*.lock")):
        slot, holder = path.stem, read_holder(path)
        # The kernel's lock decides. The record only names the incarnation, for the recorder's reclaim.
        if is_free(path):
            if holder is not None:
                result.dead.append((slot, holder.incarnation))
        elif slot.rsplit("-", 1)[0] not in kinds:
            # Of a later or an earlier version: not ours to kill, and without a row it cannot be supervised.
            log.warning("slot_of_unknown_kind_found", slot=slot)
            result.occupied.append(slot)
        elif (living := _main_process(home, slot, holder)) is not None:
            result.living.append(living)
            # Before the leftovers below are killed, which must not include this tree.
            trees.adopt(living.incarnation, living.pid)
        else:
            held.append((slot, path, holder))
    # Everything with the marker of this home that belongs to no adopted incarnation is left of a dead one.
    adopted = {living.incarnation for living in result.living}
    for incarnation in trees.leftovers(adopted):
        log.warning("orphan_process_killed", of=incarnation, processes=len(trees.kill(incarnation)))
    _clear(trees, held, result)
    return result


def _clear(trees: Trees, held: list[tuple[str, Path, Holder | None]], result: Survey) -> None:
    by = monotonic() + _CLEARING_S
    for slot, path, holder in held:
        incarnation = holder.incarnation if holder else ""
        while not is_free(path) and left(by):
            # Killed again and again, since processes may fork in between.
            if not trees.kill(incarnation, lock=path):
                break  # the holder is invisible: another pid namespace, or another user
        if is_free(path):
            result.dead.append((slot, incarnation))
        else:
            log.error("slot_held_by_unknown_process", slot=slot)
            result.occupied.append(slot)


def _main_process(home: Path, slot: str, holder: Holder | None) -> Living | None:
    """Return the main process that holds `slot`, or None when it has exited."""
    # A pid of an earlier boot may belong to any process now.
    if holder is None or holder.boot_id != boot_id():
        return None
    pid, started = holder.pid, holder.started
    if pid is None:
        # Its orchestrator died between fork and writing the pid: find the session leader that carries the marker.
        processes = scan()
        leaders = [
            pid
            for pid, name in marked(processes, home).items()
            if name == holder.incarnation and processes[pid].session == pid
        ]
        if not leaders:
            return None
        pid, started = leaders[0], processes[leaders[0]].started
    # The pid was reused.
    if process_start(pid) != started:
        return None
    return Living(
        slot=slot, pid=pid, incarnation=holder.incarnation, age_s=_age_s(started), public_port=holder.public_port
    )


def _age_s(started_ticks: int) -> float:
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(0.0, uptime - started_ticks / os.sysconf("SC_CLK_TCK"))
