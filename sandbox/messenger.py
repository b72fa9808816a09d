"""Stand-in for the Send API of Pages and Instagram accounts: `POST /graph/{version}/{page}/messages`, and the same
under `/instagram/…`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox import media_calls, messages
from sandbox.account_calls import Serve, gate
from sandbox.accounts import chosen
from sandbox.config import PageAccount
from sandbox.connection import Cut, Hang
from sandbox.graph_errors import GraphError
from sandbox.openapi.validators import SchemaValidator
from sandbox.request_bodies import read_body
from sandbox.state import Sandbox

_ID: Final = {"type": "string", "pattern": "^[0-9]{1,32}$"}
_TAGS: Final = ("HUMAN_AGENT",)
"""Tags that Meta still accepts; CONFIRMED_EVENT_UPDATE, ACCOUNT_UPDATE and POST_PURCHASE_UPDATE have answered 100 since
April 2026.
"""
_URL: Final = {
    "type": "object",
    "required": ["url"],
    "properties": {"url": {"type": "string", "pattern": "^https?://"}, "is_reusable": {"type": "boolean"}},
}
_STORED: Final = {
    "type": "object",
    "required": ["attachment_id"],
    "properties": {"attachment_id": _ID},
    "additionalProperties": False,
}
_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["recipient"],
    "properties": {
        "recipient": {"type": "object", "required": ["id"], "properties": {"id": _ID}, "additionalProperties": False},
        "messaging_type": {"enum": ["RESPONSE", "UPDATE", "MESSAGE_TAG"]},
        "tag": {"type": "string"},
        "sender_action": {"enum": ["typing_on", "typing_off", "mark_seen", "react", "unreact"]},
        "payload": {
            "type": "object",
            "required": ["message_id"],
            "properties": {"message_id": {"type": "string", "minLength": 1}, "reaction": {"type": "string"}},
            "additionalProperties": False,
        },
        "reply_to": {
            "type": "object",
            "required": ["mid"],
            "properties": {"mid": {"type": "string", "minLength": 1}},
            "additionalProperties": False,
        },
        "notification_type": {"enum": ["REGULAR", "SILENT_PUSH", "NO_PUSH"]},
        "message": {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "attachment": {
                    "type": "object",
                    "required": ["type", "payload"],
                    "properties": {
                        "type": {"enum": ["image", "video", "audio", "file"]},
                        "payload": {"oneOf": [_URL, _STORED]},
                    },
                    "additionalProperties": False,
                },
                "quick_replies": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 13,
                    "items": {
                        "type": "object",
                        "required": ["content_type"],
                        "properties": {
                            "content_type": {"enum": ["text", "user_phone_number", "user_email"]},
                            "title": {"type": "string", "minLength": 1, "maxLength": 20},
                            "payload": {"type": "string", "maxLength": 1000},
                            "image_url": {"type": "string"},
                        },
                        "additionalProperties": False,
                    },
                },
                "metadata": {"type": "string", "maxLength": 1000},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
"""Our own, from Meta's pages: its OpenAPI document has no Messenger."""
OBJECTS: Final[Mapping[str, str]] = {"messenger": "page", "instagram": "instagram"}
"""The `object` of an account's webhooks, by channel."""
_CHANNEL: Final = "graph"
_TEXT_MOST: Final = {"messenger": 2000, "instagram": 1000}
"""Longest text: characters on Messenger, bytes of UTF-8 on Instagram (`_check`)."""


def messenger_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """Return the routes of every configured Page and Instagram account."""
    validator = SchemaValidator(_SCHEMA)
    routes: list[BaseRoute] = []
    # reversed, so that the first page of each channel wins
    first = {page.channel: page for page in reversed(sandbox.config.pages)}
    for page in sandbox.config.pages:
        # Instagram has a host of its own (graph.instagram.com) and is served by graph.facebook.com too; here the path
        # replaces the host
        for root in ("/graph", "/instagram") if page.channel == "instagram" else ("/graph",):
            # at Meta, `me` is the Page of the token; here all Pages share one token, and `me` is the first of each
            # channel
            names = (page.id, "me") if page is first[page.channel] else (page.id,)
            for name in names:
                routes += _page_routes(sandbox, page, f"{root}/{{version}}/{name}", validator)
    return routes


