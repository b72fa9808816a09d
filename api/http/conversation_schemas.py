"""JSON schemas of conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import (
    AT,
    AT_OR_NULL,
    COUNT,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    array,
    choice,
    closed_object,
    ref,
)
from shared.conversations.states import ConversationState

_COUNT_OR_NULL: Final = {"type": ["integer", "null"], "minimum": 0}
_CONVERSATION: Final[Mapping[str, Schema]] = {
    "id": TEXT,
    "chatId": {**TEXT, "description": "One of the ids of its person."},
    "aliases": {**array(TEXT), "description": "Every id of the chat, this one included."},
    "contact": {"anyOf": [ref("ChatContact"), {"type": "null"}], "description": "Null: nothing is known."},
    "phoneIndex": {**_COUNT_OR_NULL, "description": "Of its connection."},
    "connectionType": TEXT_OR_NULL,
    "state": {
        **choice("ConversationState", *ConversationState),
        "description": "Who answers: the assistant (`bot`), no one yet (`waiting`), a human, or no one any more.",
    },
    "reason": {**TEXT_OR_NULL, "description": "Why it has the state (docs/conversations.md)."},
    "stateAt": {**AT, "description": "Since when it has the state."},
    "waitingS": {**NUMBER_OR_NULL, "description": "For how many seconds the customer waits; null: it does not."},
    "assignee": {**TEXT_OR_NULL, "description": "Who looks after it."},
    "humanUntil": {**AT_OR_NULL, "description": "When it goes back if no human writes until then."},
    "lastInboundAt": {**AT_OR_NULL, "description": "When the customer wrote last, by the provider's clock."},
    "version": {**COUNT, "description": "Counts its changes."},
    "formerIds": {**array(TEXT), "description": "Conversations of the same person that were merged into it."},
    "createdAt": AT,
    "updatedAt": AT,
}

CONVERSATION_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Conversation": closed_object(_CONVERSATION),
    "ConversationWithMessages": closed_object(
        {
            **_CONVERSATION,
            "messages": {
                **array(ref("ChatMessage")),
                "description": "The last messages of the chat, over all connections, the newest first.",
            },
        }
    ),
    "Conversations": closed_object(
        {
            "conversations": array(ref("Conversation")),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
}
