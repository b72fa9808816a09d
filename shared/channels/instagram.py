"""Instagram: a professional account, reached through its Page or by Instagram Login."""

from __future__ import annotations

from typing import Final

from shared import content
from shared.channels.channel import ConnectionType, FileLimit
from shared.channels.chat_ids import ChatIdForm
from shared.channels.messenger import HUMAN_AGENT, SIDE_EFFECTS, WINDOW
from shared.channels.whatsapp_cloud import MESSAGES_PER_SECOND
from shared.fields import Field

_MB: Final = 1024 * 1024

INSTAGRAM: Final = ConnectionType(
    name="instagram",
    kind="meta",
    address="instagram_base_url",
    reaches=frozenset({ChatIdForm.NUMERIC}),
    answers=frozenset({ChatIdForm.ADDRESS, ChatIdForm.OPAQUE}),
    operations={
        # Instagram counts the bytes of UTF-8
        content.TEXT: {"characters": 1000, "bytes": 1000},
        content.IMAGE: {},
        content.VIDEO: {},
        content.AUDIO: {},
        **SIDE_EFFECTS,
    },
    files={
        # Meta's page on attachments of Instagram messages names these types and sizes
        content.IMAGE: FileLimit(8 * _MB, ("image/jpeg", "image/png", "image/gif")),
        content.VIDEO: FileLimit(
            25 * _MB, ("video/mp4", "video/ogg", "video/x-msvideo", "video/quicktime", "video/webm")
        ),
        content.AUDIO: FileLimit(25 * _MB, ("audio/aac", "audio/mp4", "audio/wav")),
    },
    provider_files=True,
    tags=(HUMAN_AGENT,),
    credentials=("accessToken",),
    account="required",
    options=(
        MESSAGES_PER_SECOND,
        Field(
            name="login",
            kind=str,
            choices=("page", "instagram"),
            title="InstagramLogin",
            purpose="How an Instagram account is reached: through its Page, or by Instagram Login.",
        ),
        Field(
            name="pageId",
            kind=str,
            longest=32,
            purpose="Page of an Instagram account, if `accountId` is the account's own.",
        ),
        Field(
            name="instagramId",
            kind=str,
            longest=32,
            purpose="Instagram account's own id, if `accountId` is its Page: webhooks name it.",
        ),
    ),
    provider_tasks=frozenset({"test"}),
    webhook_object="instagram",
    pacing="page",
    window=WINDOW,
)
