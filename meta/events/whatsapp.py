"""Webhooks of WhatsApp Business Accounts: Meta's own, and 360dialog's, which hand the same through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from meta import errors
from meta.errors import Kind
from meta.events import content, statuses
from meta.events.harvest import Harvest, Pause
from meta.events.parts import (
    Unreadable,
    canonical,
    clean,
    digest,
    identifier,
    instant,
    mapping,
    name,
    objects,
    phone,
    present,
    text,
    whole,
    word,
)
from shared.arrivals import AccountEvent, Contact, ContactMove, MarketingChoice, MediaSource
from shared.content import TEXT
from shared.messages import InboundMessage

OBJECT: Final = "whatsapp_business_account"

NOTICES: Final = frozenset(
    {
        "account_alerts",
        "account_review_update",
        "account_update",
        "automatic_events",
        "business_capability_update",
        "business_status_update",
        "business_username_update",
        "flows",
        "message_template_components_update",
        "message_template_quality_update",
        "message_template_status_update",
        "partner_solutions",
        "payment_configuration_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
        "template_category_update",
        "template_correct_category_detection",
        "tracking_events",
    }
)
"""Fields that are about the account, a number or a template, and about no chat: kept as account events."""

PARENT_FIELDS: Final = ("referral", "identity", "group_id", "origin")
"""What stands beside a message's own object and is kept in its context."""

_LATE: Final = timedelta(minutes=10)
"""A failure older than this no longer pauses a connection: somebody may have mended it since."""
_HISTORY: Final = "history"
_CALL_FIELDS: Final = (
    "direction",
    "status",
    "start_time",
    "end_time",
    "duration",
    "errors",
    "biz_opaque_callback_data",
)
"""What is kept of a call; what a telephone needs to answer it stays in the journal."""
_NOT_TOLD: Final = frozenset({"unknown", "media_placeholder", *content.READERS})
"""Types that are kept as unknown and need no naming: Meta itself does not tell them, or what is wrong with them was named."""
_NUMBER_CHANGES: Final = frozenset({"user_changed_number", "customer_changed_number"})
_ID_CHANGES: Final = frozenset({"user_changed_user_id", *_NUMBER_CHANGES})


def read_entry(found: Harvest, path: str, entry: Mapping[str, Any]) -> None:
    """Read every change of one entry."""
    for change_path, change in found.walk(entry, "changes", path):
        _Change(found, change_path, entry, change).read()


