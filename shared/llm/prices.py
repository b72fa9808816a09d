"""What models cost, as data, and what a call costs.

Prices are US dollars for a million tokens, which is millionths of a dollar (micros) for one: in, out. Those of a
provider's own price list in November 2026; an installation adds or replaces rows by LLM_PRICES.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.errors import SettingsInvalid


class Price(NamedTuple):
    """Micros of a dollar for one token that goes in, and for one that comes out."""

    tokens_in: float
    tokens_out: float


FREE: Final = Price(0.0, 0.0)
PRICES: Final[Mapping[str, Price]] = {
    # OpenAI: a name with a date (`gpt-4o-mini-2024-07-18`) has the price of the name without
    "gpt-4o": Price(2.5, 10.0),
    "gpt-4o-mini": Price(0.15, 0.6),
    "gpt-4.1": Price(2.0, 8.0),
    "gpt-4.1-mini": Price(0.4, 1.6),
    "gpt-4.1-nano": Price(0.1, 0.4),
    "text-embedding-3-small": Price(0.02, 0.0),
    "text-embedding-3-large": Price(0.13, 0.0),
    # the stand-in
    "sandbox-model": FREE,
    "sandbox-embedding": FREE,
}


def read_prices(text: str) -> Mapping[str, Price]:
    """Return all prices, with those of LLM_PRICES: a JSON object of [in, out] by model. Raises `SettingsInvalid`."""
    if not text:
        return PRICES
    wrong = SettingsInvalid(
        [
            'LLM_PRICES must be a JSON object such as {"my-model": [0.15, 0.6]}: dollars for a million '
            "tokens in and out, 0 or more"
        ]
    )
    try:
        given = json.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(given, dict) or not all(_is_price(value) for value in given.values()):
        raise wrong
    return {**PRICES, **{name: Price(float(value[0]), float(value[1])) for name, value in given.items()}}


def _is_price(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < 1e6 for one in value)
    )


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """Return a model's price, that of its longest listed beginning; None when it is not listed."""
    names = [name for name in prices if model == name or model.startswith(f"{name}-")]
    return prices[max(names, key=len)] if names else None


def cost_micros(price: Price, tokens_in: int, tokens_out: int) -> int:
    """Return what tokens cost, in millionths of a dollar, rounded up."""
    return math.ceil(price.tokens_in * tokens_in + price.tokens_out * tokens_out)
