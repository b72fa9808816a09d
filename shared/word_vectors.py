"""Vectors of texts without a network: the weights and the tokenizer that the wheel `wordllama` carries, averaged.

Read here and not by that package, which requests its tokenizer from a hub. The only door to numpy, safetensors and
tokenizers; modules that use it import it with the first text.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

PACKAGE: Final = "wordllama"
LENGTH: Final = 256
"""Numbers of one vector."""
_TEXT_MOST: Final = 20_000
"""Characters of one text that are read: more than the largest passage has."""


class WeightsUnreadable(Exception):
    """Raised when the files of the package are not what they should be."""


class WordVectors:
    """Makes vectors of texts. Its files are read with the first one; not safe for several threads at once."""

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        self._weights, self._tokenizer_file = weights, tokenizer
        self._loaded: tuple[Any, Tokenizer] | None = None

    @classmethod
    def open(cls) -> WordVectors:
        """Return it. Raises `ModuleNotFoundError` when the package that carries the weights is not installed."""
        found = importlib.util.find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(f"no package {PACKAGE}", name=PACKAGE)
        folder = Path(found.submodule_search_locations[0])
        return cls(
            folder / "weights" / "l2_supercat_256.safetensors",
            folder / "tokenizers" / "l2_supercat_tokenizer_config.json",
        )

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text; one without words is zero. Raises `WeightsUnreadable`."""
        if self._loaded is None:
            self._loaded = self._load()
        weights, tokenizer = self._loaded
        made = []
        for encoding in tokenizer.encode_batch([text[:_TEXT_MOST] for text in texts], add_special_tokens=False):
            if not encoding.ids:
                made.append([0.0] * LENGTH)
                continue
            mean = weights[encoding.ids].astype(np.float32).mean(axis=0)
            length = float(np.linalg.norm(mean))
            made.append((mean / length if length else mean).tolist())
        return made

    def _load(self) -> tuple[Any, Tokenizer]:
        try:
            (weights,) = load_file(self._weights).values()
            tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        except (OSError, ValueError) as error:
            raise WeightsUnreadable(f"the weights of {PACKAGE} cannot be read: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return weights, tokenizer
