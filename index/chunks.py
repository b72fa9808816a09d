"""Cuts the text of a document into passages: of a bounded number of tokens, at borders of sections, pages and sentences
where there are some. Pure; runs beside the parsers, since a hostile text costs as much here as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_LETTERS: Final = 6
"""Letters of one token, about: short words are one, longer ones several. Counted without a model's own tokens, so that
passages are the same whichever model embeds them; English has 1.3 to 1.4 tokens a word by either.
"""
_WIDE: Final = 0x2E80
"""From here on a letter is a word or a part of one (CJK), and counts as one token."""
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|(?<=[。！？])")
_ENDED: Final = re.compile(r"[.!?…:;。！？][\"'”’)\]]*$")
_SECTION_MOST: Final = 120
"""Characters of a heading that a passage keeps."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph: its text, its page from 1 (None: the format has none), and the heading above it."""

    text: str
    page: int | None = None
    section: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A passage."""

    text: str
    tokens: int
    page: int | None
    section: str


def count_tokens(text: str) -> int:
    """Return how many tokens a text has, about."""
    return sum(_weight(found[0]) for found in _TOKEN.finditer(text))


def _weight(word: str) -> int:
    if ord(word[0]) >= _WIDE:
        return len(word)
    return 1 + (len(word) - 1) // _LETTERS


def cut(blocks: Iterable[Block], *, size: int, overlap: int) -> Iterator[Chunk]:
    """Yield the passages of a document.

    A passage has one page and one section. The heading stands before its text, so that what is asked by the heading's
    words is found.

    Args:
        size: tokens of a passage at most. overlap: tokens at the end of a passage that the next one of the same page
            and section begins with; of a sentence that goes on over the page, all of it.
    """
    passage = _Passage(size, overlap)
    for block in blocks:
        yield from passage.take(block)
    yield from passage.end()


class _Passage:
    """The passage that is being filled."""

    def __init__(self, size: int, overlap: int) -> None:
        self._size, self._overlap = size, overlap
        self._page: int | None = None
        self._section = ""
        # sentences with their tokens; those that the passage before has too come first
        self._sentences: list[tuple[str, int]] = []
        self._tokens, self._repeated = 0, 0

    def take(self, block: Block) -> Iterator[Chunk]:
        section = " ".join(block.section.split())[:_SECTION_MOST]
        if (block.page, section) != (self._page, self._section):
            unfinished = self._unfinished() if section == self._section else []
            yield from self.end()
            self._page, self._section = block.page, section
            self._begin(unfinished)
        room = self._size - count_tokens(self._section)
        for sentence, tokens in _sentences(block.text, max(1, room)):
            if self._tokens + tokens > room and len(self._sentences) > self._repeated:
                yield self._made()
                self._begin(self._tail(room - tokens))
            self._sentences.append((sentence, tokens))
            self._tokens += tokens
        if self._sentences:
            # a paragraph ends here
            sentence, tokens = self._sentences[-1]
            self._sentences[-1] = (sentence + "\n", tokens)

    def end(self) -> Iterator[Chunk]:
        if len(self._sentences) > self._repeated:
            yield self._made()
        self._begin([])

    def _begin(self, repeated: list[tuple[str, int]]) -> None:
        self._sentences, self._repeated = repeated, len(repeated)
        self._tokens = sum(tokens for _, tokens in repeated)

    def _made(self) -> Chunk:
        body = " ".join(sentence for sentence, _ in self._sentences).replace("\n ", "\n").strip()
        text = f"{self._section}\n{body}" if self._section else body
        return Chunk(
            text=text, tokens=self._tokens + count_tokens(self._section), page=self._page, section=self._section
        )

    def _tail(self, room: int) -> list[tuple[str, int]]:
        """Return the last sentences that fit into the overlap, and into what the next sentence leaves of a passage."""
        kept, tokens = 0, 0
        for _, one in reversed(self._sentences):
            if tokens + one > min(self._overlap, room):
                break
            kept, tokens = kept + 1, tokens + one
        return self._sentences[len(self._sentences) - kept :]

    def _unfinished(self) -> list[tuple[str, int]]:
        """Return the last sentence when it goes on over the page."""
        if not self._sentences or not self._overlap:
            return []
        sentence, tokens = self._sentences[-1]
        # half of a passage at most: else nothing would be left for the page itself
        return [] if _ENDED.search(sentence.rstrip()) or tokens > self._size // 2 else [(sentence.rstrip("\n"), tokens)]


def _sentences(text: str, most: int) -> Iterator[tuple[str, int]]:
    """Yield the sentences of a paragraph with their tokens; a longer one than `most` tokens in pieces."""
    for sentence in _SENTENCE_END.split(" ".join(text.split())):
        if not sentence:
            continue
        tokens = count_tokens(sentence)
        if tokens <= most:
            yield sentence, tokens
        else:
            yield from _pieces(sentence, most)


def _pieces(sentence: str, most: int) -> Iterator[tuple[str, int]]:
    start, end, tokens = 0, 0, 0
    for found in _TOKEN.finditer(sentence):
        weight = _weight(found[0])
        if tokens and tokens + weight > most:
            yield sentence[start:end].strip(), tokens
            start, tokens = found.start(), 0
        if weight > most:
            # a word that is longer than a passage: no text of a language
            wide = 1 if ord(found[0][0]) >= _WIDE else _LETTERS
            for at in range(found.start(), found.end(), most * wide):
                piece = sentence[at : min(at + most * wide, found.end())]
                yield piece, _weight(piece)
            start, end = found.end(), found.end()
            continue
        tokens, end = tokens + weight, found.end()
    if tokens:
        yield sentence[start:].strip(), tokens
