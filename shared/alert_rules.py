"""THE table of alerts: what is compared with what, for how long, and how urgent it is.

`ops/prometheus/bulkhead.rules.yml` is made from it by script/docs, and the recorder evaluates the same rows
(`shared.alert_policy`). Where an alert is a trouble of `shared.troubles`, it has its code and its mend. This file
imports only the standard library and `shared.troubles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.troubles import KINDS_OF_TROUBLE

Severity = Literal["critical", "warning"]
"""`critical`: at once, at night too. `warning`: within a working day."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is compared: a gauge, or how much a counter rose.

    Attributes:
        metric: name without `bulkhead_`. by: labels by which alerts of the rule differ.
        where: only values with these labels. within_s: seconds in which a counter's rise is counted; 0: a gauge.
        adds: whether values of the same labels are added; otherwise the largest counts (the least for `below`).
        divided_by: metric by whose value with the same labels it is divided; empty: none.
    """

    metric: str
    by: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    within_s: float = 0.0
    adds: bool = False
    divided_by: str = ""


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """One row.

    Attributes:
        name: never changed. above, below: one of them is set: the alert is on while the measure is beyond it.
        for_s: seconds for which it must be so before the alert fires. keep_s: seconds for which it must not be so
            before the alert ends, so that one that comes and goes is one alert.
        summary: one sentence; `{label}` and `{value}` are filled in. trouble: code in `shared.troubles`; empty: none.
    """

    name: str
    measure: Measure
    severity: Severity
    summary: str
    above: float | None = None
    below: float | None = None
    for_s: float = 0.0
    keep_s: float = 30.0
    trouble: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError` unless there is exactly one bound, and `KeyError` for an unknown trouble."""
        if (self.above is None) == (self.below is None):
            raise ValueError(f"{self.name} needs either `above` or `below`")
        if self.trouble:
            KINDS_OF_TROUBLE[self.trouble]

    @property
    def runbook(self) -> str:
        """Its page in the documents."""
        return f"docs/runbook/{self.name}.md"

    def is_beyond(self, value: float) -> bool:
        """Whether a measured value is one of which the alert speaks."""
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    def said(self, labels: Mapping[str, str], value: float) -> str:
        """Return the summary of one alert."""
        return self.summary.format_map({**labels, "value": f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"})


_SLOT: Final = ("kind", "slot")

ALERT_RULES: Final = (
    AlertRule(
        name="ProcessDown",
        measure=Measure(metric="slot_up", by=_SLOT),
        below=1,
        for_s=60,
        severity="critical",
        trouble="process_not_ready",
        summary="{slot} has not been ready for a minute.",
    ),
    AlertRule(
        name="MemoryHigh",
        measure=Measure(metric="slot_memory_bytes", by=_SLOT, divided_by="slot_memory_limit_bytes"),
        above=0.8,
        for_s=60,
        severity="warning",
        trouble="memory_high",
        summary="{slot} and its helpers use {value} of the memory at which they are replaced.",
    ),
    AlertRule(
        name="ErrorsFrequent",
        measure=Measure(metric="process_errors_total", by=_SLOT, within_s=60),
        above=10,
        keep_s=60,
        severity="warning",
        summary="{slot} had {value} unexpected errors within a minute.",
    ),
    AlertRule(
        name="BacklogLarge",
        measure=Measure(metric="backlog_messages", by=("queue",), adds=True),
        above=1000,
        for_s=60,
        severity="warning",
        trouble="queue_stuck",
        summary="{value} messages wait to be sent by {queue}.",
    ),
    AlertRule(
        name="HeartbeatMissing",
        measure=Measure(metric="heartbeat_age_seconds", by=("process",)),
        above=60,
        severity="critical",
        trouble="process_silent",
        summary="{process} has written no heartbeat for {value} s.",
    ),
    AlertRule(
        name="OrchestratorMissing",
        measure=Measure(metric="orchestrator_up"),
        below=1,
        for_s=30,
        severity="critical",
        trouble="orchestrator_missing",
        summary="No orchestrator reports: a process that ends is not started again.",
    ),
    AlertRule(
        name="DatabaseUnavailable",
        measure=Measure(metric="database_up", by=_SLOT),
        below=1,
        for_s=30,
        severity="critical",
        trouble="database_unavailable",
        summary="{slot} cannot work with PostgreSQL.",
    ),
    AlertRule(
        name="RedisUnavailable",
        measure=Measure(metric="redis_up", by=_SLOT),
        below=1,
        for_s=30,
        severity="warning",
        trouble="redis_unavailable",
        summary="{slot} gets no answer from Redis: messages are sent up to seconds later.",
    ),
    AlertRule(
        name="SlotQuarantined",
        measure=Measure(metric="slot_state", by=_SLOT, where={"state": "quarantined"}),
        above=0,
        severity="critical",
        trouble="process_quarantined",
        summary="{slot} ended too often and is tried again only once in a while.",
    ),
    AlertRule(
        name="SlotMisconfigured",
        measure=Measure(metric="slot_state", by=_SLOT, where={"state": "misconfigured"}),
        above=0,
        severity="critical",
        trouble="process_misconfigured",
        summary="{slot} does not start with these settings.",
    ),
    AlertRule(
        name="RestartsFrequent",
        measure=Measure(metric="slot_restarts_total", by=_SLOT, within_s=600),
        above=5,
        severity="warning",
        summary="{slot} was restarted {value} times within ten minutes.",
    ),
    AlertRule(
        name="MessagesStuck",
        measure=Measure(metric="backlog_oldest_seconds", by=("queue",)),
        above=120,
        for_s=30,
        severity="warning",
        trouble="queue_stuck",
        summary="The oldest message that {queue} should send is due for {value} s.",
    ),
    AlertRule(
        name="MessagesHeld",
        measure=Measure(metric="held_messages", by=("queue",), adds=True),
        above=0,
        severity="warning",
        trouble="messages_held",
        summary="{value} messages of {queue} may have been sent, and a person decides.",
    ),
    AlertRule(
        name="InDoubtMany",
        measure=Measure(metric="in_doubt_messages", by=("queue",), adds=True),
        above=20,
        for_s=300,
        severity="warning",
        summary="{value} messages of {queue} are in doubt.",
    ),
    AlertRule(
        name="DeadLettersMany",
        measure=Measure(
            metric="message_outcomes_total", by=("kind",), where={"outcome": "dead"}, within_s=600, adds=True
        ),
        above=10,
        severity="warning",
        trouble="dead_letters",
        summary="{value} messages of {kind} failed for good within ten minutes.",
    ),
    AlertRule(
        name="ProviderFailing",
        measure=Measure(metric="meta_transport_failures_total", by=("connection_type",), within_s=300, adds=True),
        above=20,
        severity="warning",
        summary="{value} calls to the provider of {connection_type} had no usable answer within five minutes.",
    ),
    AlertRule(
        name="WebhooksStuck",
        measure=Measure(metric="journal_lag_seconds", by=("kind",)),
        above=120,
        for_s=30,
        severity="critical",
        trouble="inbound_stuck",
        summary="The oldest event that {kind} received waits for {value} s to be processed.",
    ),
    AlertRule(
        name="WebhooksFailed",
        measure=Measure(metric="journal_rows_failed_total", by=("kind",), within_s=600, adds=True),
        above=0,
        severity="warning",
        trouble="inbound_failed",
        summary="{value} events that {kind} received could not be processed.",
    ),
    AlertRule(
        name="SessionLinkLost",
        measure=Measure(metric="sessions", by=("state",), where={"state": "logged_out"}, adds=True),
        above=0,
        severity="critical",
        trouble="session_link_lost",
        summary="{value} browser sessions lost the link to their phone.",
    ),
    AlertRule(
        name="SessionQuarantined",
        measure=Measure(metric="sessions", by=("state",), where={"state": "quarantined"}, adds=True),
        above=0,
        severity="critical",
        trouble="session_quarantined",
        summary="{value} browser sessions connected too often and wait, to protect their accounts.",
    ),
    AlertRule(
        name="HooksFailing",
        measure=Measure(metric="hooks", by=("state",), where={"state": "failing"}),
        above=0,
        for_s=600,
        severity="warning",
        trouble="hook_failing",
        summary="{value} webhooks of companies take nothing.",
    ),
    AlertRule(
        name="HooksLate",
        measure=Measure(metric="events_lag_seconds", by=("reader",)),
        above=300,
        for_s=60,
        severity="warning",
        summary="{reader} are {value} s behind what happens.",
    ),
    AlertRule(
        name="CustomersWaiting",
        measure=Measure(metric="customers_waiting", by=("who",), where={"who": "late"}),
        above=0,
        for_s=30,
        severity="warning",
        trouble="customers_waiting",
        summary="{value} customers wait for a human for longer than their company allows.",
    ),
    AlertRule(
        name="EventsLate",
        measure=Measure(metric="reading_lag_seconds"),
        above=60,
        for_s=30,
        severity="warning",
        summary="Lists, searches and figures are {value} s behind.",
    ),
    AlertRule(
        name="PoolExhausted",
        measure=Measure(metric="database_callers_waiting", by=_SLOT),
        above=0,
        for_s=60,
        severity="warning",
        summary="{value} callers in {slot} wait for a database connection.",
    ),
    AlertRule(
        name="DiskLow",
        measure=Measure(metric="home_free_bytes"),
        below=500e6,
        for_s=30,
        severity="critical",
        trouble="disk_low",
        summary="The disk of BULKHEAD_HOME has {value} bytes left.",
    ),
)
"""Every alert: the five that were asked for first, then ours."""

RULES_BY_NAME: Final = {rule.name: rule for rule in ALERT_RULES}


def expression(rule: AlertRule) -> str:
    """Return a rule's condition in PromQL."""
    measure = rule.measure
    # the same as `shared.alert_policy` computes: counters of several processes are added, gauges by `adds`
    how = "sum" if measure.adds or measure.within_s else "max" if rule.above is not None else "min"
    text = _aggregated(how, measure, measure.metric)
    if measure.divided_by:
        text = f"{text} / {_aggregated(how, measure, measure.divided_by)}"
    bound = f"> {rule.above:g}" if rule.above is not None else f"< {rule.below:g}"
    return f"{text} {bound}"


def _aggregated(how: str, measure: Measure, metric: str) -> str:
    chosen = ",".join(f'{name}="{value}"' for name, value in measure.where.items())
    series = f"bulkhead_{metric}" + (f"{{{chosen}}}" if chosen else "")
    if measure.within_s:
        series = f"increase({series}[{measure.within_s:g}s])"
    # ours are decided on each host for its own slots, Prometheus sees those of all
    by = ("host", *measure.by) if "slot" in measure.by else measure.by
    return f"{how} by ({', '.join(by)}) ({series})" if by else f"{how}({series})"


def prometheus_rules() -> str:
    """Return the table as a file of rules for Prometheus 2.42 or newer."""
    lines = [
        "# Written by script/docs from shared/alert_rules.py; change the table there.",
        "groups:",
        "  - name: bulkhead",
        "    rules:",
    ]
    for rule in ALERT_RULES:
        summary = rule.summary
        for label in (*rule.measure.by, "value"):
            shown = "$value | humanize" if label == "value" else f"$labels.{label}"
            summary = summary.replace(f"{{{label}}}", "{{ " + shown + " }}")
        lines += [
            f"      - alert: {rule.name}",
            f"        expr: '{expression(rule)}'",
            f"        for: {rule.for_s:g}s",
            f"        keep_firing_for: {rule.keep_s:g}s",
            f"        labels: {{severity: {rule.severity}}}",
            "        annotations:",
            f"          summary: '{summary}'",
            f"          runbook: '{rule.runbook}'",
        ]
    return "\n".join(lines) + "\n"
