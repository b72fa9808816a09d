"""Embeddings that mean something: texts with words, or parts of words, in common lie near each other. A hash of each
stem and of its pieces of four letters, without any trained weights.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any, Final

from sandbox.model.words import stems

DIMENSIONS: Final = 256
_PIECE: Final = 4
_PIECES_WEIGH: Final = 0.5
"""All pieces of a word together against the word itself: spelling is less than meaning."""


def embedding(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return a vector of length 1; that of a text without words points in one direction of its own."""
    vector = [0.0] * dimensions
    for word in stems(text) or [""]:
        _add(vector, f"word {word}", 1.0)
        pieces = [word[at : at + _PIECE] for at in range(len(word) - _PIECE + 1)]
        for piece in pieces:
            _add(vector, f"piece {piece}", _PIECES_WEIGH / math.sqrt(len(pieces)))
    # opposite hashes may cancel each other out
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def _add(vector: list[float], name: str, weight: float) -> None:
    digest = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    vector[digest % len(vector)] += weight if digest >> 63 else -weight


def encoded(vector: list[float], form: str) -> Any:
    """Return a vector as `encoding_format` asks for it: `float`, or `base64` of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector
