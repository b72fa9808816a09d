"""What clients say about a connection: fields by connection type, and the credentials and options that are made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from api.bodies import Field, invalid
from shared.kinds import connection_types

_ID: Final = re.compile(r"[0-9]{1,32}")
_SECRET: Final = 4096
_CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "wwebjs": (),
    "360dialog": ("apiKey", "webhookSecret"),
    "meta_direct": ("accessToken", "pin"),
    "meta_embedded": ("accessToken", "pin"),
    "messenger": ("accessToken",),
    "instagram": ("accessToken",),
}
"""Credentials that a connection type takes; the first one is what it cannot send without."""
_KEPT_AS: Final = {"accessToken": "access_token", "apiKey": "api_key", "webhookSecret": "webhook_secret", "pin": "pin"}
_HAS_WABA: Final = frozenset({"meta_direct", "meta_embedded", "360dialog"})
_ACCOUNT_NEEDED: Final = frozenset({"meta_direct", "meta_embedded", "messenger", "instagram"})
_OPTIONS: Final = (
    Field(name="messagesPerSecond", kind=float, high=5000.0, purpose="Rate of a Meta number; 0: no limit."),
    Field(name="messagesPerMinute", kind=float, high=10000.0, purpose="Rate of a browser session; 0: no limit."),
    Field(
        name="messagesPerDay",
        kind=int,
        high=10_000_000,
        purpose="Most messages of a browser session in 24 hours; 0: no ceiling.",
    ),
    Field(
        name="pairLimit", kind=bool, purpose="Whether one user gets at most one message each 6 s from a Meta number."
    ),
    Field(
        name="coexistence", kind=bool, purpose="The number is also on the WhatsApp Business app: 20 messages a second."
    ),
    Field(
        name="login",
        kind=str,
        choices=("page", "instagram"),
        purpose="How an Instagram account is reached: through its Page, or by Instagram Login.",
    ),
    Field(
        name="pageId",
        kind=str,
        longest=32,
        purpose="Page of an Instagram account, if `accountId` is the account's own.",
    ),
    Field(
        name="instagramId",
        kind=str,
        longest=32,
        purpose="Instagram account's own id, if `accountId` is its Page: webhooks name it.",
    ),
)
_CHANGEABLE: Final = (
    Field(
        name="accountId",
        kind=str,
        longest=32,
        purpose="The provider's id: phone number id, Page id or Instagram account id.",
    ),
    Field(
        name="wabaId",
        kind=str,
        longest=32,
        purpose="WhatsApp Business Account; needed for templates and subscriptions.",
    ),
    Field(
        name="accessToken",
        kind=str,
        shortest=1,
        longest=_SECRET,
        purpose="Meta's access token. Kept encrypted and never shown.",
    ),
    Field(
        name="apiKey", kind=str, shortest=1, longest=_SECRET, purpose="360dialog's key. Kept encrypted and never shown."
    ),
    Field(
        name="webhookSecret",
        kind=str,
        shortest=16,
        longest=200,
        purpose="What 360dialog must say with its webhooks; made when the webhook is set up.",
    ),
    Field(
        name="pin",
        kind=str,
        shortest=6,
        longest=6,
        purpose="Two-step PIN of the number. Kept encrypted and never shown.",
    ),
    Field(name="options", kind=dict, fields=_OPTIONS, purpose="Rates and how it is reached; what is not named stays."),
)
CREATE: Final = (
    Field(name="connectionType", kind=str, required=True, choices=connection_types(), purpose="The channel."),
    Field(
        name="phoneIndex",
        kind=int,
        high=9999,
        purpose="Index within the company; the first that is free if it is not given.",
    ),
    *_CHANGEABLE,
)
CHANGE: Final = _CHANGEABLE


def credentials_of(connection_type: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the credentials among the fields of a body, named as they are kept.

    Raises:
        Problem: one of them is not this connection type's, or cannot be sent in a header.
    """
    takes, errors = _CREDENTIALS.get(connection_type, ()), []
    found: dict[str, str] = {}
    for name, kept_as in _KEPT_AS.items():
        if (value := given.get(name)) is None:
            continue
        if name not in takes:
            errors.append(
                (f"/{name}", f"a connection of type {connection_type} takes {', '.join(takes) or 'no credentials'}")
            )
        elif not (value.isascii() and value.isprintable() and value.strip() == value):
            errors.append((f"/{name}", "holds characters that no header can carry"))
        elif name == "pin" and not value.isdecimal():
            errors.append((f"/{name}", "must be six digits"))
        else:
            found[kept_as] = value
    if errors:
        raise invalid(errors)
    return found


def require_whole(connection_type: str, given: Mapping[str, Any]) -> None:
    """Raise `Problem` unless everything is there that a new connection of this type needs."""
    errors = []
    takes = _CREDENTIALS.get(connection_type, ())
    if takes and not given.get(takes[0]):
        errors.append((f"/{takes[0]}", f"is missing: a connection of type {connection_type} cannot send without it"))
    if connection_type in _ACCOUNT_NEEDED and not given.get("accountId"):
        errors.append(("/accountId", "is missing"))
    if errors:
        raise invalid(errors)


def require_ids(connection_type: str, given: Mapping[str, Any]) -> None:
    """Raise `Problem` unless the provider's ids are digits, and there where this connection type has them."""
    errors = [
        (f"/{name}", "must be digits")
        for name in ("accountId", "wabaId")
        if given.get(name) and not _ID.fullmatch(given[name])
    ]
    if given.get("accountId") and connection_type == "wwebjs":
        errors.append(("/accountId", "a browser session has no account at a provider"))
    if given.get("wabaId") and connection_type not in _HAS_WABA:
        errors.append(("/wabaId", f"a connection of type {connection_type} has no WhatsApp Business Account"))
    options = given.get("options") or {}
    errors += [
        (f"/options/{name}", "must be digits")
        for name in ("pageId", "instagramId")
        if options.get(name) and not _ID.fullmatch(options[name])
    ]
    if errors:
        raise invalid(errors)


def kept_options(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return options as they are kept; None when none were given."""
    return (
        None
        if given is None
        else {re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name): value for name, value in given.items()}
    )


def shown_options(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as clients know them."""
    named = {field.name: next(iter(kept_options({field.name: None}) or {})) for field in _OPTIONS}
    return {name: kept[stored] for name, stored in named.items() if stored in kept}
