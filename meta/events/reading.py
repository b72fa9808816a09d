"""Reads a webhook from its bytes: every entry, in the shape of its provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from meta.events import messaging, whatsapp
from meta.events.parsed import EventOwners, ParsedEvents, WebhookContext, problem, read_list
from meta.events.values import mapping, word
from shared.errors import BulkheadError


class NotJson(BulkheadError):
    """Raised when a body is no JSON."""


def require_json(body: bytes) -> None:
    """Raise `NotJson` unless `body` is JSON. JSON that is nested too deeply for us is let through: it is stored, and
    named when it is read.
    """
    try:
        decoded(body)
    except RecursionError:
        return


def object_of(body: bytes) -> str:
    """Return the `object` that a webhook names; empty when it names none. Raises `NotJson`."""
    try:
        return word(mapping(decoded(body)).get("object"))
    except RecursionError:
        return ""


def decoded(body: bytes) -> Any:
    """Return the value of a JSON body. Raises `NotJson`, and `RecursionError` when it is nested too deeply for us."""
    try:
        # JSON may be UTF-16 or UTF-32 (RFC 4627); lone surrogates are cleaned where texts are read
        words = body.decode(json.detect_encoding(body), "surrogatepass")
    except ValueError as error:
        # not chained: the error carries the bytes
        raise NotJson(type(error).__name__) from None
    # the fast one first: only a number of more than 4,300 digits makes Python's `int` refuse, and needs the other
    for decoder in (_DECODER, _PATIENT):
        try:
            return decoder.decode(words)
        except ValueError as error:
            problem = type(error).__name__
    raise NotJson(problem)


def _refuse_constant(name: str) -> NoReturn:
    # Python's parser accepts NaN and Infinity, which PostgreSQL's jsonb refuses
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> int | None:
    """Return a whole number; None for one with more digits than Python would turn into one."""
    return int(digits) if len(digits) < 1000 else None


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: making one costs more than reading a webhook."""
_PATIENT: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole)
"""Slower; takes whole numbers of any length."""


def parse_webhook(body: bytes, received_at: datetime, owners: EventOwners) -> ParsedEvents:
    """Read one webhook.

    Args:
        received_at: stands in for an instant that an event lacks. owners: finds the connections that an event is about.
    """
    try:
        root = mapping(decoded(body))
    except (NotJson, RecursionError) as error:
        return problem("unreadable", "", "not JSON" if isinstance(error, NotJson) else "nested too deeply")
    kind = root.get("object")
    read_entry = _PROVIDERS.get(kind) if isinstance(kind, str) else None
    if read_entry is None:
        return problem("other_object", "", f"object {word(kind)}: not one that we read")
    webhook = WebhookContext(str(kind), received_at, owners)
    return read_list(root, "entry", "", lambda path, entry: read_entry(webhook, path, entry))


_PROVIDERS: Final[Mapping[str, Callable[[WebhookContext, str, Mapping[str, Any]], ParsedEvents]]] = {
    whatsapp.OBJECT: whatsapp.read_entry,
    **dict.fromkeys(messaging.OBJECTS, messaging.read_entry),
}
"""What reads an entry of each object."""
