"""Requests of operations that are more than a path and a body; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead_client.wire import (
    IDEMPOTENCY_KEY,
    File,
    Request,
    form_request,
    json_request,
    new_idempotency_key,
    place,
)


def sending(company: str, chat: str, body: Mapping[str, Any], idempotency_key: str | None, wait_s: int) -> Request:
    """Return the request that sends a message; `body` names its type."""
    return json_request("POST", place("messages", company, chat), body, headers=_accepting(idempotency_key, wait_s))


def sending_file(
    company: str,
    chat: str,
    type_: str,
    file: File,
    *,
    fields: Mapping[str, Any],
    idempotency_key: str | None,
    wait_s: int,
) -> Request:
    """Return the request that sends a message with its file."""
    headers = _accepting(idempotency_key, wait_s)
    return form_request(place("messages", type_, company, chat), fields, file, headers=headers)


def replying(
    company: str, conversation: str, body: Mapping[str, Any], idempotency_key: str | None, wait_s: int
) -> Request:
    """Return the request that replies in a conversation."""
    path = place("conversations", company, conversation, "reply")
    return json_request("POST", path, body, headers=_accepting(idempotency_key, wait_s))


def assigning(company: str, conversation: str, assignee: str | None) -> Request:
    """Return the request that says who looks after a conversation."""
    return Request(
        method="POST",
        path=place("conversations", company, conversation, "assign"),
        headers={"Content-Type": "application/json"},
        # with null: no one
        body=json.dumps({"assignee": assignee}).encode(),
    )


def editing(company: str, chat: str, message_id: str, message: str, idempotency_key: str | None) -> Request:
    """Return the request that edits a text."""
    path = place("messages", company, chat, message_id)
    return json_request("PUT", path, {"message": message}, headers=_accepting(idempotency_key, 0))


def deleting(company: str, chat: str, message_id: str, whom: str, idempotency_key: str | None) -> Request:
    """Return the request that cancels or deletes a message. `whom`: `everyone` or `me`."""
    path = place("messages", company, chat, message_id)
    return Request(method="DELETE", path=path, query={"for": whom}, headers=_accepting(idempotency_key, 0))


def uploading(company: str, file: File) -> Request:
    """Return the request that stores a file."""
    return form_request(place("media", company), {}, file)


def uploading_document(company: str, file: File) -> Request:
    """Return the request that uploads a document."""
    return form_request(place("documents", company), {}, file)


def events(company: str, after: str | None, types: Sequence[str], *, limit: int, wait_s: int) -> Request:
    """Return the request of a page of events."""
    query = {"after": after, "types": ",".join(types) or None, "limit": limit}
    headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
    return Request(method="GET", path=place("events", company), query=query, headers=headers)


def event_stream(company: str, last_id: str | None, types: Sequence[str]) -> Request:
    """Return the request of a stream of events that goes on after `last_id`."""
    query = {"after": last_id, "types": ",".join(types) or None}
    return Request(method="GET", path=place("events", company), query=query, headers={"Accept": "text/event-stream"})


def _accepting(idempotency_key: str | None, wait_s: int) -> dict[str, str]:
    headers = {IDEMPOTENCY_KEY: idempotency_key or new_idempotency_key()}
    return headers | ({"Prefer": f"wait={wait_s}"} if wait_s else {})
