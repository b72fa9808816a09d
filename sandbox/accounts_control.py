"""The control calls about accounts: complete an embedded signup, review templates, change numbers and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sandbox.config import Number
from sandbox.state import Sandbox
from sandbox.templates import REVIEWS, Shop

_TURNABLE: Final = ("quality_rating", "messaging_limit_tier", "code_verification_status", "name_status")
SIGNUP: Final[Mapping[str, type | tuple[type, ...]]] = {"phone_number_id": str}
REVIEW: Final[Mapping[str, type | tuple[type, ...]]] = dict.fromkeys(
    ("phone_number_id", "name", "language", "status", "reason"), str
)
NUMBER: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("phone_number_id", *_TURNABLE), str),
    "registered": bool,
    "fresh": bool,
}
TOKENS: Final[Mapping[str, type | tuple[type, ...]]] = {"valid": bool, "expires_at": int}


class AccountsControl:
    """The control API's operations on accounts. Methods raise `ValueError` with a message for the tester."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def signup(self, number: Number) -> dict[str, str]:
        """Complete an embedded signup; the result is what a web page passes to its server."""
        if number.channel != "graph":
            raise ValueError("phone_number_id: not a number of the Graph API")
        # after a real signup no app is subscribed either: the product must do that itself
        self._sandbox.accounts.unsubscribed(number.waba_id)
        code = self._sandbox.accounts.new_code(number.waba_id, number.phone_number_id)
        return {"code": code, "waba_id": number.waba_id, "phone_number_id": number.phone_number_id}

    def review(self, number: Number, body: Mapping[str, Any]) -> dict[str, Any]:
        """Set a template's status and post its webhook."""
        if body["status"] not in REVIEWS:
            raise ValueError(f"status: one of {', '.join(REVIEWS)}")
        value = Shop(self._sandbox, number.waba_id).review(
            body["name"], body["language"], body["status"], body.get("reason", "")
        )
        if value is None:
            raise ValueError("the account has no such template")
        entry = self._sandbox.ledger.append(
            number.channel,
            "changed",
            phone_number_id=number.phone_number_id,
            field="message_template_status_update",
            value=value,
            plan=["raw"],
        )
        self._sandbox.outbox.schedule(entry)
        return {"seq": entry.seq, "value": value}

    def number(self, number: Number, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change Meta's data of a number and return all of it; `fresh` resets it to never registered."""
        accounts = self._sandbox.accounts
        # the dictionary itself is cleared, since the accounts keep a reference to it
        if body.get("fresh"):
            accounts.number(number.phone_number_id).clear()
        accounts.number(number.phone_number_id).update(
            {name: value for name, value in body.items() if name not in {"phone_number_id", "fresh"}}
        )
        accounts.save()
        return accounts.fields(number.phone_number_id)

    def tokens(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Revoke or restore every token, or set when they expire."""
        self._sandbox.accounts.turn_tokens(valid=body.get("valid"), expires_at=body.get("expires_at"))
        return {"turned": sorted(body)}