def _page_routes(sandbox: Sandbox, page: PageAccount, node: str, validator: SchemaValidator) -> list[BaseRoute]:
    return [
        # before the general routes of numbers, see `app.py`
        Route(node, gate(sandbox, "page", _node(page)), methods=["GET"]),
        # faults of messages apply to it, not those of account calls
        Route(f"{node}/message_attachments", gate(sandbox, "attachments", _store(sandbox, page)), methods=["POST"]),
        Route(
            f"{node}/messages",
            gate(sandbox, f"messages of {page.id}", _send(sandbox, page, validator)),
            methods=["POST"],
        ),
    ]


def _node(page: PageAccount) -> Serve:
    async def serve(request: Request) -> Response:
        return JSONResponse(
            chosen(
                {"id": page.id, "name": page.name, "username": page.name}, request.query_params.get("fields", "id,name")
            )
        )

    return serve


def _store(sandbox: Sandbox, page: PageAccount) -> Serve:
    """Store a file that messages can refer to by id."""

    async def serve(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise GraphError(100, message="(#100) Param filedata is required")
        async with request.form(max_files=1, max_fields=4) as form:
            file, message = form.get("filedata"), form.get("message")
            if not isinstance(file, UploadFile) or not isinstance(message, str):
                raise GraphError(100, message="(#100) Param message and filedata are required")
            # only digest and size are kept, since no call returns such a file
            content = await file.read()
        try:
            kind = json.loads(message)["attachment"]["type"]
        # not JSON, or of another shape: refused below like an unknown type
        except (ValueError, LookupError, TypeError):
            kind = ""
        if kind not in ("image", "video", "audio", "file"):
            raise GraphError(100, message="(#100) Param message[attachment][type] is not valid")
        made = str(secrets.randbelow(9 * 10**14) + 10**14)
        digest = hashlib.sha256(content).hexdigest()
        sandbox.accounts.waba(page.id).setdefault("attachments", {})[made] = {
            "type": kind,
            "sha256": digest,
            "size": len(content),
        }
        sandbox.accounts.save()
        sandbox.ledger.append(
            _CHANNEL,
            "attachment_uploaded",
            phone_number_id=page.id,
            id=made,
            type=kind,
            size=len(content),
            sha256=digest,
        )
        return JSONResponse({"attachment_id": made})

    return serve


def _send(sandbox: Sandbox, page: PageAccount, validator: SchemaValidator) -> Serve:
    async def serve(request: Request) -> Response:
        body = await read_body(request, missing="recipient")
        message = body.get("message")
        # Messenger has no callback data: `metadata` comes back in the echo and serves as the token
        token = message.get("metadata", "") if isinstance(message, Mapping) else ""
        about = {
            "phone_number_id": page.id,
            "object": OBJECTS[page.channel],
            "callback": token if isinstance(token, str) else "",
        }
        try:
            _check(body, page, validator)
            _require_attachment(sandbox, body, page)
        except GraphError as error:
            sandbox.ledger.append(
                _CHANNEL,
                "refused",
                code=error.code,
                http_status=error.http_status,
                details=error.details or error.message,
                **about,
            )
            return messages.error_response(error)
        # an action has no id and causes no webhook
        if "sender_action" in body:
            sandbox.ledger.append(_CHANNEL, "action", to=body["recipient"]["id"], action=body["sender_action"], **about)
            return JSONResponse({"recipient_id": body["recipient"]["id"]})
        return await _take(sandbox, body, about)

    return serve


async def _take(sandbox: Sandbox, body: Mapping[str, Any], about: Mapping[str, str]) -> Response:
    """Accept a valid message, or apply an armed fault."""
    to = body["recipient"]["id"]
    fault = sandbox.faults.take(("before", "after"), channel=_CHANNEL, phone_number_id=about["phone_number_id"], to=to)
    if fault and fault.is_before:
        sandbox.ledger.append(
            _CHANNEL, "refused", fault=fault.name, code=fault.code, http_status=fault.http_status, to=to, **about
        )
        return (
            Hang(sandbox.released)
            if fault.name == "hang"
            else Cut()
            if fault.name == "cut_before"
            else media_calls.fault_answer(fault)
        )
    message_id = f"m_{secrets.token_urlsafe(48)}"
    entry = sandbox.ledger.append(
        _CHANNEL,
        "accepted",
        **about,
        id=message_id,
        to=to,
        type=_type_of(body["message"]),
        message=_echoed(body["message"]),
        body=body,
        # each message that the account sent is echoed; there is no `sent` status
        plan=["echo", *(status for status in sandbox.knobs.statuses if status in ("delivered", "read"))],
        fault=fault.name if fault else "",
    )
    # as for WhatsApp: webhook delays count from the response
    latency_s = (sandbox.knobs.latency_ms + (fault.latency_ms if fault and fault.name == "slow" else 0.0)) / 1000
    sandbox.outbox.schedule(entry, after_s=latency_s)
    if fault and fault.name in ("cut_after", "hang_after"):
        return Cut() if fault.name == "cut_after" else Hang(sandbox.released)
    if latency_s:
        await asyncio.sleep(latency_s)
    if fault and fault.name == "5xx_after_accept":
        return media_calls.fault_answer(fault, 502)
    return JSONResponse({"recipient_id": to, "message_id": message_id})


def _check(body: Mapping[str, Any], page: PageAccount, validator: SchemaValidator) -> None:
    """Raise `GraphError` when the Send API would refuse the body."""
    if violation := validator.violation(body):
        raise GraphError(
            100,
            message=f"(#100) Param {'.'.join(map(str, violation.path)) or 'root'} is not valid ({violation.keyword})",
        )
    message, action = body.get("message"), body.get("sender_action")
    # a body has exactly one of the two, each with rules of its own
    if (message is None) == (action is None):
        raise GraphError(100, subcode=2018015, message="(#100) Either a message or a sender action is needed")
    if action in ("react", "unreact") and "payload" not in body:
        raise GraphError(100, message="(#100) The parameter payload is required.")
    if body.get("messaging_type") == "MESSAGE_TAG" and body.get("tag") not in _TAGS:
        raise GraphError(100, message="(#100) Param tag is not one that can be used")
    if message is not None:
        words, attachment = message.get("text"), message.get("attachment")
        if not words and attachment is None:
            raise GraphError(
                100, subcode=2018034, message="(#100) Message cannot be empty, must provide valid attachment or text"
            )
        if words and attachment is not None:
            raise GraphError(100, message="(#100) Cannot specify both text and attachment")
        length = len((words or "").encode()) if page.channel == "instagram" else len(words or "")
        if length > _TEXT_MOST[page.channel]:
            raise GraphError(
                100,
                message=f"(#100) Length of param message[text] must be less than or equal to "
                f"{_TEXT_MOST[page.channel]}",
            )


def _require_attachment(sandbox: Sandbox, body: Mapping[str, Any], page: PageAccount) -> None:
    """Raise `GraphError` when the message names a file that was not uploaded."""
    attachment = (body.get("message") or {}).get("attachment") or {}
    given = attachment.get("payload", {}).get("attachment_id")
    known = sandbox.accounts.waba(page.id).get("attachments", {})
    # an id is valid only for the type that it was uploaded as
    if given is not None and (given not in known or known[given]["type"] != attachment["type"]):
        raise GraphError(100, subcode=2018074, message="(#100) Invalid fallback: the attachment id is not known")


def _type_of(message: Mapping[str, Any]) -> str:
    attachment = message.get("attachment")
    return str(attachment["type"]) if attachment else "text"


def _echoed(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a message's echo."""
    content = {name: message[name] for name in ("text", "metadata") if name in message}
    return content | ({"attachments": [message["attachment"]]} if "attachment" in message else {})
