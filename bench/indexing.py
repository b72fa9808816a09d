"""`index`: kill -9 of the indexing processes under load: each document is indexed once, with each passage once."""

from __future__ import annotations

import argparse
import random
import threading
from typing import Any, Final

from bench.figures import Figures, spread_ms
from bench.installation import WITHOUT_BROWSERS, Installation, TenderBulkhead, running
from bench.killing import KindOfWork, feed, kill_lives, wait_for_end

_SECTIONS: Final = 150
"""Of one document; each is a passage, so that a document is written in several batches."""
_STATES: Final = "SELECT state || ' ' || reason_code, count(*) FROM documents GROUP BY 1"
_DOCUMENTS: Final = KindOfWork(
    name="document",
    ended="SELECT count(*) FROM documents WHERE state NOT IN ('uploaded', 'indexing')",
    holders="SELECT DISTINCT incarnation FROM documents WHERE state = 'indexing' AND incarnation <> ''",
    waiting="SELECT count(*) FROM documents WHERE state IN ('uploaded', 'indexing') OR NOT is_tidy",
    piece_s=5.0,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--kills", type=int, default=200, help="how often a process of kind index is killed")
    parser.add_argument("--within", type=float, default=1.0, help="seconds after it took a document, at most")
    parser.add_argument("--rate", type=float, default=1.0, help="uploads a second at most")
    parser.add_argument("--waiting", type=int, default=20, help="while so many wait for their index, none is uploaded")
    parser.add_argument("--seed", type=int, default=1, help="of the choice which process is killed")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.kills, given.rate = 3, 2.0


def run(given: argparse.Namespace) -> Figures:
    """Measure: documents come in, processes are killed, every document can be searched in the end."""
    figures = Figures(command="index", parameters=vars(given), axes=("document", "seconds to its index"))
    # the restart policy would slow down the many restarts, and is not part of the measurement
    with running(TenderBulkhead, only=f"{WITHOUT_BROWSERS},index", index_instances=2) as installation:
        dice = random.Random(given.seed)
        stop = threading.Event()
        uploaded: list[int] = []
        # kind index runs while a company has documents
        _upload(installation, uploaded)
        writer = threading.Thread(
            target=lambda: feed(
                installation,
                _DOCUMENTS,
                lambda: _upload(installation, uploaded),
                rate=given.rate,
                most=given.waiting,
                stop=stop,
            )
        )
        writer.start()
        try:
            in_hand = kill_lives(
                installation, _DOCUMENTS, kills=given.kills, between=1, within_s=given.within, dice=dice
            )
        finally:
            stop.set()
            writer.join()
        wait_for_end(installation, _DOCUMENTS)
        given_up = [row[0] for row in installation.rows("SELECT id FROM documents WHERE reason_code = 'interrupted'")]
        figures.values |= {
            "kills": given.kills,
            "kills with a document in hand": in_hand,
            "documents": len(uploaded),
            "after the kills": _states(installation),
            **_judged(installation, uploaded),
        }
        # three deaths end a document's tries; an operator gives it three more
        for document in given_up:
            installation.bulkhead.api("POST", f"/api/v2/documents/demo/{document}/reindex").raise_for_status()
        wait_for_end(installation, _DOCUMENTS)
        figures.values["after a new index of what was given up"] = _states(installation)
        took = installation.rows(
            "SELECT extract(epoch FROM indexed_at - created_at)::float FROM documents WHERE indexed_at IS NOT NULL"
        )
        figures.values["upload to index"] = spread_ms([row[0] for row in took])
        figures.series["indexed"] = [(float(number), seconds) for number, (seconds,) in enumerate(sorted(took))]
    return figures


def _judged(installation: Installation, uploaded: list[int]) -> dict[str, Any]:
    """Return what the tables say of the documents: what is missing, and what is there twice."""
    known = {row[0] for row in installation.rows("SELECT id FROM documents")}
    indexed = installation.rows(
        """SELECT d.id, d.chunks,
                  (SELECT count(*) FROM document_chunks c WHERE c.document_id = d.id) AS passages,
                  (SELECT count(DISTINCT c.position) FROM document_chunks c
                   WHERE c.document_id = d.id AND c.generation = d.generation) AS places,
                  (SELECT count(*) FROM chunk_vectors v WHERE v.document_id = d.id AND v.generation = d.generation),
                  (SELECT count(*) FROM events e WHERE e.type = 'document.indexed'
                   AND e.data @> jsonb_build_object('documentId', d.id)) AS events
           FROM documents d WHERE d.state = 'indexed'"""
    )
    return {
        "lost": len(set(uploaded) - known),
        "indexed": len(indexed),
        "indexed twice": sum(row[5] != 1 for row in indexed),
        "passages missing": sum(row[1] != row[3] or row[1] < _SECTIONS for row in indexed),
        "passages doubled": sum(row[2] - row[3] for row in indexed),
        "vectors missing": sum(row[1] != row[4] for row in indexed),
    }


def _states(installation: Installation) -> dict[str, int]:
    return {str(name).strip(): int(count) for name, count in installation.rows(_STATES)}


def _upload(installation: Installation, uploaded: list[int]) -> None:
    number = len(uploaded)
    text = "\n\n".join(
        f"# Part {part}\n\nDocument {number} says in part {part} that the answer is {number * 1000 + part}."
        for part in range(_SECTIONS)
    )
    answer = installation.bulkhead.api(
        "POST", "/api/v2/documents/demo", files={"file": (f"{number}.md", text.encode())}
    )
    answer.raise_for_status()
    uploaded.append(int(answer.json()["id"]))
