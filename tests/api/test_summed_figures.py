"""Figures of a kind over its processes."""

from __future__ import annotations

from api.operators.figures import summed


def test_counts_are_added_gauges_are_not_and_means_are_weighted() -> None:
    def one(sent: float, refused: float, sends: float, seconds: float) -> dict[str, float]:
        return {
            "message_outcomes_total{outcome=sent,code=}": sent,
            "message_outcomes_total{outcome=dead,code=131026}": 100.0,
            "meta_refusals_total{connection_type=meta_direct,code=131026}": refused,
            "meta_transport_failures_total{connection_type=360dialog,code=timeout}": 1.0,
            "meta_connections_usable": 3.0,
            "messages_received_total": 5.0,
            "process_errors_total": 1.0,
            "send_seconds_count": sends,
            "send_seconds_sum": seconds,
        }

    assert summed([one(10, 1, 10, 1.0), one(20, 2, 30, 1.0)]) == {
        "sessionsActive": None,
        "botsActive": 3,
        "messagesSent": 30,
        "messagesReceived": 10,
        "errors": 2,
        "apiErrors": 5,
        "avgResponseTime": 0.05,
    }
