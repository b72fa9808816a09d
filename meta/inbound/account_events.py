"""Applies events about accounts, numbers and templates: templates' states, a number's limits and name, warnings for
operators.

An event changes only the connections that it was found to be about when it came in (`event_owners.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meta.accounts.calls import text
from shared.inbound_events import AccountEvent
from shared.logs import logger
from shared.store import connections, templates
from shared.store.pool import Transaction

log = logger(__name__)

_WORD_MOST: Final = 60
"""Characters of a provider's constant that are kept; Meta's longest have about 40."""


def apply(transaction: Transaction, events: Sequence[AccountEvent]) -> None:
    """Apply events that are new, in the order of their own time."""
    # by their own time, because webhooks arrive out of order; the name makes the order of equal times the same
    # everywhere
    for event in sorted(events, key=lambda event: (event.at, event.name)):
        handler = HANDLERS.get(event.kind)
        if handler is not None and event.connection_ids and isinstance(event.value, Mapping):
            handler(transaction, event, event.value)


def _template(
    transaction: Transaction,
    event: AccountEvent,
    *,
    status: str | None = None,
    reason: str | None = None,
    quality: str | None = None,
    category: str | None = None,
) -> None:
    """Write an event's changes of the template that it names."""
    # a number in Meta's JSON; as a text where 360dialog hands it through
    number = event.value.get("message_template_id")
    # `at` fences: an event that is older than what the row knows changes nothing
    templates.apply_status(
        transaction,
        at=event.at,
        connection_ids=event.connection_ids,
        provider_id=str(number) if isinstance(number, int | str) and not isinstance(number, bool) else "",
        name=text(event.value, "message_template_name"),
        language=text(event.value, "message_template_language"),
        status=status,
        reason=reason,
        quality=quality,
        category=category,
    )


def _status(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    status, reason = text(value, "event").upper()[:_WORD_MOST], text(value, "reason")
    if status:
        _template(transaction, event, status=status, reason="" if reason == "NONE" else reason)


def _quality(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    quality = text(value, "new_quality_score").upper()[:_WORD_MOST]
    if quality:
        _template(transaction, event, quality=quality)


def _category(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    category = text(value, "new_category").upper()[:_WORD_MOST]
    if category:
        _template(transaction, event, category=category)


def _limits(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    facts = {"event": text(value, "event"), "currentLimit": text(value, "current_limit"), "at": event.at.isoformat()}
    _note(transaction, event, {"limits": facts}, display_number=text(value, "display_phone_number"))


def _name(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    facts = {
        "decision": text(value, "decision"),
        "requested": text(value, "requested_verified_name"),
        "at": event.at.isoformat(),
    }
    _note(transaction, event, {"name": facts}, display_number=text(value, "display_phone_number"))


def _account(transaction: Transaction, event: AccountEvent, value: Mapping[str, Any]) -> None:
    what = (text(value, "event") or text(value, "alert_type") or text(value, "decision"))[:_WORD_MOST]
    _note(transaction, event, {"account": {"event": what, "at": event.at.isoformat()}})
    log.warning("account_changed", account_id=event.account_id, what=what)


def _note(transaction: Transaction, event: AccountEvent, facts: Mapping[str, Any], *, display_number: str = "") -> None:
    connections.note_facts_of_account(transaction, event.connection_ids, display_number, facts)


HANDLERS: Final[Mapping[str, Callable[[Transaction, AccountEvent, Mapping[str, Any]], None]]] = {
    "message_template_status_update": _status,
    "message_template_quality_update": _quality,
    "template_category_update": _category,
    "phone_number_quality_update": _limits,
    "phone_number_name_update": _name,
    "account_update": _account,
    "account_alerts": _account,
    "account_review_update": _account,
}
"""What changes something here; events of other kinds are kept only."""
