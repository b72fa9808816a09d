"""How what two searches found is joined."""

from __future__ import annotations

import pytest

from shared.rag.embedding import DimensionsDiffer, SimilarityScale, normalised
from shared.rag.fusion import LegScores, fused

WORDS = LegScores(weight=0.3, scores={1: 1.0, 2: 0.5, 3: 0.0})
MEANING = LegScores(weight=0.7, scores={1: 0.2, 2: 1.0, 3: 0.6})


def test_weights_are_over_the_scores() -> None:
    found = fused([WORDS, MEANING], "weighted", least=None, most=5)
    assert [(one, round(score, 6)) for one, score in found] == [(2, 0.85), (1, 0.44), (3, 0.42)]


def test_ranks_forget_the_scores() -> None:
    found = fused([WORDS, MEANING], "rank", least=None, most=5)
    assert [one for one, _ in found] == [2, 1, 3]
    # first by meaning, second by words
    assert found[0][1] == pytest.approx(0.7 + 0.3 * 61 / 62)
    # what a search did not find has no place in it, whatever is listed
    assert found[2][1] == pytest.approx(0.7 * 61 / 62)


def test_a_first_place_in_both_is_one_by_either() -> None:
    legs = [LegScores(weight=0.3, scores={7: 1.0}), LegScores(weight=0.7, scores={7: 1.0})]
    assert fused(legs, "rank", least=1.0, most=1) == fused(legs, "weighted", least=1.0, most=1) == [(7, 1.0)]


def test_the_threshold_is_applied_once_after_the_join() -> None:
    # a passage below it in each search may be above it in none: 0.5 by words, 1.0 by meaning
    assert [one for one, _ in fused([WORDS, MEANING], "weighted", least=0.8, most=5)] == [2]
    assert fused([WORDS, MEANING], "weighted", least=0.86, most=5) == []


def test_zero_is_a_threshold_and_not_none() -> None:
    low = [LegScores(weight=1.0, scores={1: -0.5, 2: 0.0, 3: 0.5})]
    assert [one for one, _ in fused(low, "weighted", least=0.0, most=5)] == [3, 2]
    assert [one for one, _ in fused(low, "weighted", least=None, most=5)] == [3, 2, 1]


def test_one_search_alone_has_all_the_weight() -> None:
    assert fused([WORDS], "weighted", least=None, most=1) == [(1, 1.0)]
    assert fused([LegScores(weight=0.0, scores={1: 1.0})], "weighted", least=None, most=1) == []
    assert fused([], "rank", least=None, most=1) == []


def test_a_scale_says_what_a_cosine_means() -> None:
    scale = SimilarityScale(none=0.1, same=0.5)
    assert [round(scale.similarity(one), 3) for one in (-1.0, 0.1, 0.3, 0.5, 1.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_a_vector_of_another_length_is_refused() -> None:
    assert normalised([3.0, 4.0], 2) == [0.6, 0.8]
    assert normalised([0.0, 0.0], 2) == [0.0, 0.0]
    with pytest.raises(DimensionsDiffer, match="3 numbers; it is known for 2"):
        normalised([1.0, 2.0, 3.0], 2)
