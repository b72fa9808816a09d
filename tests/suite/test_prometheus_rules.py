"""Prometheus' own tool over the rules that are written for it: they parse, and fire and end as ours do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from script import grafana
from shared.alert_policy import AlertKey, AlertPolicy, Figures
from shared.alert_rules import ALERT_RULES, RULES_BY_NAME, AlertRule, prometheus_rules
from tests.support.environment import REPOSITORY

STEP_S: Final = 5
EDGE_S: Final = 10
"""Seconds around a change that are not compared: Prometheus extrapolates the rise of a counter to its whole window."""
LONG_STEP_S: Final = 15
LONG: Final = 80
"""Steps: twenty minutes, of which the longest rules ask for ten."""
Series: TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], Sequence[float | None]]
"""Values at each step, by metric and labels."""
SERIES: Final[Series] = {
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


def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    queries = [query for panel in grafana.PANELS for query, _ in panel.lines]
    rules = [
        {"record": f"of_the_dashboard:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run("check", "rules", tmp_path / "rules.yml")


def series_of(rule: AlertRule) -> Series:
    """Return series by which one alert fires and ends: beyond its bound for longer than it asks, then back."""
    measure = rule.measure
    labels = tuple(sorted({**dict.fromkeys(measure.by, "x"), **measure.where}.items()))
    bound = rule.above if rule.above is not None else rule.below
    assert bound is not None
    if measure.within_s:
        # a jump far beyond the bound: Prometheus extrapolates it to the whole window
        return {(measure.metric, labels): [0.0] * 3 + [3 * bound + 3] * (LONG - 3)}
    beyond, well = (3 * bound + 3, 0.0) if rule.above is not None else (bound / 2, 3 * bound)
    lasts = round(rule.for_s / LONG_STEP_S) + 8
    found: Series = {(measure.metric, labels): [well] * 3 + [beyond] * lasts + [well] * (LONG - 3 - lasts)}
    if measure.divided_by:
        found[measure.divided_by, labels] = [1.0] * LONG
    return found


def figures_at(series: Series, step: int) -> Figures:
    """Return the values of all series at one step."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for (metric, labels), values in series.items():
        if (value := values[step]) is not None:
            found.setdefault(f"bulkhead_{metric}", []).append((dict(labels), value))
    return found


def history(series: Series, length: int, step_s: int) -> list[frozenset[AlertKey]]:
    """Return which alerts our own policy has on after each step."""
    policy, found = AlertPolicy(), []
    for step in range(length):
        policy.step(figures_at(series, step), step * step_s)
        found.append(policy.on)
    return found


def compare(series: Series, ours: Sequence[frozenset[AlertKey]], step_s: int, place: Path) -> int:
    """Let promtool run the rules over the same series; fails where it has another alert on. Returns how many looks were
    compared.
    """
    edge = max(1, EDGE_S // step_s)
    names = sorted({name for on in ours for name, _ in on})
    compared: list[dict[str, Any]] = []
    for step in range(edge, len(ours) - edge):
        for name in names:
            around = [{key for key in ours[one] if key[0] == name} for one in range(step - edge, step + edge + 1)]
            if all(one == around[0] for one in around):
                severity = RULES_BY_NAME[name].severity
                expected = [{"exp_labels": {**dict(labels), "severity": severity}} for _, labels in around[0]]
                compared.append({"eval_time": f"{step * step_s}s", "alertname": name, "exp_alerts": expected})
    # what an alert says is ours to test: the same text needs no second formatter
    spoken = ("        annotations:", "          summary:", "          runbook:")
    rules = place / "rules.yml"
    rules.write_text("\n".join(line for line in prometheus_rules().splitlines() if not line.startswith(spoken)))
    case = {
        "interval": f"{step_s}s",
        "input_series": [
            {
                "series": f"bulkhead_{metric}{{{','.join(f'{name}={json.dumps(text)}' for name, text in labels)}}}",
                # `stale` ends a series at once, as a scrape without it does
                "values": " ".join(
                    f"{value:g}" if value is not None else "_" if not step or values[step - 1] is None else "stale"
                    for step, value in enumerate(values)
                ),
            }
            for (metric, labels), values in series.items()
        ],
        "alert_rule_test": compared,
    }
    tests = place / "tests.yml"
    # JSON is YAML
    tests.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": f"{step_s}s", "tests": [case]}))
    run("test", "rules", tests)
    return len(compared)


def test_they_fire_and_end_as_ours_do(tmp_path: Path) -> None:
    ours = history(SERIES, LENGTH, STEP_S)
    assert {name for on in ours for name, _ in on} >= {
        "ProcessDown", "MemoryHigh", "ErrorsFrequent", "SlotQuarantined", "BacklogLarge",
    }  # fmt: skip
    assert compare(SERIES, ours, STEP_S, tmp_path) > 150


def test_every_rule_fires_and_ends_as_ours_does(tmp_path: Path) -> None:
    series: Series = {}
    for rule in ALERT_RULES:
        for (metric, labels), values in series_of(rule).items():
            # rules on one metric may ask for one series
            series.setdefault((metric, labels), values)
    ours = history(series, LONG, LONG_STEP_S)
    fired = {name for on in ours for name, _ in on}
    assert fired == {*RULES_BY_NAME}, "each fires"
    assert ours[0] == ours[-1] == frozenset(), "and ends"
    assert compare(series, ours, LONG_STEP_S, tmp_path) > LONG * len(ALERT_RULES) * 0.8
