"""WhatsApp at Meta's Cloud API: a number of one's own app, one that joined by Embedded Signup, and one at 360dialog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from shared import content
from shared.channels.channel import ConnectionType, CustomerWindow, Demo, FileLimit
from shared.channels.chat_ids import ChatIdForm
from shared.fields import Field

_KB: Final = 1024
_MB: Final = 1024 * _KB
_CAPTION: Final = {"captionCharacters": 1024}

MESSAGES_PER_SECOND: Final = Field(
    name="messagesPerSecond", kind=float, high=5000.0, purpose="Rate of a Meta number; 0: no limit."
)
_OPTIONS: Final = (
    MESSAGES_PER_SECOND,
    Field(
        name="pairLimit", kind=bool, purpose="Whether one user gets at most one message each 6 s from a Meta number."
    ),
    Field(
        name="coexistence", kind=bool, purpose="The number is also on the WhatsApp Business app: 20 messages a second."
    ),
)
_OPERATIONS: Final[Mapping[str, Mapping[str, int]]] = {
    content.TEXT: {"characters": 4096},
    content.IMAGE: _CAPTION,
    content.VIDEO: _CAPTION,
    content.AUDIO: {},
    content.DOCUMENT: _CAPTION,
    content.STICKER: {},
    content.LOCATION: {},
    content.CONTACTS: {"contacts": 5},
    content.REACTION: {},
    content.INTERACTIVE: {"characters": 4096},
    content.TEMPLATE: {},
    content.READ: {},
    # the Cloud API ends the indicator by itself, and has no call to edit, delete or forward a sent message
    content.TYPING: {"seconds": 25},
}
_IMAGES: Final = ("image/jpeg", "image/png")
_VIDEOS: Final = ("video/mp4", "video/3gpp")
_AUDIOS: Final = ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")
_OFFICE: Final = (
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
)
_STILL: Final[Mapping[str, int]] = {"image/webp": 100 * _KB}
_FILES: Final[Mapping[str, FileLimit]] = {
    content.IMAGE: FileLimit(5 * _MB, _IMAGES),
    content.VIDEO: FileLimit(16 * _MB, _VIDEOS),
    content.AUDIO: FileLimit(16 * _MB, _AUDIOS),
    # the whole list of Meta's page on supported media types: an upload of any other type is refused
    content.DOCUMENT: FileLimit(
        100 * _MB,
        ("application/pdf", *_OFFICE, "text/", *_IMAGES, "image/webp", *_VIDEOS, *_AUDIOS),
        bytes_of={
            **dict.fromkeys(_IMAGES, 5 * _MB),
            "image/webp": 500 * _KB,
            **dict.fromkeys((*_VIDEOS, *_AUDIOS), 16 * _MB),
        },
        bytes_of_still=_STILL,
        # of texts Meta knows plain ones only; the receiver sees the file's name, for example `list.csv`
        sent_as={"text/": "text/plain"},
    ),
    content.STICKER: FileLimit(500 * _KB, ("image/webp",), bytes_of_still=_STILL),
}

META_DIRECT: Final = ConnectionType(
    name="meta_direct",
    kind="meta",
    reaches=frozenset({ChatIdForm.PHONE, ChatIdForm.BUSINESS_SCOPED}),
    answers=frozenset({ChatIdForm.SHORT_CODE, ChatIdForm.NUMERIC, ChatIdForm.OPAQUE}),
    groups=frozenset({ChatIdForm.NUMERIC, ChatIdForm.OPAQUE}),
    # Meta refuses everything else in a group (130501); a mark on a message that came in names no chat
    in_groups=frozenset({content.TEXT, *content.MEDIA, content.TEMPLATE, content.READ, content.TYPING}),
    operations=_OPERATIONS,
    files=_FILES,
    # with Opus; other audio is shown as a file
    voice="audio/ogg",
    provider_files=True,
    # the indicator is part of marking a message as read
    typing_answers=True,
    credentials=("accessToken", "pin"),
    account="required",
    has_waba=True,
    options=_OPTIONS,
    templates=True,
    provider_tasks=frozenset({"test", "register", "deregister", "webhook", "profile"}),
    webhook_object="whatsapp_business_account",
    pacing="meta_number",
    # Meta refuses free-form messages beyond it by itself; templates have no window
    window=CustomerWindow(24 * 3600.0),
    demo=Demo(0, "100000000000001", "200000000000001", {"access_token": "sandbox_access_token"}),
)
META_EMBEDDED: Final = replace(
    META_DIRECT,
    name="meta_embedded",
    demo=Demo(3, "100000000000003", "200000000000003", {"access_token": "sandbox_access_token"}),
)
D360: Final = replace(
    META_DIRECT,
    name="360dialog",
    address="d360_base_url",
    credentials=("apiKey", "webhookSecret"),
    # the key names the number; the id is found with the first look at the account
    account="optional",
    provider_tasks=frozenset({"test", "webhook", "profile"}),
    demo=Demo(
        2,
        "100000000000002",
        "200000000000002",
        {"api_key": "sandbox_d360_api_key", "webhook_secret": "sandbox_d360_webhook_secret"},
    ),
)
