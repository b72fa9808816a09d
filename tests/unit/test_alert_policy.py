"""When alerts fire and end: histories as data, and the table itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from script import grafana
from script.declared_metrics import declared
from shared.alert_policy import AlertPolicy, Figures
from shared.alert_rules import ALERT_RULES, RULES_BY_NAME, AlertRule, Measure, expression, prometheus_rules

REPOSITORY = Path(__file__).parents[2]


def seen(history: list[tuple[float, Figures]], *rules: AlertRule, factor: float = 1.0) -> list[tuple[float, str]]:
    """Return when alerts fired and ended, each with what it is about."""
    policy = AlertPolicy(rules or ALERT_RULES, factor=factor)
    return [
        (now, f"{change.rule.name}{[*change.labels.values()]} {'on' if change.is_on else 'off'}")
        for now, figures in history
        for change in policy.step(figures, now)
    ]


def up(*values: float) -> Figures:
    """Return whether slots of kind meta are up."""
    return {"bulkhead_slot_up": [({"kind": "meta", "slot": f"meta-{n}"}, value) for n, value in enumerate(values)]}


def errors(**counts: float) -> Figures:
    """Return counts of errors by slot."""
    return {"bulkhead_process_errors_total": [({"kind": "api", "slot": slot}, n) for slot, n in counts.items()]}


def started(slot: str) -> Figures:
    """Return a figure that a process has from its start on."""
    return {"bulkhead_process_start_time_seconds": [({"kind": "api", "slot": slot}, 1.0)]}


DOWN = "ProcessDown['meta', 'meta-0']"
FREQUENT = "ErrorsFrequent['api', 'a']"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param([(0, up(0)), (59, up(0)), (60, up(0)), (61, up(0))], [(60, f"{DOWN} on")], id="after for_s, once"),
        pytest.param([(0, up(0)), (59, up(1)), (60, up(0)), (119, up(0))], [], id="a moment of health begins anew"),
        pytest.param(
            [(0, up(0)), (60, up(0)), (65, up(1)), (89, up(1)), (90, up(1))],
            [(60, f"{DOWN} on"), (90, f"{DOWN} off")],
            id="off after keep_s of health",
        ),
        pytest.param(
            [(0, up(0)), (60, up(0)), (70, up(1)), (80, up(0)), (100, up(1)), (109, up(1)), (110, up(1))],
            [(60, f"{DOWN} on"), (110, f"{DOWN} off")],
            id="one that comes and goes is one alert",
        ),
        pytest.param(
            [(0, up(0, 0)), (60, up(0, 0)), (70, up(1, 0)), (100, up(1, 0))],
            [(60, f"{DOWN} on"), (60, "ProcessDown['meta', 'meta-1'] on"), (100, f"{DOWN} off")],
            id="each slot by itself",
        ),
        pytest.param(
            [(0, up(0)), (60, up(0)), (70, {}), (90, {})],
            [(60, f"{DOWN} on"), (90, f"{DOWN} off")],
            id="what has no value any more is over: an operator stopped it",
        ),
        pytest.param(
            [
                (0, errors(a=5)),
                (5, errors(a=10)),
                (10, errors(a=16)),
                (64, errors(a=16)),
                (65, errors(a=16)),
                (70, errors(a=16)),
                (124, errors(a=16)),
            ],
            [(10, f"{FREQUENT} on"), (124, f"{FREQUENT} off")],
            id="more than ten within a minute",
        ),
        pytest.param([(0, errors(a=500)), (5, errors(a=505))], [], id="what was counted before is not new"),
        pytest.param(
            [(0, started("a")), (5, {**started("a"), **errors(a=20)})],
            [(5, f"{FREQUENT} on")],
            id="a counter that is born with a burst rose from 0",
        ),
        pytest.param(
            [(0, started("b")), (5, {**started("a"), **errors(a=500)})],
            [],
            id="what a slot had when it was first seen did not",
        ),
        pytest.param(
            [(0, errors(a=5)), (5, errors(a=10)), (10, errors(a=6))],
            [(10, f"{FREQUENT} on")],
            id="a process that is replaced begins at 0",
        ),
        pytest.param([(0, errors(a=0, b=0)), (5, errors(a=8, b=8))], [], id="not added over different labels"),
    ],
)
def test_histories(history: list[tuple[float, Figures]], expected: list[tuple[float, str]]) -> None:
    assert seen(history) == expected


def test_one_value_by_another_and_none_without_a_limit() -> None:
    def memory(used: float, limit: float | None) -> Figures:
        labels = {"kind": "api", "slot": "api-0"}
        limits = {} if limit is None else {"bulkhead_slot_memory_limit_bytes": [(labels, limit)]}
        return {"bulkhead_slot_memory_bytes": [(labels, used)], **limits}

    assert seen([(0, memory(81, 100)), (60, memory(81, 100))]) == [(60, "MemoryHigh['api', 'api-0'] on")]
    assert seen([(0, memory(80, 100)), (60, memory(80, 100))]) == []
    assert seen([(0, memory(80, None)), (60, memory(80, None))]) == []


def test_the_factor_shortens_every_duration() -> None:
    assert seen([(0, up(0)), (6, up(0)), (7, up(1)), (9, up(1))], factor=0.1) == [
        (6, f"{DOWN} on"),
        (9, f"{DOWN} off"),
    ]


def test_an_alert_of_an_earlier_life_goes_on_and_ends() -> None:
    policy = AlertPolicy()
    policy.step(up(0), 0)
    policy.resume([(("ProcessDown", (("kind", "meta"), ("slot", "meta-0"))), 0.0), (("Gone", ()), 1.0)], 0)
    assert policy.step(up(0), 100) == [], "it is on already; a rule that is gone has no alerts"
    assert policy.step(up(1), 110) == []
    assert [change.is_on for change in policy.step(up(1), 130)] == [False]
    assert not policy.on


def test_bounds() -> None:
    above = AlertRule(name="x", measure=Measure(metric="m"), severity="warning", summary="", above=0)
    below = AlertRule(name="x", measure=Measure(metric="m"), severity="warning", summary="", below=1)
    assert [above.is_beyond(0), above.is_beyond(0.1), below.is_beyond(1), below.is_beyond(0)] == [
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="either"):
        AlertRule(name="x", measure=Measure(metric="m"), severity="warning", summary="", above=1, below=1)


def test_every_metric_and_label_of_the_rules_exists() -> None:
    known = {one.name: one for one in declared()}
    for rule in ALERT_RULES:
        for metric in filter(None, (rule.measure.metric, rule.measure.divided_by)):
            found = known[f"bulkhead_{metric}"]
            labels = {*found.labels, "kind", "slot"}
            assert {*rule.measure.by, *rule.measure.where} <= labels, rule.name
            assert (rule.measure.within_s > 0) == (found.type == "counter"), rule.name
        rule.said(dict.fromkeys(rule.measure.by, "x"), 1.0)


def test_expressions() -> None:
    assert expression(RULES_BY_NAME["ProcessDown"]) == "min by (host, kind, slot) (bulkhead_slot_up) < 1"
    assert expression(RULES_BY_NAME["MemoryHigh"]) == (
        "max by (host, kind, slot) (bulkhead_slot_memory_bytes)"
        " / max by (host, kind, slot) (bulkhead_slot_memory_limit_bytes) > 0.8"
    )
    assert expression(RULES_BY_NAME["DeadLettersMany"]) == (
        'sum by (kind) (increase(bulkhead_message_outcomes_total{outcome="dead"}[600s])) > 10'
    )


def test_the_rules_for_prometheus_are_those_of_the_table() -> None:
    assert (REPOSITORY / "ops/prometheus/bulkhead.rules.yml").read_text(encoding="utf-8") == prometheus_rules()


def test_the_dashboard_for_grafana_is_up_to_date_and_every_metric_of_it_exists() -> None:
    text = (REPOSITORY / grafana.PATH).read_text(encoding="utf-8")
    assert text == grafana.dashboard()
    known = {one.name for one in declared()}
    used = set(re.findall(r"bulkhead_\w+", text))
    parts = {name for name in used if name not in known}
    histograms = {one.name for one in declared() if one.type == "histogram"}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in parts} <= histograms
    assert len(used) > 25


@pytest.mark.parametrize("panel", grafana.PANELS, ids=lambda panel: panel.title)
def test_every_label_of_the_dashboard_exists(panel: grafana.Panel) -> None:
    known = {one.name: {*one.labels, "kind", "slot"} for one in declared()}
    for query, legend in panel.lines:
        names = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"bulkhead_\w+", query)}
        labels = set.intersection(*(known[name] for name in names))
        grouped = {word for words in re.findall(r"by \(([^)]*)\)", query) for word in words.split(", ")}
        selected = set(re.findall(r"(\w+)=~?\"", query))
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert (grouped | selected) - labels <= {"le"}, query
        # what is aggregated away has no value to be shown
        assert shown <= (grouped or labels), query


@pytest.mark.parametrize("rule", ALERT_RULES, ids=lambda rule: rule.name)
def test_every_alert_has_a_page_that_says_what_to_do(rule: AlertRule) -> None:
    text = (REPOSITORY / rule.runbook).read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.name}\n")
    for part in ("## What it means", "## What to look at", "## What to do"):
        assert part in text
