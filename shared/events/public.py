"""Reads events as clients see them: those of the catalogue, each with what it is about, serialised once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.events.catalogue import PublicType, Selection, Shape, public_type
from shared.events.message_json import JsonObject, RelatedRows, received, sent
from shared.events.reader import EventReader, Position
from shared.store import events
from shared.store.events import Event
from shared.store.pool import Row, Transaction
from shared.timestamps import iso

_FAILURES: Final = frozenset({"message.failed", "message.held"})
"""Types whose code is an error; in others it is the reason of a step, of interest to operators."""


class PositionExpired(Exception):
    """Raised when retention has dropped events that follow a position."""


class PositionUnknown(Exception):
    """Raised for a position beyond the end of the stream: it belongs to another database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicEvent:
    """One event for the outside.

    Attributes:
        conversation: events with the same are delivered in order: a chat of a connection, or what else the
            event is about. message_id: of the message that it is about. about: this id, and that of the message which
            that one edits or deletes. body: the event in JSON.
    """

    position: Position
    type: str
    row: PublicType
    company_id: str | None
    phone_index: int | None
    conversation: str
    message_id: int | None
    about: frozenset[int]
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicPage:
    """What one read returned; `position`, `complete`, `read_at` as in `shared.events.reader.Page`."""

    events: Sequence[PublicEvent]
    position: Position
    complete: bool
    read_at: datetime


def read(
    transaction: Transaction,
    selection: Selection,
    position: Position,
    *,
    most: int,
    reader: EventReader | None = None,
    passed_at: datetime | None = None,
) -> PublicPage:
    """Return up to `most` events after a position.

    Args:
        reader: made by `reader_of`, for repeated reads. passed_at: see `EventReader.read`.
    Raises:
        PositionExpired, PositionUnknown: nothing can be read from there.
    """
    _require_kept(transaction, selection, position)
    page = (reader or reader_of(selection)).read(transaction, position, most=most, passed_at=passed_at)
    return PublicPage(
        events=serialise(transaction, page.events),
        position=page.position,
        complete=page.complete,
        read_at=page.read_at,
    )


def reader_of(selection: Selection) -> EventReader:
    """Return a reader of the selected events."""
    types, subjects = selection.internal()
    return EventReader(company_id=selection.company_id, types=types, subjects=subjects)


def at(transaction: Transaction, positions: Mapping[Position, int | None]) -> list[PublicEvent]:
    """Return the events at these positions, given with `PublicEvent.message_id`; those that are gone, or not public,
    are left out.
    """
    return serialise(
        transaction, events.at(transaction, [(one.xid, one.id, about) for one, about in positions.items()])
    )


def _require_kept(transaction: Transaction, selection: Selection, position: Position) -> None:
    # from the beginning is from what there is
    if not position.xid:
        return
    if position.xid > events.horizon(transaction).next:
        raise PositionUnknown
    subjects = {row.name.partition(".")[0] for row in selection.rows()}
    parts = {"events_messages" if subject == "message" else "events_others" for subject in subjects}
    if any(last > (position.xid, position.id) for part, last in events.dropped(transaction).items() if part in parts):
        raise PositionExpired


def serialise(transaction: Transaction, found: Sequence[Event]) -> list[PublicEvent]:
    """Return events as clients see them, with one query for each kind of thing that they are about; those that are not
    public are left out.
    """
    public = [(event, row) for event in found if (row := public_type(event.type)) is not None]
    context = _Context(transaction, [event for event, _ in public])
    return [context.public(event, row) for event, row in public]


class _Context:
    """What a page of events is about, read at once."""

    def __init__(self, transaction: Transaction, found: Sequence[Event]) -> None:
        self._messages = events.messages_of(transaction, sorted({one.message_id for one in found if one.message_id}))
        self._connections = events.connections_of(
            transaction, sorted({one.connection_id for one in found if one.connection_id})
        )
        by_company: dict[str, list[Row]] = {}
        for message in self._messages.values():
            by_company.setdefault(message["company_id"], []).append(message)
        self._related = {
            company_id: RelatedRows(transaction, company_id, rows) for company_id, rows in by_company.items()
        }

    def public(self, event: Event, row: PublicType) -> PublicEvent:
        position = Position(event.xid, event.id)
        name = event.type if row.name.endswith(".*") else row.name
        connection = self._connections.get(event.connection_id or 0)
        message = self._message(event)
        body = {
            "id": str(position),
            "type": name,
            "at": iso(event.at),
            "companyId": event.company_id,
            "data": _DATA[row.shape](event, connection, self._shown(message)),
        }
        return PublicEvent(
            position=position,
            type=name,
            row=row,
            company_id=event.company_id,
            phone_index=None if connection is None else connection["phone_index"],
            conversation=_conversation(event, message),
            message_id=event.message_id,
            about=_about(event, message),
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        )

    def _message(self, event: Event) -> Row | None:
        found = self._messages.get(event.message_id or 0)
        # an id that another company has now would show it a stranger's message
        return found if found is not None and found["company_id"] == event.company_id else None

    def _shown(self, message: Row | None) -> JsonObject | None:
        if message is None:
            return None
        related = self._related[message["company_id"]]
        return received(message, related) if message["came_in"] else sent(message, related)


