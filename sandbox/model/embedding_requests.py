"""What OpenAI's API takes and refuses of a request for embeddings, by its document
(https://platform.openai.com/docs/api-reference/embeddings/create), in its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.model.requests_checked import RequestRefused
from sandbox.model.words import tokens

DIMENSIONS: Final = 256
"""Numbers that the stand-in's weights have; models with more have zeros after them."""
INPUTS_MOST: Final = 2048
"""Entries of any array: inputs of a call, tokens of an input."""
_INPUT_TOKENS: Final = 8192
_REQUEST_TOKENS: Final = 300_000
_FORMS: Final = ("float", "base64")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """Length of a model's vectors, and whether a request may ask for shorter ones."""

    dimensions: int
    is_cut: bool = True


_MODELS: Final[Mapping[str, _Model]] = {
    "text-embedding-3-small": _Model(dimensions=1536),
    "text-embedding-3-large": _Model(dimensions=3072),
    "text-embedding-ada-002": _Model(dimensions=1536, is_cut=False),
}
_OTHER: Final = _Model(dimensions=DIMENSIONS)
"""The stand-in's own, and any other name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingRequest:
    """A request that is answered. `tokens`: that are charged."""

    model: str
    texts: list[str] = field(repr=False)
    dimensions: int
    form: str
    tokens: int


def read_embedding_request(body: Mapping[str, Any]) -> EmbeddingRequest:
    """Return a request. Raises `RequestRefused`."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise RequestRefused("you must provide a model parameter")
    form = body.get("encoding_format", "float")
    if form not in _FORMS:
        raise RequestRefused(
            f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'.", "encoding_format", "invalid_value"
        )
    texts, counts = _inputs(body.get("input"))
    if (most := max(counts)) > _INPUT_TOKENS:
        raise RequestRefused(
            f"This model's maximum context length is {_INPUT_TOKENS} tokens, however you requested {most} tokens "
            f"({most} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
        )
    if (total := sum(counts)) > _REQUEST_TOKENS:
        raise RequestRefused(
            f"Requested {total} tokens, max {_REQUEST_TOKENS} tokens per request", "input", "max_tokens_per_request"
        )
    return EmbeddingRequest(
        model=name,
        texts=texts,
        dimensions=_dimensions(_MODELS.get(name, _OTHER), body.get("dimensions")),
        form=form,
        tokens=total,
    )


def _inputs(given: Any) -> tuple[list[str], list[int]]:
    """Return the texts of an input, a text or tokens, or of several, and how many tokens each has."""
    if given is None:
        raise RequestRefused("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    inputs = [given] if isinstance(given, str) or _is_tokens(given) else given
    if not isinstance(inputs, list) or not inputs:
        raise _invalid()
    if len(inputs) > INPUTS_MOST:
        raise _too_long("input", len(inputs))
    texts, counts = [], []
    for index, one in enumerate(inputs):
        if isinstance(one, str) and one:
            texts.append(one)
            counts.append(tokens(one))
        elif _is_tokens(one):
            if len(one) > INPUTS_MOST:
                raise _too_long(f"input[{index}]", len(one))
            # Of the provider's vocabulary, which is not public: equal tokens are equal words, without a meaning.
            texts.append(" ".join(map(str, one)))
            counts.append(len(one))
        else:
            raise _invalid()
    if len({isinstance(one, str) for one in inputs}) > 1:
        raise _invalid()
    return texts, counts


def _is_tokens(given: Any) -> bool:
    return (
        isinstance(given, list)
        and bool(given)
        and all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in given)
    )


def _dimensions(model: _Model, asked: Any) -> int:
    if asked is None:
        return model.dimensions
    if isinstance(asked, bool) or not isinstance(asked, int):
        raise RequestRefused("Invalid type for 'dimensions': expected an integer.", "dimensions", "invalid_type")
    if not model.is_cut:
        raise RequestRefused("This model does not support specifying dimensions.", "dimensions")
    if not 1 <= asked <= model.dimensions:
        raise RequestRefused(
            f"Invalid value for 'dimensions': expected a value from 1 to {model.dimensions}, but got {asked} instead.",
            "dimensions",
        )
    return asked


def _invalid() -> RequestRefused:
    return RequestRefused(
        "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    )


def _too_long(name: str, length: int) -> RequestRefused:
    return RequestRefused(
        f"Invalid '{name}': array too long. Expected an array with maximum length {INPUTS_MOST}, but got an array with "
        f"length {length} instead.",
        name,
        "array_above_max_length",
    )
