"""The ends of a document: indexed, without text, failed, tried again, indexed anew, removed; and what a death
leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from index import indexing
from index.reading import ReadingLimits
from index.reembedding import Reembedding
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.local import LocalStorage
from shared.store import documents, media
from tests.index import files
from tests.index.env import INCARNATION, IndexEnv
from tests.rag.env import OneEmbedder, WordEmbedder
from tests.support.database import query

OF_INDEX = ("index.read", "index.written", "index.switched")
"""Points between the steps of one document."""


def sources(there: IndexEnv, question: str, company: str = "acme") -> list[str]:
    return [one.source for one in there.ask(company, question, least=0.2).passages]


def test_an_uploaded_document_is_indexed_and_found_with_its_page(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    assert there.document(one)["state"] == "uploaded"
    there.index()
    row = there.document(one)
    assert (row["state"], row["chunks"], row["pages"], row["attempts"], row["incarnation"]) == ("indexed", 3, 3, 1, "")
    assert (row["model"], row["dimensions"]) == ("words", 256)
    assert sources(there, "refund policy returns")[0] == "terms.pdf, page 3"
    assert there.events(one) == ["document.uploaded", "document.indexed"]


def test_the_same_bytes_are_one_document(there: IndexEnv) -> None:
    one = there.upload(b"Text.", "a.txt")
    assert there.upload(b"Text.", "b.txt") == one
    assert there.document(one)["title"] == "a.txt"
    there.store.store.as_company("acme").run(documents.remove, "acme", one)
    assert there.upload(b"Text.", "b.txt") != one
    assert there.events(one) == ["document.uploaded"]


def test_a_full_company_takes_no_more(there: IndexEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENTS_MOST", 1)
    there.upload(b"One.", "a.txt")
    with pytest.raises(AssertionError):
        there.upload(b"Two.", "b.txt")
    there.upload(b"One.", "a.txt")


def test_a_scan_has_no_text_and_says_what_to_do(there: IndexEnv) -> None:
    one = there.upload(files.pdf(["", ""]))
    there.index()
    row = there.document(one)
    assert (row["state"], row["reason_code"], row["chunks"], row["pages"]) == ("no_text", "no_text", 0, 2)
    assert "OCR" in row["reason"]


def test_what_cannot_be_read_fails_at_once(there: IndexEnv) -> None:
    one = there.upload(files.pdf(["a"], password="secret"))
    there.index()
    row = there.document(one)
    assert (row["state"], row["reason_code"], row["attempts"]) == ("failed", "encrypted", 1)
    assert there.events(one) == ["document.uploaded", "document.failed"]
    assert there.upload(files.pdf(["a"]), "other.pdf") != one
    there.due()
    there.index()
    assert there.document(one)["attempts"] == 1


def test_a_limit_is_tried_three_times_by_content(there: IndexEnv) -> None:
    content = b"Words. " * 100_000
    one = there.upload(content, "a.txt")
    for attempt in (1, 2, 3):
        there.index(limits=ReadingLimits(cpu_s=10, wall_s=0.01, memory_mb=400))
        assert there.document(one)["attempts"] == attempt
        there.due()
    row = there.document(one)
    assert (row["state"], row["reason_code"]) == ("failed", "too_slow")
    assert there.upload(content, "again.txt") == one, "a second upload is no fourth try"
    there.index()
    assert there.document(one)["state"] == "failed"
    assert there.store.store.as_company("acme").run(documents.reindex, "acme", one)
    there.index()
    assert there.document(one)["state"] == "indexed", "an operator's is one"
    assert there.document(one)["reason"] == ""


@pytest.mark.parametrize("point", OF_INDEX)
def test_a_death_at_any_step_repeats_the_document_and_nothing_is_there_twice(
    there: IndexEnv, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        """Stands for SIGKILL: nothing after the point runs, and nothing in memory is kept."""

    deaths = 2

    def hit(name: str) -> None:
        nonlocal deaths
        if name == point and deaths:
            deaths -= 1
            raise Death

    monkeypatch.setattr(indexing, "hit", hit)
    one = there.upload(files.pdf(files.TERMS))
    for _ in range(4):
        try:
            there.index()
        except Death:
            there.end_lives()
    assert there.document(one)["state"] == "indexed"
    there.tidy()
    (count,) = query(
        there.store.url, "SELECT count(*) AS chunks, count(DISTINCT position) AS different FROM document_chunks"
    )
    assert (count["chunks"], count["different"]) == (3, 3)
    (count,) = query(there.store.url, "SELECT count(*) AS vectors FROM chunk_vectors")
    assert count["vectors"] == 3
    assert there.events(one).count("document.indexed") == 1
    assert sources(there, "refund policy returns")[0] == "terms.pdf, page 3"


def test_a_document_at_which_the_process_dies_three_times_is_given_up(there: IndexEnv) -> None:
    one, other = there.upload(b"Deadly.", "a.txt"), there.upload(b"Harmless.", "b.txt")
    for _ in range(3):
        assert one in [document.id for document in there.lease(1)]
        there.end_lives()
        query(there.store.url, "UPDATE documents SET due_at = now() - interval '1 hour' WHERE id = %(id)s", id=one)
    assert [document.id for document in there.lease(5)] == [other]
    row = there.document(one)
    assert (row["state"], row["reason_code"]) == ("failed", "interrupted")
    assert there.events(one) == ["document.uploaded", "document.failed"]


def test_a_new_index_is_made_beside_and_switched(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    there.index()
    there.store.store.as_company("acme").run(documents.reindex, "acme", one)
    (document,) = there.lease()
    seen: list[list[str]] = []

    class Watching(WordEmbedder):
        async def embed(self, texts: Any) -> list[list[float]]:
            seen.append([])
            return await super().embed(texts)

    assert sources(there, "refund policy returns")[0] == "terms.pdf, page 3", "while it is in hand"
    asyncio.run(there.indexer(embedder=Watching("newer", 128)).index(document))
    row = there.document(one)
    assert (row["generation"], row["model"], row["dimensions"], row["chunks"]) == (2, "newer", 128, 3)
    (count,) = query(there.store.url, "SELECT count(*) AS chunks FROM document_chunks")
    assert count["chunks"] == 6
    there.tidy()
    (count,) = query(there.store.url, "SELECT count(*) AS chunks, min(generation) AS generation FROM document_chunks")
    assert (count["chunks"], count["generation"]) == (3, 2)
    assert there.document(one)["is_tidy"]


def test_a_new_index_that_fails_leaves_the_former(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    there.index()
    there.store.store.as_company("acme").run(documents.reindex, "acme", one)
    for _ in range(3):
        there.index(limits=ReadingLimits(wall_s=0.001))
        there.due()
    assert there.document(one)["state"] == "failed"
    there.tidy()
    assert sources(there, "refund policy returns")[0] == "terms.pdf, page 3"


def test_who_lost_its_lease_writes_nothing(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    (document,) = there.lease()
    query(there.store.url, "UPDATE documents SET incarnation = 'index-1.other' WHERE id = %(id)s", id=one)
    asyncio.run(there.indexer().index(document))
    row = there.document(one)
    assert (row["state"], row["incarnation"], row["generation"]) == ("indexing", "index-1.other", 0)
    assert query(there.store.url, "SELECT 1 FROM document_chunks") == []


def test_what_is_no_fault_of_the_document_costs_no_try(there: IndexEnv) -> None:
    class Away(LocalStorage):
        async def stream(self, company_id: str, sha256: str) -> AsyncGenerator[bytes, None]:
            yield b""
            raise StorageUnavailable("away", outage="away")

    one = there.upload(files.pdf(files.TERMS))
    there.index(storage=Away(there.media))
    assert (there.document(one)["state"], there.document(one)["attempts"]) == ("uploaded", 0)
    there.due()
    there.embedder.fails = True
    there.index()
    assert (there.document(one)["state"], there.document(one)["attempts"]) == ("uploaded", 0)
    assert there.document(one)["reason_code"] == "model_away", "it is shown why it waits"
    there.embedder.fails = False
    there.due()
    there.index()
    assert (there.document(one)["state"], there.document(one)["reason_code"]) == ("indexed", "")


def test_another_model_of_a_company_makes_a_new_index_beside(there: IndexEnv) -> None:
    one, newer = there.upload(files.pdf(files.TERMS)), WordEmbedder("newer", 128)
    there.index()
    earlier = Reembedding(there.store.store, OneEmbedder(there.embedder))
    asyncio.run(earlier.look())
    assert there.document(one)["state"] == "indexed", "by the model of now"
    asyncio.run(Reembedding(there.store.store, OneEmbedder(newer)).look())
    row = there.document(one)
    assert (row["state"], row["attempts"], row["generation"]) == ("uploaded", 0, 1)
    assert sources(there, "refund policy returns")[0] == "terms.pdf, page 3", "the former index is searched"
    there.index(embedder=newer)
    row = there.document(one)
    assert (row["state"], row["model"], row["dimensions"], row["generation"]) == ("indexed", "newer", 128, 2)
    # it was indexed after that life began, by a process that is set to another model: it would go to and fro
    asyncio.run(earlier.look())
    assert there.document(one)["state"] == "indexed"
    asyncio.run(Reembedding(there.store.store, OneEmbedder(there.embedder)).look())
    assert there.document(one)["state"] == "uploaded"


def test_a_model_of_another_length_is_refused(there: IndexEnv) -> None:
    wrong = WordEmbedder()
    wrong.vector = lambda text: [1.0] * 255  # type: ignore[method-assign]
    one = there.upload(files.pdf(files.TERMS))
    there.index(embedder=wrong)
    row = there.document(one)
    assert (row["state"], row["reason_code"]) == ("failed", "dimensions_differ")
    assert "255" in row["reason"]
    assert query(there.store.url, "SELECT 1 FROM chunk_vectors") == []


def test_without_an_embedder_words_are_indexed(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    there.index(embedder=None)
    assert (there.document(one)["state"], there.document(one)["model"]) == ("indexed", None)
    assert there.ask("acme", "refund policy", embedder=None).passages[0].source == "terms.pdf, page 3"


def test_a_removed_document_goes_with_its_passages_and_its_file(there: IndexEnv) -> None:
    one = there.upload(files.pdf(files.TERMS))
    there.index()
    sha256 = there.document(one)["sha256"]
    assert there.store.store.as_company("acme").run(documents.remove, "acme", one)
    assert sources(there, "refund policy returns") == []
    there.tidy()
    assert query(there.store.url, "SELECT 1 FROM documents UNION ALL SELECT 1 FROM document_chunks") == []
    with pytest.raises(MediaUnknown):
        asyncio.run(there.storage.read("acme", sha256))


def test_a_file_that_is_also_a_messages_or_was_uploaded_again_stays(there: IndexEnv) -> None:
    first = there.upload(b"Of a message too.", "a.txt")
    sha256 = there.document(first)["sha256"]
    there.store.store.run(media.remember, "acme", sha256, size=17, mimetype="text/plain")
    second = there.upload(b"Twice.", "b.txt")
    for one in (first, second):
        there.store.store.as_company("acme").run(documents.remove, "acme", one)
    again = there.upload(b"Twice.", "b.txt")
    there.tidy()
    assert asyncio.run(there.storage.read("acme", sha256)) == b"Of a message too."
    assert asyncio.run(there.storage.read("acme", there.document(again)["sha256"])) == b"Twice."


def test_retention_of_files_leaves_documents_alone(there: IndexEnv) -> None:
    one = there.upload(b"Of a message too.", "a.txt")
    there.store.store.run(media.remember, "acme", there.document(one)["sha256"], size=17, mimetype="text/plain")
    query(
        there.store.url, "UPDATE media_files SET used_at = '2020-01-01', is_received = true, released_at = '2020-01-01'"
    )
    assert there.store.store.run(media.expire, days=1.0, most=10) == []
    assert there.store.store.run(media.remove_released, most=10) == []


def test_one_companys_backlog_is_no_other_companys_wait(there: IndexEnv) -> None:
    query(there.store.url, "INSERT INTO companies (id) VALUES ('other')")
    many = [there.upload(f"Text {number}.".encode(), "a.txt") for number in range(5)]
    single = there.upload(b"Mine.", "a.txt", company="other")
    assert {document.id for document in there.lease(2)} == {many[0], single}
    assert [document.id for document in there.lease(1)] == [many[1]]


def test_a_lease_that_ended_is_taken_by_another(there: IndexEnv) -> None:
    one = there.upload(b"Text.", "a.txt")
    assert [document.id for document in there.lease()] == [one]
    assert there.lease() == []
    query(there.store.url, "UPDATE documents SET leased_until = now() - interval '1 s', incarnation = 'index-1.dead'")
    (document,) = there.lease()
    assert (document.id, document.attempts) == (one, 2)
    assert there.document(one)["incarnation"] == INCARNATION
