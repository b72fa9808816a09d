"""Webhooks of Pages (Messenger) and of Instagram accounts: one shape for both, with few differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from meta.events import attachments, content
from meta.events.attachments import postback, reaction, system
from meta.events.content import ParsedContent
from meta.events.parsed import (
    OWNERLESS,
    ParsedEvents,
    WebhookContext,
    counted,
    door_event,
    merged,
    problem,
    read_list,
    read_part,
)
from meta.events.values import (
    Unreadable,
    clean,
    digest,
    identifier,
    instant,
    mapping,
    name,
    objects,
    part_id,
    present,
    text,
    whole,
    word,
)
from shared.content import EDIT, TEXT
from shared.inbound_events import Contact, MediaSource, Watermark
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
"""What may occur in an item next to messages: kept as a system line under its own name. Both spellings of
`policy_enforcement` occur in Meta's reference.
"""
_BY_CUSTOMER: Final = frozenset({"optin", "referral"})
"""System lines that a customer caused: automations may act on them."""
# what every item has: not worth naming in a problem
_ENVELOPE: Final = frozenset({"sender", "recipient", "timestamp", "id", "time", "is_echo", "hop_context", "is_standby"})


class PageEntry(NamedTuple):
    """The account whose chats an entry's items are about, and its connections."""

    webhook: WebhookContext
    account: str
    connections: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatItem:
    """One item of an entry: what happened in one chat.

    Attributes:
        sender: empty when none is named. is_standby: whether another app is answering this chat.
    """

    path: str
    connections: Sequence[int]
    sender: str
    chat: str
    from_me: bool
    at: datetime
    is_standby: bool


def read_entry(webhook: WebhookContext, path: str, entry: Mapping[str, Any]) -> ParsedEvents:
    """Read every item of one entry."""
    account = name(entry.get("id"))
    page = PageEntry(webhook, account, webhook.owners.of_account(webhook.object, account))
    ownerless = 0

    def item(where: str, part: Mapping[str, Any], *, is_standby: bool = False) -> ParsedEvents:
        nonlocal ownerless
        if not page.connections:
            ownerless += 1
            return ParsedEvents()
        found = read_part(where, lambda: _item(_chat_item(page, where, part, is_standby=is_standby), part))
        # also an item that cannot be read came through this door
        found.add(door_event(page.connections, part.get("timestamp"), entry.get("time")))
        return found

    def change(where: str, part: Mapping[str, Any]) -> ParsedEvents:
        value = mapping(part.get("value"))
        # Instagram sends some messages as a change, in the shape of an item
        if "sender" in value or "recipient" in value:
            return item(f"{where}value.", value)
        # comments, mentions and posts are no messages
        return problem("other_change", where, f"field {word(part.get('field'))}: not one that we read")

    found = merged(
        [
            read_list(entry, "messaging", path, item),
            read_list(entry, "standby", path, lambda where, part: item(where, part, is_standby=True)),
            read_list(entry, "changes", path, change),
        ]
    )
    if ownerless:
        found.add(problem("unknown_number", path, f"id: {OWNERLESS} {webhook.object} id", ownerless))
    return found


def _chat_item(page: PageEntry, path: str, part: Mapping[str, Any], *, is_standby: bool) -> ChatItem:
    """Return what an item's parts share. Raises `Unreadable` when it names no chat."""
    sender, recipient = name(mapping(part.get("sender")).get("id")), name(mapping(part.get("recipient")).get("id"))
    # a person who is known by a reference only, until they write
    sender = (
        sender or name(mapping(part.get("sender")).get("user_ref")) or name(mapping(part.get("optin")).get("user_ref"))
    )
    # an echo: written by the Page, in Meta's inbox, by another app, or by us
    from_me = (bool(sender) and sender == page.account) or mapping(part.get("message")).get("is_echo") is True
    chat = recipient if from_me else sender
    if not chat:
        raise Unreadable("sender.id, recipient.id: no person is named")
    return ChatItem(
        path=path,
        connections=page.connections,
        sender=sender,
        chat=chat,
        from_me=from_me,
        at=instant(part.get("timestamp"), page.webhook.received_at),
        is_standby=is_standby,
    )


def _item(item: ChatItem, part: Mapping[str, Any]) -> ParsedEvents:
    """Read every part of an item; an unreadable one is reported and does not affect the others."""
    found = [
        # the default binds it
        read_part(item.path, lambda kind=kind: READERS[kind](item, mapping(part[kind])))  # type: ignore[misc]
        for kind in READERS
        if kind in part
    ]
    found += [
        _line(
            item,
            system(kind.replace("-", "_"), mapping(part[kind])),
            provider_id=digest(part),
            may_trigger=kind in _BY_CUSTOMER,
        )
        for kind in sorted(_SYSTEM & part.keys())
    ]
    if not found:
        names = ", ".join(sorted(filter(None, (word(key) for key in part if key not in _ENVELOPE)))[:5])
        return problem("other_change", item.path, f"parts {names}: not what we read")
    if not item.from_me:
        people = [
            Contact(connection_id=connection_id, user_id=item.chat, at=item.at) for connection_id in item.connections
        ]
        found.append(ParsedEvents(contacts=people))
    return merged(found)


def _message(item: ChatItem, message: Mapping[str, Any]) -> ParsedEvents:
    mid = identifier(message, "mid")
    # an own id: the deleted message's `mid` is taken by the message itself
    if message.get("is_deleted") is True:
        return _line(item, ParsedContent(content.REVOKE, {"target": mid}), provider_id=f"{mid}#deleted")
    lines = merged(_lines(item, message, mid))
    metadata = message.get("metadata")
    if item.from_me and isinstance(metadata, str) and metadata.startswith(TOKEN):
        return _proof(item, name(metadata), mid, lines)
    return lines


