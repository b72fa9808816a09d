"""Every metric that the program declares, read from its source, and those of the orchestrator."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.kinds import KINDS
from shared.process.slot_metrics import RECOVERY_BUCKETS_S, orchestrator_families
from shared.states import SlotState

REPOSITORY: Final = Path(__file__).parents[1]
_MAKERS: Final = ("counter", "gauge", "histogram")


@dataclass(frozen=True, kw_only=True)
class DeclaredMetric:
    """One metric. `name`: as it is shown. where: directory of the code that counts it."""

    name: str
    type: str
    purpose: str
    labels: tuple[str, ...]
    where: str


def declared() -> list[DeclaredMetric]:
    """Return every metric, by name. Raises `ValueError` where a declaration has no literal name, purpose or labels."""
    found = [*_of_the_orchestrator()]
    for directory in ("shared", *sorted({row.room for row in KINDS})):
        for path in sorted((REPOSITORY / directory).rglob("*.py")):
            found += [
                _read(path, node, node.func.attr)
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MAKERS
            ]
    return sorted({one.name: one for one in found}.values(), key=lambda one: one.name)


def _read(path: Path, call: ast.Call, maker: str) -> DeclaredMetric:
    arguments = dict(zip(("name", "purpose", "labels"), call.args, strict=False)) | {
        word.arg: word.value for word in call.keywords if word.arg
    }
    place = path.relative_to(REPOSITORY)
    try:
        name, purpose = (_literal(arguments[word]) for word in ("name", "purpose"))
        labels = tuple(_literal(arguments["labels"])) if "labels" in arguments else ()
    except (KeyError, ValueError):
        raise ValueError(f"{place}:{call.lineno}: name, purpose and labels of a metric must be literals") from None
    if clash := {"host", "kind", "slot"} & {*labels}:
        raise ValueError(
            f"{place}:{call.lineno}: {', '.join(clash)} of the process would be replaced; name it otherwise"
        )
    where = "/".join(place.parts[: 2 if place.parts[0] == "shared" else 1])
    suffix = "_total" if maker == "counter" else ""
    return DeclaredMetric(name=f"bulkhead_{name}{suffix}", type=maker, purpose=purpose, labels=labels, where=where)


def _literal(node: ast.expr) -> Any:
    return ast.literal_eval(node)


def _of_the_orchestrator() -> list[DeclaredMetric]:
    slot = {
        **dict.fromkeys(("memory_mb", "processes", "threads", "open_files", "up_s", "down_s", "restarts"), 1),
        "memory_hard_mb": 1,
        "kind": "api",
        "state": SlotState.READY,
        "ready_at": "2026-12-01T09:00:00.000Z",
    }
    recoveries = {"api": {"counts": [0] * (len(RECOVERY_BUCKETS_S) + 1), "sum_s": 0.0}}
    snapshot = {"uptime_s": 1.0, "memory_mb": 1.0, "slots": {"api-0": slot}, "recoveries": recoveries}
    return [
        DeclaredMetric(
            name=family.name,
            type=family.type,
            purpose=family.purpose,
            labels=tuple(label for label in family.samples[0].labels if label not in ("host", "kind", "slot", "le")),
            where="orchestrator",
        )
        for family in orchestrator_families(snapshot)
    ]
