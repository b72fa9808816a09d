"""What is found for a question, by words, by meaning and by both; and that no company finds another's."""

from __future__ import annotations

import asyncio

import pytest

from shared.rag.vectors import PostgresVectors, VectorQuery
from tests.rag.env import RagEnv, WordEmbedder
from tests.store.env import StoreEnv
from tests.support.database import query

TERMS = (
    "Shipping takes three working days.",
    "Our refund policy allows returns within 30 days of delivery.",
    "We are open from Monday to Friday.",
)


@pytest.fixture
def rag(env: StoreEnv) -> RagEnv:
    return RagEnv(env)


def test_a_question_in_other_words_than_all_of_the_passages_finds_it_by_any_of_its_words(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    found = rag.ask("acme", "what is your refund policy please", embedder=None)
    assert found.legs == ("keyword",)
    assert "no embedder" in found.why
    assert [(one.source, one.text) for one in found.passages] == [("terms.pdf, page 2", TERMS[1])]
    (few,) = rag.ask("acme", "refund zebra giraffe okapi", embedder=None).passages
    assert few.score < 0.9 < found.passages[0].score, "words that stand in no document count against a passage"


def test_both_searches_are_joined_and_every_score_is_known(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    found = rag.ask("acme", "refund policy")
    assert (found.legs, found.why) == (("keyword", "vector"), "")
    assert found.passages[0].text == TERMS[1]
    assert len(found.passages) == 3, "0 is a threshold, and nothing is below it"
    assert len(rag.ask("acme", "refund policy", least=0.2).passages) == 1
    assert rag.ask("acme", "refund policy", fusion="rank").passages[0].text == TERMS[1]
    assert rag.ask("acme", "refund policy", keyword_weight=0.0).legs == ("vector",)
    assert rag.ask("acme", "refund policy", vector_weight=0.0).legs == ("keyword",)


def test_a_word_of_every_passage_counts_less_than_a_rare_one(rag: RagEnv) -> None:
    rag.add("acme", [f"The parcel number {number} is on its way." for number in range(30)] + ["The parcel of Ada."])
    found = rag.ask("acme", "parcel Ada", embedder=None)
    assert found.passages[0].text == "The parcel of Ada."
    assert found.passages[0].score > 0.95
    assert found.passages[1].score < 0.5


def test_the_locale_decides_how_words_are_read(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    assert rag.ask("acme", "returned refunds", embedder=None).passages, "english: the stems are the same"
    assert not rag.ask("acme", "returned refunds", embedder=None, locale="tlh").passages, "simple: they are not"


@pytest.mark.parametrize("question", ["", "   ", "the of and", "!?", "\0", "'", "\\", ":* & |", "x" * 5000, "’"])
def test_any_text_is_a_question(rag: RagEnv, question: str) -> None:
    rag.add("acme", TERMS)
    assert isinstance(rag.ask("acme", question, embedder=None).passages, tuple)
    rag.ask("acme", question)


def test_no_company_finds_anothers_passages(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    rag.add("other", ["The refund policy of the other one."])
    assert {one.text for one in rag.ask("other", "refund policy").passages} == {"The refund policy of the other one."}
    assert rag.ask("nobody", "refund policy").passages == ()


def test_passages_of_a_former_index_and_of_a_removed_document_are_not_found(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    query(rag.store.url, "UPDATE documents SET generation = 2")
    assert rag.ask("acme", "refund policy").passages == ()
    query(rag.store.url, "UPDATE documents SET generation = 1, state = 'deleting'")
    assert rag.ask("acme", "refund policy").passages == ()
    query(rag.store.url, "UPDATE documents SET state = 'failed'")
    assert rag.ask("acme", "refund policy").passages, "an index that failed later leaves the former one"


def test_without_an_answer_of_the_model_words_are_searched_and_the_answer_says_so(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    rag.embedder.fails = True
    found = rag.ask("acme", "refund policy")
    assert (found.legs, found.why) == (("keyword",), "the question could not be embedded; only words were searched")
    assert found.passages[0].text == TERMS[1]


def test_vectors_of_another_model_are_not_compared(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    other = WordEmbedder("other")
    found = rag.ask("acme", "zzz", embedder=other)
    assert found.passages == ()
    assert found.legs == ("keyword", "vector")


def test_a_model_that_returns_another_length_is_not_padded(rag: RagEnv) -> None:
    rag.add("acme", TERMS)
    wrong = WordEmbedder()
    wrong.vector = lambda text: [1.0] * 255  # type: ignore[method-assign]
    assert rag.ask("acme", "refund policy", embedder=wrong).legs == ("keyword",)


def test_three_passages_beside_thousands(own_env: StoreEnv) -> None:
    """The index of vectors has those of all companies: followed without iteration it ends before it meets these. The
    whole figure, 300,000: `python -m bench retrieval`.
    """
    rag = RagEnv(own_env, PostgresVectors(own_env.store, exact_most=0, signs_most=0))
    # short vectors: an index of long ones takes a minute to make
    rag.embedder = WordEmbedder("short", 32)
    rag.add("small", TERMS)
    crowd(own_env, "large", 4000, rag.embedder)
    found = rag.ask("small", "refund policy", keyword_weight=0.0)
    assert next(one.text for one in found.passages) == TERMS[1]
    assert len(found.passages) == 3
    for vectors in (PostgresVectors(own_env.store), PostgresVectors(own_env.store, exact_most=0)):
        rag.vectors = vectors
        other = rag.ask("small", "refund policy", keyword_weight=0.0)
        assert [one.text for one in other.passages] == [one.text for one in found.passages]
    assert len(rag.ask("large", "refund policy").passages) == 5
    # of four thousand, the thousand whose signs are most like the question's are compared
    ids = rag.add("large", TERMS, title="other.pdf")
    asked = VectorQuery(company_id="large", model="short", vector=rag.embedder.vector(TERMS[0]), most=3)
    assert asyncio.run(rag.vectors.nearest(asked))[ids[0]] == pytest.approx(1.0, abs=0.002)


def crowd(env: StoreEnv, company: str, passages: int, embedder: WordEmbedder) -> None:
    """Add a document of many passages, whose vectors are all near to what the tests ask."""
    query(env.url, "INSERT INTO companies (id) VALUES (%(id)s)", id=company)
    query(
        env.url,
        """WITH document AS (
               INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks, model,
                                      dimensions)
               VALUES (%(company)s, repeat('0', 64), 'crowd', 'text/plain', 1, 'indexed', 1, %(passages)s, %(model)s,
                       %(dimensions)s) RETURNING id
           ), chunk AS (
               INSERT INTO document_chunks (company_id, document_id, generation, position, body, tokens, words)
               SELECT %(company)s, document.id, 1, number, 'Passage ' || number, 1,
                      chunk_words(%(company)s, 'en', 'refund policy number ' || number)
               FROM document, generate_series(1, %(passages)s) AS number RETURNING id, document_id
           )
           INSERT INTO chunk_vectors (chunk_id, company_id, document_id, generation, model, dimensions, embedding)
           SELECT id, %(company)s, document_id, 1, %(model)s, %(dimensions)s,
                  (SELECT array_agg(near + 0.02 * (random() - 0.5) + 0 * id)
                   FROM unnest(%(near)s::double precision[]) AS near)::real[]
           FROM chunk""",
        company=company,
        passages=passages,
        model=embedder.model,
        dimensions=embedder.dimensions,
        near=embedder.vector("refund policy"),
    )
