"""Request bodies of connections: fields by connection type, and the credentials and options made from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.channels.registry import CHANNELS, channel_named, connection_types
from shared.fields import Field, FieldsInvalid

# ids become parts of request paths at the provider, so that only digits are allowed; real ones have 15 to 17
_ID: Final = re.compile(r"[0-9]{1,32}")
# characters; Meta reserves the right to make tokens longer than the few hundred of today
_SECRET: Final = 4096
DIGITS: Final = (("pattern", "^[0-9]*$"),)
"""What the document says of the provider's ids."""
# names in a body and in the sealed credentials, which the processes that send read
_KEPT_AS: Final = {"accessToken": "access_token", "apiKey": "api_key", "webhookSecret": "webhook_secret", "pin": "pin"}
_NAME: Final = Field(name="name", kind=str, longest=100, purpose="What people call the connection.")
"""The option that every connection type has."""
# one body for all channels, so the options of all; `require_ids` refuses those that a type does not have
_OPTIONS: Final = (_NAME, *{field.name: field for channel in CHANNELS for field in channel.options}.values())
_CHANGEABLE: Final = (
    Field(
        name="accountId",
        kind=str,
        longest=32,
        documented=DIGITS,
        purpose="The provider's id: phone number id, Page id or Instagram account id.",
    ),
    Field(
        name="wabaId",
        kind=str,
        longest=32,
        documented=DIGITS,
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
        purpose="Secret that 360dialog's webhooks must carry; generated when the webhook is set up.",
    ),
    Field(
        name="pin",
        kind=str,
        shortest=6,
        longest=6,
        documented=DIGITS,
        purpose="Two-step PIN of the number. Kept encrypted and never shown.",
    ),
    Field(
        name="options",
        kind=dict,
        fields=_OPTIONS,
        title="NewConnectionOptions",
        purpose="Rates, and how it is reached; options that are not given stay.",
    ),
)
CREATE: Final = (
    Field(
        name="connectionType",
        kind=str,
        required=True,
        choices=connection_types(),
        title="ConnectionType",
        purpose="The channel.",
    ),
    Field(
        name="phoneIndex",
        kind=int,
        high=9999,
        purpose="Index within the company; the first that is free if it is not given.",
    ),
    *_CHANGEABLE,
)
# neither type nor index can change: messages and the sealing of credentials depend on them
CHANGE: Final = _CHANGEABLE


def credentials_of(connection_type: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the credentials among the fields of a body, under their stored names.

    Raises:
        FieldsInvalid: one of them is not this connection type's, or cannot be sent in a header.
    """
    takes, errors = channel_named(connection_type).credentials, []
    found: dict[str, str] = {}
    for name, kept_as in _KEPT_AS.items():
        if (value := given.get(name)) is None:
            continue
        if name not in takes:
            errors.append(
                (f"/{name}", f"a connection of type {connection_type} takes {', '.join(takes) or 'no credentials'}")
            )
        elif not (value.isascii() and value.isprintable() and value.strip() == value):
            # they are sent in headers: a line break would add a header of the client's choice to requests
            errors.append((f"/{name}", "holds characters that no header can carry"))
        elif name == "pin" and not value.isdecimal():
            errors.append((f"/{name}", "must be six digits"))
        else:
            found[kept_as] = value
    if errors:
        raise FieldsInvalid(errors)
    return found


def require_whole(connection_type: str, given: Mapping[str, Any]) -> None:
    """Raise `FieldsInvalid` unless the body has everything that a new connection of this type needs."""
    errors = []
    channel = channel_named(connection_type)
    # the first of a type's credentials is the one that it sends with; the others serve single operations
    if channel.credentials and not given.get(needed := channel.credentials[0]):
        errors.append((f"/{needed}", f"is missing: a connection of type {connection_type} cannot send without it"))
    if channel.account == "required" and not given.get("accountId"):
        errors.append(("/accountId", "is missing"))
    if errors:
        raise FieldsInvalid(errors)


def require_ids(connection_type: str, given: Mapping[str, Any]) -> None:
    """Raise `FieldsInvalid` unless the provider's ids are digits, and this connection type has the given ids and
    options.
    """
    channel = channel_named(connection_type)
    errors = [
        (f"/{name}", "must be digits")
        for name in ("accountId", "wabaId")
        if given.get(name) and not _ID.fullmatch(given[name])
    ]
    # refused and not ignored: a client that sends it expects an effect
    if given.get("accountId") and channel.account == "none":
        errors.append(("/accountId", f"a connection of type {connection_type} has no account at a provider"))
    if given.get("wabaId") and not channel.has_waba:
        errors.append(("/wabaId", f"a connection of type {connection_type} has no WhatsApp Business Account"))
    options, known = given.get("options") or {}, [field.name for field in (_NAME, *channel.options)]
    errors += [
        (f"/options/{name}", f"is not an option of type {connection_type}; it takes {', '.join(known) or 'none'}")
        for name in options
        if name not in known
    ]
    errors += [
        (f"/options/{name}", "must be digits")
        for name in ("pageId", "instagramId")
        if options.get(name) and not _ID.fullmatch(options[name])
    ]
    if errors:
        raise FieldsInvalid(errors)


def kept_options(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return options under their stored names; None when none were given."""
    return (
        None
        if given is None
        else {re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name): value for name, value in given.items()}
    )


def shown_options(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under their public names."""
    # by `kept_options`, so that both directions use the same names
    named = {field.name: next(iter(kept_options({field.name: None}) or {})) for field in _OPTIONS}
    return {name: kept[stored] for name, stored in named.items() if stored in kept}
