"""How texts are cut into passages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.chunks import Block, Chunk, count_tokens, cut


def sentences(number: int, words: int = 10) -> str:
    return " ".join(" ".join(f"w{one}x{word}" for word in range(words - 1)) + " end." for one in range(number))


def texts(found: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in found]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a cat", 2), ("Hello, world!", 4), ("international", 3), ("你好世界", 4), ("3.50 €", 4)],
)
def test_tokens_are_counted(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_a_passage_ends_with_a_sentence_and_the_next_repeats_the_last_ones() -> None:
    found = list(cut([Block(sentences(30))], size=64, overlap=16))
    assert len(found) > 4
    assert all(chunk.tokens <= 64 and chunk.text.endswith("end.") for chunk in found)
    for one, following in itertools.pairwise(found):
        last = one.text.rsplit("end.", 2)[-2].strip()
        assert following.text.startswith(last.split()[0]), "the last sentence is repeated"
    assert not any(one.text.split()[0] in two.text for one, two in zip(found, found[2:], strict=False))


def test_without_overlap_nothing_is_repeated() -> None:
    words = " ".join(chunk.text for chunk in cut([Block(sentences(30))], size=64, overlap=0)).split()
    assert words == sentences(30).split()


def test_pages_and_sections_are_borders() -> None:
    found = list(
        cut(
            [
                Block("Returns are free.", 1, "Returns"),
                Block("Within 30 days.", 1, "Returns"),
                Block("We ship to Mars.", 1, "Shipping"),
                Block("It takes a year.", 2, "Shipping"),
            ],
            size=64,
            overlap=16,
        )
    )
    assert [(chunk.text, chunk.page, chunk.section) for chunk in found] == [
        ("Returns\nReturns are free.\nWithin 30 days.", 1, "Returns"),
        ("Shipping\nWe ship to Mars.", 1, "Shipping"),
        ("Shipping\nIt takes a year.", 2, "Shipping"),
    ]


def test_a_sentence_that_goes_on_over_the_page_is_on_the_next_one_too() -> None:
    found = list(cut([Block("Short. The refund is", 1), Block("paid in cash. Yes.", 2)], size=64, overlap=16))
    assert texts(found) == ["Short. The refund is", "The refund is paid in cash. Yes."]


def test_a_last_page_of_repetitions_alone_is_no_passage() -> None:
    assert texts(list(cut([Block("It goes on", 1), Block("   ", 2)], size=64, overlap=16))) == ["It goes on"]


@pytest.mark.parametrize("text", ["x" * 5000, "字" * 500, "word " * 500, "1,2;" * 300])
def test_what_has_no_border_is_cut_at_the_size(text: str) -> None:
    found = list(cut([Block(text)], size=64, overlap=16))
    assert all(chunk.tokens <= 64 for chunk in found)
    assert "".join("".join(chunk.text.split()) for chunk in found) == "".join(text.split())


@given(
    st.lists(st.tuples(st.text(max_size=200), st.integers(1, 3), st.sampled_from(["", "A", "A longer heading"]))),
    st.integers(64, 200),
    st.integers(0, 100),
)
def test_no_word_is_lost_and_no_passage_is_larger(
    given_blocks: list[tuple[str, int, str]], size: int, overlap: int
) -> None:
    blocks = [Block(text, page, section) for text, page, section in given_blocks]
    found = list(cut(blocks, size=size, overlap=min(overlap, size // 2)))
    assert all(0 < chunk.tokens <= size for chunk in found)
    whole = "".join("".join(chunk.text.split()) for chunk in found)
    for block in blocks:
        for word in block.text.split():
            if len(word) < 20:
                assert word in whole