class _Change:
    """One change of one entry, about one number or one account."""

    def __init__(self, found: Harvest, path: str, entry: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        self._found, self._path, self._entry = found, path, entry
        self._field = text(change.get("field"))[:60]
        self._value = mapping(change.get("value"))
        metadata = mapping(self._value.get("metadata"))
        self._connections = found.owners.of_account(found.object, name(metadata.get("phone_number_id")))
        self._business = phone(metadata.get("display_phone_number"))
        self._names: dict[str, str] = {}

    def read(self) -> None:
        parts = [(kind, part) for kind in READERS for part in self._found.walk(self._value, kind, self._path)]
        if not parts:
            if READERS.keys().isdisjoint(self._value):
                self._read_notice()
            return
        if not self._connections:
            self._found.name_problem(
                "unknown_number", self._path, "value: no connection has this phone number id", len(parts)
            )
            return
        for _, (_, part) in parts:
            self._found.note_heard(self._connections, part.get("timestamp"), self._entry.get("time"))
        for index, contact in enumerate(objects(self._value.get("contacts"))):
            self._found.attempt(f"{self._path}contacts[{index}].", self._contact, contact)
        for kind, (path, part) in parts:
            reader = READERS[kind]
            self._found.attempt(path, lambda one, reader=reader: reader(self, one), part)  # type: ignore[misc]  # the default binds the reader

    def _read_notice(self) -> None:
        """Keep news of the account; name a field that we do not know."""
        if self._field not in NOTICES:
            self._found.name_problem("other_change", self._path, f"field {word(self._field)}: not one that we read")
            return
        account_id, at = name(self._entry.get("id")), instant(self._entry.get("time"), self._found.received_at)
        owners = self._found.owners.of_business_account(account_id)
        if owners is None:
            self._found.name_problem(
                "foreign_account", self._path, "id: not the account of the number whose door this is"
            )
            return
        value = clean(self._value)
        told_at = whole(self._entry.get("time"))
        self._found.counts["account_event"] += 1
        self._found.notices.append(
            AccountEvent(
                account_id=account_id,
                kind=self._field,
                value=value,
                at=at,
                name=digest([account_id, self._field, told_at, value, *owners]),
                connection_ids=tuple(owners),
            )
        )

    def _contact(self, contact: Mapping[str, Any]) -> None:
        """Note who somebody is: his ids belong together, and his name goes with each of them."""
        profile = mapping(contact.get("profile"))
        called, user_id, number = (
            text(profile.get("name"))[:400],
            name(contact.get("user_id")),
            name(contact.get("wa_id")),
        )
        if not (user_id or number):
            return
        self._names |= {who: called for who in (user_id, number) if who and called}
        username = text(profile.get("username") or contact.get("username"))[:200]
        self._seen(user_id, number, called, username, self._found.received_at)

    def _seen(self, user_id: str, number: str, called: str, username: str, at: datetime) -> None:
        digits = phone(number)
        who = canonical(user_id) or digits or number
        for connection_id in self._connections:
            self._found.contacts.append(
                Contact(connection_id=connection_id, user_id=who, phone=digits, name=called, username=username, at=at)
            )

    def _status(self, status: Mapping[str, Any]) -> None:
        if status.get("type") == content.CALL:
            self._call({**status, "event": status.get("status")})
            return
        word, receipts = statuses.receipts(status, self._connections, self._found.received_at)
        self._found.counts[f"status_{word}"] += 1
        self._found.receipts += receipts
        if (
            word == "failed"
            and self._found.received_at - instant(status.get("timestamp"), self._found.received_at) < _LATE
        ):
            self._pause(objects(status.get("errors"))[:1])

    def _pause(self, reported: Sequence[Mapping[str, Any]]) -> None:
        for error in reported:
            code = error.get("code")
            if (
                isinstance(code, int)
                and not isinstance(code, bool)
                and (rule := errors.rule_of(code)).kind is Kind.PAUSE
            ):
                self._found.pauses |= dict.fromkeys(self._connections, Pause(f"{code}: {rule.meaning}", rule.pause_s))

    def _message(self, message: Mapping[str, Any]) -> None:
        number, user_id = name(message.get("from")), name(message.get("from_user_id"))
        sender = number or user_id
        if not sender:
            raise Unreadable("from, from_user_id: neither is there")
        from_me = self._field == _HISTORY and self._is_business(number)
        chat = name(message.get("group_id")) or (
            name(message.get("to")) or name(message.get("to_user_id")) if from_me else sender
        )
        if not chat:
            raise Unreadable("to: missing")
        # whoever says that he has another number is not seen under the old one
        if not from_me and message.get("type") != content.SYSTEM:
            self._seen(
                user_id, number, self._names.get(number) or self._names.get(user_id) or "", "", self._instant(message)
            )
        self._keep(message, sender=sender, chat=chat, from_me=from_me)

    def _echo(self, message: Mapping[str, Any]) -> None:
        """Keep what a human wrote in the business app: ours, and no customer's message."""
        chat = name(message.get("group_id")) or name(message.get("to")) or name(message.get("to_user_id"))
        if not chat:
            raise Unreadable("to: missing")
        self._keep(message, sender=name(message.get("from")), chat=chat, from_me=True)

    def _is_business(self, number: str) -> bool:
        return bool(self._business) and phone(number) == self._business

    def _keep(self, message: Mapping[str, Any], *, sender: str, chat: str, from_me: bool) -> None:
        at, provider_id = self._instant(message), identifier(message, "id")
        try:
            told = content.told(message)
        except Unreadable as problem:
            # it is somebody's message all the same: kept as far as it can be read, and named
            self._found.name_problem("unreadable", self._path, str(problem))
            told = content.unknown(message, text(message.get("type")))
        if told.type == content.UNKNOWN and told.content.get("type") not in _NOT_TOLD:
            self._found.name_problem(
                "unknown_type", self._path, f"type {word(told.content.get('type'))}: not one that we read"
            )
        if told.type == content.SYSTEM:
            self._changed(mapping(message.get("system")), sender, at)
        is_history = self._field == _HISTORY
        context = _context(message)
        self._found.counts[
            "echo" if from_me else "history" if is_history else "message_text" if told.type == TEXT else "message_other"
        ] += 1
        self._put(
            content.Told(told.type, told.content | _quoted(told, context), told.file),
            provider_id=provider_id,
            chat=chat,
            at=at,
            sender=sender,
            from_me=from_me,
            may_trigger=not (from_me or is_history),
            context=context | ({"history": True} if is_history else {}),
        )

    def _put(
        self,
        told: content.Told,
        *,
        provider_id: str,
        chat: str,
        at: datetime,
        sender: str = "",
        from_me: bool = False,
        may_trigger: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        for connection_id in self._connections:
            self._found.messages.append(
                InboundMessage(
                    connection_id=connection_id,
                    provider_id=provider_id,
                    chat_id=canonical(chat),
                    sender=canonical(sender) if sender else "",
                    sender_name=self._names.get(sender, ""),
                    from_me=from_me,
                    type=told.type,
                    content=told.content,
                    context=context or {},
                    at=at,
                    may_trigger=may_trigger,
                )
            )
            if told.file:
                self._found.media.append(MediaSource(connection_id=connection_id, provider_id=provider_id, **told.file))

    def _changed(self, system: Mapping[str, Any], sender: str, at: datetime) -> None:
        """Note that somebody has another number or another id."""
        if text(system.get("type")) not in _ID_CHANGES:
            return
        number = name(system.get("wa_id")) or name(system.get("new_wa_id"))
        user_id = name(system.get("user_id")) or name(system.get("new_user_id"))
        self._move(sender, user_id, number, at)

    def _move(self, former: str, user_id: str, number: str, at: datetime) -> None:
        digits = phone(number)
        if not former or not (user_id or digits):
            return
        for connection_id in self._connections:
            self._found.moves.append(
                ContactMove(
                    connection_id=connection_id,
                    former=canonical(former),
                    user_id=canonical(user_id) if user_id else "",
                    phone=digits,
                    at=at,
                )
            )

    def _error(self, error: Mapping[str, Any]) -> None:
        """Count a trouble that Meta reports about the number itself; its words stay in the journal."""
        self._found.counts["error"] += 1
        self._pause([error])

    def _group(self, group: Mapping[str, Any]) -> None:
        """Keep what happened to a group as a line in its chat."""
        chat = name(group.get("group_id"))
        if not chat:
            raise Unreadable("group_id: missing")
        rest = {key: value for key, value in clean(group).items() if key not in ("type", "timestamp", "group_id")}
        told = content.Told(
            content.SYSTEM, rest | {"kind": text(group.get("type"))[:60], "body": text(group.get("subject"))}
        )
        self._found.counts["group"] += 1
        self._put(told, chat=chat, provider_id=digest([self._field, group]), at=self._instant(group))

    def _call(self, call: Mapping[str, Any]) -> None:
        """Keep one step of a call: the same call is told about several times."""
        call_id, step = identifier(call, "id"), text(call.get("event"))[:60].lower()
        is_ours = (
            text(call.get("direction")).upper() == "BUSINESS_INITIATED"
            or "recipient_id" in call
            or self._is_business(name(call.get("from")))
        )
        other = (
            name(call.get("recipient_id")) or name(call.get("to"))
            if is_ours
            else name(call.get("from")) or name(call.get("from_user_id"))
        )
        if not other:
            raise Unreadable("from, to: nobody is named")
        fields = {key: clean(call[key]) for key in _CALL_FIELDS if key in call}
        told = content.Told(content.CALL, fields | {"kind": step, "call_id": call_id})
        provider_id = f"{call_id}:{step}" if len(call_id) + len(step) < 200 else digest([call_id, step])
        self._found.counts["call"] += 1
        self._put(
            told,
            provider_id=provider_id,
            chat=other,
            at=self._instant(call),
            sender="" if is_ours else other,
            from_me=is_ours,
            may_trigger=not is_ours,
        )

    def _history(self, chunk: Mapping[str, Any]) -> None:
        """Read a piece of what was said before the number came to us."""
        for error_path, _ in self._found.walk(chunk, "errors", self._path):
            self._found.counts["history_refused"] += 1
            self._found.problems.append(f"{error_path}history is not shared")
        for thread_path, thread in self._found.walk(chunk, "threads", self._path):
            customer = (
                name(thread.get("id"))
                or name(mapping(thread.get("context")).get("wa_id"))
                or name(mapping(thread.get("context")).get("user_id"))
            )
            for path, message in self._found.walk(thread, "messages", thread_path):
                self._found.attempt(path, lambda one, customer=customer: self._past(one, customer), message)  # type: ignore[misc]  # the default binds it

    def _past(self, message: Mapping[str, Any], customer: str) -> None:
        sender = name(message.get("from")) or name(message.get("from_user_id"))
        was = mapping(message.get("history_context"))
        from_me = (
            was.get("from_me") is True
            or self._is_business(sender)
            or (bool(customer) and bool(sender) and canonical(sender) != canonical(customer))
        )
        chat = customer or (name(message.get("to")) if from_me else sender)
        if not chat:
            raise Unreadable("from, to: nobody is named")
        self._keep(message, sender=sender, chat=chat, from_me=from_me)

    def _synchronised(self, item: Mapping[str, Any]) -> None:
        """Take over a name from the business app's address book; one that is removed there stays known here."""
        contact = mapping(item.get("contact"))
        number, user_id = name(contact.get("phone_number")), name(contact.get("user_id"))
        self._found.counts["address_book"] += 1
        if not (number or user_id):
            raise Unreadable("contact: neither phone_number nor user_id")
        if text(item.get("action")) != "remove":
            called = text(contact.get("full_name"))[:400] or text(contact.get("first_name"))[:400]
            at = instant(mapping(item.get("metadata")).get("timestamp"), self._found.received_at)
            self._seen(user_id, number, called, text(contact.get("username"))[:200], at)

    def _preference(self, preference: Mapping[str, Any]) -> None:
        """Note that somebody wants marketing messages no more, or again."""
        who = name(preference.get("user_id")) or name(preference.get("wa_id"))
        word = text(preference.get("value"))
        if not who or word not in ("stop", "resume"):
            raise Unreadable("value: neither stop nor resume" if who else "wa_id, user_id: neither is there")
        self._found.counts["preference"] += 1
        self._found.choices += [
            MarketingChoice(
                connection_id=connection_id,
                user_id=canonical(who),
                wanted=word == "resume",
                at=self._instant(preference),
            )
            for connection_id in self._connections
        ]

    def _user_id(self, update: Mapping[str, Any]) -> None:
        """Note that somebody's business-scoped id is another one now. The shape is not settled: both ids are looked for wherever they may stand."""
        ids = update.get("user_id")
        pair = ids if isinstance(ids, dict) else update
        former = _first(pair, ("previous", "previous_user_id", "old", "old_user_id", "former_user_id"))
        current = _first(pair, ("current", "current_user_id", "new", "new_user_id")) or name(ids)
        if not (former and current):
            raise Unreadable("user_id: previous or current is missing")
        self._found.counts["user_id"] += 1
        self._move(former, current, name(update.get("wa_id")), self._instant(update))

    def _instant(self, part: Mapping[str, Any]) -> datetime:
        """Return the event's own instant; without one that can be read, when it came."""
        return instant(part.get("timestamp"), self._found.received_at)


def _first(part: Mapping[str, Any], keys: Sequence[str]) -> str:
    return next((found for key in keys if (found := name(part.get(key)))), "")


def _quoted(told: content.Told, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message replies to; a reaction, an edit and a revoke have a target instead."""
    return {} if "target" in told.content else present(quoted=name(context.get("id")))


def _context(message: Mapping[str, Any]) -> dict[str, Any]:
    beside = {key: clean(message[key]) for key in PARENT_FIELDS if key in message}
    status = text(mapping(message.get("history_context")).get("status"))
    return mapping(clean(message.get("context"))) | beside | present(status=status.lower())


READERS: Final[Mapping[str, Callable[[_Change, Mapping[str, Any]], None]]] = {
    "statuses": _Change._status,
    "messages": _Change._message,
    "message_echoes": _Change._echo,
    "errors": _Change._error,
    "groups": _Change._group,
    "calls": _Change._call,
    "history": _Change._history,
    "state_sync": _Change._synchronised,
    "user_preferences": _Change._preference,
    "user_id_update": _Change._user_id,
}
"""What reads each list of a change's value, by its name."""
