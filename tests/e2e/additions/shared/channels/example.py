"""A connection type that a test adds: phone numbers, text, nothing else."""

from typing import Final

from shared import content
from shared.channels.channel import ConnectionType
from shared.channels.chat_ids import ChatIdForm

EXAMPLE: Final = ConnectionType(
    name="example",
    kind="example",
    reaches=frozenset({ChatIdForm.PHONE}),
    operations={content.TEXT: {"characters": 1000}},
)
