"""The shape of a connection type's row. Data only: no row holds a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.channels.chat_ids import ChatId, ChatIdForm, ChatInvalid, read
from shared.fields import Field

Pacing = Literal["none", "meta_number", "page", "browser_session"]
"""Names of the pacing policies of `shared.channels.pacing`."""
Account = Literal["none", "optional", "required"]

TYPING_OFF: Final = "typing_off"
"""Operation that ends a typing indicator; every other operation is named like its message type."""


@dataclass(frozen=True, slots=True)
class FileLimit:
    """Which files a channel accepts as one message type.

    Attributes:
        bytes: size limit of one file. mimetypes: accepted types; one that ends in `/` stands for its whole family,
            none at all for any type.
        but_not: types that are refused although `mimetypes` would accept them.
        bytes_of: lower limits, by type. bytes_of_still: lower ones still, by type, for pictures that do not move.
        sent_as: type that the provider is given in place of the file's own, by type or family.
    """

    bytes: int
    mimetypes: tuple[str, ...] = ()
    but_not: tuple[str, ...] = ()
    bytes_of: Mapping[str, int] = field(default_factory=dict, hash=False)
    bytes_of_still: Mapping[str, int] = field(default_factory=dict, hash=False)
    sent_as: Mapping[str, str] = field(default_factory=dict, hash=False)

    def takes(self, mimetype: str) -> bool:
        """Return whether files of this type are accepted."""
        return mimetype not in self.but_not and (
            not self.mimetypes
            or any(mimetype == one or (one.endswith("/") and mimetype.startswith(one)) for one in self.mimetypes)
        )

    def most(self, mimetype: str, *, is_animated: bool | None) -> int:
        """Return the most bytes of a file of this type. `is_animated`: None when it is not known; the higher limit
        holds then."""
        usual = self.bytes_of.get(mimetype, self.bytes)
        return self.bytes_of_still.get(mimetype, usual) if is_animated is False else usual

    def provider_type(self, mimetype: str) -> str:
        """Return the type under which the provider is given a file."""
        # an exact type wins over its family
        family = mimetype.partition("/")[0] + "/"
        return self.sent_as.get(mimetype) or self.sent_as.get(family) or mimetype


@dataclass(frozen=True, slots=True)
class CustomerWindow:
    """How long after the customer's last message a company may write.

    Attributes:
        length_s: of the usual window. tagged_s: of the window for messages with a tag, by tag.
    """

    length_s: float
    tagged_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demo:
    """The connection of this type that the sandbox serves in the first company.

    Attributes:
        account_id, waba_id: the sandbox's own. credentials: setting that holds each credential, by the credential's
            stored name.
    """

    phone_index: int
    account_id: str = ""
    waba_id: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionType:
    """One connection type.

    Attributes:
        name: the connection type. kind: process kind that serves it. address: setting with the address of the
            provider that it sends to.
        reaches: forms of chat id that can be written to. answers: forms that can be written to once a message came
            from there, since their spelling alone does not show that such a chat exists.
        groups: forms of `answers` that are groups. in_groups: operations that can be done in one.
        operations: supported operations, each with its limits (`characters`, `bytes`, `captionCharacters`, `contacts`,
            `seconds`).
        files: accepted files by message type; a type that is not listed is not accepted. voice: mimetype of a voice
            note, empty: that of any audio.
        provider_files: whether a file can be named by the provider's id. tags: message tags, each of which widens
            `window`.
        typing_answers: whether a typing indicator names the message that is being answered.
        credentials: API names of the credentials; a connection cannot send without the first one. account: the
            provider's account id.
        has_waba: whether it belongs to a WhatsApp Business Account. options: further settings of one connection.
        session: a browser session that is linked by scanning a code. templates: whether it has message templates.
        provider_tasks: operations that ask the provider about the connection (`test`, `register`, `deregister`,
            `webhook`, `profile`).
        webhook_object: `object` of the webhooks that concern it, empty: none. pacing: policy for its rate. window:
            None: messages are always allowed.
    """

    name: str
    kind: str
    address: str = "graph_base_url"
    reaches: frozenset[ChatIdForm]
    answers: frozenset[ChatIdForm] = frozenset()
    groups: frozenset[ChatIdForm] = frozenset()
    in_groups: frozenset[str] = frozenset()
    operations: Mapping[str, Mapping[str, int]]
    files: Mapping[str, FileLimit] = field(default_factory=dict)
    voice: str = ""
    provider_files: bool = False
    tags: tuple[str, ...] = ()
    typing_answers: bool = False
    credentials: tuple[str, ...] = ()
    account: Account = "none"
    has_waba: bool = False
    options: tuple[Field, ...] = ()
    session: bool = False
    templates: bool = False
    provider_tasks: frozenset[str] = frozenset()
    webhook_object: str = ""
    pacing: Pacing = "none"
    window: CustomerWindow | None = None
    demo: Demo | None = None

    def chat(self, chat_id: str, *, known: bool = False) -> ChatId:
        """Return form and canonical id of a chat that this channel can write to.

        Args:
            chat_id: in any spelling. known: whether a message came from there, so that the forms of `answers` count
                too.
        Raises:
            ChatInvalid: the id has no known form, or one that this channel cannot write to.
        """
        # where there are no phone numbers, ten digits are an id like any other
        chat = read(chat_id, numeric_ids=ChatIdForm.PHONE not in self.reaches)
        if chat.form in self.reaches or (known and chat.form in self.answers):
            return chat
        raise ChatInvalid(
            chat.problem or f"a connection of type {self.name} cannot reach a chat of form {chat.form}",
            answerable=chat.id if chat.form in self.answers else "",
        )
