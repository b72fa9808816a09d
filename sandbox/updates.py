"""Webhook updates, each one step of a ledger entry's plan, and the body of Meta's POST for a batch of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.config import Number
from sandbox.graph_errors import status_error
from sandbox.ledger import LedgerEntry

WHATSAPP: Final = "whatsapp_business_account"
MESSAGING: Final = ("page", "instagram")
"""Objects whose webhooks contain items of chats. Their ledger entries have the field `object`, and the account's id in
`phone_number_id`.
"""

# per-message pricing since July 2025: answers within the service window are free, templates are billed by category
_SERVICE: Final = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}
_TEMPLATE: Final = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
# no blanks: the signature covers exactly these bytes
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Update:
    """One step of a ledger entry's plan. `due_at` is monotonic; `content` is the same in every attempt."""

    entry: LedgerEntry
    kind: str
    due_at: float
    first_due_at: float
    attempts: int = 0
    content: dict[str, Any] | None = None

    @property
    def object(self) -> str:
        """The `object` of its webhook: a POST contains updates of one object only."""
        return str(self.entry.fields.get("object", WHATSAPP))

    def named(self) -> dict[str, Any]:
        """Return the fields that identify it in the ledger."""
        return {"seq": self.entry.seq, "kind": self.kind, "id": self.entry.fields.get("id", "")}


def encode(payload: Mapping[str, Any]) -> bytes:
    """Return `payload` as Meta transmits and signs it: non-ASCII and slashes escaped."""
    return _ENCODE(payload).replace("/", "\\/").encode()


def _status(entry: LedgerEntry, kind: str, now: float, *, user_ids: bool) -> dict[str, Any]:
    fields = entry.fields
    status: dict[str, Any] = {"id": fields["id"], "status": kind, "timestamp": str(int(now))}
    # a business-scoped user id has a country and a dot; such a recipient may have no visible phone number
    status["recipient_user_id" if "." in fields["to"] else "recipient_id"] = fields["to"]
    if user_ids and "." not in fields["to"] and fields.get("recipient_type") != "group":
        status["recipient_user_id"] = user_id_of(fields["to"])
    if fields.get("recipient_type") == "group":
        status["recipient_type"] = "group"
    if fields.get("callback"):
        status["biz_opaque_callback_data"] = fields["callback"]
    # Meta puts `pricing` on these two only
    if kind in {"sent", "delivered"}:
        status["pricing"] = _TEMPLATE if fields.get("type") == "template" else _SERVICE
    if kind == "failed":
        # 131026 (undeliverable) is the usual failure
        status["errors"] = [status_error(fields.get("code") or 131026, fields.get("details", ""))]
    return status


def user_id_of(number: str) -> str:
    """Return the business-scoped user id of a phone number, the same at each call."""
    # derived, not random: the same number has the same id after a restart
    return f"US.{int(hashlib.sha256(number.encode()).hexdigest()[:14], 16)}"


def _contact(fields: Mapping[str, Any], *, user_ids: bool) -> dict[str, Any]:
    """Return the sender's contact: a number, a user id, or both."""
    number, user_id = fields.get("from", ""), fields.get("user_id", "")
    user_id = user_id or (user_id_of(number) if user_ids else "")
    return {
        "profile": {"name": fields["name"], **({"username": username} if (username := fields.get("username")) else {})},
        **({"wa_id": number} if number else {}),
        **({"user_id": user_id} if user_id else {}),
    }


