"""The client over aiohttp. The module of the same name that begins with `sync_` is made from this file by
`script/client`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

from bulkhead_client import requests_of
from bulkhead_client.async_contacts import AsyncContacts
from bulkhead_client.async_conversations import AsyncConversations
from bulkhead_client.async_documents import AsyncDocuments
from bulkhead_client.errors import Unreachable
from bulkhead_client.event_stream import EventStreamReader
from bulkhead_client.models import (
    AcceptedMessage,
    Analytics,
    Chat,
    ChatMessage,
    ChatRead,
    Connections,
    Event,
    EventPage,
    Hook,
    HookDelivery,
    HookReplay,
    HookTest,
    Message,
    NewHook,
    StoredFile,
    Template,
)
from bulkhead_client.wire import File, Request, place

_IDLE_S: Final = 45.0
"""Seconds without a byte after which a stream is dead: the server writes a comment every 15."""


class AsyncBulkhead(AsyncContacts, AsyncConversations, AsyncDocuments):
    """An installation, as one key sees it.

    Every message has an idempotency key, of the caller or of its own, so that a request whose answer was lost is sent
    again without a second message.

    Args:
        url: of the API, for example `http://127.0.0.1:3000`. key: an API key. company: the company of every call that
            names none. retries: see `RetryPolicy`. timeout_s: for one answer, beyond a requested wait. session: the
            caller's own session of the HTTP library. transport: in its place, for tests.

    Raises:
        Problem: from every method: the request was refused. Unreachable: there was no answer, after all retries.
    """

    # messages

    async def send(
        self,
        chat: str,
        type: str,
        *,
        company: str | None = None,
        idempotency_key: str | None = None,
        wait_s: int = 0,
        **fields: Any,
    ) -> AcceptedMessage:
        """Send a message of any type.

        Args:
            chat: a phone number, or the channel's own chat id. type: `text`, `image`, …. idempotency_key: the same one
                is one message, however often it is sent. wait_s: answer when the message has left, or after so many
                seconds (60 at most).
            fields: of the body, as docs/api.md lists them: `phoneIndex`, `sendAt`, `quotedMessageId`, ….
        """
        request = requests_of.sending(self._of(company), chat, {"type": type, **fields}, idempotency_key, wait_s)
        return cast("AcceptedMessage", (await self.exchange(request, wait_s)).json())

    async def send_text(self, chat: str, message: str, **options: Any) -> AcceptedMessage:
        """Send a text; `options` are those of `send`."""
        return await self.send(chat, "text", message=message, **options)

    async def send_file(
        self,
        chat: str,
        type: str,
        file: File,
        *,
        company: str | None = None,
        idempotency_key: str | None = None,
        wait_s: int = 0,
        **fields: Any,
    ) -> AcceptedMessage:
        """Send a file of `type` (`image`, `video`, `audio`, `document`, `sticker`) with the message; one that is sent
        often is uploaded once (`upload`), and sent by its `sha256`.
        """
        request = requests_of.sending_file(
            self._of(company), chat, type, file, fields=fields, idempotency_key=idempotency_key, wait_s=wait_s
        )
        return cast("AcceptedMessage", (await self.exchange(request, wait_s)).json())

    async def send_image(
        self, chat: str, source: str | File | StoredFile, caption: str | None = None, **options: Any
    ) -> AcceptedMessage:
        """Send an image. `source`: an address, a file, or what `upload` returned."""
        return await self._send_media(chat, "image", source, caption=caption, **options)

    async def send_video(
        self, chat: str, source: str | File | StoredFile, caption: str | None = None, **options: Any
    ) -> AcceptedMessage:
        """Send a video. `source`: as of an image."""
        return await self._send_media(chat, "video", source, caption=caption, **options)

    async def send_document(
        self, chat: str, source: str | File | StoredFile, caption: str | None = None, **options: Any
    ) -> AcceptedMessage:
        """Send a document. `source`: as of an image."""
        return await self._send_media(chat, "document", source, caption=caption, **options)

    async def send_audio(
        self, chat: str, source: str | File | StoredFile, voice: bool | None = None, **options: Any
    ) -> AcceptedMessage:
        """Send an audio file, or with `voice` a voice note. `source`: as of an image."""
        return await self._send_media(chat, "audio", source, voice=voice, **options)

    async def send_template(
        self,
        chat: str,
        name: str,
        language: str,
        components: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> AcceptedMessage:
        """Send a template; `components`: what is filled in, as Meta spells it."""
        return await self.send(chat, "template", name=name, language=language, components=components, **options)

    async def send_location(self, chat: str, latitude: float, longitude: float, **options: Any) -> AcceptedMessage:
        """Send a location, in degrees north and east; `name` and `address` are further fields."""
        return await self.send(chat, "location", latitude=latitude, longitude=longitude, **options)

    async def send_contacts(self, chat: str, contacts: Sequence[Mapping[str, Any]], **options: Any) -> AcceptedMessage:
        """Send contact cards."""
        return await self.send(chat, "contacts", contacts=list(contacts), **options)

    async def send_interactive(self, chat: str, interactive: Mapping[str, Any], **options: Any) -> AcceptedMessage:
        """Send buttons, a list, or another interactive message, as Meta spells it."""
        return await self.send(chat, "interactive", interactive=dict(interactive), **options)

    async def react(self, chat: str, message_id: str, emoji: str, **options: Any) -> AcceptedMessage:
        """React to a message of the chat; an empty emoji takes the reaction back."""
        return await self.send(chat, "reaction", messageId=message_id, emoji=emoji, **options)

    async def mark_read(self, chat: str, message_id: str | None = None, **options: Any) -> AcceptedMessage:
        """Mark what came in as read, up to a message or the newest."""
        return await self.send(chat, "read", messageId=message_id, **options)

    async def show_typing(self, chat: str, *, state: str = "on", **options: Any) -> AcceptedMessage:
        """Show that something is being written."""
        return await self.send(chat, "typing", state=state, **options)

    async def edit(
        self,
        chat: str,
        message_id: str,
        message: str,
        *,
        company: str | None = None,
        idempotency_key: str | None = None,
    ) -> AcceptedMessage:
        """Edit a text that was sent."""
        request = requests_of.editing(self._of(company), chat, message_id, message, idempotency_key)
        return cast("AcceptedMessage", (await self.exchange(request)).json())

    async def delete(
        self,
        chat: str,
        message_id: str,
        *,
        whom: str = "everyone",
        company: str | None = None,
        idempotency_key: str | None = None,
    ) -> Message | AcceptedMessage:
        """Cancel a message that is queued (the answer is the message), or delete one (the answer is the deletion)."""
        request = requests_of.deleting(self._of(company), chat, message_id, whom, idempotency_key)
        return cast("Message | AcceptedMessage", (await self.exchange(request)).json())

    async def message(self, chat: str, message_id: str, *, company: str | None = None) -> Message:
        """Return a message with its history."""
        path = place("messages", self._of(company), chat, message_id)
        return cast("Message", await self.get(path))

    async def messages(self, chat: str, *, company: str | None = None, limit: int = 50) -> AsyncIterator[ChatMessage]:
        """Give the messages of a chat, newest first, reading further pages as they are needed. `limit`: of a page."""
        path = place("messages", self._of(company), chat)
        async for entry in self.pages(path, "messages", limit=limit):
            yield cast("ChatMessage", entry)

    # chats

    async def chats(
        self, *, q: str | None = None, phone_index: int | None = None, company: str | None = None
    ) -> AsyncIterator[Chat]:
        """Give the chats of a company, the one that was written in last first. `q`: a name, a number, or words."""
        path = place("chats", self._of(company))
        async for entry in self.pages(path, "chats", q=q, phoneIndex=phone_index):
            yield cast("Chat", entry)

    async def mark_chat_read(self, chat: str, *, company: str | None = None) -> ChatRead:
        """Mark a chat as read for the company's own people; customers are shown nothing (see `mark_read`)."""
        return cast("ChatRead", await self.call("POST", place("chats", self._of(company), chat, "read")))

    async def search(self, *, company: str | None = None, **filters: Any) -> AsyncIterator[ChatMessage]:
        """Give messages of all chats, newest first. `filters`: `q`, `direction`, `chatId`, `type`, `status`, `since`,
        `until`, ….
        """
        async for entry in self.pages(place("messages", self._of(company)), "messages", **filters):
            yield cast("ChatMessage", entry)

    async def analytics(self, *, company: str | None = None, **filters: Any) -> Analytics:
        """Return figures by day. `filters`: `since`, `until` (days), `by`, `connectionType`, `type`, `phoneIndex`."""
        return cast("Analytics", await self.get(place("analytics", self._of(company)), **filters))

    # files

    async def upload(self, file: File, *, company: str | None = None) -> StoredFile:
        """Upload a file; messages refer to it by `sha256`."""
        request = requests_of.uploading(self._of(company), file)
        return cast("StoredFile", (await self.exchange(request)).json())

    async def download(self, sha256: str, *, company: str | None = None) -> bytes:
        """Return the content of a file that was sent, received or uploaded."""
        answer = await self.exchange(Request(method="GET", path=place("media", self._of(company), sha256)))
        answer.require_success()
        return answer.body

    # events

    async def event_page(
        self,
        after: str | None = None,
        *,
        types: Sequence[str] = (),
        limit: int = 100,
        wait_s: int = 0,
        company: str | None = None,
    ) -> EventPage:
        """Return a page of events, oldest first.

        Args:
            after: `next` of the page before, or `latest`; None: from the oldest that is kept. types: `message.*`, ….
            wait_s: where there is nothing yet, wait so long for something to happen (60 at most).
        """
        request = requests_of.events(self._of(company), after, types, limit=limit, wait_s=wait_s)
        return cast("EventPage", (await self.exchange(request, wait_s)).json())

    async def events(
        self, after: str | None = None, *, types: Sequence[str] = (), company: str | None = None
    ) -> AsyncIterator[Event]:
        """Give the events up to now, oldest first."""
        while True:
            page = await self.event_page(after, types=types, limit=500, company=company)
            for event in page["events"]:
                yield event
            # a page may be empty and not the last: types are filtered after it is read
            if page["next"] == after:
                return
            after = page["next"]

    async def follow(
        self, after: str | None = "latest", *, types: Sequence[str] = (), company: str | None = None
    ) -> AsyncIterator[Event]:
        """Give events as they happen, without end; a stream that breaks is opened again where it broke.

        Raises:
            Problem: the stream is refused, for example `events_expired`. Unreachable: as often in a row as
                `RetryPolicy.attempts`.
        """
        if after == "latest":
            # a position of our own: nothing is missed when the stream breaks before its first event
            after = (await self.event_page("latest", limit=1, company=company))["next"]
        reader, failures = EventStreamReader(after), 0
        while True:
            reader.begin()
            request = requests_of.event_stream(self._of(company), reader.last_id, types)
            try:
                async for line in self._transport.lines(request, _IDLE_S):
                    event = reader.feed(line)
                    if event is not None:
                        failures = 0
                        yield event
            except Unreachable:
                failures += 1
                if failures >= self._retries.attempts:
                    raise
            await self._transport.sleep(reader.retry_s)

    # webhooks

    async def hooks(self, *, company: str | None = None) -> list[Hook]:
        """Return all webhooks of a company."""
        found = await self.get(place("hooks", self._of(company)))
        return cast("list[Hook]", found["hooks"])

    async def add_hook(
        self,
        url: str,
        types: Sequence[str] = (),
        *,
        phone_indexes: Sequence[int] = (),
        headers: Mapping[str, str] | None = None,
        company: str | None = None,
    ) -> NewHook:
        """Add a webhook; the answer has its `secret`, this once. No types: all; no indexes: all connections."""
        body = {"url": url, "types": list(types), "phoneIndexes": list(phone_indexes), "headers": headers}
        path = place("hooks", self._of(company))
        return cast("NewHook", await self.call("POST", path, body))

    async def change_hook(self, hook_id: str, *, company: str | None = None, **changes: Any) -> Hook:
        """Change `url`, `types`, `phoneIndexes`, `headers` or `state` of a webhook."""
        path = place("hooks", self._of(company), hook_id)
        return cast("Hook", await self.call("PATCH", path, changes))

    async def remove_hook(self, hook_id: str, *, company: str | None = None) -> Hook:
        """Remove a webhook."""
        path = place("hooks", self._of(company), hook_id)
        return cast("Hook", await self.call("DELETE", path))

    async def rotate_hook_secret(self, hook_id: str, *, company: str | None = None) -> NewHook:
        """Give a webhook a new secret; for a day the one before also signs."""
        path = place("hooks", self._of(company), hook_id, "rotate")
        return cast("NewHook", await self.call("POST", path))

    async def test_hook(self, hook_id: str, *, company: str | None = None) -> HookTest:
        """Let a test event be delivered."""
        path = place("hooks", self._of(company), hook_id, "test")
        return cast("HookTest", await self.call("POST", path))

    async def replay_hook(self, hook_id: str, *, company: str | None = None, **what: Any) -> HookReplay:
        """Deliver again: one of `since` (an instant), `eventIds` and `deadLetters=True`."""
        path = place("hooks", self._of(company), hook_id, "replay")
        return cast("HookReplay", await self.call("POST", path, what))

    async def hook_deliveries(
        self, hook_id: str, *, outcome: str | None = None, company: str | None = None
    ) -> AsyncIterator[HookDelivery]:
        """Give the attempts of deliveries, newest first. `outcome`: only `taken`, `failed` or `dead` ones."""
        path = place("hooks", self._of(company), hook_id, "deliveries")
        async for entry in self.pages(path, "deliveries", outcome=outcome):
            yield cast("HookDelivery", entry)

    # connections

    async def connections(self, *, company: str | None = None) -> Connections:
        """Return a company's connections, with state and capabilities."""
        return cast("Connections", await self.get(place("connections", self._of(company))))

    async def templates(
        self, phone_index: int = 0, *, status: str | None = None, company: str | None = None
    ) -> AsyncIterator[Template]:
        """Give the known templates of a connection."""
        path = place("templates", self._of(company), phone_index)
        async for entry in self.pages(path, "templates", status=status):
            yield cast("Template", entry)

    async def _send_media(
        self, chat: str, type_: str, source: str | File | StoredFile, **options: Any
    ) -> AcceptedMessage:
        if isinstance(source, File):
            return await self.send_file(chat, type_, source, **options)
        where: dict[str, Any] = {"url": source} if isinstance(source, str) else {"sha256": source["sha256"]}
        return await self.send(chat, type_, **where, **options)
