"""Reads webhooks of WhatsApp Business Accounts: Meta's own, and 360dialog's, which have the same form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from meta.events import chat_lines, people, statuses
from meta.events.change import Change, names_in, usernames_in
from meta.events.parsed import (
    OWNERLESS,
    ParsedEvents,
    WebhookContext,
    counted,
    door_event,
    merged,
    problem,
    read_list,
    read_part,
)
from meta.events.values import clean, digest, instant, known_instant, mapping, name, objects, phone, text, whole, word
from shared.inbound_events import AccountEvent

OBJECT: Final = "whatsapp_business_account"

ACCOUNT_FIELDS: Final = frozenset(
    {
        "account_alerts",
        "account_review_update",
        "account_update",
        "automatic_events",
        "business_capability_update",
        "business_status_update",
        "business_username_update",
        "flows",
        "message_template_components_update",
        "message_template_quality_update",
        "message_template_status_update",
        "partner_solutions",
        "payment_configuration_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
        "template_category_update",
        "template_correct_category_detection",
        "tracking_events",
    }
)
"""Fields that are about the account, a number or a template, and about no chat: kept as account events."""


def read_entry(webhook: WebhookContext, path: str, entry: Mapping[str, Any]) -> ParsedEvents:
    """Read every change of one entry."""
    return read_list(entry, "changes", path, lambda where, change: _change(webhook, where, entry, change))


def _change(webhook: WebhookContext, path: str, entry: Mapping[str, Any], part: Mapping[str, Any]) -> ParsedEvents:
    value = mapping(part.get("value"))
    metadata = mapping(value.get("metadata"))
    field = text(part.get("field"))[:60]
    # by the lists in the value and not by the field's name: coexistence brings messages under several field names
    if READERS.keys().isdisjoint(value):
        return _account_event(webhook, path, entry, field, value)
    change = Change(
        path=path,
        received_at=webhook.received_at,
        happened_at=_newest(value, instant(entry.get("time"), webhook.received_at)),
        entry_time=entry.get("time"),
        name=field,
        connections=webhook.owners.of_account(webhook.object, name(metadata.get("phone_number_id"))),
        business=phone(metadata.get("display_phone_number")),
        names=names_in(value),
        usernames=usernames_in(value),
    )
    # counted before they are read: nothing of an event without an owner is parsed into rows
    items = sum(len(objects(value.get(kind))) for kind in READERS)
    if items and not change.connections:
        return problem("unknown_number", path, f"value: {OWNERLESS} phone number id", items)
    known = [people.contact(change, contact) for contact in objects(value.get("contacts"))]
    return merged([*known, *(_list(change, value, kind) for kind in READERS)])


def _newest(value: Mapping[str, Any], otherwise: datetime) -> datetime:
    parts = (part for kind in READERS for part in objects(value.get(kind)))
    return max((at for part in parts if (at := known_instant(part.get("timestamp")))), default=otherwise)


def _list(change: Change, value: Mapping[str, Any], kind: str) -> ParsedEvents:
    """Read one list of a change's value."""
    reader = READERS[kind]

    def read(path: str, part: Mapping[str, Any]) -> ParsedEvents:
        found = read_part(path, lambda: reader(change, part))
        # also a part that cannot be read came through this door
        found.add(door_event(change.connections, part.get("timestamp"), change.entry_time))
        return found

    return read_list(value, kind, change.path, read)


def _account_event(
    webhook: WebhookContext, path: str, entry: Mapping[str, Any], field: str, value: Mapping[str, Any]
) -> ParsedEvents:
    """Keep an event of the account; name a field that we do not know."""
    if field not in ACCOUNT_FIELDS:
        return problem("other_change", path, f"field {word(field)}: not one that we read")
    account_id = name(entry.get("id"))
    owners = webhook.owners.of_business_account(account_id)
    # through a 360dialog number's own address an event about another account may be forged: it is dropped and named
    if owners is None:
        return problem("foreign_account", path, "id: not the account of the number whose door this is")
    # kept without an owner it would be lost for the connection whose proof is still under way: it is replayed then
    if not owners and webhook.owners.is_claimed(account_id):
        return problem("unknown_number", path, f"id: {OWNERLESS} business account id")
    kept = clean(value)
    event = AccountEvent(
        account_id=account_id,
        kind=field,
        value=kept,
        at=instant(entry.get("time"), webhook.received_at),
        # account events have no id: with the owners in the digest, a replay after a proof is a new event for the new
        # owner
        name=digest([account_id, field, whole(entry.get("time")), kept, *owners]),
        connection_ids=tuple(owners),
    )
    return ParsedEvents(account_events=[event], counts=counted("account_event"))


READERS: Final[Mapping[str, Callable[[Change, Mapping[str, Any]], ParsedEvents]]] = {
    "statuses": statuses.status,
    "messages": chat_lines.message,
    "message_echoes": chat_lines.echo,
    "errors": statuses.error,
    "groups": chat_lines.group,
    "calls": chat_lines.call,
    "history": chat_lines.history,
    "state_sync": people.synchronised,
    "user_preferences": people.preference,
    "user_id_update": people.user_id_update,
}
"""The reader of each list of a change's value, by its name."""
