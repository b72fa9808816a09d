"""Prometheus' own tool over the rules that are written for it: they parse, and fire and end as ours do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from shared.alert_policy import AlertPolicy, Figures
from shared.alert_rules import RULES_BY_NAME, prometheus_rules
from tests.support.environment import REPOSITORY

STEP_S: Final = 5
EDGE_S: Final = 10
"""Seconds around a change that are not compared: Prometheus extrapolates the rise of a counter to its whole window."""
SERIES: Final[Mapping[tuple[str, tuple[tuple[str, str], ...]], Sequence[float | None]]] = {
    # 90 s down, then up
    ("slot_up", (("kind", "meta"), ("slot", "meta-0"))): [0.0] * 18 + [1.0] * 42,
    ("slot_up", (("kind", "meta"), ("slot", "meta-1"))): [0.0] * 8 + [1.0] * 52,
    ("slot_memory_bytes", (("kind", "api"), ("slot", "api-0"))): [90.0] * 20 + [50.0] * 40,
    ("slot_memory_limit_bytes", (("kind", "api"), ("slot", "api-0"))): [100.0] * 60,
    ("process_errors_total", (("kind", "api"), ("slot", "api-0"))): [
        *(2.0 * n for n in range(15)),
        *([28.0] * 45),
    ],
    # replaced in between
    ("process_errors_total", (("kind", "api"), ("slot", "api-1"))): [
        *(3.0 * n for n in range(8)),
        *(3.0 * n for n in range(8)),
        *([21.0] * 44),
    ],
    ("slot_state", (("kind", "hooks"), ("slot", "hooks-0"), ("state", "quarantined"))): [
        *([None] * 4),
        *([1.0] * 10),
        *([None] * 46),
    ],
    ("backlog_messages", (("queue", "meta"),)): [1500.0] * 30 + [0.0] * 30,
}
LENGTH: Final = 60


def promtool() -> str:
    """Return the program. Without it the test is skipped; on CI it fails."""
    found = shutil.which("promtool") or shutil.which("promtool", path=str(REPOSITORY / ".venv/bin"))
    if found is None:
        reason = "there is no promtool: script/promtool fetches it"
        # a tool that is missing where everything is installed is a fault of the installation
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(found)


def run(*words: str | Path) -> str:
    """Run promtool and return its output. Fails when it does."""
    done = subprocess.run([promtool(), *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_parse() -> None:
    assert f"{len(RULES_BY_NAME)} rules found" in run(
        "check", "rules", REPOSITORY / "ops/prometheus/bulkhead.rules.yml"
    )


def figures_at(step: int) -> Figures:
    """Return the values of all series at one step."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for (metric, labels), values in SERIES.items():
        if (value := values[step]) is not None:
            found.setdefault(f"bulkhead_{metric}", []).append((dict(labels), value))
    return found


def test_they_fire_and_end_as_ours_do(tmp_path: Path) -> None:
    policy = AlertPolicy()
    ours = []
    for step in range(LENGTH):
        policy.step(figures_at(step), step * STEP_S)
        ours.append(policy.on)
    assert {name for on in ours for name, _ in on} >= {
        "ProcessDown", "MemoryHigh", "ErrorsFrequent", "SlotQuarantined", "BacklogLarge",
    }  # fmt: skip
    edge = EDGE_S // STEP_S
    names = sorted({metric_rule for on in ours for metric_rule, _ in on})
    compared: list[dict[str, Any]] = []
    for step in range(edge, LENGTH - edge):
        for name in names:
            around = [{key for key in ours[one] if key[0] == name} for one in range(step - edge, step + edge + 1)]
            if all(one == around[0] for one in around):
                severity = RULES_BY_NAME[name].severity
                expected = [{"exp_labels": {**dict(labels), "severity": severity}} for _, labels in around[0]]
                compared.append({"eval_time": f"{step * STEP_S}s", "alertname": name, "exp_alerts": expected})
    assert len(compared) > 150
    # what an alert says is ours to test: the same text needs no second formatter
    spoken = ("        annotations:", "          summary:", "          runbook:")
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join(line for line in prometheus_rules().splitlines() if not line.startswith(spoken)))
    case = {
        "interval": f"{STEP_S}s",
        "input_series": [
            {
                "series": f"bulkhead_{metric}{{{','.join(f'{name}={json.dumps(text)}' for name, text in labels)}}}",
                # `stale` ends a series at once, as a scrape without it does
                "values": " ".join(
                    f"{value:g}" if value is not None else "_" if not place or values[place - 1] is None else "stale"
                    for place, value in enumerate(values)
                ),
            }
            for (metric, labels), values in SERIES.items()
        ],
        "alert_rule_test": compared,
    }
    tests = tmp_path / "tests.yml"
    # JSON is YAML
    tests.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": f"{STEP_S}s", "tests": [case]}))
    run("test", "rules", tests)
