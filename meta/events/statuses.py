"""Reads what WhatsApp reports about messages of ours, and about the number itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from meta import errors
from meta.errors import ErrorAction
from meta.events import chat_lines, content, people
from meta.events.change import Change
from meta.events.parsed import ConnectionPause, ParsedEvents, counted
from meta.events.values import Unreadable, clean, identifier, mapping, name, objects, phone
from shared.messages import Receipt
from shared.states import MessageState

STATUSES: Final[Mapping[str, MessageState]] = {
    "sent": MessageState.SENT,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.READ,
    "played": MessageState.READ,  # a voice note was played: more than read, and the highest state that we have
    "failed": MessageState.FAILED,
}
"""Meta's statuses and ours."""

_KEPT: Final = ("pricing", "conversation", "errors", "recipient_participant_id")
"""Fields of a status that are kept in the message's history; the whole stays in the journal for a while."""
_LATE: Final = timedelta(minutes=10)
"""A failure older than this no longer pauses a connection: its cause may be gone. Webhooks may be repeated for days."""


def status(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read one status. Raises `Unreadable` when its word is not one that we know, or its id is no text."""
    if part.get("type") == content.CALL:
        # the state of a call that we made comes among the statuses, with the same fields as a call
        return chat_lines.call(change, {**part, "event": part.get("status")})
    word = part.get("status")
    state = STATUSES.get(word) if isinstance(word, str) else None
    if state is None or not isinstance(word, str):
        raise Unreadable("status: not one that we know")
    is_failed = state is MessageState.FAILED
    provider_id, token = identifier(part, "id"), name(part.get("biz_opaque_callback_data"))
    code, detail = _failure(part) if is_failed else ("", "")
    extra = {"status": word} | {key: clean(part[key]) for key in _KEPT if key in part}
    at = change.instant(part)
    # WhatsApp may spell the recipient otherwise than we did (Brazil's ninth digit, Mexico's 1)
    recipient, user_id = name(part.get("recipient_id")), name(part.get("recipient_user_id"))
    receipts = [
        Receipt(
            connection_id=connection_id,
            state=state,
            at=at,
            provider_id=provider_id,
            token=token,
            code=code,
            detail=detail,
            recipient=phone(recipient),
            extra=extra,
        )
        for connection_id in change.connections
    ]
    # both ids of one person: an answer may name only the second
    contacts = people.seen(change, user_id, recipient, at=at) if user_id and recipient else []
    # by the time of arrival and not by now: the result of reading a row does not depend on when it is read
    is_fresh = change.received_at - at < _LATE
    # the first error only, which is the one that the history names
    pauses = _pauses(change, objects(part.get("errors"))[:1]) if is_failed and is_fresh else {}
    return ParsedEvents(receipts=receipts, contacts=contacts, pauses=pauses, counts=counted(f"status_{word}"))


def error(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read a trouble that Meta reports about the number itself; its words stay in the journal."""
    return ParsedEvents(pauses=_pauses(change, [part]), counts=counted("error"))


def _pauses(change: Change, reported: Iterable[Mapping[str, Any]]) -> dict[int, ConnectionPause]:
    pauses: dict[int, ConnectionPause] = {}
    for one in reported:
        code = errors.whole_number(one.get("code"))
        if code is not None and (rule := errors.rule_of(code)).action is ErrorAction.PAUSE:
            pauses |= dict.fromkeys(change.connections, ConnectionPause(f"{code}: {rule.meaning}", rule.pause_s))
    return pauses


def _failure(part: Mapping[str, Any]) -> tuple[str, str]:
    """Return code and detail of a failed status."""
    reported = next(iter(objects(part.get("errors"))), {})
    code = errors.whole_number(reported.get("code"))
    if code is None:
        return "unknown", ""
    words = mapping(reported.get("error_data")).get("details") or reported.get("message") or reported.get("title")
    return str(code), errors.describe(words, trace=reported.get("fbtrace_id"))
