"""Status of every process: the orchestrator's snapshot and the heartbeat rows merged, with a missing source named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from api.operators.status_snapshot import Snapshot
from shared.clock import utc_now
from shared.kinds import KINDS, ProcessKind
from shared.needs import always_runs
from shared.settings import Settings
from shared.states import SlotState
from shared.store.pool import Row
from shared.timestamps import iso

_BY_STATE: Final[Mapping[str, str]] = {
    SlotState.READY: "healthy",
    SlotState.STARTING: "degraded",
    SlotState.UNREADY: "degraded",
    SlotState.DRAINING: "degraded",
    SlotState.STOPPED: "stopped",
}
"""Status of a slot by its state; every other state is `down`."""
_NOT_WHOLE: Final = frozenset({"starting", "unready", "draining", "stopping"})
"""States that a heartbeat reports of a process that is alive but takes no work."""
_FACTS: Final = (
    "state",
    "reason",
    "pid",
    "incarnation",
    "host",
    "uptimeSeconds",
    "memoryMb",
    "memoryLimitMb",
    "stateSeconds",
    "restarts",
    "errorCount",
    "lastError",
    "lastHeartbeatAt",
    "silentSeconds",
)
"""Fields of an entry in addition to name and status; null when unknown."""
_ORDER: Final = {kind.name: number for number, kind in enumerate(KINDS)}


def merge(
    snapshot: Snapshot,
    heartbeats: Sequence[Row] | None,
    *,
    desired: Sequence[str],
    settings: Settings,
    host: str,
    answering: str,
) -> list[dict[str, Any]]:
    """Return one entry for each slot of each host, in registry order.

    Args:
        snapshot: the orchestrator's snapshot; while fresh, it lists the slots of this host.
        heartbeats: rows of `process_status`; None when the database did not answer.
        desired: kinds that some connection needs. host: this machine's name. answering: slot of the process that
            answers.
    """
    rows = {(row["host"], f"{row['process_name']}-{row['instance']}"): row for row in heartbeats or ()}
    # the orchestrator observes its processes directly, so that its view takes precedence; a heartbeat adds the
    # process's own data
    entries = {(host, name): _of_slot(slot, rows.get((host, name)), host) for name, slot in snapshot.slots.items()}
    for place, row in rows.items():
        # a row of this host without a slot: the number of instances was reduced. Other hosts have orchestrators of
        # their own
        gone = snapshot.fresh and row["host"] == host and row["process_name"] in _ORDER
        if place not in entries and not gone:
            entries[place] = _of_heartbeat(row)
    # without the orchestrator's list, the expected processes come from the settings, so that one without a row is
    # listed too, unless as many run on other hosts
    if not snapshot.fresh:
        seen = Counter(entry["process"] for entry in entries.values())
        for kind, instance in _expected(settings, desired):
            slot = f"{kind.name}-{instance}"
            if seen[kind.name] < kind.instances and all(name != slot for _, name in entries):
                entries[host, slot] = _unseen(kind.name, instance, heartbeats is not None, slot == answering, host)
    return sorted(
        entries.values(),
        key=lambda entry: (
            _ORDER.get(entry["process"], len(_ORDER)),
            entry["process"],
            entry["host"] or "",
            entry["instance"],
        ),
    )


def sessions(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of browser sessions in each state, by recent reports only."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["observed"]] = found.get(row["observed"], 0) + row["sessions"]
    return found


def _entry(process: str, instance: int, status: str, **facts: Any) -> dict[str, Any]:
    return {"process": process, "instance": instance, "status": status, "sources": [], **dict.fromkeys(_FACTS), **facts}


def _of_slot(slot: Mapping[str, Any], row: Row | None, host: str) -> dict[str, Any]:
    status = _BY_STATE.get(slot.get("state", ""), "down")
    # why an unready process takes no work it says itself
    reason = slot.get("reason") or (slot.get("status") if status == "degraded" else None) or None
    started_at = slot.get("started_at")
    facts: dict[str, Any] = {
        "state": slot.get("state"),
        "host": host,
        "pid": slot.get("pid"),
        "incarnation": slot.get("incarnation"),
        "uptimeSeconds": _since(started_at) if started_at else None,
        "memoryMb": slot.get("memory_mb"),
        "memoryLimitMb": slot.get("memory_hard_mb") or None,
        "stateSeconds": _since(slot["since"]) if slot.get("since") else None,
        "restarts": slot.get("restarts"),
    }
    sources = ["orchestrator"]
    if row is not None:
        sources.append("heartbeat")
        facts |= {
            "errorCount": row["error_count"],
            "lastError": row["last_error"] or None,
            **_heartbeat_of(row),
        }
        # only of the same incarnation: the previous one's row is outdated until the new one writes
        if status == "healthy" and row["incarnation"] == slot.get("incarnation") and row["status"] != "healthy":
            status, reason = "degraded", f"no heartbeat for {row['silent_s']:.0f} s"
    return _entry(
        str(slot.get("kind", "")), int(slot.get("instance", 0)), status, **facts, reason=reason, sources=sources
    )


def _of_heartbeat(row: Row) -> dict[str, Any]:
    # the row's status only shows whether heartbeats arrive; `reported` is the process's own state
    status = "degraded" if row["status"] == "healthy" and row["reported"] in _NOT_WHOLE else row["status"]
    return _entry(
        row["process_name"],
        row["instance"],
        status,
        sources=["heartbeat"],
        state=row["reported"],
        reason=None if row["status"] == "healthy" else f"no heartbeat for {row['silent_s']:.0f} s",
        pid=row["pid"] or None,
        incarnation=row["incarnation"] or None,
        host=row["host"] or None,
        uptimeSeconds=round(row["uptime_seconds"], 1),
        memoryMb=round(row["memory_usage_mb"], 1),
        errorCount=row["error_count"],
        lastError=row["last_error"] or None,
        **_heartbeat_of(row),
    )


def _heartbeat_of(row: Row) -> dict[str, Any]:
    return {"lastHeartbeatAt": iso(row["last_heartbeat"]), "silentSeconds": round(row["silent_s"], 1)}


def _unseen(kind: str, instance: int, database: bool, answering: bool, host: str) -> dict[str, Any]:
    # no source lists it, but this response proves that it runs
    if answering:
        return _entry(kind, instance, "healthy", reason="answers this request", host=host)
    reason = "it never wrote a heartbeat" if database else "neither the orchestrator nor the database could be asked"
    return _entry(kind, instance, "down" if database else "unknown", reason=reason)


def _expected(settings: Settings, desired: Sequence[str]) -> list[tuple[ProcessKind, int]]:
    # with ONLY, the other kinds run elsewhere or not at all, and are not expected here
    only = {name.strip() for name in settings.only.split(",") if name.strip()}
    kinds = [
        kind
        for kind in settings.kinds
        if (always_runs(kind) or kind.name in desired) and (not only or kind.name in only)
    ]
    return [(kind, instance) for kind in kinds for instance in range(kind.instances)]


def _since(instant: str) -> float | None:
    try:
        return round((utc_now() - datetime.fromisoformat(instant).astimezone(UTC)).total_seconds(), 1)
    except ValueError:
        # an unreadable instant of another version: the duration is left out
        return None
