"""What one process counts about its messages, for `/metrics` and `/health`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shared.messages import Dead, InDoubt, Outcome, Retry, Sent
from shared.process.metrics import Metrics

_LABELS: Final = {Sent: "sent", Retry: "retry", Dead: "dead", InDoubt: "in_doubt"}


def label_of(outcome: Outcome) -> str:
    """Return the name of an outcome in metrics and logs."""
    return _LABELS[type(outcome)]


class DeliveryMetrics:
    """Counts sends and their outcomes.

    Args:
        paced: returns how many connections are rate-limited just now. in_flight: how many rows are claimed and not
            settled.

    Attributes:
        sent, failed: messages that reached their end. send_seconds: time of all sends together.
    """

    def __init__(self, metrics: Metrics, *, paced: Callable[[], int], in_flight: Callable[[], int]) -> None:
        self._outcomes = metrics.counter(
            "message_outcomes", "Sends by outcome.", ("outcome", "code", "connection_type")
        )
        # the series itself: a look-up for each message costs as much as counting
        self._send_duration = metrics.histogram("send_seconds", "Time of one send call.").labels()
        self._fenced = metrics.counter(
            "fenced_writes", "Late writes that were refused because the row was no longer ours."
        )
        metrics.gauge("numbers_paced", "Connections that are rate-limited just now.", read=paced)
        metrics.gauge("messages_in_flight", "Rows that are claimed and not settled.", read=in_flight)
        self.sent = self.failed = 0
        self.send_seconds = 0.0

    def send_ended(self, duration_s: float) -> None:
        """Count one send call that ended in an outcome."""
        self._send_duration.observe(duration_s)
        self.send_seconds += duration_s

    def fenced(self) -> None:
        """Count one send whose row was no longer ours."""
        self._fenced.inc()

    def settled(self, connection_type: str, outcome: Outcome) -> None:
        """Count one outcome that is written."""
        self._outcomes.labels(label_of(outcome), getattr(outcome, "code", ""), connection_type).inc()
