"""The control calls that act as customers, and those that post arbitrary bodies; `sandbox/customers.py` has the
messages.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from sandbox.config import Number
from sandbox.customers import ANSWERS, AROUND, MESSAGES, PEOPLE, Wish
from sandbox.ledger import LedgerEntry
from sandbox.media import Media
from sandbox.messages import customer_message, wamid
from sandbox.state import Sandbox
from sandbox.updates import MESSAGING

COUNT_MOST: Final = 1000
"""Most messages, or copies of a POST, that one control call makes: bounds the cost of a typing error."""
SIGNATURES: Final = ("right", "wrong", "none", "sha1")
"""How a POST may be signed; `sha1` is Meta's older header alone, which is not to be trusted."""
_FILES: Final[Mapping[str, tuple[str, bytes]]] = {
    "image": ("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"),
    "video": ("video/mp4", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"),
    "audio": (
        "audio/ogg",
        b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00",
    ),
    "voice": (
        "audio/ogg",
        b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00",
    ),
    "document": ("application/pdf", b"%PDF-1.4\n%%EOF\n"),
    "sticker": (
        "image/webp",
        b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00",
    ),
}
"""The default file of a customer's message: its mimetype, and the smallest valid content."""

WRITE: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(
        (
            "phone_number_id",
            "kind",
            "from",
            "user_id",
            "name",
            "username",
            "text",
            "target",
            "emoji",
            "quoted",
            "group_id",
            "data",
            "mime_type",
        ),
        str,
    ),
    "filename": str,
    "count": int,
    "delay_ms": (int, float),
}
ACT: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("account_id", "object", "from", "kind", "text", "target", "emoji", "attachment", "url"), str),
    "standby": bool,
    "count": int,
    "delay_ms": (int, float),
}
POST: Final[Mapping[str, type | tuple[type, ...]]] = {
    "body": str,
    "base64": str,
    "json": (dict, list),
    "signature": str,
    "path": str,
    "copies": int,
}


def _first_id(value: object) -> str:
    """Return the id of the first message within an event; empty when it is about none."""
    if isinstance(value, Mapping):
        if isinstance(own := value.get("id"), str):
            return own
        value = list(value.values())
    return next(filter(None, map(_first_id, value)), "") if isinstance(value, list) else ""


