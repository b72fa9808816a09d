"""The same promises of every place where vectors may be kept: pgvector's index, exactly, without pgvector, Qdrant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from shared.rag.embedding import DimensionsDiffer
from shared.rag.vectors import DocumentVectors, PostgresVectors, VectorQuery, VectorStore
from shared.store import migrate
from tests.rag.env import RagEnv, WordEmbedder
from tests.rag.qdrant import QdrantVectors
from tests.store.env import StoreEnv
from tests.store.test_schema import NAMES
from tests.support.database import query

TEXTS = ("a red apple", "a green apple", "a blue car", "nothing of the kind")
STORES: dict[str, Callable[[StoreEnv], VectorStore]] = {
    "pgvector": lambda env: PostgresVectors(env.store, exact_most=0, signs_most=0),
    "signs": lambda env: PostgresVectors(env.store, exact_most=0),
    "exactly": lambda env: PostgresVectors(env.store),
    "plainly": lambda env: PostgresVectors(env.store, uses_pgvector=False),
    "qdrant": lambda env: QdrantVectors(),
}


@pytest.fixture(params=STORES)
def rag(request: pytest.FixtureRequest, env: StoreEnv) -> Iterator[RagEnv]:
    store = STORES[request.param](env)
    yield RagEnv(env, store)
    if isinstance(store, QdrantVectors):
        store.close()


def near(rag: RagEnv, company: str, text: str, *, most: int = 2, **given: object) -> dict[int, float]:
    asked = VectorQuery(
        company_id=company,
        model=str(given.get("model", "words")),
        vector=rag.embedder.vector(text),
        most=most,
        beside=given.get("beside", ()),  # type: ignore[arg-type]
    )
    return dict(asyncio.run(rag.vectors.nearest(asked)))


def test_the_nearest_first_with_their_cosine(rag: RagEnv) -> None:
    ids = rag.add("acme", TEXTS)
    found = near(rag, "acme", "a red apple")
    assert set(found) == {ids[0], ids[1]}
    assert found[ids[0]] == pytest.approx(1.0, abs=0.002)
    assert found[ids[1]] == pytest.approx(2 / 3, abs=0.002)


def test_what_is_asked_for_beside_is_measured_too(rag: RagEnv) -> None:
    ids = rag.add("acme", TEXTS)
    found = near(rag, "acme", "a red apple", most=1, beside=[ids[3], 10**9])
    assert set(found) == {ids[0], ids[3]}
    assert found[ids[3]] == pytest.approx(0.0, abs=0.002)


def test_companies_and_models_are_apart(rag: RagEnv) -> None:
    mine = rag.add("acme", TEXTS)
    theirs = rag.add("other", TEXTS)
    rag.add("acme", TEXTS, title="again", embedder=WordEmbedder("another"))
    assert set(near(rag, "acme", "a red apple", most=9)) == set(mine)
    assert set(near(rag, "other", "a red apple", most=9, beside=mine)) == set(theirs)
    assert near(rag, "nobody", "a red apple") == {}
    assert near(rag, "acme", "a red apple", model="unknown") == {}


def test_models_of_several_lengths_side_by_side(rag: RagEnv) -> None:
    rag.add("acme", TEXTS)
    long = WordEmbedder("long", 300)
    ids = rag.add("acme", TEXTS, title="long", embedder=long)
    asked = VectorQuery(company_id="acme", model="long", vector=long.vector("blue car"), most=1)
    assert set(asyncio.run(rag.vectors.nearest(asked))) == {ids[2]}


def test_another_length_is_refused(rag: RagEnv) -> None:
    wrong = DocumentVectors(
        company_id="acme", document_id=1, generation=1, model="words", dimensions=256, vectors={1: [1.0] * 255}
    )
    with pytest.raises(DimensionsDiffer, match="256"):
        asyncio.run(rag.vectors.add(wrong))
    with pytest.raises(DimensionsDiffer):
        asyncio.run(rag.vectors.prepare(100_000))


def test_a_repetition_changes_nothing_and_what_is_forgotten_is_gone(rag: RagEnv) -> None:
    ids = rag.add("acme", TEXTS)
    (row,) = query(rag.store.url, "SELECT DISTINCT document_id FROM document_chunks")
    again = {one: rag.embedder.vector(text) for one, text in zip(ids, TEXTS, strict=True)}
    asyncio.run(rag.put("acme", row["document_id"], again, rag.embedder))
    assert len(near(rag, "acme", "a red apple", most=9)) == len(TEXTS)
    asyncio.run(rag.vectors.forget("acme", row["document_id"], but=1))
    assert len(near(rag, "acme", "a red apple", most=9)) == len(TEXTS)
    # as kind `index` does: passages go, then what else is kept of them
    query(rag.store.url, "DELETE FROM document_chunks")
    asyncio.run(rag.vectors.forget("acme", row["document_id"], but=None))
    assert near(rag, "acme", "a red apple", most=9, beside=ids) == {}


def test_vectors_that_were_there_before_have_signs(own_env: StoreEnv) -> None:
    rag = RagEnv(own_env, PostgresVectors(own_env.store, exact_most=0))
    ids = rag.add("acme", TEXTS)
    newer = len(NAMES) - NAMES.index("0185.signs-of-vectors")
    migrate.undo(own_env.url, [one.name for one in migrate.rollbacks(own_env.url, newer)])
    migrate.apply(own_env.url)
    assert [row["chunk_id"] for row in query(own_env.url, "SELECT chunk_id FROM chunk_signs ORDER BY chunk_id")] == ids
    assert set(near(rag, "acme", "a red apple")) == {ids[0], ids[1]}
