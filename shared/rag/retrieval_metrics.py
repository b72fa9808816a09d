"""What is counted of searches in documents, in the same form by every kind that makes them."""

from __future__ import annotations

from shared.process.metrics import Metrics
from shared.rag.passages import Retrieved


class RetrievalMetrics:
    """Counts searches; one for a process."""

    def __init__(self, metrics: Metrics) -> None:
        self._searches = metrics.counter(
            "retrievals",
            "Searches of documents, by the searches made and whether anything was found.",
            ("legs", "found"),
        )
        self._seconds = metrics.histogram("retrieval_seconds", "Time of a search of documents.")

    def note(self, found: Retrieved, took_s: float) -> None:
        """Count one."""
        self._searches.labels("+".join(found.legs), "yes" if found.passages else "no").inc()
        self._seconds.observe(took_s)
