"""`retrieval`: searches of a company with 300,000 passages, one with some thousand, and one with three beside them.

The 40 passages and 46 questions of `bench/retrieval_set.py` are written; the crowd around them is made up: topics of
invented words, each passage some of its topic's. So recall is that of real questions among passages of other topics,
and the vectors have the clusters that real ones have, but not their meaning.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, Final

import psycopg2

from bench.figures import Figures
from bench.retrieval_set import PASSAGES, QUESTIONS, UNANSWERABLE
from shared.clock import monotonic
from shared.rag.embedding import LOCAL_MODEL
from shared.rag.local import LocalEmbedder
from shared.rag.passages import RagConfig, retrieve
from shared.rag.vectors import EXACT_MOST, PostgresVectors, VectorQuery
from shared.store.store import Store
from shared.word_vectors import WordVectors
from tests.store.env import open_store, query
from tests.support.servers import Servers

RAG: Final = RagConfig(locale="en", top_k=5, least=0.0, keyword_weight=0.3, vector_weight=0.7, fusion="weighted")
LEGS: Final = {
    "words": replace(RAG, vector_weight=0.0),
    "vectors": replace(RAG, keyword_weight=0.0),
    "both, weighted": RAG,
    "both, by rank": replace(RAG, fusion="rank"),
}
"""What is compared; the settings of a new company are `both, weighted`."""
_EVERY: Final = 1 << 30
"""More vectors than any company has: all are compared."""
_BATCH: Final = 5000
_TOPIC: Final = 150
"""Passages of one topic, about."""
_SYLLABLES: Final = (
    "ba",
    "de",
    "fi",
    "go",
    "ku",
    "la",
    "me",
    "ni",
    "po",
    "ru",
    "sa",
    "te",
    "vi",
    "xo",
    "zu",
    "ter",
    "lin",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--large", type=int, default=300_000, help="passages of the large company")
    parser.add_argument("--medium", type=int, default=5_000, help="passages of the one in between")
    parser.add_argument("--rounds", type=int, default=3, help="how often each question is asked")
    parser.add_argument("--thresholds", default="0,0.7", help="values of minSimilarity, for the small set alone")
    parser.add_argument("--maintenance-mb", type=int, default=1024, help="memory for making the index of vectors")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.large, given.medium, given.rounds, given.maintenance_mb = 1500, 300, 1, 64


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="retrieval", parameters=vars(given), axes=("passages of the company", "p95 ms"))
    with ExitStack() as stack:
        servers = Servers(durable=True)
        stack.callback(servers.close)
        url = servers.new_database()[1]
        # the exact comparison of 300,000 is slower than a process would wait
        store = open_store(url, query_s=120.0)
        stack.callback(store.close)
        made = WordVectors.open()
        dice = random.Random(1)
        began = monotonic()
        # before the rows: it is made in one go afterwards, which costs a tenth of what single entries do
        query(url, "DROP INDEX chunk_vectors_near_256")
        _fill(url, "three", PASSAGES[:3], made)
        for company, passages in (("medium", given.medium), ("large", given.large)):
            _fill(url, company, PASSAGES, made)
            _fill_crowd(url, company, passages - len(PASSAGES), made, dice)
        written = monotonic() - began
        query(url, "ANALYZE document_chunks; ANALYZE chunk_vectors; ANALYZE documents")
        figures.values["seconds"] = {"to write": round(written, 1), "to index": round(_index(url, given), 1)}
        asyncio.run(_measure_all(store, figures, given))
        figures.values["MB"] = _sizes(url)
    return figures


async def _measure_all(store: Store, figures: Figures, given: argparse.Namespace) -> None:
    embedder = LocalEmbedder.open()
    await embedder.embed(["loaded before the clock runs"])
    figures.values["three of three"] = {
        "as it is": await _gets_three(store, embedder, EXACT_MOST),
        "by the index of all companies": await _gets_three(store, embedder, 0),
    }
    for company in ("medium", "large"):
        shown = figures.values.setdefault(company, {})
        for name, rag in LEGS.items():
            shown[name] = await _measure(store, company, rag, embedder, exact_most=EXACT_MOST, rounds=given.rounds)
        if given.large > EXACT_MOST and company == "large":
            shown["vectors, exactly"] = await _measure(
                store, company, LEGS["vectors"], embedder, exact_most=_EVERY, rounds=1
            )
        shown["nearest ten found by the index"] = await _agreement(store, company, embedder)
        figures.series[company] = [
            (float(number), legs["p95 ms"]) for number, legs in enumerate(shown.values()) if isinstance(legs, dict)
        ]
    for least in (float(one) for one in given.thresholds.split(",")):
        rag = replace(RAG, least=least)
        found = await _measure(store, "medium", rag, embedder, exact_most=EXACT_MOST, rounds=1)
        figures.values[f"threshold {least:g}"] = {
            "questions without an answer": found["empty"],
            "rightly without": await _rightly_empty(store, "medium", rag, embedder),
        }


async def _measure(
    store: Store, company: str, rag: RagConfig, embedder: LocalEmbedder, *, exact_most: int, rounds: int
) -> dict[str, Any]:
    """Ask every question, one after the other."""
    found_right, empty, took = 0, 0, []
    vectors = PostgresVectors(store, exact_most=exact_most)
    for _ in range(rounds):
        for question, right in QUESTIONS:
            began = monotonic()
            found = await retrieve(store, company, question, rag=rag, embedder=embedder, vectors=vectors)
            took.append((monotonic() - began) * 1000)
            texts = {one.text for one in found.passages}
            found_right += any(PASSAGES[one] in texts for one in right)
            empty += not found.passages
    return {
        "recall@5": round(found_right / len(took), 3),
        "empty": round(empty / len(took), 3),
        "p50 ms": round(statistics.median(took), 1),
        "p95 ms": round(statistics.quantiles(took, n=20)[-1], 1),
    }


async def _rightly_empty(store: Store, company: str, rag: RagConfig, embedder: LocalEmbedder) -> float:
    found = [await retrieve(store, company, question, rag=rag, embedder=embedder) for question in UNANSWERABLE]
    return round(sum(not one.passages for one in found) / len(found), 3)


async def _gets_three(store: Store, embedder: LocalEmbedder, exact_most: int) -> str:
    """Return of how many questions the company with three passages got all three by their vectors."""
    vectors = PostgresVectors(store, exact_most=exact_most)
    full = 0
    for question, _ in QUESTIONS:
        (vector,) = await embedder.embed([question])
        asked = VectorQuery(company_id="three", model=embedder.model, vector=vector, most=10)
        full += len(await vectors.nearest(asked)) == 3
    return f"{full} of {len(QUESTIONS)}"


async def _agreement(store: Store, company: str, embedder: LocalEmbedder) -> float:
    """Return the share of the ten nearest passages that the index finds."""
    indexed, exactly = PostgresVectors(store, exact_most=0), PostgresVectors(store, exact_most=_EVERY)
    common = total = 0
    for question, _ in QUESTIONS:
        (vector,) = await embedder.embed([question])
        asked = VectorQuery(company_id=company, model=embedder.model, vector=vector, most=10)
        near, nearest = set(await indexed.nearest(asked)), set(await exactly.nearest(asked))
        common, total = common + len(near & nearest), total + len(nearest)
    return round(common / total, 3)


def _index(url: str, given: argparse.Namespace) -> float:
    """Make the index of vectors as `prepare_vectors` does, with more memory. Returns the seconds."""
    began = monotonic()
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"SET maintenance_work_mem = '{given.maintenance_mb}MB'")
        # two processors, one of which the rest of the machine may have
        cursor.execute("SET max_parallel_maintenance_workers = 1")
        cursor.execute("SELECT prepare_vectors(256)")
    return monotonic() - began


def _sizes(url: str) -> dict[str, float]:
    rows = query(
        url,
        """SELECT c.relname, pg_total_relation_size(c.oid) / 1e6 AS mb FROM pg_class c
           WHERE c.relname IN ('document_chunks', 'chunk_vectors', 'chunk_vectors_near_256',
                               'document_chunks_words')""",
    )
    return {row["relname"]: round(float(row["mb"]), 1) for row in rows}


def _document(url: str, company: str, title: str, passages: int) -> int:
    query(url, "INSERT INTO companies (id) VALUES (%(company)s) ON CONFLICT DO NOTHING", company=company)
    (row,) = query(
        url,
        """INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks, model,
                                  dimensions, indexed_at)
           VALUES (%(company)s, encode(sha256(convert_to(%(title)s, 'UTF8')), 'hex'), %(title)s, 'text/plain', 1,
                   'indexed', 1, %(passages)s, %(model)s, %(dimensions)s, now())
           RETURNING id""",
        company=company,
        title=title,
        passages=passages,
        model=LOCAL_MODEL.name,
        dimensions=LOCAL_MODEL.dimensions,
    )
    number: int = row["id"]
    return number


def _fill(url: str, company: str, texts: Sequence[str], made: WordVectors) -> None:
    """Add the passages that questions are about."""
    _write(url, company, _document(url, company, "terms", len(texts)), 0, texts=texts, made=made)


def _fill_crowd(url: str, company: str, passages: int, made: WordVectors, dice: random.Random) -> None:
    """Add passages of other topics."""
    document = _document(url, company, "crowd", passages)
    texts = _crowd(passages, dice)
    for first in range(0, passages, _BATCH):
        batch = [next(texts) for _ in range(min(_BATCH, passages - first))]
        _write(url, company, document, first, texts=batch, made=made)
        print(f"\r{company}: {first + len(batch)} passages", end="", file=sys.stderr)
    print(file=sys.stderr)


def _crowd(passages: int, dice: random.Random) -> Iterator[str]:
    """Yield texts: each is of one topic, which has forty words of its own and a few that questions have too."""
    asked = " ".join(PASSAGES).split()
    topics = [([_invented(dice) for _ in range(40)], dice.sample(asked, 12)) for _ in range(max(1, passages // _TOPIC))]
    for number in range(passages):
        own, shared = dice.choice(topics)
        yield " ".join([*dice.choices(own, k=32), *dice.sample(shared, 6), str(number)])


def _invented(dice: random.Random) -> str:
    return "".join(dice.choices(_SYLLABLES, k=dice.randint(2, 4)))


def _write(url: str, company: str, document: int, first: int, *, texts: Sequence[str], made: WordVectors) -> None:
    vectors = [f"{{{','.join(f'{one:.6g}' for one in vector)}}}" for vector in made.vectors(texts)]
    query(
        url,
        """WITH crowd AS MATERIALIZED (
               SELECT number - 1 + %(first)s AS position, body, vector
               FROM unnest(%(texts)s::text[], %(vectors)s::text[]) WITH ORDINALITY AS t(body, vector, number)
           ), chunk AS (
               INSERT INTO document_chunks (company_id, document_id, generation, position, body, tokens, words)
               SELECT %(company)s, %(document)s, 1, position, body, 50, chunk_words(%(company)s, 'en', body)
               FROM crowd RETURNING id, position
           )
           INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
           SELECT chunk.id, %(company)s, %(document)s, 1, %(model)s, 256, crowd.vector::real[]
           FROM chunk JOIN crowd USING (position)""",
        company=company,
        document=document,
        first=first,
        texts=list(texts),
        vectors=vectors,
        model=LOCAL_MODEL.name,
    )
