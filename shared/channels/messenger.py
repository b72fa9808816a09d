"""Messenger: a Facebook Page. People are known by ids that are scoped to the Page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared import content
from shared.channels.channel import TYPING_OFF, ConnectionType, CustomerWindow, FileLimit
from shared.channels.chat_ids import ChatIdForm
from shared.channels.whatsapp_cloud import MESSAGES_PER_SECOND

_MB: Final = 1024 * 1024

HUMAN_AGENT: Final = "HUMAN_AGENT"
"""The tag of a human's answer beyond the usual window; Meta grants it by permission only."""
WINDOW: Final = CustomerWindow(24 * 3600.0, {HUMAN_AGENT: 7 * 24 * 3600.0})
# actions of the Send API; they have no status webhooks
SIDE_EFFECTS: Final[Mapping[str, Mapping[str, int]]] = {
    content.REACTION: {},
    content.READ: {},
    content.TYPING: {"seconds": 25},
    TYPING_OFF: {},
}

MESSENGER: Final = ConnectionType(
    name="messenger",
    kind="meta",
    # page-scoped ids: a person has another one at each Page
    reaches=frozenset({ChatIdForm.NUMERIC}),
    # a person who opted in by a checkbox plugin has only a `user_ref` until the first message
    answers=frozenset({ChatIdForm.ADDRESS, ChatIdForm.OPAQUE}),
    operations={
        content.TEXT: {"characters": 2000},
        # attachments have no caption there: it is sent as a text of its own
        content.IMAGE: {},
        content.VIDEO: {},
        content.AUDIO: {},
        content.DOCUMENT: {},
        **SIDE_EFFECTS,
    },
    files={
        content.IMAGE: FileLimit(8 * _MB, ("image/jpeg", "image/png", "image/gif")),
        content.VIDEO: FileLimit(25 * _MB, ("video/",)),
        content.AUDIO: FileLimit(25 * _MB, ("audio/",)),
        # 25 MB: the Send API's limit for any attachment
        content.DOCUMENT: FileLimit(25 * _MB),
    },
    provider_files=True,
    tags=(HUMAN_AGENT,),
    credentials=("accessToken",),
    account="required",
    options=(MESSAGES_PER_SECOND,),
    provider_tasks=frozenset({"test"}),
    webhook_object="page",
    pacing="page",
    window=WINDOW,
)
