"""`retrieval`: searches of a company with many passages, one with some thousand, and one with three beside them.

The 40 passages and 46 questions of `bench/retrieval_set.py` are written; the crowd around them is made up: topics of
invented words, each passage some of its topic's. So recall is that of real questions among passages of other topics,
and the vectors have the clusters that real ones have, but not their meaning.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import random
import statistics
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from bench.figures import Figures
from bench.retrieval_set import PASSAGES, QUESTIONS, UNANSWERABLE
from shared.clock import monotonic
from shared.rag.embedding import LOCAL_MODEL
from shared.rag.local import LocalEmbedder
from shared.rag.passages import RagConfig, retrieve
from shared.rag.vectors import PostgresVectors, VectorQuery
from shared.store import documents
from shared.store.documents import WordHits
from shared.store.store import Store
from shared.word_vectors import WordVectors
from tests.store.env import open_store
from tests.support.database import query
from tests.support.servers import Servers

RAG: Final = RagConfig(locale="en", top_k=5, least=0.0, keyword_weight=0.3, vector_weight=0.7, fusion="weighted")
LEGS: Final = {
    "words": replace(RAG, vector_weight=0.0),
    "both, weighted": RAG,
    "both, by rank": replace(RAG, fusion="rank"),
}
"""What is compared; the settings of a new company are `both, weighted`."""
_EVERY: Final = 1 << 30
"""More vectors than any company has."""
_WAYS: Final[Mapping[str, Callable[[Store], PostgresVectors]]] = {
    "exactly": partial(PostgresVectors, exact_most=_EVERY),
    "by signs": partial(PostgresVectors, exact_most=0, signs_most=_EVERY),
    "by the index": partial(PostgresVectors, exact_most=0, signs_most=0),
}
"""How vectors may be compared; which way is taken depends on how many a company has."""
_NO_WORDS: Final = WordHits(scores={}, weights={})
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
    parser.add_argument("--passages", type=int, default=300_000, help="passages of the large company")
    parser.add_argument("--medium", type=int, default=5_000, help="passages of the one in between")
    parser.add_argument("--rounds", type=int, default=3, help="how often each question is asked")
    parser.add_argument("--thresholds", default="0,0.7", help="values of minSimilarity, for the small set alone")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "bulkhead-bench",
        help="directory that keeps the vectors of made up passages for the next run (default: %(default)s)",
    )
    parser.add_argument("--maintenance-mb", type=int, default=1024, help="memory for making the index of vectors")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.passages, given.medium, given.rounds, given.maintenance_mb = 1500, 300, 1, 64


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
        seconds = figures.values["seconds"] = {}
        crowd = _Crowd(WordVectors.open(), given.cache)
        # before the rows: they are made in one go afterwards, which costs a tenth of what single entries do
        (words,) = query(url, "SELECT pg_get_indexdef('document_chunks_words'::regclass) AS made")
        query(url, "DROP INDEX chunk_vectors_near_256, document_chunks_words")
        began = monotonic()
        with _copying(), closing(psycopg2.connect(url)) as connection:
            _fill(connection, "three", PASSAGES[:3], crowd)
            for company, passages in (("medium", given.medium), ("large", given.passages)):
                _fill(connection, company, PASSAGES, crowd)
                _fill_crowd(connection, company, passages - len(PASSAGES), crowd)
        seconds["to embed"] = round(crowd.embedding_s, 1)
        seconds["to write"] = round(monotonic() - began - crowd.embedding_s, 1)
        # as autovacuum does soon after a document was indexed
        for name, statement in (
            ("to index words", words["made"]),
            ("to index vectors", "SELECT prepare_vectors(256)"),
            ("to vacuum", "VACUUM ANALYZE"),
        ):
            seconds[name] = round(_maintain(url, statement, given), 1)
            print(f"{name}: {seconds[name]} s", file=sys.stderr)
        asyncio.run(_measure_all(store, figures, given))
        figures.values["MB"] = _sizes(url)
    return figures


async def _measure_all(store: Store, figures: Figures, given: argparse.Namespace) -> None:
    embedder = LocalEmbedder.open()
    await embedder.embed(["loaded before the clock runs"])
    figures.values["three of three"] = {
        "as it is": await _gets_three(PostgresVectors(store), embedder),
        **{name: await _gets_three(way(store), embedder) for name, way in _WAYS.items()},
    }
    for company in ("medium", "large"):
        shown = figures.values.setdefault(company, {})
        for name, rag in LEGS.items():
            shown[name] = await _measure(store, company, rag, embedder, PostgresVectors(store), rounds=given.rounds)
        for name, way in _WAYS.items():
            shown[f"vectors, {name}"] = await _measure_vectors(
                store, company, embedder, way(store), rounds=1 if name == "exactly" else given.rounds
            )
        print(f"{company}: measured", file=sys.stderr)
        figures.series[company] = [(float(number), legs["p95 ms"]) for number, legs in enumerate(shown.values())]
        shown["nearest ten found"] = await _agreement(store, company, embedder)
    for least in (float(one) for one in given.thresholds.split(",")):
        rag = replace(RAG, least=least)
        found = await _measure(store, "medium", rag, embedder, PostgresVectors(store), rounds=1)
        figures.values[f"threshold {least:g}"] = {
            "questions without an answer": found["empty"],
            "rightly without": await _rightly_empty(store, "medium", rag, embedder),
        }


async def _measure(
    store: Store, company: str, rag: RagConfig, embedder: LocalEmbedder, vectors: PostgresVectors, *, rounds: int
) -> dict[str, Any]:
    """Ask every question, one after the other."""
    found_right, empty, took = 0, 0, []
    for _ in range(rounds):
        for question, right in QUESTIONS:
            began = monotonic()
            found = await retrieve(store, company, question, rag=rag, embedder=embedder, vectors=vectors)
            took.append((monotonic() - began) * 1000)
            texts = {one.text for one in found.passages}
            found_right += any(PASSAGES[one] in texts for one in right)
            empty += not found.passages
    return {**_figures_of(found_right, took), "empty": round(empty / len(took), 3)}


async def _measure_vectors(
    store: Store, company: str, embedder: LocalEmbedder, vectors: PostgresVectors, *, rounds: int
) -> dict[str, Any]:
    """Ask every question of the vectors alone: a search by both also compares what the words have found."""
    found_right, took = 0, []
    own = store.as_company(company)
    for _ in range(rounds):
        for question, right in QUESTIONS:
            began = monotonic()
            (vector,) = await embedder.embed([question])
            asked = VectorQuery(company_id=company, model=embedder.model, vector=vector, most=RAG.top_k)
            near = await vectors.nearest(asked)
            took.append((monotonic() - began) * 1000)
            chunks = await own.call(documents.chunks_by_ids, company, sorted(near), _NO_WORDS)
            texts = {one.body for one in chunks}
            found_right += any(PASSAGES[one] in texts for one in right)
    return _figures_of(found_right, took)


def _figures_of(found_right: int, took: Sequence[float]) -> dict[str, Any]:
    return {
        "recall@5": round(found_right / len(took), 3),
        "p50 ms": round(statistics.median(took), 1),
        "p95 ms": round(statistics.quantiles(took, n=20)[-1], 1),
    }


async def _rightly_empty(store: Store, company: str, rag: RagConfig, embedder: LocalEmbedder) -> float:
    found = [await retrieve(store, company, question, rag=rag, embedder=embedder) for question in UNANSWERABLE]
    return round(sum(not one.passages for one in found) / len(found), 3)


async def _gets_three(vectors: PostgresVectors, embedder: LocalEmbedder) -> str:
    """Return of how many questions the company with three passages got all three by their vectors."""
    full = 0
    for question, _ in QUESTIONS:
        (vector,) = await embedder.embed([question])
        asked = VectorQuery(company_id="three", model=embedder.model, vector=vector, most=10)
        full += len(await vectors.nearest(asked)) == 3
    return f"{full} of {len(QUESTIONS)}"


async def _agreement(store: Store, company: str, embedder: LocalEmbedder) -> Mapping[str, float]:
    """Return the share of the ten nearest passages that is found, by way."""
    common, total = dict.fromkeys(_WAYS, 0), 0
    for question, _ in QUESTIONS:
        (vector,) = await embedder.embed([question])
        asked = VectorQuery(company_id=company, model=embedder.model, vector=vector, most=10)
        found = {name: set(await way(store).nearest(asked)) for name, way in _WAYS.items()}
        total += len(found["exactly"])
        for name, near in found.items():
            common[name] += len(near & found["exactly"])
    return {name: round(many / total, 3) for name, many in common.items()}


@contextmanager
def _copying() -> Iterator[None]:
    """Let connections copy: psycopg2 refuses that while it waits with deadlines, as the store does."""
    waits = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(waits)


def _maintain(url: str, statement: str, given: argparse.Namespace) -> float:
    """Run a statement with more memory than by default. Returns the seconds."""
    began = monotonic()
    with closing(psycopg2.connect(url)) as connection:
        # VACUUM is refused in a transaction
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET maintenance_work_mem = '{given.maintenance_mb}MB'")
            # two processors, one of which the rest of the machine may have
            cursor.execute("SET max_parallel_maintenance_workers = 1")
            cursor.execute(statement)
    return monotonic() - began


def _sizes(url: str) -> dict[str, float]:
    rows = query(
        url,
        """SELECT c.relname, pg_total_relation_size(c.oid) / 1e6 AS mb FROM pg_class c
           WHERE c.relname IN ('document_chunks', 'chunk_vectors', 'chunk_signs', 'chunk_vectors_near_256',
                               'document_chunks_words')""",
    )
    return {row["relname"]: round(float(row["mb"]), 1) for row in rows}


class _Crowd:
    """Embeds texts, and keeps the vectors of each batch in a file for the next run.

    Attributes:
        embedding_s: seconds that it has taken so far.
    """

    def __init__(self, words: WordVectors, cache: Path) -> None:
        self._words, self._cache, self.embedding_s = words, cache, 0.0
        cache.mkdir(parents=True, exist_ok=True)

    def vectors(self, texts: Sequence[str]) -> Iterator[Sequence[float]]:
        """Return the vectors of texts, in their order."""
        began = monotonic()
        # named by what is embedded, and by what
        digest = hashlib.sha256("\n".join([LOCAL_MODEL.name, *texts]).encode()).hexdigest()
        kept, numbers = self._cache / f"{digest}.f32", array("f")
        if kept.exists():
            numbers.frombytes(kept.read_bytes())
        else:
            for vector in self._words.vectors(texts):
                numbers.extend(vector)
            kept.with_suffix(".part").write_bytes(numbers.tobytes())
            kept.with_suffix(".part").rename(kept)
        self.embedding_s += monotonic() - began
        size = LOCAL_MODEL.dimensions
        return (numbers[place * size : (place + 1) * size] for place in range(len(texts)))


def _document(cursor: Any, company: str, title: str, passages: int) -> int:
    cursor.execute("INSERT INTO companies (id) VALUES (%s) ON CONFLICT DO NOTHING", (company,))
    cursor.execute(
        """INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks, model,
                                  dimensions, indexed_at)
           VALUES (%(company)s, encode(sha256(convert_to(%(title)s, 'UTF8')), 'hex'), %(title)s, 'text/plain', 1,
                   'indexed', 1, %(passages)s, %(model)s, %(dimensions)s, now())
           RETURNING id""",
        {
            "company": company,
            "title": title,
            "passages": passages,
            "model": LOCAL_MODEL.name,
            "dimensions": LOCAL_MODEL.dimensions,
        },
    )
    return int(cursor.fetchone()[0])


def _fill(connection: Any, company: str, texts: Sequence[str], crowd: _Crowd) -> None:
    """Add the passages that questions are about."""
    with connection, connection.cursor() as cursor:
        _write(cursor, company, _document(cursor, company, "terms", len(texts)), 0, texts=texts, crowd=crowd)


def _fill_crowd(connection: Any, company: str, passages: int, crowd: _Crowd) -> None:
    """Add passages of other topics."""
    texts = _crowd(passages, random.Random(company))
    with connection, connection.cursor() as cursor:
        document = _document(cursor, company, "crowd", passages)
        for first in range(0, passages, _BATCH):
            batch = [next(texts) for _ in range(min(_BATCH, passages - first))]
            _write(cursor, company, document, first, texts=batch, crowd=crowd)
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


def _write(cursor: Any, company: str, document: int, first: int, *, texts: Sequence[str], crowd: _Crowd) -> None:
    """Copy passages and their vectors into the tables, in the form in which kind `index` writes them."""
    lines = io.StringIO()
    for place, (text, vector) in enumerate(zip(texts, crowd.vectors(texts), strict=True), first):
        lines.write(f"{place}\t{text}\t{{{','.join(f'{one:.6g}' for one in vector)}}}\n")
    lines.seek(0)
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS crowd (position integer, body text, vector real[])")
    cursor.execute("TRUNCATE crowd")
    cursor.copy_expert("COPY crowd FROM STDIN", lines)
    cursor.execute(
        """WITH chunk AS (
               INSERT INTO document_chunks (company_id, document_id, generation, position, body, tokens, words)
               SELECT %(company)s, %(document)s, 1, position, body, 50, chunk_words(%(company)s, 'en', body)
               FROM crowd RETURNING id, position
           )
           INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
           SELECT chunk.id, %(company)s, %(document)s, 1, %(model)s, %(dimensions)s, crowd.vector
           FROM chunk JOIN crowd USING (position)""",
        {
            "company": company,
            "document": document,
            "model": LOCAL_MODEL.name,
            "dimensions": LOCAL_MODEL.dimensions,
        },
    )
