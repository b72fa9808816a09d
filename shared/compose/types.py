"""The types of messages that can be composed, each with its fields as a table, and examples.

The fields of the providers' own objects (contacts, interactive, template) stand in `shared.compose.objects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from shared import content
from shared.compose.objects.contacts import CONTACTS_FIELD
from shared.compose.objects.interactive import INTERACTIVE_FIELD
from shared.compose.objects.templates import TEMPLATE_FIELDS
from shared.fields import Field, FieldsInvalid
from shared.messages import Policy

FILE_SOURCES: Final = ("url", "data", "sha256", "mediaId")
"""Fields of a JSON body that name a file; a form has `file` as well."""
_EMOJI: Final = 40
"""Characters of the longest emoji: families and flags are joined from up to ten or more code points."""

PHONE_INDEX: Final = Field(
    name="phoneIndex", kind=int, purpose="Which of the company's connections sends it.", default=0, high=9999
)
SENDING: Final = (
    PHONE_INDEX,
    Field(
        name="sendAt",
        kind=str,
        purpose="When it shall be sent: ISO 8601 with a time zone, at most 30 days ahead; what is past is now.",
        longest=40,
    ),
    Field(
        name="inDoubtPolicy",
        kind=str,
        purpose="What to do when it may have been sent; wins over the company's.",
        choices=get_args(Policy),
        title="InDoubtPolicy",
    ),
)
# 300 characters: longer than any id of a provider that is known; a bound, and no rule of theirs
QUOTED: Final = Field(
    name="quotedMessageId",
    kind=str,
    purpose="A message of the same chat to reply to: our id or the provider's.",
    shortest=1,
    longest=300,
)
TAG: Final = Field(
    name="tag",
    kind=str,
    purpose="On Messenger and Instagram, a human's answer more than 24 hours after the person wrote.",
    choices=("HUMAN_AGENT",),
    title="MessageTag",
)
_CAPTION: Final = Field(name="caption", kind=str, purpose="Text under it; its limit depends on the channel.")
_FILE: Final = (
    Field(
        name="url",
        kind=str,
        purpose="Address of the file (http or https); the channel fetches it when the message is sent.",
        shortest=1,
        longest=4096,
    ),
    Field(
        name="data",
        kind=str,
        purpose="The file in base64, also as a `data:` URI; for files beyond 16 MB send a form or upload it first.",
        shortest=1,
        documented=(("format", "byte"),),
    ),
    Field(
        name="sha256",
        kind=str,
        purpose="A file that was uploaded or sent before, by its digest.",
        shortest=64,
        longest=64,
    ),
    Field(
        name="mediaId",
        kind=str,
        purpose="The provider's id of a file that was uploaded there; not in browser sessions.",
        shortest=1,
        longest=300,
    ),
    Field(name="mimetype", kind=str, purpose="What the file is; what its first bytes show wins.", longest=255),
    Field(name="filename", kind=str, purpose="Its name, as the receiver sees it; cleaned of paths.", longest=1000),
)


@dataclass(frozen=True, kw_only=True)
class MessageType:
    """One type of message that can be sent to a chat.

    Attributes:
        fields: of its body. examples: bodies that are right.
    """

    name: str
    summary: str
    fields: tuple[Field, ...]
    examples: tuple[Mapping[str, Any], ...]

    @property
    def has_file(self) -> bool:
        """Whether it carries a file, so that its body may be a form."""
        return self.name in content.MEDIA

    def require_file(self) -> None:
        """Raise `FieldsInvalid` unless it carries a file."""
        if not self.has_file:
            raise FieldsInvalid([("/file", f"is not a field of a message of type {self.name}")])


def _target(purpose: str, *, required: bool = True) -> Field:
    return Field(
        name="messageId",
        kind=str,
        purpose=f"{purpose}: our id or the provider's.",
        required=required,
        shortest=1,
        longest=300,
    )


TYPES: Final[Mapping[str, MessageType]] = {
    row.name: row
    for row in (
        MessageType(
            name=content.TEXT,
            summary="Send a text",
            fields=(
                Field(name="message", kind=str, purpose="The text; its limit depends on the channel.", required=True),
                Field(
                    name="preview",
                    kind=bool,
                    purpose="Whether the channel shows a preview of the first address in it.",
                    default=False,
                ),
                TAG,
                QUOTED,
                *SENDING,
            ),
            examples=(
                {"message": "Your parcel is on its way."},
                {"message": "See https://example.com", "preview": True, "phoneIndex": 1},
            ),
        ),
        MessageType(
            name=content.IMAGE,
            summary="Send an image",
            fields=(*_FILE, _CAPTION, TAG, QUOTED, *SENDING),
            examples=(
                {"url": "https://example.com/parcel.jpg", "caption": "It looks like this"},
                {"sha256": "e3b0c442" * 8, "caption": "Once more"},
            ),
        ),
        MessageType(
            name=content.VIDEO,
            summary="Send a video",
            fields=(*_FILE, _CAPTION, TAG, QUOTED, *SENDING),
            examples=({"url": "https://example.com/unpacking.mp4", "caption": "How to open it"},),
        ),
        MessageType(
            name=content.AUDIO,
            summary="Send an audio file or a voice note",
            fields=(
                *_FILE,
                Field(
                    name="voice",
                    kind=bool,
                    purpose="Shown as a voice note; on Meta's channels the file must be Ogg with Opus.",
                    default=False,
                ),
                TAG,
                QUOTED,
                *SENDING,
            ),
            examples=({"url": "https://example.com/greeting.ogg", "voice": True},),
        ),
        MessageType(
            name=content.DOCUMENT,
            summary="Send a document",
            fields=(*_FILE, _CAPTION, TAG, QUOTED, *SENDING),
            examples=({"data": "JVBERi0xLjQK", "filename": "invoice 1001.pdf", "caption": "Your invoice"},),
        ),
        MessageType(
            name=content.STICKER,
            summary="Send a sticker",
            fields=(*_FILE, QUOTED, *SENDING),
            examples=({"url": "https://example.com/thanks.webp"},),
        ),
        MessageType(
            name=content.LOCATION,
            summary="Send a location",
            fields=(
                # the range is that of coordinates: providers show a place beyond it nowhere
                Field(name="latitude", kind=float, purpose="Degrees north.", required=True, low=-90, high=90),
                Field(name="longitude", kind=float, purpose="Degrees east.", required=True, low=-180, high=180),
                Field(name="name", kind=str, purpose="What is there.", longest=1000),
                Field(name="address", kind=str, purpose="Its address.", longest=1000),
                QUOTED,
                *SENDING,
            ),
            examples=(
                {
                    "latitude": 52.5163,
                    "longitude": 13.3777,
                    "name": "Brandenburg Gate",
                    "address": "Pariser Platz, Berlin",
                },
            ),
        ),
        MessageType(
            name=content.CONTACTS,
            summary="Send contacts",
            fields=(CONTACTS_FIELD, QUOTED, *SENDING),
            examples=(
                {"contacts": [{"name": "Ada Lovelace", "phones": ["+1 555 010 0300"]}]},
                {
                    "contacts": [
                        {
                            "name": {"formatted_name": "Ada Lovelace", "first_name": "Ada"},
                            "phones": [{"phone": "+15550100300", "type": "WORK"}],
                        }
                    ]
                },
            ),
        ),
        MessageType(
            name=content.REACTION,
            summary="React to a message of the chat",
            fields=(
                _target("The message"),
                Field(
                    name="emoji",
                    kind=str,
                    purpose="One emoji; the empty string takes the reaction back.",
                    required=True,
                    longest=_EMOJI,
                ),
                *SENDING,
            ),
            examples=({"messageId": "41", "emoji": "👍"}, {"messageId": "41", "emoji": ""}),
        ),
        MessageType(
            name=content.INTERACTIVE,
            summary="Send buttons, a list, a flow, products, or another interactive message",
            fields=(INTERACTIVE_FIELD, QUOTED, *SENDING),
            examples=(
                {
                    "interactive": {
                        "type": "button",
                        "body": {"text": "When shall we come?"},
                        "action": {
                            "buttons": [
                                {"type": "reply", "reply": {"id": "morning", "title": "Morning"}},
                                {"type": "reply", "reply": {"id": "evening", "title": "Evening"}},
                            ]
                        },
                    }
                },
                {
                    "interactive": {
                        "type": "list",
                        "body": {"text": "Which size?"},
                        "action": {
                            "button": "Sizes",
                            "sections": [{"rows": [{"id": "s", "title": "Small"}, {"id": "l", "title": "Large"}]}],
                        },
                    }
                },
            ),
        ),
        MessageType(
            name=content.TEMPLATE,
            summary="Send a template",
            fields=(*TEMPLATE_FIELDS, QUOTED, *SENDING),
            examples=(
                {"name": "hello_world", "language": "en_US"},
                {
                    "name": "parcel_sent",
                    "language": "de",
                    "components": [{"type": "body", "parameters": [{"type": "text", "text": "1001"}]}],
                },
            ),
        ),
        MessageType(
            name=content.READ,
            summary="Mark what came in as read",
            fields=(
                _target(
                    "The received message up to which it counts; without it the newest of the chat", required=False
                ),
                PHONE_INDEX,
            ),
            examples=({}, {"messageId": "42"}),
        ),
        MessageType(
            name=content.TYPING,
            summary="Show that something is being written, or stop showing it",
            fields=(
                Field(
                    name="state",
                    kind=str,
                    purpose="`on`, or `off` where the channel can.",
                    default="on",
                    choices=("on", "off"),
                    title="TypingState",
                ),
                Field(
                    name="lastsSeconds",
                    kind=float,
                    purpose="How long it is shown unless a message comes first.",
                    default=10.0,
                    low=1,
                    # WhatsApp ends the indicator after 25 s
                    high=25,
                ),
                PHONE_INDEX,
            ),
            examples=({"state": "on", "lastsSeconds": 5}, {"state": "on"}),
        ),
        MessageType(
            name=content.FORWARD,
            summary="Forward a message of any chat of the same connection to this chat",
            fields=(_target("The message"), *SENDING),
            examples=({"messageId": "41", "phoneIndex": 1},),
        ),
    )
}
"""Every type that a draft can have."""

FORM_FIELDS: Final = tuple(
    {
        field.name: field
        for row in TYPES.values()
        if row.has_file
        for field in row.fields
        if field.name not in FILE_SOURCES
    }.values()
)
"""Fields of the forms that carry a file of any type; those of the same name are the same for each type."""
# of SENDING only the policy: an edit or a reaction acts at once, through the connection of its message
EDIT_FIELDS: Final = (Field(name="message", kind=str, purpose="The new text.", required=True), SENDING[-1])
REACT_FIELDS: Final = (TYPES[content.REACTION].fields[1], SENDING[-1])
