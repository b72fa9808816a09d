"""`contacts`: how long an import of contacts takes, what it costs, and what another company's messages notice."""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

from bench.figures import Figures, quantile
from bench.installation import Installation, outcome, running, warm
from bench.load import LoadResult
from tests.support.waiting import eventually

_OTHER: Final = "importer"
_FILES: Final = f"/api/v2/contact-files/{_OTHER}"
_ENDS: Final = ("done", "failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--contacts", type=int, default=100_000, help="lines of the file, at most 100,000")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second of another company meanwhile")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of those messages, before the import and during it"
    )


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.contacts, given.seconds = 2000, 1.0


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="contacts", parameters=vars(given))
    with running() as installation:
        installation.provider(latency_ms=50.0, statuses="sent,delivered")
        installation.bulkhead.client.call("POST", "/api/v2/companies", {"companyId": _OTHER})
        warm(installation, 1.0)
        figures.values["messages before"] = _answers(installation, given)
        content = _file(given.contacts)
        figures.values["file, MB"] = round(len(content) / 1e6, 1)
        for name in ("new contacts", "the same file again"):
            figures.values[name] = _imported(installation, given, content)
    return figures


def _file(contacts: int) -> bytes:
    lines = (f"1{5_550_000_000 + number},Number {number},vip;imported,{number}" for number in range(contacts))
    return "\n".join(["phone,name,tags,customerNumber", *lines]).encode()


def _imported(installation: Installation, given: argparse.Namespace, content: bytes) -> dict[str, Any]:
    """Import a file beside another company's messages, to its end."""
    bulkhead = installation.bulkhead
    memory, before, began = installation.pss_mb(), installation.cpu_s(), time.monotonic()
    task: dict[str, Any] = bulkhead.api(
        "POST",
        _FILES,
        data=content,
        headers={"Content-Type": "text/csv", "Prefer": "respond-async"},
    ).json()
    spec = installation.spec(seconds=given.seconds, rate=given.rate)
    largest = dict(memory)
    with installation.load(spec):

        def ended() -> dict[str, Any] | None:
            for slot, size in installation.pss_mb().items():
                largest[slot] = max(size, largest.get(slot, 0.0))
            found: dict[str, Any] = bulkhead.client.call("GET", f"/api/v2/tasks/{_OTHER}/{task['id']}")
            return found if found["status"] in _ENDS else None

        done: Any = eventually(ended, 1800.0, "the import ends", poll_s=1.0)
        seconds = time.monotonic() - began
        after = installation.cpu_s()
    counts = {name: done["result"][name] for name in ("created", "updated", "unchanged", "failed")}
    return {
        **counts,
        "seconds": round(seconds, 1),
        "contacts a second": round(given.contacts / seconds),
        "CPU µs a contact": {
            kind: round((after[kind] - before.get(kind, 0.0)) / given.contacts * 1e6)
            for kind in ("recorder", "postgres", "api")
        },
        "growth of a process at most, MB": {
            kind: round(max(largest[slot] - memory[slot] for slot in memory if slot.startswith(kind)), 1)
            for kind in ("recorder", "api")
        },
        "messages meanwhile": _of_load(installation, installation.load_result(spec)),
    }


def _answers(installation: Installation, given: argparse.Namespace) -> dict[str, Any]:
    return _of_load(installation, installation.run_load(installation.spec(seconds=given.seconds, rate=given.rate)))


def _of_load(installation: Installation, result: LoadResult) -> dict[str, Any]:
    installation.wait_idle()
    answers = sorted(answer - due for due, answer in zip(result.due_at, result.answered_at, strict=True))
    return {
        "due to 202, p50 ms": round(quantile(answers, 0.5) * 1000, 1),
        "due to 202, p99 ms": round(quantile(answers, 0.99) * 1000, 1),
        **outcome(installation, result),
    }
