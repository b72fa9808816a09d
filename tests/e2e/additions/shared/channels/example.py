"""A connection type that a test adds: phone numbers, text, nothing else."""

from typing import Final

from shared import content
from shared.channels.channel import Channel
from shared.channels.chat_ids import Form

EXAMPLE: Final = Channel(
    name="example",
    kind="example",
    reaches=frozenset({Form.PHONE}),
    operations={content.TEXT: {"characters": 1000}},
)
