"""Contents of actions on a message that is there: a reaction to it, its edit, its deletion. Pure."""

from __future__ import annotations

from typing import Any

from shared import content
from shared.compose.checks import check_text, is_emoji
from shared.compose.refusals import require, unsupported
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.store.targets import ACTING, MessageTarget

Content = dict[str, Any]


def require_there(target: MessageTarget) -> None:
    """Raise `Refused` unless the provider knows the message."""
    if not target.is_there:
        raise Refused("message_not_sent", target.condition, state=target.state)


def require_message(target: MessageTarget, operation: str) -> None:
    """Raise `Refused` for a line of a chat that is no message, for example a call: the provider has nothing to act
    on."""
    if target.type in content.LINES:
        raise unsupported(
            target.connection_type,
            operation,
            "channel",
            f"A line of type {target.type} is no message: nothing acts on it.",
        )


def reaction_content(target: MessageTarget, emoji: str) -> Content:
    """Return the content of a reaction. Raises `Refused` for a text that is no emoji, and when the message is not
    there."""
    if emoji and not is_emoji(emoji):
        raise FieldsInvalid([("/emoji", "must be one emoji, or empty to take the reaction back")])
    # in this order: a call line is never sent, so that "not sent yet" would be the wrong reason
    require_message(target, content.REACTION)
    require_there(target)
    return {"emoji": emoji, "target": target.provider_id, "target_id": target.id}


def edit_content(target: MessageTarget, text: str) -> Content:
    """Return the content of an edit. Raises `Refused` when the message cannot be edited, or not to this text."""
    # the channel first: a client that can never edit here should not first be asked to change its text
    require(target.connection_type, content.EDIT)
    if target.direction != "out" or target.type != content.TEXT:
        raise unsupported(
            target.connection_type, content.EDIT, "channel", "Only texts of the company's own can be edited."
        )
    # the state comes last, since it may change: permanent problems are reported first
    check_text(text, target.connection_type, content.EDIT)
    require_there(target)
    return {"target": target.provider_id, "target_id": target.id, "body": text}


def deletion_content(target: MessageTarget, *, everyone: bool) -> Content:
    """Return the content of a deletion. Raises `Refused` when the message cannot be deleted, or not for everyone."""
    # a reaction is taken back by an empty one, an edit by another edit
    if target.type in ACTING:
        raise unsupported(
            target.connection_type, content.DELETE, "channel", "An action on another message cannot be deleted."
        )
    require_message(target, content.DELETE)
    require(target.connection_type, content.DELETE)
    # channels revoke only what the company itself wrote
    if everyone and target.direction != "out":
        raise unsupported(
            target.connection_type,
            content.DELETE,
            "channel",
            "What others wrote can be deleted for oneself only (`for=me`).",
        )
    require_there(target)
    return {"target": target.provider_id, "target_id": target.id, "everyone": everyone}