def _lines(item: ChatItem, message: Mapping[str, Any], mid: str) -> Iterator[ParsedEvents]:
    """Return the lines of one message."""
    replied = mapping(message.get("reply_to"))
    context = present(
        id=name(replied.get("mid")),
        story=clean(replied.get("story")) if "story" in replied else None,
        referral=clean(message.get("referral")) if "referral" in message else None,
        app_id=name(message.get("app_id")),
        attachments=clean(objects(message.get("attachments"))) if _is_link(message) else None,
    )
    quoted = present(quoted=name(replied.get("mid")))
    for number, parsed in enumerate(attachments.parse_contents(message), 1):
        yield _line(
            item,
            ParsedContent(parsed.type, parsed.content | quoted, parsed.file),
            # to Messenger several files are one message; each is a line here, and only the first has the context
            provider_id=part_id(mid, number),
            context=context if number == 1 else {},
        )


def _proof(item: ChatItem, token: str, mid: str, lines: ParsedEvents) -> ParsedEvents:
    """Return the receipt in an echo with a token of ours: it proves the send, and is no message, which would be in the
    chat twice. If the token is another installation's, `lines` are messages: that installation is another application.
    """
    receipts = [
        Receipt(
            connection_id=connection_id,
            state=MessageState.SENT,
            at=item.at,
            provider_id=mid,
            token=token,
            extra={"status": "sent", "by": "echo"},
        )
        for connection_id in item.connections
    ]
    return ParsedEvents(receipts=receipts, echoes=lines.messages, media=lines.media, counts=counted("status_sent"))


def _edit(item: ChatItem, edit: Mapping[str, Any]) -> ParsedEvents:
    mid = identifier(edit, "mid")
    number = whole(edit.get("num_edit"))
    return _line(
        item,
        ParsedContent(EDIT, {"target": mid, "body": text(edit.get("text"))}),
        provider_id=digest(edit) if number is None else f"{mid}#edit{number}",
    )


def _postback(item: ChatItem, part: Mapping[str, Any]) -> ParsedEvents:
    context = {"referral": clean(part["referral"])} if "referral" in part else {}
    # old postbacks have no `mid`: sender and instant distinguish two taps on one button
    provider_id = name(part.get("mid")) or digest([item.sender, item.at.isoformat(), part])
    return _line(item, postback(part), provider_id=provider_id, context=context)


def _reaction(item: ChatItem, part: Mapping[str, Any]) -> ParsedEvents:
    return _line(item, reaction(part), provider_id=digest([item.sender, item.at.isoformat(), part]))


def _delivery(item: ChatItem, part: Mapping[str, Any]) -> ParsedEvents:
    mids = part.get("mids")
    named = [mid for mid in map(name, mids) if mid] if isinstance(mids, list) else []
    return _reached(item, MessageState.DELIVERED, named, part)


def _read(item: ChatItem, part: Mapping[str, Any]) -> ParsedEvents:
    return _reached(item, MessageState.READ, [mid] if (mid := name(part.get("mid"))) else [], part)


def _reached(item: ChatItem, state: MessageState, mids: Sequence[str], part: Mapping[str, Any]) -> ParsedEvents:
    """Return the receipts in a delivery or read event: for the messages that it names, and for all up to its
    watermark.
    """
    receipts = [
        Receipt(connection_id=connection_id, state=state, at=item.at, provider_id=mid, extra={"status": str(state)})
        for mid in mids
        for connection_id in item.connections
    ]
    watermarks = [
        Watermark(connection_id=connection_id, chat_id=item.chat, state=state, at=instant(part["watermark"], item.at))
        for connection_id in item.connections
        # "everything up to this instant": Messenger names single messages only sometimes
        if "watermark" in part
    ]
    return ParsedEvents(receipts=receipts, watermarks=watermarks, counts=counted(f"status_{state}"))


def _line(
    item: ChatItem,
    parsed: ParsedContent,
    *,
    provider_id: str,
    context: Mapping[str, Any] | None = None,
    may_trigger: bool = True,
) -> ParsedEvents:
    """Return one line of a chat for each connection, and the file that came with it."""
    kind = "echo" if item.from_me else "message_text" if parsed.type == TEXT else "message_other"
    found = ParsedEvents(counts=counted(kind))
    if parsed.type == content.UNKNOWN:
        shown = word(parsed.content.get("type"))
        found.add(problem("unknown_type", item.path, f"type {shown}: not one that we read"))
    for connection_id in item.connections:
        found.messages.append(
            InboundMessage(
                connection_id=connection_id,
                provider_id=provider_id,
                chat_id=item.chat,
                sender=item.sender,
                from_me=item.from_me,
                type=parsed.type,
                content=parsed.content,
                context=dict(context or {}) | ({"standby": True} if item.is_standby else {}),
                at=item.at,
                may_trigger=may_trigger and not item.from_me and not item.is_standby,
            )
        )
        if parsed.file:
            found.media.append(MediaSource(connection_id=connection_id, provider_id=provider_id, **parsed.file))
    return found


def _is_link(message: Mapping[str, Any]) -> bool:
    return any(attachment.get("type") == "fallback" for attachment in objects(message.get("attachments")))


READERS: Final[Mapping[str, Callable[[ChatItem, Mapping[str, Any]], ParsedEvents]]] = {
    "message": _message,
    "message_edit": _edit,
    "postback": _postback,
    "reaction": _reaction,
    "delivery": _delivery,
    "read": _read,
}
"""What reads each part of an item, by its name."""
