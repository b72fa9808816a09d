"""Measures retrieval: recall@5 of each search and of both, the share of questions without an answer, latency.

python -m bench.retrieval                     the evaluation set alone, with several thresholds
python -m bench.retrieval --crowd 300000      the same beside a company of so many passages, and in it
python -m bench.retrieval --database URL      on a server of your own; else one is made for the run
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from bench.retrieval_set import PASSAGES, QUESTIONS, UNANSWERABLE
from shared.clock import monotonic
from shared.rag.embedding import Embedder
from shared.rag.local import LocalEmbedder
from shared.rag.passages import RagConfig, retrieve
from shared.rag.vectors import EXACT_MOST, PostgresVectors, VectorStore
from shared.store.store import Store
from tests.rag.env import RagEnv
from tests.store.env import StoreEnv, query
from tests.support.servers import Servers

RAG: Final = RagConfig(locale="en", top_k=5, least=0.0, keyword_weight=0.3, vector_weight=0.7, fusion="weighted")
LEGS: Final = {
    "keyword": replace(RAG, vector_weight=0.0),
    "vector": replace(RAG, keyword_weight=0.0),
    "vector, exactly": replace(RAG, keyword_weight=0.0),
    "both, weighted": RAG,
    "both, by rank": replace(RAG, fusion="rank"),
}
"""What is compared."""
EXACT: Final = ("vector, exactly",)
_SYLLABLES: Final = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "xo", "zu")
_EVERY: Final = 1 << 30
"""More vectors than any company has: all are compared."""


async def _measure(
    store: Store, company: str, rag: RagConfig, embedder: Embedder | None, vectors: VectorStore
) -> dict[str, Any]:
    found_right, empty, took = 0, 0, []
    for question, right in QUESTIONS:
        began = monotonic()
        found = await retrieve(store, company, question, rag=rag, embedder=embedder, vectors=vectors)
        took.append((monotonic() - began) * 1000)
        texts = {one.text for one in found.passages}
        found_right += any(PASSAGES[one] in texts for one in right)
        empty += not found.passages
    nothing = 0
    for question in UNANSWERABLE:
        nothing += not (await retrieve(store, company, question, rag=rag, embedder=embedder, vectors=vectors)).passages
    return {
        "recall@5": found_right / len(QUESTIONS),
        "empty": empty / len(QUESTIONS),
        "rightly empty": nothing / len(UNANSWERABLE),
        "p50 ms": statistics.median(took),
        "p95 ms": statistics.quantiles(took, n=20)[-1],
    }


async def _evaluate(store: Store, company: str, thresholds: Sequence[float]) -> None:
    embedder = LocalEmbedder.open()
    await embedder.embed(["loaded before the clock runs"])
    print(f"\n{company}: {len(QUESTIONS)} questions, {len(UNANSWERABLE)} that nothing answers")
    for name, rag in LEGS.items():
        for least in thresholds:
            exactly = PostgresVectors(store, exact_most=_EVERY if name in EXACT else EXACT_MOST)
            figures = await _measure(store, company, replace(rag, least=least), embedder, exactly)
            shown = "  ".join(f"{what} {value:.2f}" for what, value in figures.items())
            print(f"{name:16} threshold {least:.1f}  {shown}")


class _Vectors:
    """The local model as the test environment takes it: vectors at once."""

    def __init__(self) -> None:
        self._own = LocalEmbedder.open()
        self.model, self.dimensions, self.scale = self._own.model, self._own.dimensions, self._own.scale

    def vector(self, text: str) -> list[float]:
        return self._own._embed([text])[0]

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        return self._own._embed(list(texts))


def _crowd(env: StoreEnv, passages: int, company: str) -> None:
    """Add passages to a company: each a dozen words of the set among made-up ones, as other topics share some words."""
    dice, made = random.Random(1), _Vectors()
    (document,) = query(
        env.url,
        """INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks, model,
                                  dimensions)
           VALUES (%(company)s, repeat('0', 64), 'crowd', 'text/plain', 1, 'indexed', 1, %(passages)s, %(model)s, 256)
           RETURNING id""",
        company=company,
        passages=passages,
        model=made.model,
    )
    words = " ".join(PASSAGES).split()
    invented = ["".join(dice.choices(_SYLLABLES, k=dice.randint(2, 4))) for _ in range(5000)]
    for first in range(0, passages, 2000):
        texts = [
            " ".join([*dice.sample(words, 12), *dice.sample(invented, 28), str(first + number)])
            for number in range(min(2000, passages - first))
        ]
        query(
            env.url,
            """WITH chunk AS (
                   INSERT INTO document_chunks (company_id, document_id, generation, position, body, tokens, words)
                   SELECT %(company)s, %(document)s, 1, %(first)s + number, body, 50,
                          chunk_words(%(company)s, 'en', body)
                   FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS t(body, number) RETURNING id, position
               )
               INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
               SELECT chunk.id, %(company)s, %(document)s, 1, %(model)s, 256, v.embedding
               FROM chunk JOIN jsonb_to_recordset(%(vectors)s::jsonb) AS v(number integer, embedding real[])
                    ON v.number = chunk.position - %(first)s""",
            company=company,
            document=document["id"],
            first=first,
            texts=texts,
            model=made.model,
            vectors=_json(made.vectors(texts)),
        )
        print(f"\r{first + len(texts)} passages", end="", file=sys.stderr)
    query(env.url, "ANALYZE document_chunks; ANALYZE chunk_vectors; ANALYZE documents")


def _json(vectors: Sequence[Sequence[float]]) -> str:
    rows = (
        f'{{"number": {number}, "embedding": [{", ".join(f"{one:.6g}" for one in vector)}]}}'
        for number, vector in enumerate(vectors, 1)
    )
    return f"[{', '.join(rows)}]"


@contextmanager
def _server(database: str) -> Iterator[str]:
    if database:
        yield database
        return
    servers = Servers(durable=True)
    try:
        yield servers.new_database()[1]
    finally:
        servers.close()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="", help="address of a migrated database that may be filled")
    parser.add_argument("--crowd", type=int, default=0, help="passages of another company")
    parser.add_argument("--thresholds", default="0,0.3,0.5,0.7", help="values of minSimilarity")
    given = parser.parse_args()
    thresholds = [float(one) for one in given.thresholds.split(",")]
    with _server(given.database) as url:
        env = StoreEnv(url)
        rag = RagEnv(env)
        rag.add("small", PASSAGES, embedder=_Vectors())  # type: ignore[arg-type]
        asyncio.run(_evaluate(env.store, "small", thresholds))
        if given.crowd:
            rag.add("large", PASSAGES, embedder=_Vectors())  # type: ignore[arg-type]
            began = monotonic()
            _crowd(env, given.crowd, "large")
            print(f"\n{given.crowd} passages written in {monotonic() - began:.0f} s")
            for company in ("small", "large"):
                asyncio.run(_evaluate(env.store, company, [0.0]))
        env.close()


if __name__ == "__main__":
    main()
