"""Webhook updates: one step of one ledger entry's plan, and what Meta's POST of a batch of them looks like."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.config import Number
from sandbox.graph_errors import status_error
from sandbox.ledger import LedgerEntry

_SERVICE: Final = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}
_TEMPLATE: Final = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Update:
    """One step of one ledger entry's plan, on its way. `due_at` is monotonic; `content` stays the same in every attempt."""

    entry: LedgerEntry
    kind: str
    due_at: float
    first_due_at: float
    attempts: int = 0
    content: dict[str, Any] | None = None

    def named(self) -> dict[str, Any]:
        """Return what the ledger says about it."""
        return {"seq": self.entry.seq, "kind": self.kind, "id": self.entry.fields.get("id", "")}


def encode(payload: Mapping[str, Any]) -> bytes:
    """Return `payload` as Meta transmits and signs it: non-ASCII and slashes escaped."""
    return _ENCODE(payload).replace("/", "\\/").encode()


def _status(entry: LedgerEntry, kind: str, now: float) -> dict[str, Any]:
    fields = entry.fields
    status: dict[str, Any] = {"id": fields["id"], "status": kind, "timestamp": str(int(now))}
    # a business-scoped user id has a country and a dot; whoever is reached by it may have no phone number to show
    status["recipient_user_id" if "." in fields["to"] else "recipient_id"] = fields["to"]
    if fields.get("recipient_type") == "group":
        status["recipient_type"] = "group"
    if fields.get("callback"):
        status["biz_opaque_callback_data"] = fields["callback"]
    if kind in {"sent", "delivered"}:
        status["pricing"] = _TEMPLATE if fields.get("type") == "template" else _SERVICE
    if kind == "failed":
        status["errors"] = [status_error(fields.get("code") or 131026, fields.get("details", ""))]
    return status


def _changes(number: Number, updates: list[Update]) -> list[dict[str, Any]]:
    """Return the `changes` of one number: statuses in one value, customers' messages in another, raw values as they are."""
    now = time.time()
    head = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": number.display_phone_number, "phone_number_id": number.phone_number_id}}
    statuses, contacts, messages, raw = [], {}, [], []
    for update in updates:
        fields = update.entry.fields
        if update.kind == "raw":
            raw.append({"value": fields["value"], "field": fields["field"]})
        elif update.kind == "message":
            contacts[fields["from"]] = {"profile": {"name": fields["name"]}, "wa_id": fields["from"]}
            messages.append(fields["message"])
        else:
            update.content = update.content or _status(update.entry, update.kind, now)
            statuses.append(update.content)
    changes = []
    if messages:
        changes.append({"value": {**head, "contacts": list(contacts.values()), "messages": messages}, "field": "messages"})
    if statuses:
        changes.append({"value": {**head, "statuses": statuses}, "field": "messages"})
    return changes + raw


def envelope(batch: Sequence[Update], numbers: Mapping[str, Number]) -> dict[str, Any]:
    """Return the whole body of a POST of `batch`.

    Args:
        numbers: by phone number id; those of the batch's entries are among them.
    """
    by_number: dict[str, list[Update]] = {}
    for update in batch:
        by_number.setdefault(update.entry.fields["phone_number_id"], []).append(update)
    entries = [{"id": numbers[name].waba_id, "changes": _changes(numbers[name], updates)} for name, updates in by_number.items()]
    return {"object": "whatsapp_business_account", "entry": entries}