def _recipient_contact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contact that accompanies a status: the recipient, by number and by user id."""
    to = fields["to"]
    return {"user_id": to} if "." in to else {"wa_id": to, "user_id": user_id_of(to)}


def _message(fields: Mapping[str, Any], *, user_ids: bool) -> dict[str, Any]:
    message: dict[str, Any] = fields["message"]
    if not user_ids or "from_user_id" in message or not fields.get("from"):
        return message
    return {**message, "from_user_id": user_id_of(fields["from"])}


def _changes(number: Number, updates: list[Update], *, user_ids: bool) -> list[dict[str, Any]]:
    """Return the `changes` of one number: statuses in one value, customers' messages in another, raw values
    unchanged.
    """
    now = time.time()
    head = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": number.display_phone_number, "phone_number_id": number.phone_number_id},
    }
    statuses, contacts, recipients, messages, raw = [], {}, {}, [], []
    for update in updates:
        fields = update.entry.fields
        if update.kind == "raw":
            raw.append(
                # account-wide events (templates) name no number
                {"value": {**(head if fields.get("with_number") else {}), **fields["value"]}, "field": fields["field"]}
            )
        elif update.kind == "message":
            # one contact for each customer of a POST, even with several messages
            contacts[fields.get("user_id") or fields["from"]] = _contact(fields, user_ids=user_ids)
            messages.append(_message(fields, user_ids=user_ids))
        else:
            # the time of the status, not of the POST
            update.content = update.content or _status(
                update.entry, update.kind, now - max(0.0, time.monotonic() - update.first_due_at), user_ids=user_ids
            )
            statuses.append(update.content)
            if user_ids and update.kind != "failed":
                recipients[fields["to"]] = _recipient_contact(fields)
    changes = []
    if messages:
        changes.append(
            {"value": {**head, "contacts": list(contacts.values()), "messages": messages}, "field": "messages"}
        )
    if statuses:
        # Meta sends no contact with a failed status
        beside = {"contacts": list(recipients.values())} if recipients else {}
        changes.append({"value": {**head, **beside, "statuses": statuses}, "field": "messages"})
    return changes + raw


def _item(update: Update) -> dict[str, Any]:
    """Return one item of a chat: an event as it is, or the outcome of a message that the account sent (`id`, `to`,
    `message`, `callback`).
    """
    fields = update.entry.fields
    if update.kind == "event":
        return dict(fields["item"])
    # built once: with another time, the product would treat a repetition as another event
    if update.content is None:
        now_ms = int(time.time() * 1000)
        there = {"sender": {"id": fields["to"]}, "recipient": {"id": fields["phone_number_id"]}, "timestamp": now_ms}
        if update.kind == "echo":
            message = {"mid": fields["id"], "is_echo": True, "app_id": 1, **fields["message"]}
            update.content = {
                "sender": {"id": fields["phone_number_id"]},
                "recipient": {"id": fields["to"]},
                "timestamp": now_ms,
                "message": message,
            }
        elif update.kind == "delivered":
            update.content = there | {"delivery": {"mids": [fields["id"]], "watermark": now_ms}}
        # Messenger reports reading by a watermark for the whole chat, Instagram by the message
        elif update.object == "page":
            update.content = there | {"read": {"watermark": now_ms}}
        else:
            update.content = there | {"read": {"mid": fields["id"]}}
    return update.content


def together(batch: Sequence[Update]) -> list[list[Update]]:
    """Split a batch into parts that may share a POST: Meta's contain one object each."""
    parts: dict[str, list[Update]] = {}
    for update in batch:
        parts.setdefault(update.object, []).append(update)
    return list(parts.values())


def envelope(batch: Sequence[Update], numbers: Mapping[str, Number], *, user_ids: bool = False) -> dict[str, Any]:
    """Return the whole body of a POST of `batch`, whose updates are of one object.

    Args:
        numbers: by phone number id; those of the batch's entries are among them. user_ids: see `Knobs`.
    """
    by_account: dict[str, list[Update]] = {}
    for update in batch:
        by_account.setdefault(update.entry.fields["phone_number_id"], []).append(update)
    kind = batch[0].object
    if kind == WHATSAPP:
        entries = [
            {
                "id": numbers[name].waba_id,
                # Meta puts `time` on account events only
                **({"time": int(time.time())} if any(update.kind == "raw" for update in updates) else {}),
                "changes": _changes(numbers[name], updates, user_ids=user_ids),
            }
            for name, updates in by_account.items()
        ]
    else:
        entries = [
            dict[str, Any](id=name, time=int(time.time() * 1000)) | {part: items}
            for name, updates in by_account.items()
            # while another app has the thread, events come under `standby`
            for part in ("messaging", "standby")
            if (
                items := [
                    _item(update)
                    for update in updates
                    if bool(update.entry.fields.get("standby")) == (part == "standby")
                ]
            )
        ]
    return {"object": kind, "entry": entries}
