"""Names of events, as data: `<subject>.<what happened>`, past tense or the state that was reached.

The subject names what the event is about and where it is kept (`message` apart from the rest, because it is kept for
another time). A new event is a row here, and a column list in the statement that makes it happen: events are written by
the statement that changes the thing, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SUBJECTS: Final[Mapping[str, str]] = {
    "message": "A message; of an outbound one `state` is its state after the event, and `data` the provider's own "
    "status if it caused the event.",
    "session": "A browser session of a connection.",
    "connection": "A connection: what an operator, a provider or a policy did to it.",
    "template": "A template of a connection; `state` is the provider's word for it, `data` its name and language.",
    "account": "A provider's account, named by `data.accountId`; the rest of the type is the provider's own name.",
    "contact": "A customer, by `data.aliases`: the ids that the event is about.",
    "conversation": "A conversation, `data.conversationId`; `state` is its state after the event, `code` the reason of "
    "that.",
    "human_handoff": "As `conversation`; apart, since other systems wait for this one.",
    "audit": "A key changed something; the rest of the type is what (docs/keys.md), `data` which key did it, from "
    "where, and what was so before and after.",
    "document": "A document of a company, by `data.documentId` and `data.title`; `state` is its state.",
    "hook": "A subscriber of webhooks, `data.hookId`.",
    "alert": "An alert of the table `shared.alert_rules`: `code` is its name, `detail` its sentence, `data` what it is "
    "about.",
    "process": "A slot, or the orchestrator itself; `data` has its journal's `boot`, `seq` and `detail`.",
}
"""First parts of types."""

EVENT_TYPES: Final[Mapping[str, str]] = {
    "message.queued": "Accepted; or to be sent again, with the reason as `code` (a retry's code, `redriven`, "
    "`process_died`, …).",
    "message.sending": "Claimed by a process, which is about to send it.",
    "message.received": "It came in.",
    "message.echoed": "It was written on the company's own phone, or in the provider's app.",
    "message.in_doubt": "It may have been sent: the answer was lost.",
    "message.held": "It may have been sent, and is left to a human, with the reason as `code`.",
    "message.sent": "The provider took it.",
    "message.delivered": "The provider says that it arrived.",
    "message.read": "The provider says that it was read or played.",
    "message.failed": "It is not tried again without a human; `code` is the reason.",
    "message.deleted": "Cancelled while queued, or deleted for everyone, by whichever side wrote it.",
    "message.edited": "Another message edited it; an edit is no event of its own.",
    "message.deleted_for_me": "Another message deleted it on our side only.",
    "session.wanted": "An operator set what the session should be; `detail` is the state.",
    "connection.created": "It was added.",
    "connection.updated": "An operator changed its account, credentials or options.",
    "connection.paused": "Its queue is held; `detail` is the reason.",
    "connection.resumed": "It sends again.",
    "connection.removed": "It was ended; its secrets are gone.",
    "contact.contradicted": "The provider named two ids as one person that cannot be, such as a user id with a second "
    "number. `code`: `moved` (the id belongs to the new number's chat from now on) or `refused` (nothing was changed). "
    "No chats were joined.",
    "contact.created": "A person wrote for the first time, was written to, or was imported.",
    "contact.updated": "Its name, tags or custom fields were changed; `data.changed` says which.",
    "contact.merged": "`data.otherContactId` is the same person from now on. `code`: `by_hand`, or `provider`: the "
    "provider named two ids as one person.",
    "contact.split": "`data.otherContactId` is another person from now on.",
    "conversation.created": "It began.",
    "conversation.updated": "Its state or its assignee was changed, or another one was merged into it.",
    "human_handoff.requested": "Its customer waits for a human.",
    "document.uploaded": "Its original is stored; it waits to be indexed.",
    "document.indexed": "It is searched from now on; with the state `no_text` there is nothing to search.",
    "document.failed": "It is not tried again; `code` and `detail` say why, and what to do.",
    "hook.disabled": "It gets nothing more; `detail` is the reason: `gone`, `failing`.",
    "hook.test": "An operator asked for a test.",
    "alert.fired": "Its condition has held for as long as the rule asks.",
    "alert.ended": "Its condition has been gone for as long as the rule asks.",
    "template.updated": "The provider reported another status, quality or category.",
}
"""Types with one meaning in every kind. Those of sessions and processes are listed where they arise (`webdriver`,
`shared.process.journal`), those of the audit follow from the API's operations.
"""


def subject(event_type: str) -> str:
    """Return the first part of a type. Raises `ValueError` when it is not one of `SUBJECTS`."""
    first, dot, rest = event_type.partition(".")
    # The subject chooses the partition: a wrong one would be kept for the wrong time.
    if first not in SUBJECTS or not dot or not rest:
        raise ValueError(f"{event_type!r} is no type of an event")
    return first