class CustomerCalls:
    """The control API's operations as a customer. Methods raise `ValueError` with a message for the tester."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def write(self, number: Number, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write as a customer, or post an event around messages, `count` times."""
        kind, count = body.get("kind", "text"), _count(body)
        if kind not in MESSAGES and kind not in AROUND:
            raise ValueError(f"kind: one of {', '.join([*MESSAGES, *AROUND])}")
        sender = re.sub(r"\D", "", body.get("from", ""))
        if not (sender or body.get("user_id")):
            raise ValueError("from or user_id: the customer")
        # all `count` messages share one file: a thousand files would only cost disk
        file = await self._file(number, kind, body)
        made = []
        for _ in range(count):
            wish = Wish(
                sender=sender or body["user_id"],
                text=body.get("text", ""),
                target=body.get("target", ""),
                emoji=body.get("emoji", "👍"),
                media=file,
                filename=body.get("filename", ""),
            )
            made.append(
                self._around(number, kind, wish) if kind in AROUND else self._written(number, kind, wish, sender, body)
            )
        return self._begin(made, body)

    def _written(self, number: Number, kind: str, wish: Wish, sender: str, body: Mapping[str, Any]) -> LedgerEntry:
        quoted = body.get("quoted", "")
        if not quoted and kind in ANSWERS:
            # the message that an answer refers to: `target`, else a valid id that no message has, since the product
            # must accept answers to unknown messages
            quoted = wish.target or wamid(wish.sender, outgoing=True)
        message = customer_message(number, wish.sender, MESSAGES[kind](wish), quoted)
        # a customer who hides the phone number is known by a business-scoped user id alone
        if not sender:
            del message["from"]
        message |= {
            key: value
            for key, value in (("from_user_id", body.get("user_id")), ("group_id", body.get("group_id")))
            if value
        }
        about = {
            "from": sender,
            "user_id": body.get("user_id", ""),
            "name": body.get("name") or "Customer",
            "username": body.get("username", ""),
        }
        return self._sandbox.ledger.append(
            number.channel,
            "customer_wrote",
            phone_number_id=number.phone_number_id,
            plan=["message"],
            id=message["id"],
            message=message,
            **about,
        )

    def _around(self, number: Number, kind: str, wish: Wish) -> LedgerEntry:
        name, value = AROUND[kind](number, wish)
        fields = {"field": name, "value": value, "with_number": True, "id": _first_id(value)}
        return self._sandbox.ledger.append(
            number.channel, "change_made", phone_number_id=number.phone_number_id, plan=["raw"], **fields
        )

    async def _file(self, number: Number, kind: str, body: Mapping[str, Any]) -> Media | None:
        # a kind without a file: text, location, reaction and the like
        if kind not in _FILES:
            return None
        # a valid header of its type, since the product checks the bytes and not the declared type
        mime_type, content = _FILES[kind]
        if "data" in body:
            try:
                content = base64.b64decode(body["data"], validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("data: base64") from None
        return await asyncio.to_thread(
            self._sandbox.shelf.put, number.phone_number_id, content, body.get("mime_type", mime_type)
        )

    async def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Act as a person on Messenger or Instagram, `count` times."""
        # Messenger and Instagram differ only in `object` and in the account's id
        kind, about = body.get("kind", "text"), body.get("object", "page")
        if kind not in PEOPLE or about not in MESSAGING:
            raise ValueError(f"kind: one of {', '.join(PEOPLE)}; object: one of {', '.join(MESSAGING)}")
        fields = {key: body[key] for key in ("attachment", "url") if key in body}
        wish = Wish(
            sender=body["from"],
            text=body.get("text", ""),
            target=body.get("target", ""),
            emoji=body.get("emoji", "❤"),
            fields=fields,
        )
        made = []
        for _ in range(_count(body)):
            event = {
                "sender": {"id": wish.sender},
                "recipient": {"id": body["account_id"]},
                "timestamp": int(time.time() * 1000),
                **PEOPLE[kind](wish),
            }
            # only these two have an id of their own; a reaction or a read mark names another message
            content = event.get("message") or event.get("postback") or {}
            made.append(
                self._sandbox.ledger.append(
                    "graph",
                    "customer_wrote",
                    phone_number_id=body["account_id"],
                    object=about,
                    plan=["event"],
                    id=content.get("mid", ""),
                    item=event,
                    standby=body.get("standby", False),
                    **{"from": wish.sender},
                )
            )
        return self._begin(made, body)

    def _begin(self, made: list[LedgerEntry], body: Mapping[str, Any]) -> dict[str, Any]:
        delay_s = float(body.get("delay_ms", 0)) / 1000
        # one hour at most: a longer delay is probably a mistake in units
        if not 0 <= delay_s < 3600:
            raise ValueError("delay_ms: from 0 to an hour")
        # all entries are in the ledger before the first is due, so that `count` messages can share one POST
        for entry in made:
            self._sandbox.outbox.schedule(entry, after_s=delay_s)
        return {
            "seq": made[-1].seq,
            "id": made[0].fields.get("id", ""),
            "ids": [entry.fields.get("id", "") for entry in made],
        }

    async def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post a body as it is to Meta's webhook, once, signed rightly or not. Returns the answers."""
        given = [name for name in ("body", "base64", "json") if name in body]
        # invalid JSON and invalid UTF-8 are legitimate test input: `body` and `base64` are posted unchanged
        if len(given) != 1:
            raise ValueError("one of body, base64 and json")
        signature = body.get("signature", "right")
        if signature not in SIGNATURES:
            raise ValueError(f"signature: one of {', '.join(SIGNATURES)}")
        try:
            raw = (
                base64.b64decode(body["base64"], validate=True)
                if "base64" in body
                else body["body"].encode()
                if "body" in body
                else json.dumps(body["json"]).encode()
            )
        except (binascii.Error, ValueError):
            raise ValueError(f"{given[0]}: cannot be read") from None
        copies = body.get("copies", 1)
        if not 1 <= copies <= COUNT_MOST:
            raise ValueError(f"copies: from 1 to {COUNT_MOST}")
        return {
            "answers": [
                await self._sandbox.outbox.post_raw(raw, signature=signature, path=body.get("path", ""))
                for _ in range(copies)
            ]
        }


def _count(body: Mapping[str, Any]) -> int:
    count = body.get("count", 1)
    if not 1 <= count <= COUNT_MOST:
        raise ValueError(f"count: from 1 to {COUNT_MOST}")
    return int(count)
