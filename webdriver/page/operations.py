"""What a browser session can do, as data: by type of message the page's operation, its time limit and its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from shared import content as types
from webdriver.page import vcards

Content: TypeAlias = Mapping[str, Any]
Arguments: TypeAlias = dict[str, Any]

Naming: TypeAlias = Literal["message", "edit", "forward", "effect"]
"""How an operation is identified while its outcome is unknown. The id is stored before the page is asked:

`message`: the id of the message that it makes, chosen by us. `edit`: the id of the edit, chosen by us. `forward`: the
newest message of the chat before the operation, since wa-js accepts no id: newer messages are recognised by it.
`effect`: no id of WhatsApp's; the page shows whether the effect exists, and a repetition changes nothing.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageOperation:
    """One row of the table.

    Attributes:
        page: name in `bridge.js`. arguments: what the page gets beside chat and name. naming: see `Naming`. lasts_s:
            longest time from asking the page to its answer, in seconds; wa-js itself has no limit for files. targeted:
            is about a message that is there, which names the chat.
    """

    page: str
    arguments: Callable[[Content], Arguments]
    naming: Naming = "message"
    lasts_s: float = 20.0
    targeted: bool = False


def operation_of(type: str, content: Content) -> PageOperation | None:
    """Return the operation for a type of message, None when browser sessions have none."""
    # two operations of the page: for everyone (revoke), or in our own account alone
    if type == types.DELETE:
        return _REVOKE if content.get("everyone") else _REMOVE
    return OPERATIONS.get(type)


def _text(content: Content) -> Arguments:
    return {"body": str(content["body"])}


def _file(type: str) -> Callable[[Content], Arguments]:
    def arguments(content: Content) -> Arguments:
        media = content["media"]
        name = content.get("filename") or media.get("filename")
        # wa-js merges these over its defaults: a null would replace one
        options = {
            "type": type,
            "mimetype": media.get("mimetype"),
            "filename": name,
            "caption": content.get("caption"),
            "isPtt": content.get("voice"),
        }
        return {"options": {key: value for key, value in options.items() if value}}

    return arguments


def _location(content: Content) -> Arguments:
    place = {
        "lat": content["latitude"],
        "lng": content["longitude"],
        "name": content.get("name"),
        "address": content.get("address"),
    }
    # 0 is a valid coordinate: only missing values are left out
    return {"place": {key: value for key, value in place.items() if value is not None}}


def _contacts(content: Content) -> Arguments:
    cards = [
        {"displayName": vcards.display_name(contact), "vcard": vcards.vcard(contact)} for contact in content["contacts"]
    ]
    # WhatsApp has a row type of its own for several cards
    if len(cards) == 1:
        return {"raw": {"type": "vcard", "body": cards[0]["vcard"], "vcardFormattedName": cards[0]["displayName"]}}
    return {"raw": {"type": "multi_vcard", "vcardList": cards}}


def _target(content: Content) -> Arguments:
    return {"target": str(content["target"])}


def _typing(content: Content) -> Arguments:
    return {"state": str(content.get("state") or "composing"), "lasts": float(content.get("lasts_s") or 0.0)}


_REVOKE: Final = PageOperation(page="revoke", arguments=_target, naming="effect", targeted=True)
_REMOVE: Final = PageOperation(page="remove", arguments=_target, naming="effect", targeted=True)

# uploads may take as long as the largest file of their type needs; an operation without a file is answered within
# milliseconds, so ten seconds without an answer mean a hung page
OPERATIONS: Final[Mapping[str, PageOperation]] = {
    types.TEXT: PageOperation(page="text", arguments=_text),
    types.IMAGE: PageOperation(page="file", arguments=_file("image"), lasts_s=60.0),
    types.VIDEO: PageOperation(page="file", arguments=_file("video"), lasts_s=100.0),
    types.AUDIO: PageOperation(page="file", arguments=_file("audio"), lasts_s=60.0),
    types.DOCUMENT: PageOperation(page="file", arguments=_file("document"), lasts_s=100.0),
    types.STICKER: PageOperation(page="file", arguments=_file("sticker"), lasts_s=60.0),
    types.LOCATION: PageOperation(page="location", arguments=_location),
    types.CONTACTS: PageOperation(page="contacts", arguments=_contacts),
    types.REACTION: PageOperation(
        page="reaction",
        arguments=lambda content: {**_target(content), "emoji": str(content["emoji"])},
        naming="effect",
        targeted=True,
    ),
    types.EDIT: PageOperation(
        page="edit",
        arguments=lambda content: {**_target(content), "body": str(content["body"])},
        naming="edit",
        targeted=True,
    ),
    types.FORWARD: PageOperation(page="forward", arguments=_target, naming="forward", lasts_s=30.0),
    types.READ: PageOperation(page="read", arguments=lambda content: {}, naming="effect", lasts_s=10.0),
    types.TYPING: PageOperation(page="typing", arguments=_typing, naming="effect", lasts_s=10.0),
}
"""By type of message; `delete` is one of two, see `operation_of`."""

MESSAGES: Final = frozenset(
    name for name, operation in OPERATIONS.items() if operation.naming in ("message", "forward")
)
"""Types that make a message, which the receiver may read."""
