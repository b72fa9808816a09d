"""WhatsApp Web: a browser session that is linked to a phone by scanning a code."""

from __future__ import annotations

from typing import Final

from shared import content
from shared.channels.channel import TYPING_OFF, ConnectionType, Demo, FileLimit
from shared.channels.chat_ids import ChatIdForm
from shared.fields import Field

_MB: Final = 1024 * 1024
_CAPTION: Final = {"captionCharacters": 1024}

WWEBJS: Final = ConnectionType(
    name="wwebjs",
    kind="webdriver",
    address="whatsapp_web_url",
    reaches=frozenset(
        {ChatIdForm.PHONE, ChatIdForm.GROUP, ChatIdForm.LID, ChatIdForm.NEWSLETTER, ChatIdForm.BROADCAST}
    ),
    # WhatsApp adds kinds of addresses from time to time, for example for bots
    answers=frozenset({ChatIdForm.SHORT_CODE, ChatIdForm.ADDRESS}),
    operations={
        # WhatsApp's own limit of a text
        content.TEXT: {"characters": 65536},
        content.IMAGE: _CAPTION,
        content.VIDEO: _CAPTION,
        content.AUDIO: {},
        content.DOCUMENT: _CAPTION,
        content.STICKER: {},
        content.LOCATION: {},
        content.CONTACTS: {"contacts": 5},
        content.REACTION: {},
        content.READ: {},
        content.TYPING: {"seconds": 25},
        TYPING_OFF: {},
        content.FORWARD: {},
        content.EDIT: {"characters": 65536},
        content.DELETE: {},
    },
    files={
        content.IMAGE: FileLimit(16 * _MB, ("image/jpeg", "image/png", "image/webp", "image/gif")),
        content.VIDEO: FileLimit(64 * _MB, ("video/mp4", "video/3gpp", "video/quicktime")),
        content.AUDIO: FileLimit(16 * _MB, ("audio/",)),
        content.DOCUMENT: FileLimit(100 * _MB),
        content.STICKER: FileLimit(1 * _MB, ("image/webp", "image/png", "image/jpeg")),
    },
    options=(
        Field(name="messagesPerMinute", kind=float, high=10000.0, purpose="Rate of a browser session; 0: no limit."),
        Field(
            name="messagesPerDay",
            kind=int,
            high=10_000_000,
            purpose="Most messages of a browser session in 24 hours; 0: no ceiling.",
        ),
    ),
    # no credentials: the profile in the session's directory is the link to the phone
    session=True,
    pacing="browser_session",
    demo=Demo(1),
)
