"""The dashboard for Grafana, as data: `ops/grafana/bulkhead.json` is written from it by script/docs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

PATH: Final = "ops/grafana/bulkhead.json"
_WIDTH: Final = 12
"""Of 24 columns: two panels side by side."""
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `lines`: expressions in PromQL with their legends; unit: Grafana's name of it."""

    title: str
    lines: tuple[tuple[str, str], ...]
    unit: str = "short"
    is_number: bool = False


def _rate(metric: str, by: str, window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate(bulkhead_{metric}[{window}]))"


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', labels)})"


PANELS: Final = (
    Panel(title="Alerts that are on", lines=(("sum by (alert, severity) (bulkhead_alerts_on)", "{{alert}}"),)),
    Panel(
        title="Slots that are not ready",
        lines=(("bulkhead_slot_up < 1", "{{slot}}"), ("1 - bulkhead_orchestrator_up", "orchestrator")),
    ),
    Panel(
        title="Messages a second, by outcome",
        lines=(
            (_rate("messages_accepted_total", "connection_type"), "accepted {{connection_type}}"),
            (_rate("message_outcomes_total", "outcome"), "{{outcome}}"),
            (_rate("messages_received_total", "kind"), "received {{kind}}"),
        ),
        unit="cps",
    ),
    Panel(
        title="Messages that wait",
        lines=(
            ("sum by (queue) (bulkhead_backlog_messages)", "{{queue}}"),
            ("sum by (queue) (bulkhead_in_doubt_messages)", "in doubt {{queue}}"),
            ("sum by (queue) (bulkhead_held_messages)", "held {{queue}}"),
            ("max(bulkhead_dead_letters)", "dead letters"),
        ),
    ),
    Panel(
        title="Age of the oldest message that waits",
        lines=(("max by (queue) (bulkhead_backlog_oldest_seconds)", "{{queue}}"),),
        unit="s",
    ),
    Panel(
        title="From due to sent and delivered, p50 and p99",
        lines=(
            (_quantile(0.5, "message_step_seconds", "step"), "p50 {{step}}"),
            (_quantile(0.99, "message_step_seconds", "step"), "p99 {{step}}"),
        ),
        unit="s",
    ),
    Panel(
        title="Calls to providers, p95, and failures a second",
        lines=(
            (_quantile(0.95, "meta_call_seconds", "connection_type"), "p95 {{connection_type}}"),
            (_rate("meta_refusals_total", "connection_type"), "refused {{connection_type}}"),
            (_rate("meta_transport_failures_total", "connection_type"), "no answer {{connection_type}}"),
        ),
        unit="s",
    ),
    Panel(
        title="Requests a second and p99",
        lines=(
            (_rate("http_requests_total", "status"), "{{status}}"),
            (_quantile(0.99, "http_request_seconds"), "p99 in seconds"),
        ),
    ),
    Panel(
        title="Webhooks in, and what waits to be processed",
        lines=(
            (_rate("meta_webhook_posts_total", "answer"), "{{answer}}"),
            ("max by (kind) (bulkhead_journal_lag_seconds)", "lag {{kind}} in seconds"),
        ),
    ),
    Panel(
        title="Webhooks out",
        lines=(
            (_rate("hook_deliveries_total", "outcome"), "{{outcome}}"),
            ("sum by (state) (bulkhead_hook_retries)", "{{state}}"),
            ("sum by (state) (bulkhead_hooks)", "webhooks {{state}}"),
        ),
    ),
    Panel(
        title="Memory of each slot",
        lines=(
            ("bulkhead_slot_memory_bytes", "{{slot}}"),
            ("max by (kind) (bulkhead_slot_memory_limit_bytes)", "limit {{kind}}"),
        ),
        unit="bytes",
    ),
    Panel(
        title="Restarts within an hour",
        lines=(("sum by (slot) (increase(bulkhead_slot_restarts_total[1h]))", "{{slot}}"),),
    ),
    Panel(
        title="Ready time of the last day",
        lines=(
            (
                "sum by (kind) (increase(bulkhead_slot_up_seconds_total[1d])) / (sum by (kind) "
                "(increase(bulkhead_slot_up_seconds_total[1d])) + sum by (kind) "
                "(increase(bulkhead_slot_down_seconds_total[1d])))",
                "{{kind}}",
            ),
        ),
        unit="percentunit",
        is_number=True,
    ),
    Panel(
        title="Mean time to repair of the last day",
        lines=(
            (
                "sum by (kind) (increase(bulkhead_slot_recovery_seconds_sum[1d])) / "
                "sum by (kind) (increase(bulkhead_slot_recovery_seconds_count[1d]))",
                "{{kind}}",
            ),
        ),
        unit="s",
        is_number=True,
    ),
    Panel(
        title="Database connections",
        lines=(
            ("sum by (slot) (bulkhead_database_connections_in_use)", "in use {{slot}}"),
            ("sum by (slot) (bulkhead_database_callers_waiting)", "waiting {{slot}}"),
        ),
    ),
    Panel(
        title="Slowest statements, p95, and waits for a connection",
        lines=(
            (f"topk(10, {_quantile(0.95, 'statement_seconds', 'statement')})", "{{statement}}"),
            (_quantile(0.95, "database_wait_seconds", "kind"), "wait {{kind}}"),
        ),
        unit="s",
    ),
    Panel(
        title="Browser sessions",
        lines=(
            ("sum by (state) (bulkhead_sessions) > 0", "{{state}}"),
            ("sum(bulkhead_browsers_memory_bytes) / 1e9", "memory in GB"),
        ),
    ),
    Panel(
        title="Unexpected errors a minute",
        lines=(("sum by (slot) (increase(bulkhead_process_errors_total[1m]))", "{{slot}}"),),
    ),
    Panel(
        title="How far lists and figures, webhooks and the broker are behind",
        lines=(
            ("max(bulkhead_reading_lag_seconds)", "lists"),
            ("max by (reader) (bulkhead_events_lag_seconds)", "{{reader}}"),
        ),
        unit="s",
    ),
)


def dashboard() -> str:
    """Return the dashboard as Grafana imports it."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return (
        json.dumps(
            {
                "uid": "bulkhead",
                "title": "Bulkhead",
                "schemaVersion": 39,
                "editable": True,
                "refresh": "30s",
                "time": {"from": "now-6h", "to": "now"},
                "templating": {"list": [source]},
                "panels": [_panel(place, panel) for place, panel in enumerate(PANELS)],
            },
            indent=1,
        )
        + "\n"
    )


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": place + 1,
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": place % 2 * _WIDTH, "y": place // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.lines)
        ],
    }
