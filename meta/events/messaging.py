"""Webhooks of pages (Messenger) and of Instagram accounts: one shape for both, with few differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from meta.events import attachments, content
from meta.events.attachments import postback, reaction, system
from meta.events.content import Told
from meta.events.harvest import Harvest
from meta.events.parts import (
    Unreadable,
    clean,
    digest,
    identifier,
    instant,
    mapping,
    name,
    objects,
    present,
    text,
    whole,
    word,
)
from shared.arrivals import Contact, MediaSource, Watermark
from shared.content import EDIT, TEXT
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState

OBJECTS: Final = ("page", "instagram")

TOKEN: Final = "bulkhead:"  # noqa: S105 - the beginning of a name, no secret
"""Our sends carry their token as `message.metadata`, which an echo brings back."""

_SYSTEM: Final = frozenset(
    {
        "account_linking",
        "app_roles",
        "game_play",
        "message_feedback",
        "messaging_feedback",
        "optin",
        "pass_thread_control",
        "payment",
        "policy_enforcement",
        "policy-enforcement",
        "referral",
        "request_thread_control",
        "take_thread_control",
    }
)
"""What may stand in an item beside messages: kept as a system line under its own name."""
_BY_CUSTOMER: Final = frozenset({"optin", "referral"})
"""System lines that somebody caused by something he did: automations may act on them."""
_ENVELOPE: Final = frozenset({"sender", "recipient", "timestamp", "id", "time", "is_echo", "hop_context", "is_standby"})


def read_entry(found: Harvest, path: str, entry: Mapping[str, Any]) -> None:
    """Read every item of one entry."""
    account = name(entry.get("id"))
    connections = list(found.owners.of_account(found.object, account))
    items = [(where, item, False) for where, item in found.walk(entry, "messaging", path)]
    items += [(where, item, True) for where, item in found.walk(entry, "standby", path)]
    for where, change in found.walk(entry, "changes", path):
        value = mapping(change.get("value"))
        if "sender" in value or "recipient" in value:
            items.append((f"{where}value.", value, False))
        else:
            # comments, mentions and posts are no messages
            found.name_problem("other_change", where, f"field {word(change.get('field'))}: not one that we read")
    if not items:
        return
    if not connections:
        found.name_problem("unknown_number", path, f"id: no connection has this {found.object} id", len(items))
        return
    for where, item, is_standby in items:
        found.note_heard(connections, item.get("timestamp"), entry.get("time"))
        found.attempt(
            where, _Item(_Account(found, account, connections), where, item, is_standby=is_standby).read, item
        )


class _Account(NamedTuple):
    """Whose chats an entry's items are about."""

    found: Harvest
    id: str
    connections: list[int]


