"""What bodies about webhooks may say, and how webhooks and attempts are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.events.catalogue import Selection
from shared.events.reader import Position
from shared.fields import Field, FieldsInvalid
from shared.media import reach
from shared.media.errors import FetchFailed
from shared.store.pool import Row
from shared.timestamps import iso

_HEADERS_MOST: Final = 20
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1000}")
_RESERVED: Final = frozenset(
    {
        "host",
        "connection",
        "content-type",
        "content-length",
        "content-encoding",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
"""Headers that make the request what it is; and all that begin with `webhook-`."""
_REPLAYED_MOST: Final = 100

_URL: Final = Field(name="url", kind=str, longest=2000, shortest=1, form="url", purpose="Where events are posted to.")
_SHARED: Final = (
    Field(
        name="types",
        kind=list,
        items=Field(kind=str, longest=60),
        most=50,
        purpose="Types of events, `message.*` for all of a subject; none: all.",
    ),
    Field(
        name="phoneIndexes",
        kind=list,
        items=Field(kind=int, low=0, high=9999),
        most=1000,
        purpose="Only events of these connections; none: of all.",
    ),
    Field(name="headers", kind=dict, purpose="Headers that each delivery has, by name: for example `Authorization`."),
)
NEW_HOOK: Final = (
    Field(
        name="url", kind=str, required=True, longest=2000, shortest=1, form="url", purpose="Where events are posted to."
    ),
    *_SHARED,
)
HOOK_CHANGES: Final = (
    _URL,
    *_SHARED,
    Field(
        name="state",
        kind=str,
        choices=("active", "paused"),
        title="HookSwitch",
        purpose="`paused`: events wait. `active`: it gets them, also after it was disabled.",
    ),
)
DECIDE_WHAT_IS_READ: Final = ("url", "types", "phoneIndexes")
REPLAY: Final = (
    Field(name="since", kind=str, longest=40, purpose="Everything that was written since this instant."),
    Field(
        name="eventIds",
        kind=list,
        items=Field(kind=str, longest=40),
        most=_REPLAYED_MOST,
        purpose="These events, whatever types are chosen.",
    ),
    Field(name="deadLetters", kind=bool, purpose="What was given up."),
)


def checked_hook(company_id: str | None, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body whose address, types and headers can be used. Raises `FieldsInvalid`."""
    wrong: list[tuple[str, str]] = []
    if given["url"] is not None:
        try:
            # which addresses may be reached is decided where it is connected to; here only what is no address at all
            reach.checked(given["url"], reach.Reach.PRIVATE)
        except FetchFailed as error:
            wrong.append(("/url", f"cannot be used: {error}"))
    try:
        Selection(company_id=company_id, types=frozenset(given["types"] or ()), is_installations=company_id is None)
    except ValueError as error:
        wrong.append(("/types", str(error)))
    if company_id is None and given["phoneIndexes"]:
        wrong.append(("/phoneIndexes", "must be left out: events of the installation are about no connection"))
    headers = given["headers"] or {}
    if len(headers) > _HEADERS_MOST:
        wrong.append(("/headers", f"may have {_HEADERS_MOST} names"))
    # one header to every receiver (RFC 9110 5.1): which value it gets would be chance
    if len({name.lower() for name in headers}) < len(headers):
        wrong.append(("/headers", "must not have one name twice; upper and lower case are the same"))
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            wrong.append(("/headers", "must be names of headers with texts in ASCII"))
        elif name.lower() in _RESERVED or name.lower().startswith("webhook-"):
            wrong.append(("/headers", f"must not have {name.lower()}, which each delivery has already"))
    if wrong:
        raise FieldsInvalid(wrong[:10])
    return given


def shown_hook(row: Row) -> dict[str, Any]:
    """Return a webhook as clients see it."""
    return {
        "id": str(row["id"]),
        "url": row["url"],
        "types": row["types"],
        "phoneIndexes": row["phone_indexes"],
        "headers": row["header_names"],
        "state": row["state"],
        "stateReason": row["state_reason"] or None,
        "position": str(Position(row["xid"], row["event_id"])),
        "waiting": row["waiting"],
        "deadLetters": row["dead"],
        "failingSince": iso(row["failing_since"]),
        "formerSecretUntil": iso(row["former_until"]),
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }


def shown_attempt(row: Row) -> dict[str, Any]:
    """Return one attempt of a delivery as clients see it."""
    return {
        "eventId": str(Position(row["xid"], row["event_id"])),
        "type": row["type"],
        "at": iso(row["at"]),
        "attempt": row["attempt"],
        "outcome": row["outcome"],
        "statusCode": row["status"],
        "error": row["error"] or None,
        "tookMs": row["took_ms"],
    }
