"""Reads the message of a path: `{companyId}/{chatId}/{messageId}`."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from api.http.problems import Problem
from shared.channels import chat_ids
from shared.compose.composer import chat_invalid
from shared.compose.directory import require_possible

# 18 digits fit PostgreSQL's bigint: a longer one names no message, and would be an error of the statement
_PROVIDER_ID: Final = re.compile(r"[\x21-\x7e]{1,512}")
"""Ids of all providers are visible ASCII; the longest seen (a wamid scoped to a user id) has about 130 characters."""
_MESSAGE_ID: Final = re.compile(r"[0-9]{1,18}")


def read_message_id(text: str) -> int | None:
    """Return the id in a text, None when no message can have it."""
    return int(text) if _MESSAGE_ID.fullmatch(text) else None


def read_chat(chat_id: str) -> str:
    """Return the canonical id of a chat. Raises `Refused` when there is none."""
    try:
        return chat_ids.canonical(chat_id)
    except chat_ids.ChatInvalid as error:
        raise chat_invalid(error) from error


def named(request: Request) -> tuple[str, str, int]:
    """Return company, chat and message id of a path. Raises `Problem` when there can be no such message."""
    company_id, chat_as_given = request.path_params["companyId"], request.path_params["chatId"]
    # by its form alone: whether the company exists is only looked up when the message is not found
    require_possible(company_id)
    chat_id, message_id = read_chat(chat_as_given), read_message_id(request.path_params["messageId"])
    if message_id is None:
        raise message_unknown()
    return company_id, chat_id, message_id


def named_by_any(request: Request) -> tuple[str, str, int | str]:
    """Return company, chat and message of a path, the message by our id or, as text, by the provider's.

    Raises:
        Problem: there can be no such message.
    """
    given = request.path_params["messageId"]
    if _PROVIDER_ID.fullmatch(given) and read_message_id(given) is None:
        company_id, chat_as_given = request.path_params["companyId"], request.path_params["chatId"]
        require_possible(company_id)
        return company_id, read_chat(chat_as_given), given
    return named(request)


def message_unknown() -> Problem:
    """Return the refusal of a message that is not in the chat."""
    return Problem("message_unknown", "The chat has no such message.")
