"""What the page's answer to a send means, as data.

Codes that are not listed leave the message in doubt: only what was certainly not sent may be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.messages import Dead, InDoubt, Outcome, Retry, Sent

REFUSALS: Final[Mapping[str, Outcome]] = {
    # WPPError codes that wa-js throws before it hands the message on
    "invalid_wid": Dead(code="invalid_chat_id", detail="this is no chat id"),
    "chat_not_found": Dead(code="chat_not_found", detail="there is no such chat"),
    "can_not_send_message_to_this_groupType": Dead(
        code="chat_not_writable", detail="messages go to the community's announcement group"
    ),
    "invalid_quoted_msg": Dead(code="quoted_message_unknown", detail="the quoted message is not known to the page"),
    "msg_not_found": Dead(code="quoted_message_unknown", detail="the quoted message is not known to the page"),
    "quoted_msg_can_not_reply": Dead(code="quoted_message_not_repliable", detail="this message cannot be replied to"),
    "file_too_large": Dead(code="file_too_large", detail="WhatsApp accepts no file of this size as this type"),
    # the page was replaced after it had been given the file: the next attempt gives it the file again
    "file_not_given": Retry(code="file_not_given", detail="the page has no such file any more"),
    # the id does not fit the account or the chat any more: the next attempt chooses another one
    "message_key_is_not_from_me": Retry(code="message_id_refused", detail="the page refused the chosen id"),
    "message_key_remote_id_is_not_same_of_chat": Retry(code="message_id_refused", detail="the chat has another id now"),
}

TARGET_REFUSALS: Final[Mapping[str, Dead]] = {
    # of operations on a message that should be there; thrown before anything is handed on
    "msg_not_found": Dead(code="message_unknown", detail="the page does not know the message that this is about"),
    "chat_not_found": Dead(
        code="message_unknown", detail="the page does not know the chat of the message that this is about"
    ),
    "edit_message_error": Dead(
        code="message_not_editable", detail="WhatsApp lets this message not be edited, or not any more"
    ),
    "not_own_message": Dead(code="message_not_ours", detail="only messages of our own can be deleted for everyone"),
}

RESULTS: Final[Mapping[str, Outcome]] = {
    # wa-js's SendMsgResult; OK is not here, it needs the id
    "ERROR_EXPIRED": Retry(code="send_expired", detail="the page gave the message up before it was sent"),
    "ERROR_CANCELLED": Retry(code="send_cancelled", detail="the page cancelled the send"),
    "ERROR_UPLOAD": Retry(code="upload_failed", detail="the file could not be uploaded"),
    "ERROR_NETWORK": InDoubt(code="send_network", detail="the page lost its line while it waited for the answer"),
    "ERROR_UNKNOWN": InDoubt(code="send_unknown", detail="the page does not know"),
}

WPP_ERRORS: Final = frozenset(REFUSALS.keys() | TARGET_REFUSALS.keys()) - {"file_not_given", "not_own_message"}
"""Codes that wa-js's own code throws; the rest is the bridge's."""

KNOWN_UNSENT: Final[Mapping[int, Outcome]] = {
    # negative acks of a message that the page knows: WhatsApp's server has not accepted it
    -1: Retry(code="send_failed"),
    -2: Retry(code="send_expired"),
    -3: Dead(code="content_gone"),
    -4: Dead(code="content_too_big"),
    -5: Dead(code="content_unuploadable"),
    -6: Retry(code="device_inactive"),
    -7: Dead(code="md_downgrade"),
}


def of_lookup(code: str) -> Outcome:
    """Return what an error means while the chat is looked up and an id is made: nothing was sent."""
    return REFUSALS.get(code) or Retry(code="chat_lookup_failed", detail=code or "the page could not open the chat")


def of_refusal(code: str, *, about_target: bool = False) -> Outcome:
    """Return what an error of the operation itself means; `code` is WPPError's.

    Args:
        about_target: the operation is about a message that should be there.
    """
    # the same code means the quoted message in a send, and the target in an operation on a message
    found = TARGET_REFUSALS.get(code) if about_target else None
    return found or REFUSALS.get(code) or InDoubt(code="page_error", detail=code)


def of_answer(answer: Mapping[str, Any]) -> Outcome:
    """Return what the page's answer {id, ack, result} means."""
    # some of wa-js's answers have no result: then only an ack of the server (1 or more) proves the send
    result, ack = str(answer.get("result", "")), int(answer.get("ack", 0))
    if result == "OK" or (not result and ack >= 1):
        return Sent(provider_id=str(answer["id"]))
    return RESULTS.get(result) or InDoubt(code="page_answer_unclear", detail=result)
