"""Messenger and Instagram: bodies of the Send API, its answers and errors, and the windows in which it may be used.
Pure.

There is no callback data here. A send carries its token as `metadata`, and the echo of the message brings it back: the
proof that it went out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from meta import errors
from meta.errors import ErrorAction, ErrorRule, ProviderAcceptance, Reading, Refusal
from meta.events.values import whole_id
from meta.graph import GraphAnswer
from meta.sending.payloads import PayloadFile, PayloadRefused, encoding
from shared import content
from shared.channels.chat_ids import ChatIdForm, ChatInvalid
from shared.channels.registry import channel_named
from shared.messages import OutboundMessage

OUTSIDE: Final = "outside_window"
"""Code of a message that came too late after the customer's last message."""
INSTAGRAM: Final = "instagram"

# the same heart with and without the variation selector U+FE0F, in both of its code points
_HEARTS: Final = frozenset({"❤", "❤️", "♥", "♥️"})
_KINDS: Final[Mapping[str, str]] = {
    content.IMAGE: "image",
    content.VIDEO: "video",
    content.AUDIO: "audio",
    content.DOCUMENT: "file",
}
"""Attachment types by message type."""
_SIDE_EFFECTS: Final = frozenset({content.READ, content.TYPING, content.REACTION})
"""Types that are no message: they have neither a window nor an id."""


def _dead(meaning: str) -> ErrorRule:
    return ErrorRule(ErrorAction.DEAD, meaning)


_BY_SUBCODE: Final[Mapping[tuple[int, int], tuple[str, ErrorRule]]] = {
    # code 10 is "permission missing" in WhatsApp's table; the Send API uses it for its windows too, distinguished by
    # subcode
    (10, 2018278): (OUTSIDE, _dead("more than 24 hours since the person wrote")),
    (10, 2018108): (OUTSIDE, _dead("the person cannot be written to at this time")),
    (10, 2534022): (OUTSIDE, _dead("more than 24 hours since the person wrote")),
    (100, 2018001): ("100", _dead("the page has no chat with such a person")),
    (100, 2018015): ("100", _dead("neither a message nor a sender action")),
    (100, 2018034): ("100", _dead("the message is empty")),
    (100, 2018276): (OUTSIDE, _dead("the app may not use the tag HUMAN_AGENT")),
    (551, 1545041): ("551", _dead("the person is not available")),
}
"""What a code means together with its subcode: our code for the history, and the rule."""
_BY_CODE: Final[Mapping[int, ErrorRule]] = {
    -1: ErrorRule(ErrorAction.RETRY, "temporary trouble of the API"),
    194: _dead("a list in the body is too short"),
    551: _dead("the person is not available"),
    1200: ErrorRule(ErrorAction.RETRY, "temporary trouble with sending"),
}
"""Codes of the Send API that the table of WhatsApp's has not."""


def files(message: OutboundMessage) -> list[PayloadFile]:
    """Return the file that a message carries from our storage. Raises `PayloadRefused`."""
    media = message.content.get("media")
    if (
        message.type not in _KINDS
        or not isinstance(media, Mapping)
        or not isinstance(sha256 := media.get("sha256"), str)
    ):
        return []
    mimetype = media.get("mimetype")
    return [PayloadFile(message.type, sha256, mimetype if isinstance(mimetype, str) else "")]


def build(message: OutboundMessage, ids: Mapping[str, str]) -> bytes:
    """Return the JSON body that sends `message`. Arguments and errors as for `meta.payloads.build`."""
    channel = channel_named(message.connection_type)
    # only a row from an older version, or written by hand, gets here: acceptance checks the same table
    if message.type not in channel.operations:
        raise PayloadRefused("unsupported_type", f"type {message.type} cannot be sent on this channel")
    try:
        # `known`: some forms of ids may be answered only, never written to first; acceptance has checked which
        chat = channel.chat(message.chat_id, known=True)
    except ChatInvalid as problem:
        raise PayloadRefused("invalid_recipient", str(problem)) from None
    with encoding():
        body: dict[str, Any] = {
            # a customer who came through a plugin is known by `user_ref` only, until the first message names the id
            "recipient": {"id" if chat.form is ChatIdForm.NUMERIC else "user_ref": chat.id},
            **_BUILDERS[message.type](message, ids),
        }
        if "message" in body:
            body |= _kind(message)
            # the only field of ours that the echo brings back: the proof of a send in doubt on this channel
            body["message"]["metadata"] = message.token
            if quoted := message.content.get("quoted"):
                body["reply_to"] = {"mid": whole_id(quoted)}
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _kind(message: OutboundMessage) -> Mapping[str, str]:
    tag = message.content.get("tag")
    if tag:
        return {"messaging_type": "MESSAGE_TAG", "tag": tag}
    # Instagram's Send API has no `messaging_type`; Messenger's expects one
    return {} if message.connection_type == INSTAGRAM else {"messaging_type": "RESPONSE"}


