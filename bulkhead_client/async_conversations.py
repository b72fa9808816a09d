"""Conversations: who answers in a chat, the assistant or a human."""

# script/client makes the module sync_… of the same name of this file
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from bulkhead_client import requests_of
from bulkhead_client.async_core import AsyncCore
from bulkhead_client.models import AcceptedMessage, Conversation, ConversationWithMessages
from bulkhead_client.wire import place


class AsyncConversations(AsyncCore):
    """The calls about conversations; see `AsyncBulkhead`."""

    async def conversations(
        self,
        *,
        state: str | None = None,
        chat: str | None = None,
        assignee: str | None = None,
        phone_index: int | None = None,
        company: str | None = None,
    ) -> AsyncIterator[Conversation]:
        """Give conversations: the last changed first, but those that are `waiting` by how long they wait.

        Args:
            state: `bot`, `waiting`, `human` or `closed`. chat: any id of its person. assignee: who looks after it.
        """
        filters = {"state": state, "chatId": chat, "assignee": assignee, "phoneIndex": phone_index}
        async for entry in self.pages(place("conversations", self._of(company)), "conversations", **filters):
            yield cast("Conversation", entry)

    async def conversation(self, conversation: str, *, company: str | None = None) -> ConversationWithMessages:
        """Return one conversation with its last messages."""
        path = place("conversations", self._of(company), conversation)
        return cast("ConversationWithMessages", await self.get(path))

    async def reply_in_conversation(
        self,
        conversation: str,
        message: str,
        *,
        company: str | None = None,
        idempotency_key: str | None = None,
        wait_s: int = 0,
        **fields: Any,
    ) -> AcceptedMessage:
        """Reply with a text as a human: the assistant is silent from now on. Arguments as of `send`."""
        body = {"message": message, **fields}
        request = requests_of.replying(self._of(company), conversation, body, idempotency_key, wait_s)
        return cast("AcceptedMessage", (await self.exchange(request, wait_s)).json())

    async def assign_conversation(
        self, conversation: str, assignee: str | None, *, company: str | None = None
    ) -> Conversation:
        """Say who looks after a conversation; None: no one, and the customer waits again."""
        request = requests_of.assigning(self._of(company), conversation, assignee)
        return cast("Conversation", (await self.exchange(request)).json())

    async def hand_back_conversation(self, conversation: str, *, company: str | None = None) -> Conversation:
        """Give a conversation back to the assistant."""
        path = place("conversations", self._of(company), conversation, "handback")
        return cast("Conversation", await self.call("POST", path))

    async def close_conversation(self, conversation: str, *, company: str | None = None) -> Conversation:
        """Close a conversation; the customer's next message opens it again."""
        path = place("conversations", self._of(company), conversation, "close")
        return cast("Conversation", await self.call("POST", path))
