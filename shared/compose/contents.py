"""Builds a row's `content` by message type (shapes: `shared.content`): checks the channel's limits, stores files,
looks up targets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from shared import content
from shared.channels.channel import TYPING_OFF
from shared.channels.files import limit_of
from shared.channels.registry import channel_named
from shared.compose.actions import reaction_content, require_message, require_there
from shared.compose.checks import check_caption, check_file, check_text, check_voice
from shared.compose.files import Files
from shared.compose.objects.contacts import spelled_contacts
from shared.compose.objects.interactive import interactive_content
from shared.compose.objects.media import own_files
from shared.compose.objects.templates import template_content
from shared.compose.refusals import require
from shared.compose.types import FILE_SOURCES
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.filenames import cleaned_filename
from shared.media.errors import FetchFailed
from shared.media.kinds import plain
from shared.media.reach import Reach, checked
from shared.store import targets, templates
from shared.store.connections import Connection
from shared.store.media import StoredFile
from shared.store.store import Store
from shared.store.targets import MessageTarget

Fields = dict[str, Any]
Content = dict[str, Any]


class Builder:
    """Makes the content of messages.

    Args:
        files: where files are kept. reach: from where files may be fetched.
    """

    def __init__(self, store: Store, files: Files, reach: Reach) -> None:
        self._store, self._files, self._reach = store, files, reach
        self._builders: Mapping[str, Callable[[str, Connection, str, Fields], Awaitable[Content]]] = {
            content.TEXT: self._text,
            **dict.fromkeys(content.MEDIA, self._file),
            content.LOCATION: self._location,
            content.CONTACTS: self._contacts,
            content.REACTION: self._reaction,
            content.INTERACTIVE: self._interactive,
            content.TEMPLATE: self._template,
            content.READ: self._read,
            content.TYPING: self._typing,
            content.FORWARD: self._forward,
        }

    async def content(self, type_: str, connection: Connection, chat_id: str, fields: Fields) -> Content:
        """Return the content of a message.

        Args:
            fields: the checked body; a file in it is put into storage, and its place in `fields` taken by what it is.
        Raises:
            Refused: the channel cannot do it, or not so.
        """
        # before any file is stored and any row is read
        require(connection.connection_type, type_)
        made = await self._builders[type_](type_, connection, chat_id, fields)
        # tags widen the customer's window, which most channels do not have
        if (tag := fields.get("tag")) is not None:
            if tag not in channel_named(connection.connection_type).tags:
                raise FieldsInvalid(
                    [("/tag", f"is nothing that a connection of type {connection.connection_type} knows")]
                )
            made["tag"] = tag
        quoted = fields.get("quotedMessageId")
        if quoted is not None:
            made["quoted"] = await self._quoted(connection, chat_id, quoted)
        return made

    async def _text(self, _: str, connection: Connection, _chat_id: str, fields: Fields) -> Content:
        check_text(fields["message"], connection.connection_type, content.TEXT)
        # `quoted` is there from the start: older rows have it, and channels read it without asking
        return {"body": fields["message"], "quoted": None, **({"preview": True} if fields["preview"] else {})}

    async def _file(self, type_: str, connection: Connection, _chat_id: str, fields: Fields) -> Content:
        caption = fields.get("caption")
        if caption:
            check_caption(caption, connection.connection_type, type_)
        media = await self._media(type_, connection, fields)
        filename = media.get("filename") or cleaned_filename(fields.get("filename") or "")
        if type_ == content.DOCUMENT and not filename and "link" in media:
            # without a name the receiver sees "Untitled"
            filename = _name_in_address(media["link"])
        return {
            "media": media,
            **({"caption": caption} if caption else {}),
            **({"voice": True} if fields.get("voice") else {}),
            **({"filename": filename} if type_ == content.DOCUMENT and filename else {}),
        }

    async def _media(self, type_: str, connection: Connection, fields: Fields) -> Content:
        given = [name for name in ("file", *FILE_SOURCES) if fields.get(name) is not None]
        # not one of a list of priorities: a client that names two files has a mistake, and either may be the wrong one
        if len(given) != 1:
            raise FieldsInvalid(
                [("", f"must name the file by exactly one of file (in a form), {', '.join(FILE_SOURCES)}")]
            )
        (source,) = given
        if source == "mediaId":
            if not channel_named(connection.connection_type).provider_files:
                raise FieldsInvalid(
                    [("/mediaId", f"is nothing that a connection of type {connection.connection_type} knows")]
                )
            return {"id": fields["mediaId"], **self._declared(fields, connection)}
        if source == "url":
            # not fetched now: the provider fetches it, or the channel at the time of sending; only the address is
            # checked
            return {"link": self._checked_address(fields["url"]), **self._declared(fields, connection)}
        kept = await self._kept(source, type_, connection, fields)
        check_file(kept, source, type_, connection.connection_type, voice=bool(fields.get("voice")))
        filename = cleaned_filename(fields.get("filename") or "") or kept.filename
        return {
            "sha256": kept.sha256,
            "mimetype": kept.mimetype,
            "size": kept.size,
            **({"filename": filename} if filename else {}),
        }

    @staticmethod
    def _declared(fields: Fields, connection: Connection) -> Content:
        """Return what the client declares about a file whose bytes are elsewhere. Raises `Refused` for a voice note
        that is none."""
        mimetype, filename = plain(fields.get("mimetype") or ""), cleaned_filename(fields.get("filename") or "")
        if mimetype and fields.get("voice"):
            check_voice(mimetype, "mimetype", connection.connection_type)
        return {**({"mimetype": mimetype} if mimetype else {}), **({"filename": filename} if filename else {})}

    def _checked_address(self, url: str) -> str:
        try:
            checked(url, self._reach)
        except FetchFailed as error:
            raise FieldsInvalid([("/url", f"cannot be used: {error}")]) from error
        return url

    async def _kept(self, source: str, type_: str, connection: Connection, fields: Fields) -> StoredFile:
        if source == "data":
            most = limit_of(connection.connection_type, type_).bytes
            declared, filename = fields.get("mimetype") or "", fields.get("filename") or ""
            # replaced in the fields: the fingerprint is made of the digest and not of megabytes of base64
            fields["data"] = await self._files.keep_base64(
                connection.company_id, fields["data"], declared=declared, filename=filename, most=most, field="data"
            )
        elif source == "sha256":
            # of this company: a digest that another company knows proves nothing
            found = await self._files.find(connection.company_id, fields["sha256"])
            if found is None:
                raise FieldsInvalid([("/sha256", "is no file of this company")])
            return found
        kept: StoredFile = fields[source]
        return kept

    async def _location(self, _: str, _connection: Connection, _chat_id: str, fields: Fields) -> Content:
        return {name: fields[name] for name in ("latitude", "longitude", "name", "address") if fields[name] is not None}

    async def _contacts(self, _: str, _connection: Connection, _chat_id: str, fields: Fields) -> Content:
        return {"contacts": spelled_contacts(fields["contacts"])}

    async def _interactive(self, _: str, connection: Connection, _chat_id: str, fields: Fields) -> Content:
        return await self._with_files(connection, interactive_content(fields["interactive"]), "/interactive")

    async def _template(self, _: str, connection: Connection, _chat_id: str, fields: Fields) -> Content:
        given = template_content(fields)
        # after the checks of the draft itself, since this is a query
        await self._require_sendable(connection, fields["name"], fields["language"])
        return await self._with_files(connection, given, "")

    async def _require_sendable(self, connection: Connection, name: str, language: str) -> None:
        """Raise `Refused` when it is known that the provider would refuse a template; until its templates were read
        once, nothing is known."""
        found = await self._store.as_company(connection.company_id).call(
            templates.find_template, connection_id=connection.id, world=connection.world, name=name, language=language
        )
        if found.problem:
            status = found.template.status if found.template else None
            raise Refused(
                "template_unusable",
                f"{found.problem[0].upper()}{found.problem[1:]}.",
                template=name,
                templateStatus=status,
            )

    async def _with_files(self, connection: Connection, made: Content, at: str) -> Content:
        """Add to each file of ours within a provider's object what it is. Raises `Refused` for what is no file of the
        company."""
        for place, node in own_files(made, at):
            # each digest within the company: an object of the provider must not be a way to another company's file
            found = await self._files.find(connection.company_id, node["sha256"])
            if found is None:
                raise FieldsInvalid([(f"{place}/sha256", "is no file of this company")])
            node |= {
                "mimetype": found.mimetype,
                **({"filename": found.filename} if found.filename and "filename" not in node else {}),
            }
        return made

    async def _reaction(self, _: str, connection: Connection, chat_id: str, fields: Fields) -> Content:
        return reaction_content(
            await self._target(connection, fields["messageId"], content.REACTION, chat_id), fields["emoji"]
        )

    async def _forward(self, _: str, connection: Connection, _chat_id: str, fields: Fields) -> Content:
        target = await self._target(connection, fields["messageId"], content.FORWARD)
        return {"target": target.provider_id, "target_id": target.id, "source_chat": target.chat_id}

    async def _read(self, _: str, connection: Connection, chat_id: str, fields: Fields) -> Content:
        if fields["messageId"] is None:
            target_id, provider_id = await self._newest(connection, chat_id)
            return {"target": provider_id, "target_id": target_id}
        target = await self._target(connection, fields["messageId"], content.READ, chat_id)
        if target.direction != "in":
            raise Refused(
                "message_not_received",
                "The message did not come in: only what was received can be marked as read.",
                field="messageId",
            )
        return {"target": target.provider_id, "target_id": target.id}

    async def _typing(self, _: str, connection: Connection, chat_id: str, fields: Fields) -> Content:
        if fields["state"] == "off":
            require(connection.connection_type, TYPING_OFF)
            return {"state": "paused", "lasts_s": 0}
        # the Cloud API shows the indicator as a part of marking a message as read
        answers = channel_named(connection.connection_type).typing_answers
        newest = await self._newest(connection, chat_id) if answers else None
        return {
            "state": "composing",
            "lasts_s": fields["lastsSeconds"],
            **({"target": newest[1], "target_id": newest[0]} if newest else {}),
        }

    async def _newest(self, connection: Connection, chat_id: str) -> tuple[int, str]:
        newest = await self._store.as_company(connection.company_id).call(
            targets.newest_received, company_id=connection.company_id, connection_id=connection.id, chat_id=chat_id
        )
        if newest is None:
            raise Refused(
                "message_not_received", "Nothing was received in this chat on this connection.", field="chatId"
            )
        return newest

    async def _target(
        self, connection: Connection, given: str, operation: str, chat_id: str | None = None
    ) -> MessageTarget:
        """Return the message that an operation acts on, in this chat or (None) in any of the connection. Raises
        `Refused` when there is none, or not yet."""
        found = await self._store.as_company(connection.company_id).call(targets.find, connection.company_id, given)
        for target in found:
            # a provider's id may be known on several connections; an operation leaves through one of them
            if target.connection_id == connection.id and (chat_id is None or chat_id in target.chat_ids):
                require_message(target, operation)
                require_there(target)
                return target
        raise Refused("message_unknown", "The connection has no such message here.", field="messageId")

    async def _quoted(self, connection: Connection, chat_id: str, quoted: str) -> str:
        # an id of the provider may be known on several connections: only this one's can be quoted
        found = await self._store.as_company(connection.company_id).call(targets.find, connection.company_id, quoted)
        for target in found:
            is_here = target.connection_id == connection.id and chat_id in target.chat_ids
            if is_here and target.is_there and target.type not in content.LINES:
                return target.provider_id
        raise Refused(
            "quoted_message_unknown",
            "The chat has no sent or received message with this id on this connection.",
            field="quotedMessageId",
        )


def _name_in_address(url: str) -> str:
    """Return the file's name in an address, "" when its path ends in none with an ending."""
    name = cleaned_filename(unquote(urlsplit(url).path).rpartition("/")[2])
    return name if "." in name.strip(".") else ""