def _text(message: OutboundMessage, _: Mapping[str, str]) -> Mapping[str, Any]:
    return {"message": {"text": message.content["body"]}}


def _attachment(message: OutboundMessage, ids: Mapping[str, str]) -> Mapping[str, Any]:
    media = message.content["media"]
    if "link" in media:
        # not reusable: the id would be of no use, since a link is fetched anew for each message
        payload: dict[str, Any] = {"url": media["link"], "is_reusable": False}
    elif "sha256" in media and media["sha256"] not in ids:
        raise PayloadRefused("media_unknown", "a file that was not uploaded")
    else:
        payload = {"attachment_id": ids[media["sha256"]] if "sha256" in media else media["id"]}
    return {"message": {"attachment": {"type": _KINDS[message.type], "payload": payload}}}


def _reaction(message: OutboundMessage, _: Mapping[str, str]) -> Mapping[str, Any]:
    target, emoji = whole_id(message.content["target"]), message.content["emoji"]
    if not emoji:
        return {"sender_action": "unreact", "payload": {"message_id": target}}
    # Instagram takes the heart only under its name
    word = "love" if message.connection_type == INSTAGRAM and emoji in _HEARTS else emoji
    return {"sender_action": "react", "payload": {"message_id": target, "reaction": word}}


def _typing(message: OutboundMessage, _: Mapping[str, str]) -> Mapping[str, Any]:
    return {"sender_action": "typing_off" if message.content.get("state") == "paused" else "typing_on"}


def _read(_: OutboundMessage, __: Mapping[str, str]) -> Mapping[str, Any]:
    # everything up to now: which message is meant cannot be said
    return {"sender_action": "mark_seen"}


_BUILDERS: Final[Mapping[str, Callable[[OutboundMessage, Mapping[str, str]], Mapping[str, Any]]]] = {
    content.TEXT: _text,
    **dict.fromkeys(_KINDS, _attachment),
    content.REACTION: _reaction,
    content.TYPING: _typing,
    content.READ: _read,
}
"""What makes the body of one message type, by type."""


def has_window(message: OutboundMessage) -> bool:
    """Whether a message may be sent only within a window after the customer's last message."""
    return message.type not in _SIDE_EFFECTS


def too_late(message: OutboundMessage, last_received_at: datetime | None, now: datetime) -> str:
    """Return why a message is outside Meta's window; empty when it is not, or when the customer's last message is
    unknown.
    """
    # let Meta decide: the customer may have written before this installation received webhooks
    if last_received_at is None:
        return ""
    window = channel_named(message.connection_type).window
    if window is None:
        return ""
    length_s = window.tagged_s.get(message.content.get("tag", ""), window.length_s)
    is_over = (now - last_received_at).total_seconds() > length_s
    return f"more than {length_s / 3600:g} hours since the person wrote" if is_over else ""


def read(answer: GraphAnswer, message_type: str) -> Reading:
    """Return the meaning of an answer of the Send API. What is no message has no id: its provider id is empty."""
    # an answer to a sender action names the recipient only
    reading = errors.read(answer, _recipient if message_type in _SIDE_EFFECTS else _message_id)
    if isinstance(reading, ProviderAcceptance):
        return ProviderAcceptance("") if message_type in _SIDE_EFFECTS else reading
    return _refined(answer, reading) if isinstance(reading, Refusal) else reading


def _refined(answer: GraphAnswer, refusal: Refusal) -> Refusal:
    """Return a refusal with the rule of its subcode, or of the Send API's own codes."""
    try:
        error = json.loads(answer.body).get("error")
        code, subcode = errors.whole_number(error.get("code")), errors.whole_number(error.get("error_subcode"))
    # `errors.read` made a refusal of it by the HTTP status, so a body without a readable error keeps that rule
    except (ValueError, RecursionError, AttributeError):
        return refusal
    if found := _BY_SUBCODE.get((code, subcode)) if code is not None and subcode is not None else None:
        return replace(refusal, code=found[0], rule=errors.answered_by(answer, found[1]))
    if code is not None and (rule := _BY_CODE.get(code)):
        return replace(refusal, rule=errors.answered_by(answer, rule))
    return refusal


def _message_id(body: Mapping[str, Any]) -> str:
    return _name(body.get("message_id"))


def _recipient(body: Mapping[str, Any]) -> str:
    return _name(body.get("recipient_id"))


def attachment_id(body: Mapping[str, Any]) -> str:
    """Return the id in the answer to an upload, "" when there is none."""
    return _name(body.get("attachment_id"))


def _name(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= errors.PROVIDER_ID_MOST else ""


def upload_fields(mimetype: str) -> Mapping[str, str]:
    """Return the form fields beside the file (`filedata`) in an upload to `/message_attachments`."""
    family = mimetype.partition("/")[0]
    kind = family if family in ("image", "video", "audio") else "file"
    return {"message": json.dumps({"attachment": {"type": kind, "payload": {"is_reusable": True}}})}
