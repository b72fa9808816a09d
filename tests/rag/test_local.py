"""The embedder that needs no network: texts of like meaning are near, and without its packages words are left."""

from __future__ import annotations

import asyncio
import importlib.util
from math import isclose, sqrt

import pytest

from shared.rag.embedders import local_embedder
from shared.rag.local import LocalEmbedder

POLICY = "Our refund policy allows returns within 30 days of delivery. The item must be unused and in its box."


def similarities(question: str, *texts: str) -> list[float]:
    embedder = LocalEmbedder.open()
    asked, *vectors = asyncio.run(embedder.embed([question, *texts]))
    assert all(len(vector) == embedder.dimensions for vector in vectors)
    assert all(isclose(sqrt(sum(one * one for one in vector)), 1.0, abs_tol=1e-5) for vector in vectors)
    return [embedder.scale.similarity(sum(a * b for a, b in zip(asked, vector, strict=True))) for vector in vectors]


def test_texts_of_like_meaning_are_near() -> None:
    same, paraphrase, unrelated = (
        similarities(question, POLICY)[0]
        for question in (
            "what is your refund policy please",
            "how long do I have to send something back",
            "how tall is Mount Everest",
        )
    )
    assert same > 0.9
    assert same >= paraphrase > 0.6
    assert unrelated < 0.2


def test_a_text_without_words_has_no_direction() -> None:
    embedder = LocalEmbedder.open()
    assert asyncio.run(embedder.embed(["", "word"]))[0] == [0.0] * 256
    assert asyncio.run(embedder.embed([])) == []


def test_without_the_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *given: None if name == "wordllama" else find(name))
    embedder, why = local_embedder()
    assert embedder is None
    assert why == "the package wordllama is not installed (pip install '.[embeddings]'); only words are searched"
