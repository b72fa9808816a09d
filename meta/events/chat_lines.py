"""Reads what WhatsApp's changes add to chats: messages of customers, what the business wrote in its app, history, group
events and calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from meta.events import content, people
from meta.events.change import Change
from meta.events.content import ParsedContent
from meta.events.parsed import ParsedEvents, counted, merged, problem, read_list
from meta.events.values import Unreadable, canonical, clean, digest, identifier, mapping, name, present, text, word
from shared.content import TEXT
from shared.inbound_events import MediaSource
from shared.messages import InboundMessage

PARENT_FIELDS: Final = ("referral", "identity", "group_id", "origin")
"""What stands next to a message's own object and is kept in its context."""
_CALL_FIELDS: Final = (
    "direction",
    "status",
    "start_time",
    "end_time",
    "duration",
    "errors",
    "biz_opaque_callback_data",
)
"""What is kept of a call; its session description (SDP) stays in the journal."""
_NOT_NAMED: Final = frozenset({"unknown", "media_placeholder", *content.READERS})
"""Types that are kept as unknown without a problem: Meta itself does not disclose them, or what is wrong with them was
named.
"""


def message(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read a customer's message. Raises `Unreadable` when it names no chat."""
    number, user_id = name(part.get("from")), name(part.get("from_user_id"))
    # the number where it is given: a chat is named by it, and by the user id only for customers that hide it
    sender = number or user_id
    if not sender:
        raise Unreadable("from, from_user_id: neither is there")
    # history holds both sides in one list; live messages are the customer's only
    from_me = change.is_history and change.is_business(number)
    chat = name(part.get("group_id")) or (name(part.get("to")) or name(part.get("to_user_id")) if from_me else sender)
    if not chat:
        raise Unreadable("to: missing")
    kept = _kept(change, part, sender=sender, chat=chat, from_me=from_me)
    # a person who announces a new number is not recorded under the old one
    if not from_me and part.get("type") != content.SYSTEM:
        called = change.names.get(number) or change.names.get(user_id) or ""
        kept.contacts += people.seen(change, user_id, number, called=called, at=change.instant(part))
    return kept


def echo(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read a message that a human wrote in the business app: it is from us, not from a customer. Raises `Unreadable`
    when it names no chat.
    """
    chat = name(part.get("group_id")) or name(part.get("to")) or name(part.get("to_user_id"))
    if not chat:
        raise Unreadable("to: missing")
    return _kept(change, part, sender=name(part.get("from")), chat=chat, from_me=True)


def history(change: Change, chunk: Mapping[str, Any]) -> ParsedEvents:
    """Read a piece of what was written before the number was connected."""

    def refused(where: str, _: Mapping[str, Any]) -> ParsedEvents:
        return problem("history_refused", where, "history is not shared")

    def thread(where: str, one: Mapping[str, Any]) -> ParsedEvents:
        about = mapping(one.get("context"))
        customer = name(one.get("id")) or name(about.get("wa_id")) or name(about.get("user_id"))
        return read_list(one, "messages", where, lambda _, part: _past(change, part, customer))

    return merged((read_list(chunk, "errors", change.path, refused), read_list(chunk, "threads", change.path, thread)))


def _past(change: Change, part: Mapping[str, Any], customer: str) -> ParsedEvents:
    sender = name(part.get("from")) or name(part.get("from_user_id"))
    was = mapping(part.get("history_context"))
    # by a flag, by the sender's number, or without either: a sender that is not the thread's customer is the business
    from_me = (
        was.get("from_me") is True
        or change.is_business(sender)
        or (bool(customer) and bool(sender) and canonical(sender) != canonical(customer))
    )
    chat = customer or (name(part.get("to")) if from_me else sender)
    if not chat:
        raise Unreadable("from, to: no person is named")
    return _kept(change, part, sender=sender, chat=chat, from_me=from_me)


def group(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read what happened to a group, as a line in its chat. Raises `Unreadable` when it names no group."""
    chat = name(part.get("group_id"))
    if not chat:
        raise Unreadable("group_id: missing")
    # groups are new at Meta: all fields are kept, in place of those that are known today
    rest = {key: value for key, value in clean(part).items() if key not in ("type", "timestamp", "group_id")}
    line = ParsedContent(
        content.SYSTEM, rest | {"kind": text(part.get("type"))[:60], "body": text(part.get("subject"))}
    )
    return _line(
        change, line, counts="group", chat=chat, provider_id=digest([change.name, part]), at=change.instant(part)
    )


def call(change: Change, part: Mapping[str, Any]) -> ParsedEvents:
    """Read one step of a call: one call has several. Raises `Unreadable` when it names no person."""
    call_id, step = identifier(part, "id"), text(part.get("event"))[:60].lower()
    # Meta marks the direction by a field or by the ids, depending on the event
    is_ours = (
        text(part.get("direction")).upper() == "BUSINESS_INITIATED"
        or "recipient_id" in part
        or change.is_business(name(part.get("from")))
    )
    other = (
        name(part.get("recipient_id")) or name(part.get("to"))
        if is_ours
        else name(part.get("from")) or name(part.get("from_user_id"))
    )
    if not other:
        raise Unreadable("from, to: no person is named")
    fields = {key: clean(part[key]) for key in _CALL_FIELDS if key in part}
    return _line(
        change,
        ParsedContent(content.CALL, fields | {"kind": step, "call_id": call_id}),
        counts="call",
        # one line for each step; the limit keeps the id within the 255 characters that a provider id may have
        provider_id=f"{call_id}:{step}" if len(call_id) + len(step) < 200 else digest([call_id, step]),
        chat=other,
        at=change.instant(part),
        sender="" if is_ours else other,
        from_me=is_ours,
        may_trigger=not is_ours,
    )


def _kept(change: Change, part: Mapping[str, Any], *, sender: str, chat: str, from_me: bool) -> ParsedEvents:
    """Return a message of whatever type; one that cannot be read is kept as far as it can be, and named."""
    at, provider_id = change.instant(part), identifier(part, "id")
    problems = ParsedEvents()
    try:
        parsed = content.parse_content(part)
    # a message that lacks something is still a line in the chat: an agent sees that the customer wrote
    except Unreadable as unreadable:
        problems.add(problem("unreadable", change.path, str(unreadable)))
        parsed = content.unknown(part, text(part.get("type")))
    if parsed.type == content.UNKNOWN and parsed.content.get("type") not in _NOT_NAMED:
        problems.add(
            problem("unknown_type", change.path, f"type {word(parsed.content.get('type'))}: not one that we read")
        )
    context = _context(part)
    kind = "message_text" if parsed.type == TEXT else "message_other"
    line = _line(
        change,
        ParsedContent(parsed.type, parsed.content | _quoted(parsed, context), parsed.file),
        counts="echo" if from_me else "history" if change.is_history else kind,
        provider_id=provider_id,
        chat=chat,
        at=at,
        sender=sender,
        from_me=from_me,
        # automations must not answer messages of months ago
        may_trigger=not (from_me or change.is_history),
        context=context | ({"history": True} if change.is_history else {}),
    )
    line.add(problems)
    if parsed.type == content.SYSTEM:
        line.moves += people.changed(change, mapping(part.get("system")), sender, at)
    return line


def _line(
    change: Change,
    parsed: ParsedContent,
    *,
    counts: str,
    provider_id: str,
    chat: str,
    at: datetime,
    sender: str = "",
    from_me: bool = False,
    may_trigger: bool = False,
    context: Mapping[str, Any] | None = None,
) -> ParsedEvents:
    """Return one line of a chat for each connection, and the file that came with it."""
    messages = [
        InboundMessage(
            connection_id=connection_id,
            provider_id=provider_id,
            chat_id=canonical(chat),
            sender=canonical(sender) if sender else "",
            sender_name=change.names.get(sender, ""),
            sender_username=change.usernames.get(sender, ""),
            from_me=from_me,
            type=parsed.type,
            content=parsed.content,
            context=context or {},
            at=at,
            may_trigger=may_trigger,
        )
        for connection_id in change.connections
    ]
    media = [
        MediaSource(connection_id=connection_id, provider_id=provider_id, **parsed.file)
        for connection_id in change.connections
        if parsed.file
    ]
    return ParsedEvents(messages=messages, media=media, counts=counted(counts))


def _quoted(parsed: ParsedContent, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message replies to; a reaction, an edit and a revoke have a target instead."""
    return {} if "target" in parsed.content else present(quoted=name(context.get("id")))


def _context(part: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: clean(part[key]) for key in PARENT_FIELDS if key in part}
    status = text(mapping(part.get("history_context")).get("status"))
    return mapping(clean(part.get("context"))) | own | present(status=status.lower())