class _Item:
    """One item: something that somebody did in one chat."""

    def __init__(self, account: _Account, path: str, item: Mapping[str, Any], *, is_standby: bool) -> None:
        self._found, self._connections, self._path, self._is_standby = (
            account.found,
            account.connections,
            path,
            is_standby,
        )
        sender, recipient = name(mapping(item.get("sender")).get("id")), name(mapping(item.get("recipient")).get("id"))
        # somebody who is known by a reference only, until he writes
        sender = (
            sender
            or name(mapping(item.get("sender")).get("user_ref"))
            or name(mapping(item.get("optin")).get("user_ref"))
        )
        self._from_me = (bool(sender) and sender == account.id) or mapping(item.get("message")).get("is_echo") is True
        self._sender, self._chat = sender, recipient if self._from_me else sender
        self._at = instant(item.get("timestamp"), account.found.received_at)

    def read(self, item: Mapping[str, Any]) -> None:
        """Read whatever the item holds. Raises `Unreadable` for one part that lacks something; what was read before stays."""
        if not self._chat:
            raise Unreadable("sender.id, recipient.id: nobody is named")
        known = False
        for part, read in READERS.items():
            if part in item:
                known = True
                read(self, mapping(item[part]))
        for part in sorted(_SYSTEM & item.keys()):
            known = True
            self._put(
                system(part.replace("-", "_"), mapping(item[part])),
                provider_id=digest(item),
                may_trigger=part in _BY_CUSTOMER,
            )
        if not known:
            names = ", ".join(sorted(filter(None, (word(key) for key in item if key not in _ENVELOPE)))[:5])
            self._found.name_problem("other_change", self._path, f"parts {names}: not what we read")
        elif not self._from_me:
            for connection_id in self._connections:
                self._found.contacts.append(Contact(connection_id=connection_id, user_id=self._chat, at=self._at))

    def _message(self, message: Mapping[str, Any]) -> None:
        mid = identifier(message, "mid")
        if message.get("is_deleted") is True:
            self._put(Told(content.REVOKE, {"target": mid}), provider_id=f"{mid}#deleted")
            return
        metadata = message.get("metadata")
        if self._from_me and isinstance(metadata, str) and metadata.startswith(TOKEN):
            self._proves(name(metadata), mid)
            return
        replied = mapping(message.get("reply_to"))
        context = present(
            id=name(replied.get("mid")),
            story=clean(replied.get("story")) if "story" in replied else None,
            referral=clean(message.get("referral")) if "referral" in message else None,
            app_id=name(message.get("app_id")),
            attachments=clean(objects(message.get("attachments"))) if _is_link(message) else None,
        )
        for number, told in enumerate(attachments.told(message), 1):
            quoted = present(quoted=name(replied.get("mid")))
            self._put(
                Told(told.type, told.content | quoted, told.file),
                provider_id=mid if number == 1 else f"{mid}#{number}",
                context=context if number == 1 else {},
            )

    def _proves(self, token: str, mid: str) -> None:
        """An echo of a send of ours: the proof that it went out, and no message."""
        self._found.counts["status_sent"] += 1
        self._found.receipts += [
            Receipt(
                connection_id=connection_id,
                state=MessageState.SENT,
                at=self._at,
                provider_id=mid,
                token=token,
                extra={"status": "sent", "by": "echo"},
            )
            for connection_id in self._connections
        ]

    def _edit(self, edit: Mapping[str, Any]) -> None:
        mid = identifier(edit, "mid")
        number = whole(edit.get("num_edit"))
        self._put(
            Told(EDIT, {"target": mid, "body": text(edit.get("text"))}),
            provider_id=digest(edit) if number is None else f"{mid}#edit{number}",
        )

    def _postback(self, given: Mapping[str, Any]) -> None:
        context = {"referral": clean(given["referral"])} if "referral" in given else {}
        provider_id = name(given.get("mid")) or digest([self._sender, self._at.isoformat(), given])
        self._put(postback(given), provider_id=provider_id, context=context)

    def _reaction(self, given: Mapping[str, Any]) -> None:
        self._put(reaction(given), provider_id=digest([self._sender, self._at.isoformat(), given]))

    def _delivery(self, given: Mapping[str, Any]) -> None:
        self._found.counts["status_delivered"] += 1
        mids = given.get("mids")
        self._receipts(
            MessageState.DELIVERED, [mid for mid in map(name, mids) if mid] if isinstance(mids, list) else []
        )
        self._watermark(MessageState.DELIVERED, given)

    def _read(self, given: Mapping[str, Any]) -> None:
        self._found.counts["status_read"] += 1
        self._receipts(MessageState.READ, [mid] if (mid := name(given.get("mid"))) else [])
        self._watermark(MessageState.READ, given)

    def _receipts(self, state: MessageState, mids: list[str]) -> None:
        self._found.receipts += [
            Receipt(
                connection_id=connection_id, state=state, at=self._at, provider_id=mid, extra={"status": str(state)}
            )
            for mid in mids
            for connection_id in self._connections
        ]

    def _watermark(self, state: MessageState, given: Mapping[str, Any]) -> None:
        if "watermark" in given:
            up_to = instant(given["watermark"], self._at)
            self._found.watermarks += [
                Watermark(connection_id=connection_id, chat_id=self._chat, state=state, at=up_to)
                for connection_id in self._connections
            ]

    def _put(
        self, told: Told, *, provider_id: str, context: Mapping[str, Any] | None = None, may_trigger: bool = True
    ) -> None:
        self._found.counts["echo" if self._from_me else "message_text" if told.type == TEXT else "message_other"] += 1
        if told.type == content.UNKNOWN:
            self._found.name_problem(
                "unknown_type", self._path, f"type {word(told.content.get('type'))}: not one that we read"
            )
        for connection_id in self._connections:
            self._found.messages.append(
                InboundMessage(
                    connection_id=connection_id,
                    provider_id=provider_id,
                    chat_id=self._chat,
                    sender=self._sender,
                    from_me=self._from_me,
                    type=told.type,
                    content=told.content,
                    context=dict(context or {}) | ({"standby": True} if self._is_standby else {}),
                    at=self._at,
                    may_trigger=may_trigger and not self._from_me and not self._is_standby,
                )
            )
            if told.file:
                self._found.media.append(MediaSource(connection_id=connection_id, provider_id=provider_id, **told.file))


def _is_link(message: Mapping[str, Any]) -> bool:
    return any(attachment.get("type") == "fallback" for attachment in objects(message.get("attachments")))


READERS: Final[Mapping[str, Callable[[_Item, Mapping[str, Any]], None]]] = {
    "message": _Item._message,
    "message_edit": _Item._edit,
    "postback": _Item._postback,
    "reaction": _Item._reaction,
    "delivery": _Item._delivery,
    "read": _Item._read,
}
"""What reads each part of an item, by its name."""
