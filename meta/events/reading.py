"""What stands in a webhook: every entry, change, message, status, error and echo, in the shapes of every channel. Pure.

A part that cannot be read is named and left out; it never hides its neighbours. Nothing here trusts a type: whatever JSON can hold may come.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from meta import errors
from meta.errors import PROVIDER_ID_MOST, Kind
from shared import chats
from shared.errors import BulkheadError
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState

STATUSES: Final[Mapping[str, MessageState]] = {
    "sent": MessageState.SENT,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.READ,
    "played": MessageState.READ,  # a voice note was heard: more than read, and the highest state that we have
    "failed": MessageState.FAILED,
}
"""Meta's statuses and ours."""

_TYPE_MOST: Final = 20
_TEXT_MOST: Final = 65_536
_DEEPEST: Final = 32
_PROBLEMS_MOST: Final = 5
_LATE: Final = timedelta(minutes=10)
"""A failure older than this no longer pauses a connection: somebody may have mended it since."""
_PARENT_FIELDS: Final = ("referral", "errors", "identity", "group_id")
"""What stands beside a message's own object and is kept in its context."""


class NotJson(BulkheadError):
    """Raised when a body is no JSON."""


class Unreadable(BulkheadError):
    """Raised when one part of an event lacks what it must have. Its text names the field, never its value."""


@dataclass(kw_only=True)
class Harvest:
    """What a webhook holds.

    Attributes:
        heard: connections that it is about. pauses: connections that cannot send until somebody acts, with the reason.
        counts: parts by kind. problems: what could not be read, for the journal.
    """

    receipts: list[Receipt] = field(default_factory=list)
    messages: list[InboundMessage] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)
    pauses: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def outcome(self) -> str:
        """Return what the journal says about it: empty when everything was read."""
        more = len(self.problems) - _PROBLEMS_MOST
        return "; ".join(self.problems[:_PROBLEMS_MOST]) + (f"; and {more} more" if more > 0 else "")


def require_json(body: bytes) -> None:
    """Raise `NotJson` unless `body` is JSON. JSON that is nested too deeply for us is let through: it is stored, and named when it is read."""
    try:
        _decoded(body)
    except RecursionError:
        return


