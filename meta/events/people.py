"""Reads what WhatsApp's changes contain about people: their ids and names, changes of both, and marketing choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from meta.events.change import Change, profile_name, username
from meta.events.parsed import ParsedEvents, counted
from meta.events.values import Unreadable, canonical, instant, mapping, name, phone, text
from shared.inbound_events import Contact, ContactMove, MarketingChoice

# the first is Meta's name, the second occurs in webhooks of older versions
_NUMBER_CHANGES: Final = frozenset({"user_changed_number", "customer_changed_number"})
_ID_CHANGES: Final = frozenset({"user_changed_user_id", *_NUMBER_CHANGES})


def contact(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read the ids of one person, which belong together."""
    user_id, number = name(part.get("user_id")), name(part.get("wa_id"))
    if not (user_id or number):
        return ParsedEvents()
    known = seen(change, user_id, number, called=profile_name(part), username=username(part), at=change.happened_at)
    return ParsedEvents(contacts=known)


def seen(
    change: Change, user_id: str, number: str, *, at: datetime, called: str = "", username: str = ""
) -> list[Contact]:
    """Return one person as each connection sees them."""
    digits = phone(number)
    # the business-scoped id first: it is there also when the person hides the number
    who = canonical(user_id) or digits or number
    return [
        Contact(connection_id=connection_id, user_id=who, phone=digits, name=called, username=username, at=at)
        for connection_id in change.connections
    ]


def changed(change: Change, system: Mapping[str, Any], sender: str, at: datetime) -> list[ContactMove]:
    """Return a person's change of number or id, if a system message announces one."""
    if text(system.get("type")) not in _ID_CHANGES:
        return []
    number = name(system.get("wa_id")) or name(system.get("new_wa_id"))
    user_id = name(system.get("user_id")) or name(system.get("new_user_id"))
    return _moved(change, sender, user_id, number, at)


def _moved(change: Change, former: str, user_id: str, number: str, at: datetime) -> list[ContactMove]:
    digits = phone(number)
    # a move without an end would detach the chat from the person
    if not former or not (user_id or digits):
        return []
    return [
        ContactMove(
            connection_id=connection_id,
            former=canonical(former),
            user_id=canonical(user_id) if user_id else "",
            phone=digits,
            at=at,
        )
        for connection_id in change.connections
    ]


def synchronised(change: Change, item: Mapping[str, Any]) -> ParsedEvents:
    """Read a name from the business app's address book; one that is removed there stays known here."""
    entry = mapping(item.get("contact"))
    number, user_id = name(entry.get("phone_number")), name(entry.get("user_id"))
    if not (number or user_id):
        raise Unreadable("contact: neither phone_number nor user_id")
    # removed from an address book, and still a customer with a chat
    if text(item.get("action")) == "remove":
        return ParsedEvents(counts=counted("address_book"))
    called = text(entry.get("full_name"))[:400] or text(entry.get("first_name"))[:400]
    at = instant(mapping(item.get("metadata")).get("timestamp"), change.received_at)
    people = seen(change, user_id, number, called=called, username=text(entry.get("username"))[:200], at=at)
    return ParsedEvents(contacts=people, counts=counted("address_book"))


def preference(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read a person's choice to stop marketing messages, or to resume them."""
    who = name(part.get("user_id")) or name(part.get("wa_id"))
    word = text(part.get("value"))
    if not who or word not in ("stop", "resume"):
        raise Unreadable("value: neither stop nor resume" if who else "wa_id, user_id: neither is there")
    choices = [
        MarketingChoice(
            connection_id=connection_id, user_id=canonical(who), accepts=word == "resume", at=change.instant(part)
        )
        for connection_id in change.connections
    ]
    return ParsedEvents(choices=choices, counts=counted("preference"))


def user_id_update(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read the change of a business-scoped id. Meta's shape is not settled: both ids are searched wherever they may
    stand.
    """
    ids = part.get("user_id")
    pair = ids if isinstance(ids, dict) else part
    former = _first(pair, ("previous", "previous_user_id", "old", "old_user_id", "former_user_id"))
    current = _first(pair, ("current", "current_user_id", "new", "new_user_id")) or name(ids)
    if not (former and current):
        raise Unreadable("user_id: previous or current is missing")
    moves = _moved(change, former, current, name(part.get("wa_id")), change.instant(part))
    return ParsedEvents(moves=moves, counts=counted("user_id"))


def _first(part: Mapping[str, Any], keys: Sequence[str]) -> str:
    return next((found for key in keys if (found := name(part.get(key)))), "")
