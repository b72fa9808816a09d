"""Figures of the orchestrator and of its slots, made of its snapshot: the orchestrator shows them on its own port, and
other processes together with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from shared.clock import utc_now
from shared.process.exposition import Family, FamilyType, Figure, labelled
from shared.process.metrics import histogram_samples
from shared.states import SlotState

RECOVERY_BUCKETS_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds in seconds: 5 to 10 s is what a recovery may take."""
_MB: Final = 1e6
_SLOT: Final[tuple[tuple[str, FamilyType, str, Callable[[Mapping[str, Any]], float | None]], ...]] = (
    (
        "slot_up",
        "gauge",
        "1 while the slot's process is ready, 0 while it should be; no value for slots that should not run. A process "
        "that is tried after a quarantine counts once it has lived long enough to end it.",
        lambda slot: None if slot["state"] == SlotState.STOPPED else float(_is_up(slot)),
    ),
    ("slot_restarts_total", "counter", "Restarts of the slot since the orchestrator started.", lambda s: s["restarts"]),
    (
        "slot_memory_bytes",
        "gauge",
        "Memory of the slot's process and its helpers, as the memory limits count it.",
        lambda slot: None if slot["memory_mb"] is None else slot["memory_mb"] * _MB,
    ),
    (
        "slot_memory_limit_bytes",
        "gauge",
        "Memory at which the slot is killed and replaced; no value without a limit.",
        lambda slot: slot.get("memory_hard_mb", 0) * _MB or None,
    ),
    ("slot_processes", "gauge", "Processes of the slot, helpers included.", lambda slot: slot["processes"]),
    ("slot_threads", "gauge", "Threads of the slot's processes.", lambda slot: slot["threads"]),
    ("slot_open_files", "gauge", "Open files of the slot's processes.", lambda slot: slot["open_files"]),
    (
        "slot_uptime_seconds",
        "gauge",
        "Time since the slot's process became ready.",
        lambda slot: _since(slot["ready_at"]) if slot["state"] == SlotState.READY else None,
    ),
    ("slot_up_seconds_total", "counter", "Time for which the slot was ready.", lambda slot: slot.get("up_s")),
    (
        "slot_down_seconds_total",
        "counter",
        "Time for which the slot was not ready although it should have been.",
        lambda slot: slot.get("down_s"),
    ),
)
"""Figures of a slot: name, type, purpose, and the value in the snapshot; None: no value."""


def _is_up(slot: Mapping[str, Any]) -> bool:
    # a probe that is ready for a moment is no end of the trouble: an alert's time would begin anew with each
    return slot["state"] == SlotState.READY and not slot.get("is_probe", False)


def orchestrator_families(snapshot: Mapping[str, Any] | None) -> list[Family]:
    """Return what a snapshot says.

    Args:
        snapshot: content of the status file; None: there is none that is fresh, so no orchestrator runs.
    """
    own = {"kind": "orchestrator", "slot": "orchestrator-0"}
    up = _family("orchestrator_up", "gauge", "1 while an orchestrator publishes its state, else 0.",
                 [(own, float(snapshot is not None))])  # fmt: skip
    if snapshot is None:
        return [up]
    slots = {
        name: ({"kind": str(slot["kind"]), "slot": str(name)}, slot)
        for name, slot in sorted(snapshot.get("slots", {}).items())
    }
    families = [
        up,
        _family("process_uptime_seconds", "gauge", "Time since the process started.",
                [(own, snapshot.get("uptime_s"))]),
        _family("process_resident_memory_bytes", "gauge", "Resident memory of the process itself.",
                [(own, snapshot.get("memory_mb", 0.0) * _MB)]),
        _family("slot_state", "gauge", "1 for the state that the slot is in.",
                [({**labels, "state": str(slot["state"])}, 1.0) for labels, slot in slots.values()]),
        *(
            _family(name, kind, purpose, [(labels, read(slot)) for labels, slot in slots.values()])
            for name, kind, purpose, read in _SLOT
        ),
    ]  # fmt: skip
    families.append(_recoveries(snapshot.get("recoveries", {})))
    # an orchestrator of the version before writes none
    return labelled(families, {"host": str(snapshot["host"])}) if "host" in snapshot else families


def _recoveries(found: Mapping[str, Mapping[str, Any]]) -> Family:
    name = "bulkhead_slot_recovery_seconds"
    samples = [
        sample
        for kind, one in sorted(found.items())
        for sample in histogram_samples(name, {"kind": str(kind)}, RECOVERY_BUCKETS_S, one["counts"], one["sum_s"])
    ]
    purpose = (
        "Time from the loss of a ready process to a ready one in its slot; sum by count is the mean time to repair."
    )
    return Family(name, "histogram", purpose, samples)


def _family(
    name: str, kind: FamilyType, purpose: str, values: Iterable[tuple[Mapping[str, str], float | None]]
) -> Family:
    full = f"bulkhead_{name}"
    return Family(full, kind, purpose, [Figure(full, labels, float(one)) for labels, one in values if one is not None])


def _since(instant: str | None) -> float | None:
    return None if instant is None else max(0.0, (utc_now() - datetime.fromisoformat(instant)).total_seconds())
