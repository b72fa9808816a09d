"""CPU that counting costs a message, on its whole way through API and sender: `python -m bench.counting`."""

from __future__ import annotations

import statistics
import time
from typing import Final

from shared.delivery.delivery_metrics import DeliveryMetrics
from shared.messages import Sent
from shared.process.metrics import Metrics

_MESSAGES: Final = 100_000
_ROUNDS: Final = 7


def main() -> None:
    """Print microseconds a message: the median of some rounds, least and most."""
    metrics = Metrics({"kind": "meta", "slot": "meta-0"})
    delivery = DeliveryMetrics(metrics, paced=lambda: 0, in_flight=lambda: 0)
    accepted = metrics.counter("messages_accepted", "", ("connection_type",))
    requests = metrics.counter("http_requests", "", ("route", "method", "status"))
    seconds = metrics.histogram("http_request_seconds", "", ("route",))
    call_seconds = metrics.histogram("meta_call_seconds", "", ("connection_type", "type"))
    posts = metrics.counter("meta_webhook_posts", "", ("door", "answer"))
    events = metrics.counter("meta_events", "", ("part",))
    # as the request middleware keeps them
    counted, observed = requests.labels("/api/v2/messages", "POST", 202).inc, seconds.labels("/api/v2/messages").observe
    outcome = Sent(provider_id="wamid.1")
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_MESSAGES):
            counted()
            observed(0.004)
            accepted.labels("meta_direct").inc()
            call_seconds.labels("meta_direct", "text").observe(0.1)
            delivery.send_ended(0.1)
            delivery.settled("meta_direct", outcome)
            # two statuses, in a webhook each
            for _ in range(2):
                posts.labels("meta", "taken").inc()
                events.labels("status").inc(1)
        rounds.append((time.process_time() - began) / _MESSAGES * 1e6)
    print(f"{statistics.median(rounds):.2f} us a message ({min(rounds):.2f} to {max(rounds):.2f})")


if __name__ == "__main__":
    main()