def _conversation(event: Event, message: Row | None) -> str:
    """Return the name of what the event is one step of."""
    if message is not None:
        # a person has several names: the first by the alphabet is the same, whichever of them the message has
        return f"{event.connection_id}:{min([message['chat_id'], *message['chat_ids']])}"
    if contact_id := (event.data or {}).get("contactId"):
        # steps of one contact are in order; contacts are independent of each other
        return f"contact:{contact_id}"
    if conversation_id := (event.data or {}).get("conversationId"):
        return f"conversation:{conversation_id}"
    if document_id := (event.data or {}).get("documentId"):
        return f"document:{document_id}"
    return f"{event.type.partition('.')[0]}:{event.connection_id or event.slot or ''}"


def _about(event: Event, message: Row | None) -> frozenset[int]:
    target = message["content"].get("target_id") if message is not None else None
    return frozenset(one for one in (event.message_id, target) if isinstance(one, int))


def _connection(connection: Row | None) -> dict[str, Any]:
    return {
        "phoneIndex": None if connection is None else connection["phone_index"],
        "connectionType": None if connection is None else connection["connection_type"],
    }


def _message_data(event: Event, _: Row | None, message: JsonObject | None) -> JsonObject:
    failed = event.type in _FAILURES
    return {
        "messageId": str(event.message_id),
        "status": event.state,
        "attempt": event.attempt,
        "error": {"code": event.code, "detail": event.detail} if failed and event.code else None,
        "message": message,
    }


def _session_data(event: Event, connection: Row | None, _: JsonObject | None) -> JsonObject:
    return {**_connection(connection), "state": event.state, "detail": event.detail}


def _connection_data(event: Event, connection: Row | None, _: JsonObject | None) -> JsonObject:
    return {**_connection(connection), "detail": event.detail}


def _template_data(event: Event, connection: Row | None, _: JsonObject | None) -> JsonObject:
    kept = event.data or {}
    return {
        **_connection(connection),
        "name": kept.get("name", ""),
        "language": kept.get("language", ""),
        "status": event.state,
        # the columns hold an empty text for what the provider did not say
        **{name: kept.get(name) or None for name in ("reason", "quality", "category")},
    }


def _process_data(event: Event, _: Row | None, __: JsonObject | None) -> JsonObject:
    return {
        "kind": event.kind,
        "slot": event.slot,
        "incarnation": event.incarnation,
        "detail": (event.data or {}).get("detail") or {},
    }


def _contact_data(event: Event, _: Row | None, __: JsonObject | None) -> JsonObject:
    data = event.data or {}
    return {
        "contactId": data.get("contactId"),
        "otherContactId": data.get("otherContactId"),
        "aliases": data.get("aliases") or [],
        "changed": data.get("changed") or [],
    }


def _conversation_data(event: Event, connection: Row | None, _: JsonObject | None) -> JsonObject:
    data = event.data or {}
    return {
        "conversationId": str(data.get("conversationId", "")),
        "chatId": data.get("chatId", ""),
        **_connection(connection),
        "state": event.state,
        "reason": event.code,
        "assignee": data.get("assignee"),
        "version": data.get("version", 0),
        "formerIds": [str(one) for one in data.get("formerIds") or []],
    }


def _hook_data(event: Event, _: Row | None, __: JsonObject | None) -> JsonObject:
    return {"hookId": str((event.data or {}).get("hookId", "")), "reason": event.detail}


def _document_data(event: Event, _: Row | None, __: JsonObject | None) -> JsonObject:
    data = event.data or {}
    return {
        "documentId": str(data.get("documentId", "")),
        "title": data.get("title", ""),
        "status": event.state,
        "chunks": data.get("chunks"),
        "code": event.code,
        "reason": event.detail,
    }


def _alert_data(event: Event, _: Row | None, __: JsonObject | None) -> JsonObject:
    data = event.data or {}
    return {
        "alertId": str(data.get("alertId", "")),
        "name": event.code,
        "labels": data.get("labels") or {},
        "severity": data.get("severity"),
        "value": data.get("value"),
        "summary": event.detail,
    }


_DATA: Final[Mapping[Shape, Callable[[Event, Row | None, JsonObject | None], JsonObject]]] = {
    "message": _message_data,
    "session": _session_data,
    "connection": _connection_data,
    "template": _template_data,
    "contact": _contact_data,
    "conversation": _conversation_data,
    "process": _process_data,
    "hook": _hook_data,
    "document": _document_data,
    "alert": _alert_data,
}
