"""How clients see messages, in the API's answers and in events: one shape for what goes out and what comes in, its
fields called as they are when it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from shared import content
from shared.states import MessageState
from shared.store import marks
from shared.store.pool import Row, Transaction
from shared.timestamps import iso

_QUOTED_TEXT: Final = 200
"""Characters of a quoted text: to recognise it by; the whole of it is under its own id."""
_NOTHING: Final[Mapping[str, Any]] = {}

JsonObject: TypeAlias = Mapping[str, Any]


class RelatedRows:
    """Reactions and files that belong to messages, and the messages that they quote."""

    def __init__(self, transaction: Transaction, company_id: str, rows: Sequence[Row]) -> None:
        # in the transaction of the rows, so that both show the same instant; one query per page
        self.reactions = marks.reactions(
            transaction,
            company_id,
            [(row["connection_id"], row["chat_id"], row["provider_id"]) for row in rows if row["provider_id"]],
        )
        self.quoted = marks.quoted(transaction, company_id, sorted({_quoted(row) for row in rows if _quotes(row)}))
        self.files = marks.received_files(transaction, [row["id"] for row in rows if "media" in row["content"]])


def sent(row: Row, related: RelatedRows) -> JsonObject:
    """Return an outbound message as it is now, without its history."""
    return {
        "id": str(row["id"]),
        "direction": "out",
        "status": row["state"],
        "companyId": row["company_id"],
        "chatId": row["chat_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        **described(row, row["company_id"], related),
        "attempt": row["attempt"],
        "sender": None,
        "senderName": None,
        "senderUsername": None,
        "providerMessageId": row["provider_id"] or None,
        "error": {"code": row["error_code"], "detail": row["error_detail"]} if row["error_code"] else None,
        "sendAt": iso(row["scheduled_for"]),
        "notBefore": iso(row["not_before"]),
        "inDoubtPolicy": row["in_doubt_policy"],
        "heldForHumanAt": iso(row["held_at"]),
        "createdAt": iso(row["created_at"]),
        "sentAt": iso(row["sent_at"]),
        "updatedAt": iso(row["updated_at"]),
    }


def received(row: Row, related: RelatedRows) -> JsonObject:
    """Return what came in, or was written on the company's own phone: nothing was to be done about it."""
    return {
        "id": str(row["id"]),
        "direction": row["direction"],
        "status": row["state"],
        "companyId": row["company_id"],
        "chatId": row["chat_id"],
        "phoneIndex": row["phone_index"],
        "connectionType": row["connection_type"],
        **described(row, row["company_id"], related),
        "attempt": 0,
        "sender": row["sender"] or None,
        "senderName": row["sender_name"] or None,
        "senderUsername": row["sender_username"] or None,
        "providerMessageId": row["provider_id"] or None,
        **dict.fromkeys(("error", "sendAt", "notBefore", "inDoubtPolicy", "heldForHumanAt")),
        "createdAt": iso(row["created_at"]),
        "sentAt": iso(row["at"]),
        "updatedAt": iso(row["created_at"]),
    }


def described(row: Row, company_id: str, related: RelatedRows) -> JsonObject:
    """Return type and content of a message, and what was done about it since."""
    kept = row["content"]
    # its content was removed with the message; what it was about was not
    read = _target if "target" in kept else _no_content
    shown = {"type": row["type"], **(read if "erased" in kept else _BY_TYPE.get(row["type"], _raw))(kept)}
    # what the row of the file knows (fetched, refused) is newer than what the message was accepted or received with
    if "media" in kept:
        shown["media"] = _media(
            kept["media"], company_id, related.files.get(row["id"]), came_in=row.get("came_in", False)
        )
    if tag := kept.get("tag"):
        shown["tag"] = tag
    if quoted := kept.get("quoted"):
        shown["quotedMessageId"] = quoted
        shown["quotedMessage"] = _quotation(quoted, related.quoted.get(_quoted(row)) if _quotes(row) else None)
    if context := row.get("context"):
        shown["context"] = context
    if edited_at := kept.get("edited_at"):
        shown |= {"edited": True, "editedAt": _instant(edited_at)}
    if row["state"] == MessageState.DELETED or "deleted_at" in kept:
        shown |= {"deleted": True, "deletedFor": kept.get("deleted_for", "everyone")}
    if deleted_at := kept.get("deleted_at"):
        shown["deletedAt"] = _instant(deleted_at)
    if reactions := related.reactions.get((row["connection_id"], row["provider_id"])):
        shown["reactions"] = [{"from": sender or None, "emoji": emoji} for sender, emoji in reactions]
    return shown


