"""Meta's errors: the codes as data, and the body of the response."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.errors import BulkheadError

CLOUD_API_FIRST: Final = 130000
"""Codes from here on are WhatsApp's own: their bodies have `error_data`."""


class ErrorRow(NamedTuple):
    """How Meta answers with one code: HTTP status, the words after `(#code)`, the type, the subcode (0: none), whether
    it has `is_transient`.
    """

    http_status: int
    title: str
    type: str = "OAuthException"
    subcode: int = 0
    transient: bool = False


ERRORS: Final[Mapping[int, ErrorRow]] = {
    0: ErrorRow(401, "We were unable to authenticate the app user"),
    1: ErrorRow(400, "Invalid request or possible server error"),
    2: ErrorRow(503, "Service temporarily unavailable", transient=True),
    3: ErrorRow(500, "Capability or permissions issue"),
    4: ErrorRow(400, "Application request limit reached", subcode=2446079, transient=True),
    10: ErrorRow(403, "Application does not have permission for this action"),
    17: ErrorRow(400, "User request limit reached"),
    32: ErrorRow(400, "Page request limit reached"),
    33: ErrorRow(400, "This business phone number has been deleted"),
    100: ErrorRow(400, "Invalid parameter"),
    104: ErrorRow(401, "An access token is required to request this resource."),
    190: ErrorRow(401, "Invalid OAuth access token"),
    200: ErrorRow(403, "Permissions error"),
    341: ErrorRow(400, "Application limit reached"),
    368: ErrorRow(403, "Temporarily blocked for policies violations"),
    613: ErrorRow(400, "Calls to this api have exceeded the rate limit"),
    803: ErrorRow(404, "Some of the aliases you requested do not exist", "GraphMethodException"),
    2500: ErrorRow(400, "Unknown path components"),
    80007: ErrorRow(429, "Rate limit issues"),
    130403: ErrorRow(400, "Business has blocked this user"),
    130429: ErrorRow(429, "Rate limit hit"),
    130472: ErrorRow(400, "User's number is part of an experiment"),
    130497: ErrorRow(403, "Business account is restricted from messaging users in this country"),
    130501: ErrorRow(400, "Message type is not allowed in groups"),
    131000: ErrorRow(500, "Something went wrong"),
    131005: ErrorRow(403, "Access denied"),
    131008: ErrorRow(400, "Required parameter is missing"),
    131009: ErrorRow(400, "Parameter value is not valid"),
    131016: ErrorRow(500, "Service unavailable"),
    131021: ErrorRow(400, "Recipient cannot be sender"),
    131026: ErrorRow(400, "Message undeliverable"),
    131030: ErrorRow(400, "Recipient phone number not in allowed list"),
    131031: ErrorRow(403, "Account has been locked"),
    131037: ErrorRow(400, "Display name approval needed before a message can be sent"),
    131042: ErrorRow(400, "Business eligibility payment issue"),
    131045: ErrorRow(500, "Incorrect certificate"),
    131047: ErrorRow(400, "Re-engagement message"),
    131048: ErrorRow(400, "Spam rate limit hit"),
    131049: ErrorRow(400, "This message was not delivered to maintain healthy ecosystem engagement"),
    131050: ErrorRow(400, "User has stopped marketing messages from this business"),
    131051: ErrorRow(400, "Unsupported message type"),
    131052: ErrorRow(400, "Media download error"),
    131053: ErrorRow(400, "Media upload error"),
    131055: ErrorRow(400, "Method not allowed"),
    131056: ErrorRow(400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: ErrorRow(500, "Account in maintenance mode"),
    131062: ErrorRow(400, "Business-scoped user ids are not supported for this message"),
    132000: ErrorRow(400, "Number of parameters does not match the expected number of params"),
    132001: ErrorRow(404, "Template name does not exist in the translation"),
    132005: ErrorRow(400, "Translated text too long"),
    132007: ErrorRow(400, "Template format character policy violated"),
    132008: ErrorRow(400, "Template parameter value invalid"),
    132012: ErrorRow(400, "Parameter format does not match format in the created template"),
    132015: ErrorRow(400, "Template is paused"),
    132016: ErrorRow(400, "Template is disabled"),
    132018: ErrorRow(400, "Template parameter problem"),
    132068: ErrorRow(400, "Flow is blocked"),
    132069: ErrorRow(400, "Flow is throttled"),
    133000: ErrorRow(500, "Incomplete deregistration"),
    133004: ErrorRow(503, "Server temporarily unavailable"),
    133005: ErrorRow(400, "Two step verification PIN mismatch"),
    133006: ErrorRow(400, "Phone number re-verification needed"),
    133008: ErrorRow(400, "Too many two step verification PIN guesses"),
    133009: ErrorRow(400, "Two step verification PIN guessed too fast"),
    133010: ErrorRow(400, "Phone number not registered"),
    133015: ErrorRow(400, "Please wait a few minutes before attempting to register this phone number"),
    133016: ErrorRow(400, "Account register deregister rate limit exceeded"),
    134011: ErrorRow(400, "Payments terms of service not accepted"),
    135000: ErrorRow(400, "Generic user error"),
    137000: ErrorRow(400, "Recipient identity key hash mismatch"),
}
"""Statuses and meanings are Meta's; where its pages give two statuses (throttling: 400 or 429), one of them. Clients
must not decide by a title.
"""

_UNLISTED: Final = ErrorRow(400, "Unknown error")
"""The response to a code that is missing from the table, for example one that a fault names."""

DETAILS: Final[Mapping[int, str]] = {
    130429: "Cloud API message throughput has been reached.",
    131026: "Message Undeliverable.",
    131047: "Message failed to send because more than 24 hours have passed since the customer last replied to this "
    "number.",
    131056: "Message failed to send because there were too many messages sent from this phone number to the same "
    "phone number in a short period of time.",
}
"""`details` that differ from the title, as Meta words them."""


def trace_id() -> str:
    """Return an id of the form of Meta's `fbtrace_id`."""
    return "A" + secrets.token_urlsafe(17)[:22]


class GraphError(BulkheadError):
    """Raised where Meta would refuse a request; becomes the response.

    Args:
        code: Meta's code. message: in place of the code's title; Graph's own errors carry their words without a number.
        details: for `error_data` of WhatsApp's codes. subcode, type, http_status: in place of the code's own.
    """

    def __init__(
        self, code: int, *, message: str = "", details: str = "", subcode: int = 0, type: str = "", http_status: int = 0
    ) -> None:
        row = ERRORS.get(code, _UNLISTED)
        self.code = code
        self.details = details or DETAILS.get(code, "")
        self.message = message or (f"(#{code}) {row.title}" if code not in {104, 190} else row.title)
        # the arguments take precedence over the table
        self.http_status = http_status or row.http_status
        self.type = type or row.type
        self.subcode = subcode or row.subcode
        self.transient = row.transient
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """Return the answer's body."""
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        # older codes of the Graph API have `error_data` only when there is something to add
        if self.code >= CLOUD_API_FIRST or self.details:
            error["error_data"] = {
                "messaging_product": "whatsapp",
                "details": self.details or ERRORS.get(self.code, _UNLISTED).title,
            }
        if self.subcode:
            error["error_subcode"] = self.subcode
        if self.transient:
            error["is_transient"] = True
        return {"error": error | {"fbtrace_id": trace_id()}}

    def encoded(self) -> bytes:
        """Return the answer's body as bytes."""
        return json.dumps(self.body()).encode()


def status_error(code: int, details: str = "") -> dict[str, Any]:
    """Return one element of `errors` in a `failed` status."""
    title = ERRORS.get(code, _UNLISTED).title
    return {
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": details or DETAILS.get(code, title)},
        "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
    }
