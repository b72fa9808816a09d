"""The types of messages, and the shape of each one's `content`, the same in both directions and on every channel.

| type | content |
|---|---|
| text | body, preview? |
| image video sticker | media, caption? (not for stickers) |
| audio | media, voice? (a voice note) |
| document | media, caption?, filename? |
| location | latitude, longitude, name?, address? |
| contacts | contacts: list of {name: {formatted_name, …}, phones: [{phone, type?, wa_id?}], …} as Meta spells them |
| reaction | emoji ("" takes it back), target |
| interactive | out: the provider's object; in: kind, id?, title?, description?, response? |
| template | name, language, components? |
| edit | target, body; delete: target, everyone; forward: target, source_chat |
| read | target; typing: state (composing, paused), target?, lasts_s |

`media` is exactly one of {sha256, mimetype, size, filename?} (a file in our storage), {link} (an address that the
provider fetches) and {id, mimetype?, …} (the provider's own name for it). `target` is the provider's id of the message
that is acted on; `target_id` is our own id of it, if it is one of ours. `quoted` may accompany any of them: the
provider's id of the message that this one replies to.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = "text"
IMAGE: Final = "image"
VIDEO: Final = "video"
AUDIO: Final = "audio"
DOCUMENT: Final = "document"
STICKER: Final = "sticker"
LOCATION: Final = "location"
CONTACTS: Final = "contacts"
REACTION: Final = "reaction"
INTERACTIVE: Final = "interactive"
TEMPLATE: Final = "template"
EDIT: Final = "edit"
DELETE: Final = "delete"
FORWARD: Final = "forward"
READ: Final = "read"
TYPING: Final = "typing"

MEDIA: Final = frozenset({IMAGE, VIDEO, AUDIO, DOCUMENT, STICKER})
"""Types that carry a file."""

LINES: Final = frozenset({"call", "system"})
"""Types of inbound lines that are no messages at the provider: nothing can quote, mark or change them."""

OPERATIONS: Final = frozenset({EDIT, DELETE, REACTION, READ})
"""Types that change or answer another message of the chat."""

MARKS: Final = frozenset({READ, TYPING})
"""Types that show the other side something and say nothing: no lines of a chat, and in no list unless their type is
asked for. Each is still a message, with an id, states and a history."""

HARMLESS_TWICE: Final = MARKS
"""Types whose effect is the same when they are carried out twice: an unknown outcome is tried again instead of being
in doubt."""

# 25 s: WhatsApp itself ends a typing indicator then
SHORT_LIVED: Final = {TYPING: 25.0}
"""Seconds after which a message of the type means nothing any more: one that could not go out by then is given up
(`expired`)."""
