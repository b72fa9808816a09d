"""Figures as text, by the reference parser; figures of all processes, by their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.clock import utc_now
from shared.process import metrics_files, runtime
from shared.process.exposition import Family, family_of, merged, render
from shared.process.metrics import Metrics
from shared.process.slot_metrics import orchestrator_families


def read(text: bytes) -> dict[str, float]:
    """Return the values as Prometheus' own parser reads them, by name and labels."""
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def some(slot: str, sends: int) -> Metrics:
    """Return the metrics of a process."""
    metrics = Metrics({"kind": "meta", "slot": slot})
    metrics.counter("sends", 'Sends, of a "kind".\nTwo lines.', ("code",)).labels('od"d\\\n').inc(sends)
    metrics.histogram("send_seconds", "Time.", buckets=(0.1, 1)).observe(0.1)
    return metrics


def test_the_reference_parser_reads_what_is_rendered() -> None:
    values = read(some("meta-0", 3).exposition())
    own = {"kind": "meta", "slot": "meta-0"}
    shown = {name: json.dumps({**own, **labels}, sort_keys=True) for name, labels in {
        "code": {"code": 'od"d\\\n'}, "low": {"le": "0.1"}, "all": {"le": "+Inf"}, "none": {}}.items()}  # fmt: skip
    assert values == {
        f"bulkhead_sends_total{shown['code']}": 3.0,
        # a bucket holds what is equal to its bound
        f"bulkhead_send_seconds_bucket{shown['low']}": 1.0,
        f"bulkhead_send_seconds_bucket{json.dumps({**own, 'le': '1.0'}, sort_keys=True)}": 1.0,
        f"bulkhead_send_seconds_bucket{shown['all']}": 1.0,
        f"bulkhead_send_seconds_sum{shown['none']}": 0.1,
        f"bulkhead_send_seconds_count{shown['none']}": 1.0,
    }


def test_families_survive_json_and_are_merged_by_name() -> None:
    one, two = some("meta-0", 3).families(), some("meta-1", 4).families()
    again = [family_of(json.loads(json.dumps(family.as_json()))) for family in two]
    assert again == two
    (sends,) = [family for family in merged([one, again]) if family.name == "bulkhead_sends_total"]
    assert {sample.labels["slot"]: sample.value for sample in sends.samples} == {"meta-0": 3.0, "meta-1": 4.0}


@pytest.mark.parametrize(
    "values", [["name"], ["n", "odd", "p", []], ["n", "gauge", "p", [["n", {}, "x"]]], ["n", "gauge", "p", [1]], None]
)
def test_what_is_no_family_is_refused(values: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        family_of(values)


def test_files_of_every_process_and_none_that_is_old_or_broken(home: Path) -> None:
    metrics_files.write(home, "meta-0", some("meta-0", 3))
    metrics_files.write(home, "meta-1", some("meta-1", 4))
    runtime.metrics_file(home, "broken-0").write_text('{"at": 1')
    runtime.metrics_file(home, "other-0").write_text('{"at": 4e9, "families": []}')
    written = json.loads(runtime.metrics_file(home, "meta-0").read_text())["at"]

    def slots(now: float) -> set[str]:
        found = {family.name: family for family in metrics_files.gather(home, now)}
        empty = Family("", "gauge", "", [])
        return {one.labels["slot"] for one in found.get("bulkhead_sends_total", empty).samples}

    assert slots(written + 1) == {"meta-0", "meta-1"}
    assert slots(written + metrics_files.FRESH_S + 5) == set()
    assert slots(written - metrics_files.FRESH_S - 5) == set(), "a clock that was set back makes nothing fresh"
    metrics_files.remove(home, "meta-0")
    assert slots(written + 1) == {"meta-1"}
    (up,) = [family for family in metrics_files.gather(home) if family.name == "bulkhead_orchestrator_up"]
    assert [sample.value for sample in up.samples] == [0.0], "no orchestrator wrote a snapshot"


def test_a_snapshot_of_another_version_claims_nothing(home: Path) -> None:
    at = utc_now().isoformat()
    runtime.status_file(home).write_text(json.dumps({"at": at, "state": "running", "slots": {"meta-0": {"state": 1}}}))
    assert metrics_files.gather(home) == []


def slot(state: str, **facts: Any) -> dict[str, Any]:
    """Return one slot of a snapshot."""
    empty = dict.fromkeys(("memory_mb", "processes", "threads", "open_files", "ready_at"))
    return {"kind": "meta", "state": state, "restarts": 2, "memory_hard_mb": 0, **empty, **facts}


def test_figures_of_slots() -> None:
    snapshot = {
        "uptime_s": 5.0,
        "memory_mb": 30.0,
        "recoveries": {"meta": {"counts": [0, 0, 1, 0, 0, 0, 0, 0, 0], "sum_s": 2.0}},
        "slots": {
            "meta-0": slot("ready", memory_mb=100.0, memory_hard_mb=400, up_s=10.0, down_s=1.0),
            "meta-1": slot("quarantined"),
            "meta-2": slot("stopped"),
            "meta-3": slot("ready", is_probe=True),
        },
    }
    values = read(render(orchestrator_families(snapshot)))

    def of(name: str, **labels: str) -> float | None:
        return values.get(f"bulkhead_{name}" + json.dumps(labels, sort_keys=True))

    ups = [of("slot_up", kind="meta", slot=f"meta-{number}") for number in range(4)]
    assert ups == [1.0, 0.0, None, 0.0], "nothing should run in a stopped slot; a probe is not over the quarantine"
    assert of("slot_memory_bytes", kind="meta", slot="meta-0") == 100e6
    assert of("slot_memory_limit_bytes", kind="meta", slot="meta-0") == 400e6
    assert of("slot_memory_limit_bytes", kind="meta", slot="meta-1") is None
    assert of("slot_state", kind="meta", slot="meta-1", state="quarantined") == 1.0
    assert of("slot_recovery_seconds_bucket", kind="meta", le="2.5") == 1.0
    assert of("slot_recovery_seconds_sum", kind="meta") == 2.0
    values = read(render(orchestrator_families({**snapshot, "host": "b"})))
    assert of("slot_up", host="b", kind="meta", slot="meta-0") == 1.0, "two hosts' slots have one name"
