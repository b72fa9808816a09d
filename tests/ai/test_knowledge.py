"""Answers from a company's documents, with their source."""

from __future__ import annotations

from tests.ai.env import AiEnv
from tests.rag.env import RagEnv

_CHAT = "15550100200"


def test_an_answer_stands_in_a_document_and_says_where(ai: AiEnv) -> None:
    # by words alone: the vectors are of a model that only tests have
    ai.set(enableRag=True, ragConfig={"minSimilarity": 0.0, "weights": {"keyword": 1.0, "vector": 0.0}})
    RagEnv(ai.store).add("acme", ["We open at nine.", "Our refund policy allows returns within 30 days."])
    RagEnv(ai.store).add("other", ["The refund policy of another company."], title="secret.pdf")
    ai.start()
    ai.write(_CHAT, "What is your refund policy?")
    ai.ended()
    assert ai.answers(_CHAT) == ["Our refund policy allows returns within 30 days. (Source: terms.pdf, page 2)"]
    (asked,) = ai.asked()
    assert "another company" not in asked["messages"][0]["content"]
    ai.write(_CHAT, "Do you like zebras?")
    ai.ended(2)
    assert "documents say nothing about this question" in ai.asked()[1]["messages"][0]["content"]
