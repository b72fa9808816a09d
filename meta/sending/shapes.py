"""Small checks that are put together to tables of what Meta takes. Each returns what is to be sent, and says of what is wrong where and why. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from shared.errors import BulkheadError

Check: TypeAlias = Callable[[Any, str], Any]
"""Takes a value and its place (`interactive.action.buttons[0]`); returns the value as it is to be sent. Raises `PayloadRefused`."""

_LINK_MOST: Final = 4096
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class PayloadRefused(BulkheadError):
    """Raised when no body can be made of a message. The text names places and limits, never what stands there.

    Attributes:
        code: for the history.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def wrong(place: str, reason: str) -> PayloadRefused:
    """Return the refusal of what stands at a place."""
    return PayloadRefused("invalid_content", f"{place}: {reason}")


def text(most: int, least: int = 1) -> Check:
    """A text of so many characters."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise wrong(place, "must be a text")
        if not least <= len(value) <= most:
            raise wrong(place, f"has {len(value)} characters; {least} to {most} are allowed")
        return value

    return check


def matching(pattern: str, form: str) -> Check:
    """A text of a certain form. `form`: in words."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise wrong(place, f"must be {form}")
        return value

    return check


def choice(*words: str) -> Check:
    """One of certain words."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise wrong(place, f"must be {' or '.join(words)}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number in a range."""

    def check(value: Any, place: str) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not low <= value <= high
        ):
            raise wrong(place, f"must be a number from {low:g} to {high:g}")
        return value

    return check


def flag(value: Any, place: str) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise wrong(place, "must be true or false")
    return value


def date(value: Any, place: str) -> str:
    """A day, `1815-12-10`."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise wrong(place, "must be a date like 1815-12-10")
    return value


def link(value: Any, place: str) -> str:
    """An address that the provider fetches or the receiver opens."""
    try:
        parts = (
            urlsplit(value)
            if isinstance(value, str) and len(value) <= _LINK_MOST and value.isprintable() and " " not in value
            else None
        )
        host = parts.hostname if parts else None
    except ValueError:
        parts = host = None
    if parts is None or parts.scheme not in {"http", "https"} or not host:
        raise wrong(place, "must be an http or https address")
    return str(value)


def anything(value: Any, _place: str) -> Any:
    """Whatever Meta makes of it."""
    return value


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    """An object of any fields."""
    if not isinstance(value, Mapping):
        raise wrong(place, "must be an object")
    return value


def listing(of: Check, least: int, most: int) -> Check:
    """A list of so many."""

    def check(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong(place, "must be a list")
        if not least <= len(value) <= most:
            raise wrong(place, f"has {len(value)} elements; {least} to {most} are allowed")
        return [of(one, f"{place}[{index}]") for index, one in enumerate(value)]

    return check


def record(
    fields: Mapping[str, Check], *, needed: tuple[str, ...] = (), exactly_one: tuple[str, ...] = (), more: bool = True
) -> Check:
    """An object.

    Args:
        fields: what is checked; null is as good as absent. needed: those that must be there. exactly_one: of these one must be there, and no other.
        more: whether fields that are not named pass as they are: Meta adds some from time to time.
    """

    def check(value: Any, place: str) -> dict[str, Any]:
        given = {name: one for name, one in mapping(value, place).items() if one is not None}
        for name in needed:
            if name not in given:
                raise wrong(place, f"{name} is missing")
        if exactly_one and sum(name in given for name in exactly_one) != 1:
            raise wrong(place, f"must have exactly one of {', '.join(exactly_one)}")
        if not more and (strange := sorted(map(str, given.keys() - fields.keys()))):
            raise wrong(place, f"{strange[0]!r:.60} is not known here; known are {', '.join(fields)}")
        return {name: fields[name](one, f"{place}.{name}") if name in fields else one for name, one in given.items()}

    return check