def _decoded(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except ValueError as error:
        # not chained: the parser's error carries the text
        raise NotJson(f"{type(error).__name__}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: making one costs more than reading a webhook."""


def harvest(body: bytes, received_at: datetime, connections_of: Callable[[str], Sequence[int]]) -> Harvest:
    """Read one webhook.

    Args:
        received_at: stands in for an instant that an event lacks. connections_of: says which connections a phone number id belongs to.
    """
    found = Harvest()
    try:
        root = _decoded(body)
    except (NotJson, RecursionError) as error:
        found.counts["unreadable"] += 1
        found.problems.append("not JSON" if isinstance(error, NotJson) else "nested too deeply")
        return found
    if _mapping(root).get("object") != "whatsapp_business_account":
        found.counts["other_object"] += 1
        return found
    for path, entry in _each(root, "entry", found, ""):
        for change_path, change in _each(entry, "changes", found, path):
            _Change(found, change_path, change, received_at, connections_of).read()
    return found


def _each(parent: Mapping[str, Any], name: str, found: Harvest, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk the objects of a list; what is there and is no list of objects is a problem."""
    items = parent.get(name, [])
    if not isinstance(items, list):
        found.counts["unreadable"] += 1
        found.problems.append(f"{path}{name}: not a list")
        return
    for index, item in enumerate(items):
        here = f"{path}{name}[{index}]"
        if isinstance(item, dict):
            yield f"{here}.", item
        else:
            found.counts["unreadable"] += 1
            found.problems.append(f"{here}: not an object")


class _Change:
    """One change of one entry, about one number."""

    def __init__(self, found: Harvest, path: str, change: Mapping[str, Any], received_at: datetime, connections_of: Callable[[str], Sequence[int]]) -> None:
        self._found, self._path, self._received_at = found, path, received_at
        self._value = _mapping(change.get("value"))
        self._connections = connections_of(_short(_mapping(self._value.get("metadata")).get("phone_number_id")))
        self._names = self._contact_names()

    def read(self) -> None:
        parts = [(kind, part) for kind in _READERS for part in _each(self._value, kind, self._found, self._path)]
        if not parts:
            self._found.counts["other_change"] += 1
        elif not self._connections:
            self._found.counts["unknown_number"] += len(parts)
            self._found.problems.append(f"{self._path}value: no connection has this phone number id")
            return
        self._found.heard.update(self._connections)
        for kind, (path, part) in parts:
            try:
                _READERS[kind](self, part)
            except Unreadable as problem:
                self._found.counts["unreadable"] += 1
                self._found.problems.append(f"{path}{problem}")

    def _contact_names(self) -> Mapping[str, str]:
        names: dict[str, str] = {}
        contacts = self._value.get("contacts")
        for contact in map(_mapping, contacts if isinstance(contacts, list) else ()):
            name = _short(_mapping(contact.get("profile")).get("name"))
            names |= {who: name for field_name in ("wa_id", "user_id") if name and (who := _short(contact.get(field_name)))}
        return names

    def _status(self, status: Mapping[str, Any]) -> None:
        word = status.get("status")
        state = STATUSES.get(word) if isinstance(word, str) else None
        if state is None:
            raise Unreadable("status: not one that we know")
        provider_id, token = _identifier(status, "id"), _short(status.get("biz_opaque_callback_data"))
        at = self._instant(status)
        code, detail = ("", "") if state is not MessageState.FAILED else self._failure(status, at)
        extra = {"status": word} | {name: _clean(status[name]) for name in ("pricing", "conversation", "errors") if name in status}
        self._found.counts[f"status_{word}"] += 1
        self._found.receipts += [
            Receipt(connection_id=connection_id, state=state, at=at, provider_id=provider_id, token=token, code=code, detail=detail, extra=extra)
            for connection_id in self._connections
        ]

    def _failure(self, status: Mapping[str, Any], at: datetime) -> tuple[str, str]:
        """Return code and detail of a failed status; a code that stops the whole connection is noted too."""
        reported = status.get("errors")
        error = _mapping(reported[0]) if isinstance(reported, list) and reported else {}
        code = error.get("code")
        if not isinstance(code, int) or isinstance(code, bool):
            return "unknown", ""
        rule = errors.rule_of(code)
        if rule.kind is Kind.PAUSE and self._received_at - at < _LATE:
            self._found.pauses |= dict.fromkeys(self._connections, f"{code}: {rule.meaning}")
        words = _mapping(error.get("error_data")).get("details") or error.get("message") or error.get("title")
        return str(code), errors.describe(words, trace=error.get("fbtrace_id"))

    def _message(self, message: Mapping[str, Any]) -> None:
        sender = _short(message.get("from")) or _short(message.get("from_user_id"))
        if not sender:
            raise Unreadable("from, from_user_id: neither is there")
        self._keep(message, sender=sender, chat=_short(message.get("group_id")) or sender, from_me=False)

    def _echo(self, message: Mapping[str, Any]) -> None:
        """Keep what a human wrote in the business app: ours, and no customer's message."""
        chat = _short(message.get("group_id")) or _short(message.get("to")) or _short(message.get("to_user_id"))
        if not chat:
            raise Unreadable("to: missing")
        self._keep(message, sender=_short(message.get("from")), chat=chat, from_me=True)

    def _keep(self, message: Mapping[str, Any], *, sender: str, chat: str, from_me: bool) -> None:
        given_type = message.get("type")
        kind = given_type if isinstance(given_type, str) and 0 < len(given_type) <= _TYPE_MOST and given_type.isprintable() else "unsupported"
        context = _mapping(_clean(message.get("context"))) | {name: _clean(message[name]) for name in _PARENT_FIELDS if name in message}
        provider_id, content, at = _identifier(message, "id"), _content(message, kind), self._instant(message)
        self._found.counts["echo" if from_me else "message_text" if kind == "text" else "message_other"] += 1
        self._found.messages += [
            InboundMessage(
                connection_id=connection_id,
                provider_id=provider_id,
                chat_id=_canonical(chat),
                sender=sender,
                sender_name=self._names.get(sender, ""),
                from_me=from_me,
                type=kind,
                content=content,
                context=context,
                at=at,
            )
            for connection_id in self._connections
        ]

    def _error(self, error: Mapping[str, Any]) -> None:
        """Count a trouble that Meta reports about the number itself; its words stay in the journal."""
        code = error.get("code")
        self._found.counts["error"] += 1
        if isinstance(code, int) and not isinstance(code, bool) and errors.rule_of(code).kind is Kind.PAUSE:
            self._found.pauses |= dict.fromkeys(self._connections, f"{code}: {errors.rule_of(code).meaning}")

    def _instant(self, part: Mapping[str, Any]) -> datetime:
        """Return the event's own instant; without one that can be read, when it came."""
        given = part.get("timestamp")
        if isinstance(given, str) and given.isdecimal() and len(given) <= 13:
            given = int(given)
        if not isinstance(given, int) or isinstance(given, bool) or not 0 < given < 10**13:
            return self._received_at
        # seconds; Messenger and some samples have milliseconds
        return datetime.fromtimestamp(given / 1000 if given > 10**11 else given, UTC)


_READERS: Final[Mapping[str, Callable[[_Change, Mapping[str, Any]], None]]] = {
    "statuses": _Change._status,
    "messages": _Change._message,
    "message_echoes": _Change._echo,
    "errors": _Change._error,
}
"""What reads each list of a change's value, by its name."""


def _content(message: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the message's own object: `{"body": …}` for a text, other types as they came."""
    own = _clean(message.get(kind))
    if kind == "text":
        body = own.get("body") if isinstance(own, dict) else None
        if not isinstance(body, str):
            raise Unreadable("text.body: not a text")
        return {"body": body[:_TEXT_MOST]}
    return own if isinstance(own, dict) else {} if own is None else {kind: own}


def _identifier(part: Mapping[str, Any], name: str) -> str:
    given = part.get(name)
    if isinstance(given, str) and given and len(given) <= PROVIDER_ID_MOST and given.isprintable():
        return given
    if name in part and not isinstance(given, str):
        raise Unreadable(f"{name}: not a text")
    # without a usable id its content names it, so that a second arrival is still known
    return "sha256:" + hashlib.sha256(json.dumps(_clean(part), sort_keys=True).encode()).hexdigest()


def _canonical(chat: str) -> str:
    try:
        return chats.canonical(chat)
    except chats.ChatInvalid:
        return chat  # a group's id, or a form that is new: it names the chat all the same


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _short(value: object) -> str:
    """Return a text that may name something, cleaned; anything else as the empty text."""
    return _cleaned_text(value)[:PROVIDER_ID_MOST] if isinstance(value, str) else ""


def _cleaned_text(text: str) -> str:
    """Return `text` as PostgreSQL can hold it: without NUL and without halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _clean(value: Any, depth: int = 0) -> Any:
    """Return a JSON value as PostgreSQL can hold it; what is nested beyond all reason is cut off."""
    if isinstance(value, str):
        return _cleaned_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST:
        return None
    if isinstance(value, dict):
        return {_cleaned_text(name): _clean(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    return value