def _quotes(row: Row) -> bool:
    return isinstance(row["content"].get("quoted"), str)


def _quoted(row: Row) -> tuple[int, str, str]:
    return row["connection_id"], row["chat_id"], row["content"]["quoted"]


def _quotation(provider_id: str, found: Row | None) -> JsonObject:
    if found is None:
        return {"id": None, "providerMessageId": provider_id, **dict.fromkeys(("direction", "type", "text"))}
    kept = found["content"]
    text = kept.get("body", kept.get("caption")) if found["state"] != MessageState.DELETED else None
    return {
        "id": str(found["id"]),
        "providerMessageId": provider_id,
        "direction": found["direction"],
        "type": found["type"],
        "text": text[:_QUOTED_TEXT] if isinstance(text, str) and "deleted_at" not in kept else None,
    }


def file_place(company_id: str, sha256: str) -> str:
    """Return the path from which a file of a company is downloaded."""
    return f"/api/v2/media/{company_id}/{sha256}"


def _media(kept: Any, company_id: str, fetched: Row | None, *, came_in: bool) -> JsonObject:
    media = kept if isinstance(kept, Mapping) else _NOTHING
    known = {name: media[name] for name in ("mimetype", "size", "filename") if media.get(name) is not None}
    # in this order: what storage has, what the provider has, what the client named
    if fetched is not None:
        known["status"] = fetched["state"]
        if fetched["state"] == "stored":
            ours = {"sha256": fetched["sha256"], "mimetype": fetched["mimetype"], "size": fetched["size"]}
            return {**known, **ours, "url": file_place(company_id, fetched["sha256"])}
        return {**known, **({"reason": fetched["reason"]} if fetched["reason"] else {}), **_named(media)}
    # received before files were fetched, or its row was removed: nothing is known to be there
    if came_in:
        return {**known, "status": "unknown", **_named(media)}
    if "sha256" in media:
        return {**known, "sha256": media["sha256"], "status": "stored", "url": file_place(company_id, media["sha256"])}
    if "link" in media:
        return {**known, "status": "linked", "url": media["link"]}
    # the provider has it, by its own id
    return {**known, "status": "uploaded", **_named(media)}


def _named(media: JsonObject) -> JsonObject:
    return {"mediaId": media["id"]} if media.get("id") else {}


def _target(kept: JsonObject) -> dict[str, Any]:
    own = kept.get("target_id")
    return {"messageId": None if own is None else str(own), "targetProviderId": kept.get("target")}


def _some(*names: str) -> Callable[[JsonObject], JsonObject]:
    return lambda kept: {name: kept[name] for name in names if kept.get(name) is not None}


def _no_content(_: JsonObject) -> JsonObject:
    return {}


def _instant(kept: str) -> str:
    # as PostgreSQL writes it within JSON
    return iso(datetime.fromisoformat(kept))


def _raw(kept: JsonObject) -> JsonObject:
    return {"content": kept}


def _text(kept: JsonObject) -> JsonObject:
    return {"message": kept.get("body", ""), **({"preview": True} if kept.get("preview") else {})}


def _edit(kept: JsonObject) -> JsonObject:
    # a message without a text of its own, such as a picture, is edited in its caption
    inner = kept.get("content") or _NOTHING
    return {**_target(kept), "message": kept.get("body", inner.get("caption", inner.get("body", "")))}


_FILE: Final = _some("caption", "voice", "filename")
_BY_TYPE: Final[Mapping[str, Callable[[JsonObject], JsonObject]]] = {
    content.TEXT: _text,
    **dict.fromkeys(content.MEDIA, _FILE),
    content.LOCATION: _some("latitude", "longitude", "name", "address"),
    content.CONTACTS: _some("contacts"),
    content.REACTION: lambda kept: {**_target(kept), "emoji": kept.get("emoji", "")},
    content.INTERACTIVE: lambda kept: {
        "interactive": {name: value for name, value in kept.items() if name != "quoted"}
    },
    content.TEMPLATE: _some("name", "language", "components"),
    content.EDIT: _edit,
    content.DELETE: lambda kept: {**_target(kept), "for": "everyone" if kept.get("everyone", True) else "me"},
    content.FORWARD: lambda kept: {**_target(kept), "sourceChatId": kept.get("source_chat")},
    content.READ: _target,
    content.TYPING: lambda kept: {
        "state": "off" if kept.get("state") == "paused" else "on",
        "lastsSeconds": kept.get("lasts_s", 0),
    },
    # these two only come in: no operation sends them
    "revoke": _target,
    "button": _some("text", "payload"),
}
