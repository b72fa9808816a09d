"""Embeddings that mean something: vectors of the weights that a wheel carries, loaded with the first text."""

from __future__ import annotations

import base64
import math
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.word_vectors import WordVectors


class StandInEmbeddings:
    """Makes them; a call may come from any thread."""

    def __init__(self) -> None:
        self._words: WordVectors | None = None
        self._lock = threading.Lock()

    def of(self, texts: Sequence[str], dimensions: int) -> list[list[float]]:
        """Return a vector of length 1 for each text, of so many numbers: cut, or with zeros behind; that of a text
        without words points in a direction of its own.

        Raises:
            ModuleNotFoundError: the packages of the extra `embeddings` are not installed.
        """
        with self._lock:
            if self._words is None:
                # numpy and 16 MB of weights, which a sandbox without embeddings does not have
                from shared.word_vectors import WordVectors  # noqa: PLC0415

                self._words = WordVectors.open()
            return [_cut(vector, dimensions) for vector in self._words.vectors(texts)]


def _cut(vector: list[float], dimensions: int) -> list[float]:
    length = math.hypot(*vector[:dimensions])
    cut = [value / length for value in vector[:dimensions]] if length else [1.0]
    return cut + [0.0] * (dimensions - len(cut))


def encoded(vector: list[float], form: str) -> Any:
    """Return a vector as `encoding_format` asks for it: `float`, or `base64` of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector
